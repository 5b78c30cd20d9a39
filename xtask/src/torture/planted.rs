//! Faults planted in what a file sink has, to see them found.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A fault.
#[derive(Clone, Copy, Debug)]
pub enum Planted {
    /// A document is not there.
    Lost,
    /// One stands there twice.
    Doubled,
    /// Two stand there in the wrong order.
    Swapped,
    /// A value is another.
    Changed,
}

/// The file as it was.
pub struct Undo {
    path: PathBuf,
    content: String,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lost, Self::Doubled, Self::Swapped, Self::Changed];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Swapped => "swapped",
            Self::Changed => "changed",
        }
    }

    /// Plants it in the middle of the sink's first file.
    pub fn plant(self, sink: &Path) -> Result<Undo> {
        let entries = fs::read_dir(sink)?.map(|entry| Ok(entry?.path()));
        let mut files = entries.collect::<Result<Vec<PathBuf>>>()?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
        let path = files.into_iter().min().context("the file sink has no file")?;
        let content = fs::read_to_string(&path)?;
        let altered = self.alter(&content).context("no two documents of samples of one frame")?;
        fs::write(&path, altered)?;
        Ok(Undo { path, content })
    }

    /// Alters the first of two documents of one frame's samples that follow each other.
    fn alter(self, content: &str) -> Option<String> {
        let lines: Vec<&str> = content.lines().collect();
        let frame = |line: &str| {
            let id = line.split_once("\"id\":\"")?.1.split('"').next()?.rsplit_once('/')?.0;
            line.contains("\"milepost.samples\"").then(|| id.to_owned())
        };
        let is_pair = |at: &usize| match (lines.get(*at), lines.get(at + 1)) {
            (Some(one), Some(other)) => frame(one).is_some_and(|of| frame(other) == Some(of)),
            _ => false,
        };
        let at = (lines.len() / 2..lines.len()).find(is_pair)?;
        let (before, rest) = lines.split_at_checked(at)?;
        let (pair, behind) = rest.split_at_checked(2)?;
        let [first, second] = *pair else { return None };
        let changed;
        let instead: &[&str] = match self {
            Self::Lost => &[second],
            Self::Doubled => &[first, first, second],
            Self::Swapped => &[second, first],
            Self::Changed => {
                // The last value of all becomes a thousand times as large, or more.
                let end = first.rfind(|c: char| c.is_ascii_digit())? + 1;
                let (value, tail) = first.split_at_checked(end)?;
                changed = format!("{value}123{tail}");
                &[&changed, second]
            }
        };
        let all = [before, instead, behind].concat();
        Some(all.join("\n") + "\n")
    }
}

impl Undo {
    /// Puts the file back.
    pub fn undo(self) -> Result<()> {
        Ok(fs::write(self.path, self.content)?)
    }
}
