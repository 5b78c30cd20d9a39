//! What is known of mutants from earlier runs, beside what is built.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::list::{Mutant, Name};
use crate::trial::Outcome;

/// What came of a mutant, and of which sources that holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    name: Name,
    /// The mutated file's hash.
    file: String,
    /// The hash of all sources, tests too.
    sources: String,
    outcome: Outcome,
}

/// What came of mutants.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    sources: String,
    files: HashMap<String, String>,
    known: HashMap<Name, Known>,
    alone: BTreeSet<Name>,
}

impl Memory {
    /// Reads what is known; of what was, only what holds for these sources. With `fresh`, nothing.
    pub fn open(root: &Path, target: &Path, mutants: &[Mutant], fresh: bool) -> Result<Self> {
        let path = target.join("mutants/known.jsonl");
        let mut files = HashMap::new();
        for mutant in mutants {
            let file = &mutant.name.file;
            if !files.contains_key(file) {
                files.insert(file.clone(), crate::tree::hash(&fs::read(root.join(file))?));
            }
        }
        let folders = ["protocol/", "firmware/", "agent/", "Cargo.lock"];
        let of_them = |file: &str| folders.iter().any(|folder| file.starts_with(folder));
        let sources = crate::tree::hash_of(root, of_them)?;
        let mut memory =
            Self { path, sources, files, known: HashMap::new(), alone: BTreeSet::new() };
        if fresh {
            return Ok(memory);
        }
        let text = fs::read_to_string(&memory.path).unwrap_or_default();
        // A line that was cut short, by a kill, is one that is not known.
        for known in text.lines().filter_map(|line| serde_json::from_str::<Known>(line).ok()) {
            memory.take(known);
        }
        Ok(memory)
    }

    fn take(&mut self, known: Known) {
        if self.files.get(&known.name.file) != Some(&known.file) {
            return;
        }
        match known.outcome {
            Outcome::Alone => {
                self.alone.insert(known.name);
            }
            // Another test may notice, or another source give it a chance to.
            Outcome::Missed(_) if known.sources != self.sources => {
                self.known.remove(&known.name);
            }
            _ => {
                self.known.insert(known.name.clone(), known);
            }
        }
    }

    /// What came of a mutant, if that holds.
    pub fn outcome(&self, name: &Name) -> Option<&Outcome> {
        self.known.get(name).map(|known| &known.outcome)
    }

    /// Whether this mutant has to be built on its own.
    pub fn is_alone(&self, name: &Name) -> bool {
        self.alone.contains(name)
    }

    /// Forgets what was caught by a test that is no longer there.
    pub fn forget_tests_but(&mut self, package: &str, tests: &BTreeSet<&str>) {
        self.known.retain(|name, known| {
            let of_package =
                crate::areas::Area::of(&name.file).is_some_and(|area| area.package == package);
            match &known.outcome {
                Outcome::Caught(test) | Outcome::Timeout(test) if of_package => {
                    test.is_empty() || tests.contains(test.as_str())
                }
                _ => true,
            }
        });
    }

    /// Remembers what came of a mutant.
    pub fn remember(&mut self, name: &Name, outcome: Outcome) -> Result<()> {
        let file = self.files.get(&name.file).cloned().unwrap_or_default();
        let known = Known { name: name.clone(), file, sources: self.sources.clone(), outcome };
        let mut log = fs::OpenOptions::new().create(true).append(true).open(&self.path);
        let line = format!("{}\n", serde_json::to_string(&known)?);
        let log = log.as_mut().map_err(|error| anyhow::anyhow!("{error}"));
        log.and_then(|log| Ok(log.write_all(line.as_bytes())?))
            .with_context(|| self.path.display().to_string())?;
        self.take(known);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(nth: u32) -> Name {
        Name { file: "agent/src/dedup.rs".into(), change: "x".into(), text: String::new(), nth }
    }

    fn known(name: Name, file: &str, sources: &str, outcome: Outcome) -> Known {
        Known { name, file: file.into(), sources: sources.into(), outcome }
    }

    fn memory() -> Memory {
        Memory {
            path: PathBuf::new(),
            sources: "s2".into(),
            files: HashMap::from([("agent/src/dedup.rs".to_owned(), "f2".to_owned())]),
            known: HashMap::new(),
            alone: BTreeSet::new(),
        }
    }

    #[test]
    fn what_was_caught_holds_while_its_file_is_the_same_and_the_test_is_there() {
        let mut memory = memory();
        memory.take(known(name(1), "f2", "s1", Outcome::Caught("a::b".into())));
        memory.take(known(name(2), "f1", "s2", Outcome::Caught("a::b".into())));
        assert!(memory.outcome(&name(1)).is_some());
        assert!(memory.outcome(&name(2)).is_none());
        memory.forget_tests_but("milepost", &BTreeSet::from(["a::b"]));
        assert!(memory.outcome(&name(1)).is_some());
        memory.forget_tests_but("milepost", &BTreeSet::from(["a::c"]));
        assert!(memory.outcome(&name(1)).is_none());
    }

    #[test]
    fn what_was_missed_holds_while_no_source_changes() {
        let mut memory = memory();
        memory.take(known(name(1), "f2", "s1", Outcome::Missed(3)));
        memory.take(known(name(2), "f2", "s2", Outcome::Missed(3)));
        assert!(memory.outcome(&name(1)).is_none());
        assert!(memory.outcome(&name(2)).is_some());
    }
}
