//! Mutants that no test can notice, each with the reason, in `tests/mutants.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::list::Name;

/// Where they are committed.
pub const FILE: &str = "tests/mutants.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    unseen: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    file: String,
    change: String,
    #[serde(default)]
    text: String,
    nth: Option<u32>,
    why: String,
}

/// The reason for each mutant that has one.
pub fn read(root: &Path) -> Result<BTreeMap<Name, String>> {
    let text = std::fs::read_to_string(root.join(FILE)).context(FILE)?;
    parse(&text)
}

fn parse(text: &str) -> Result<BTreeMap<Name, String>> {
    let file: File = toml::from_str(text).context(FILE)?;
    let mut reasons = BTreeMap::new();
    for Entry { file, change, text, nth, why } in file.unseen {
        let name = Name { file, change, text, nth: nth.unwrap_or(1) };
        if why.split_whitespace().count() < 4 {
            bail!("{FILE}: {name}: a reason is a sentence");
        }
        if let Some(_earlier) = reasons.insert(name.clone(), why) {
            bail!("{FILE}: {name} is there twice");
        }
    }
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_a_mutant_and_has_a_reason() {
        let entry =
            "[[unseen]]\nfile = \"a.rs\"\nchange = \"replace + with -\"\ntext = \"a + 0\"\n";
        let good = format!("{entry}why = \"Nothing is added to it here.\"\n");
        let reasons = parse(&good).unwrap();
        let (name, why) = reasons.first_key_value().unwrap();
        assert_eq!((name.nth, name.text.as_str()), (1, "a + 0"));
        assert_eq!(why, "Nothing is added to it here.");
        assert!(parse(&format!("{good}\n{good}")).is_err());
        assert!(parse(entry).is_err());
        assert!(parse(&format!("{entry}why = \"no need\"\n")).is_err());
    }
}
