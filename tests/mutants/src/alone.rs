//! A mutant that goes with no other: built on its own, then all its package's tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::build::{self, Built};
use crate::list::Mutant;
use crate::reach::Test;
use crate::tree::Tree;
use crate::trial::{self, Outcome};
use crate::weave::Weaver;

/// A copy of the checkout in which one source at a time is another.
#[derive(Debug)]
pub struct Alone {
    tree: Tree,
    target: PathBuf,
}

impl Alone {
    /// A fresh copy.
    pub fn new(root: &Path, target: &Path) -> Result<Self> {
        let tree = Tree::copy(root, &target.join("mutants/plain"), &BTreeSet::new())?;
        Ok(Self { tree, target: target.to_owned() })
    }

    /// What comes of a mutant. `tests` are those of its package, the quickest first.
    pub fn run(
        &self,
        mutant: &Mutant,
        package: &str,
        tests: &[Test],
        scratch: &Path,
    ) -> Result<Outcome> {
        let file = &mutant.name.file;
        let source = self.tree.source(file)?;
        let Some(text) = Weaver::only(&source, mutant)? else {
            anyhow::bail!("{}: its place is not found", mutant.name);
        };
        self.tree.put(file, &text)?;
        let built = build::tests(&self.tree.dir, &self.target, &[package]);
        let outcome = match built {
            Ok(Built::Faults(_)) => Ok(Outcome::Unviable),
            Ok(Built::Tests(binaries)) => {
                let tests: Vec<&Test> = tests.iter().collect();
                binaries.iter().try_fold(Outcome::Missed(0), |outcome, binary| match outcome {
                    Outcome::Missed(_) => trial::run(binary, &tests, None, scratch),
                    other => Ok(other),
                })
            }
            Err(error) => Err(error),
        };
        self.tree.put(file, &source)?;
        outcome
    }
}
