//! Weaves, builds, and takes out what does not compile, until the rest does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Result, bail};

use crate::build::{self, Binary, Built, Fault};
use crate::list::Mutant;
use crate::tree::Tree;
use crate::weave::{Weaver, Woven};

/// More rounds than the compiler has phases to complain in.
const ROUNDS_MAX: u32 = 30;
/// Errors of types. In a mutant's own text they are its own: the types around it are the same where it
/// stands alone. Errors of what is borrowed, moved or constant may come of its standing beside others.
const OF_TYPES: [&str; 8] =
    ["E0061", "E0277", "E0308", "E0368", "E0369", "E0599", "E0600", "E0614"];

/// One build with all mutants that it can have.
#[derive(Debug)]
pub struct Settled {
    /// The tests.
    pub binaries: Vec<Binary>,
    /// Mutants that have to be built on their own.
    pub alone: BTreeSet<u32>,
    /// Mutants that do not compile, wherever they stand.
    pub refused: BTreeSet<u32>,
}

struct Settling<'a> {
    tree: Tree,
    by_file: BTreeMap<&'a str, Vec<&'a Mutant>>,
    alone: BTreeSet<u32>,
    refused: BTreeSet<u32>,
    keep_const: BTreeSet<String>,
}

/// Weaves all of these but `alone`, which are known not to go with the others, and `refused`, which are
/// known not to compile.
pub fn settle(
    root: &Path,
    target: &Path,
    packages: &[&str],
    mutants: &[Mutant],
    alone: BTreeSet<u32>,
    refused: BTreeSet<u32>,
) -> Result<Settled> {
    let mut by_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        by_file.entry(&mutant.name.file).or_default().push(mutant);
    }
    let folders: BTreeSet<&str> =
        by_file.keys().filter_map(|file| file.split_once("/src/")).map(|(dir, _)| dir).collect();
    let mut leave: BTreeSet<String> = by_file.keys().map(|file| (*file).to_owned()).collect();
    leave.extend(folders.iter().map(|dir| format!("{dir}/Cargo.toml")));
    let tree = Tree::copy(root, &target.join("mutants/woven"), &leave)?;
    tree.add_switch(&folders)?;
    let mut settling = Settling { tree, by_file, alone, refused, keep_const: BTreeSet::new() };
    for _ in 0..ROUNDS_MAX {
        let woven = settling.weave()?;
        match build::tests(&settling.tree.dir, target, packages)? {
            Built::Tests(binaries) => {
                settling.refused.extend(woven.values().flat_map(|woven| &woven.refused));
                settling.alone.extend(woven.values().flat_map(|woven| &woven.left_out));
                let Settling { alone, refused, .. } = settling;
                return Ok(Settled { binaries, alone: &alone - &refused, refused });
            }
            Built::Faults(faults) => {
                eprintln!("   {} faults of what is woven", faults.len());
                settling.take_out(&woven, &faults)?;
            }
        }
    }
    bail!("what is woven does not compile after {ROUNDS_MAX} rounds")
}

impl<'a> Settling<'a> {
    fn weave(&self) -> Result<HashMap<&'a str, Woven>> {
        let keep: Vec<String> = self.keep_const.iter().cloned().collect();
        let mut all = HashMap::new();
        for (file, mutants) in &self.by_file {
            let source = self.tree.source(file)?;
            let with = mutants.iter().filter(|mutant| {
                !self.alone.contains(&mutant.number) && !self.refused.contains(&mutant.number)
            });
            let woven = Weaver::weave(&source, &with.copied().collect::<Vec<_>>(), &keep)?;
            self.tree.put(file, &woven.text)?;
            all.insert(*file, woven);
        }
        Ok(all)
    }

    /// Takes out what these faults are about: the mutants whose own text they are in, the function
    /// that cannot do without its `const`, or else all mutants of the innermost place.
    fn take_out(&mut self, woven: &HashMap<&'a str, Woven>, faults: &[Fault]) -> Result<()> {
        let before = (self.alone.len(), self.refused.len(), self.keep_const.len());
        for fault in faults {
            for (file, range) in &fault.places {
                let Some(woven) = woven.get(file.as_str()) else { continue };
                let inside = |other: &std::ops::Range<usize>| {
                    other.start <= range.start && range.end <= other.end
                };
                let own = woven.mutants.iter().filter(|(text, _)| inside(text));
                let own: Vec<u32> = own.map(|(_, number)| *number).collect();
                if own.is_empty() && fault.code != "E0015" {
                    let site = woven.sites.iter().rfind(|(text, _)| inside(text));
                    self.alone.extend(site.iter().flat_map(|(_, numbers)| numbers));
                }
                if OF_TYPES.contains(&fault.code.as_str()) {
                    self.refused.extend(own);
                } else {
                    self.alone.extend(own);
                }
            }
            if fault.code == "E0015"
                && let Some(name) = fault.message.split('`').nth(1)
            {
                let name = name.rsplit("::").next().unwrap_or(name);
                self.keep_const.insert(name.to_owned());
            }
        }
        if before == (self.alone.len(), self.refused.len(), self.keep_const.len()) {
            let said: Vec<String> = faults
                .iter()
                .map(|fault| format!("{} {:?}", fault.message, fault.places))
                .collect();
            bail!("what does not compile is no mutant: {}", said.join("; "));
        }
        Ok(())
    }
}
