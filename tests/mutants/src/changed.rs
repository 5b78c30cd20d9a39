//! Which lines a landing changes.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::list::Mutant;

/// The lines of each file that are not as they were.
#[derive(Debug, Default)]
pub struct Changed(HashMap<String, Vec<Range<usize>>>);

/// What this landing began from: where it left the main branch, if it is not on it; otherwise the
/// commit before. None where history has no commit before.
pub fn base(root: &Path) -> Result<Option<String>> {
    let head = git(root, &["rev-parse", "HEAD"])?.context("no commit yet")?;
    for main in ["origin/main", "main"] {
        if let Some(base) = git(root, &["merge-base", main, "HEAD"])?
            && base != head
        {
            return Ok(Some(base));
        }
    }
    git(root, &["rev-parse", "--verify", "--quiet", "HEAD~1"])
}

/// What differs from a revision, committed or not.
pub fn since(root: &Path, revision: &str) -> Result<Changed> {
    let diff = ["diff", "--unified=0", "--no-color", "--no-ext-diff", "--no-prefix", revision];
    match git(root, &diff)? {
        Some(diff) => Ok(parse(&diff)),
        None => bail!("git does not know {revision}"),
    }
}

fn git(root: &Path, arguments: &[&str]) -> Result<Option<String>> {
    let output = Command::new("git").current_dir(root).args(arguments).output();
    let output = output.context("starting git")?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    Ok(output.status.success().then_some(text))
}

fn parse(diff: &str) -> Changed {
    let mut changed: HashMap<String, Vec<Range<usize>>> = HashMap::new();
    let mut file = String::new();
    for line in diff.lines() {
        if let Some(name) = line.strip_prefix("+++ ") {
            name.clone_into(&mut file);
        } else if line.starts_with("@@ ")
            && let Some(range) = line.split_whitespace().nth(2).and_then(lines)
        {
            changed.entry(file.clone()).or_default().push(range);
        }
    }
    Changed(changed)
}

/// `+12,3`: three lines from the twelfth. Where lines are gone, the two around them.
fn lines(hunk: &str) -> Option<Range<usize>> {
    let hunk = hunk.strip_prefix('+')?;
    let (first, count) = hunk.split_once(',').unwrap_or((hunk, "1"));
    let (first, count): (usize, usize) = (first.parse().ok()?, count.parse().ok()?);
    Some(if count == 0 { first..first + 2 } else { first..first + count })
}

impl Changed {
    /// The files that have any.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether a mutant changes one of these lines.
    pub fn has(&self, mutant: &Mutant) -> bool {
        let lines = self.0.get(&mutant.name.file);
        lines
            .into_iter()
            .flatten()
            .any(|lines| lines.start <= mutant.end.line && mutant.start.line < lines.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_says_which_lines_are_new() {
        let diff = "diff --git a.rs a.rs\n--- a.rs\n+++ a.rs\n@@ -1,0 +2,3 @@ fn x\n+a\n@@ -9 +12 @@\n\
                    --- b.rs\n+++ b.rs\n@@ -4,2 +3,0 @@\n";
        let Changed(changed) = parse(diff);
        assert_eq!(changed.get("a.rs"), Some(&vec![2..5, 12..13]));
        assert_eq!(changed.get("b.rs").and_then(|lines| lines.first()), Some(&(3..5)));
    }
}
