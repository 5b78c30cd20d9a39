//! Which mutants there are: what cargo-mutants lists, and a name for each that survives edits.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::areas::{self, AREAS, Area};

/// What is done to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Genre {
    /// A function returns at once, with this.
    FnValue,
    /// Another operator between the same operands.
    BinaryOperator,
    /// No operator.
    UnaryOperator,
    /// An arm of a match is gone.
    MatchArm,
    /// A guard is always true, or never.
    MatchArmGuard,
    /// A field comes from the struct's base.
    StructField,
}

/// A place in a source: line and column, from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

#[derive(Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

#[derive(Deserialize)]
struct Function {
    return_type: String,
}

#[derive(Deserialize)]
struct Listed {
    file: String,
    function: Option<Function>,
    span: Span,
    replacement: String,
    genre: Genre,
    name: String,
}

/// A mutant's name: nothing of it depends on the line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name {
    /// The file, from the checkout's root.
    pub file: String,
    /// What is changed and how, in cargo-mutants' words.
    pub change: String,
    /// The text that is changed, with its operands; empty where the whole function is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Which one, from one, where file, change and text are the same.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub nth: u32,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_one(nth: &u32) -> bool {
    *nth == 1
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.change)?;
        if !self.text.is_empty() {
            write!(f, ": `{}`", self.text)?;
        }
        if self.nth > 1 { write!(f, " ({})", self.nth) } else { Ok(()) }
    }
}

/// A mutant.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Its number in this run, from one.
    pub number: u32,
    /// Its name.
    pub name: Name,
    /// Where it begins.
    pub start: Place,
    /// Where it ends, exclusive.
    pub end: Place,
    /// What is done.
    pub genre: Genre,
    /// What stands there instead.
    pub replacement: String,
    /// The type of what the function returns, with its arrow.
    pub return_type: String,
}

impl Mutant {
    /// The area it belongs to.
    pub fn area(&self) -> Option<&'static Area> {
        Area::of(&self.name.file)
    }
}

/// All mutants of all areas, in the order of the sources. A list is kept in `target` until a source
/// changes.
pub fn list(root: &Path, target: &Path) -> Result<Vec<Mutant>> {
    let hash = crate::tree::hash_of(root, areas::is_mutated)?;
    let known = target.join(format!("mutants/list-{hash}.json"));
    if let Ok(text) = std::fs::read(&known) {
        return parsed(root, &text);
    }
    let mut command = Command::new(crate::build::cargo_mutants(target)?);
    command.args(["mutants", "--list", "--json", "--no-config", "--dir"]).arg(root);
    let packages: BTreeSet<&str> = AREAS.iter().map(|area| area.package).collect();
    for package in packages {
        command.args(["--package", package]);
    }
    for area in AREAS {
        for glob in area.globs() {
            command.args(["--file", &glob]);
        }
    }
    let output = command.output().context("starting cargo-mutants")?;
    if !output.status.success() {
        bail!("cargo-mutants: {}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::create_dir_all(target.join("mutants"))?;
    std::fs::write(&known, &output.stdout)?;
    parsed(root, &output.stdout)
}

fn parsed(root: &Path, json: &[u8]) -> Result<Vec<Mutant>> {
    let listed: Vec<Listed> = serde_json::from_slice(json)?;
    named(root, listed.into_iter().filter(|listed| Area::of(&listed.file).is_some()).collect())
}

fn named(root: &Path, mut listed: Vec<Listed>) -> Result<Vec<Mutant>> {
    listed.sort_by(|a, b| {
        (&a.file, a.span.start, &a.replacement).cmp(&(&b.file, b.span.start, &b.replacement))
    });
    let mut sources: HashMap<String, crate::weave::Texts> = HashMap::new();
    let mut counts: HashMap<Name, u32> = HashMap::new();
    let mut mutants = Vec::new();
    for (at, Listed { file, function, span, replacement, genre, name }) in
        listed.into_iter().enumerate()
    {
        if !sources.contains_key(&file) {
            let source = std::fs::read_to_string(root.join(&file))?;
            sources.insert(file.clone(), crate::weave::Texts::of(&source)?);
        }
        let text = match (genre, sources.get(&file)) {
            (Genre::FnValue, _) | (_, None) => "",
            (_, Some(texts)) => texts.at(genre, span.start).unwrap_or_default(),
        };
        let place = format!("{file}:{}:{}: ", span.start.line, span.start.column);
        let change = name.strip_prefix(&place).unwrap_or(&name).to_owned();
        let mut name = Name { file, change, text: text.to_owned(), nth: 0 };
        let nth = counts.entry(name.clone()).or_default();
        *nth += 1;
        name.nth = *nth;
        mutants.push(Mutant {
            number: u32::try_from(at + 1)?,
            name,
            start: span.start,
            end: span.end,
            genre,
            replacement,
            return_type: function.map(|function| function.return_type).unwrap_or_default(),
        });
    }
    Ok(mutants)
}
