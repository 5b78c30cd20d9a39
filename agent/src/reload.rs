//! A changed configuration against the one that runs: what can be taken up at once, and what a
//! restart is needed for.
//!
//! Compared key by key as the file has them; a key that it leaves out has the default that
//! `milepost.example.toml` shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

const EXAMPLE: &str = include_str!("../milepost.example.toml");

/// What a reload came to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReloadReport {
    /// The file; none if there is none and everything has its default.
    pub path: Option<String>,
    /// Keys whose new values are in use.
    pub applied: Vec<String>,
    /// Keys whose new values need a restart; until then the old ones are in use.
    pub restart: Vec<String>,
    /// What else was read again, whether or not it changed.
    pub reread: Vec<String>,
}

/// The values in use, by key: `listen.address`, `sink.documents.path`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Those of a file, which is known to be sound.
    pub fn of(text: &str) -> Self {
        let mut settings = flat(EXAMPLE);
        let given = flat(text);
        if given.keys().any(|key| key.starts_with("sink.")) {
            settings.retain(|key, _| !key.starts_with("sink."));
        }
        settings.extend(given);
        Self(settings)
    }

    /// Takes over what can be taken over from `new`; what that was, and what could not.
    pub fn take(&mut self, new: &Self) -> (Vec<String>, Vec<String>) {
        let keys = self.0.keys().chain(new.0.keys());
        let mut changed: Vec<String> =
            keys.filter(|key| self.0.get(*key) != new.0.get(*key)).cloned().collect();
        changed.sort();
        changed.dedup();
        let (applied, restart): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|key| self.is_live(key, new));
        for key in &applied {
            match new.0.get(key) {
                Some(value) => drop(self.0.insert(key.clone(), value.clone())),
                None => drop(self.0.remove(key)),
            }
        }
        (applied, restart)
    }

    /// Whether a key can change while the agent runs.
    fn is_live(&self, key: &str, new: &Self) -> bool {
        if key.starts_with("log.") || key.starts_with("privacy.") {
            return true;
        }
        // Of a sink that stays.
        let is_there = |name: &str| {
            let key = format!("sink.{name}.type");
            self.0.contains_key(&key) && self.0.get(&key) == new.0.get(&key)
        };
        key.strip_prefix("sink.")
            .and_then(|rest| rest.strip_suffix(".rotate_mib"))
            .is_some_and(is_there)
    }
}

fn flat(text: &str) -> BTreeMap<String, String> {
    let mut into = BTreeMap::new();
    put(&mut into, "", &Value::Table(text.parse::<Table>().unwrap_or_default()));
    into
}

fn put(into: &mut BTreeMap<String, String>, key: &str, value: &Value) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                put(into, &below(name), value);
            }
        }
        Value::Array(all) if all.iter().any(Value::is_table) => {
            for (index, value) in all.iter().enumerate() {
                let name = value.get("name").and_then(Value::as_str);
                put(into, &below(&name.map_or_else(|| index.to_string(), str::to_owned)), value);
            }
            // Their order means something: the first sink is the primary one.
            let names: Vec<&str> =
                all.iter().filter_map(|value| value.get("name")?.as_str()).collect();
            into.insert(key.to_owned(), names.join(", "));
        }
        value => {
            into.insert(key.to_owned(), serde_json::to_string(value).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        Settings::of(old).take(&Settings::of(new))
    }

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn a_value_that_was_the_default_is_no_change() {
        assert_eq!(change("", ""), (vec![], vec![]));
        assert_eq!(change("", "[listen]\nconnections_max = 4096\n# a comment"), (vec![], vec![]));
        let sink = "[[sink]]\nname = \"a\"\ntype = \"file\"\n";
        assert_eq!(change(sink, sink), (vec![], vec![]));
    }

    #[test]
    fn what_is_live_is_applied_and_the_rest_is_named_until_the_restart() {
        let mut running = Settings::of("");
        let new = Settings::of(
            "log.level = \"debug\"\nlisten.connections_max = 5\nprivacy.drop = [\"A.*\"]\n\
             privacy.location.resolution = 7",
        );
        let applied = keys(&["log.level", "privacy.drop", "privacy.location.resolution"]);
        let restart = keys(&["listen.connections_max"]);
        assert_eq!(running.take(&new), (applied.clone(), restart.clone()));
        assert_eq!(running.take(&new), (vec![], restart), "still to come");
        assert_eq!(running.take(&Settings::of("")), (applied, vec![]), "and back");
    }

    #[test]
    fn sinks_are_compared_by_name() {
        let a = "[[sink]]\nname = \"a\"\ntype = \"file\"\nrotate_mib = 1\n";
        let b = "[[sink]]\nname = \"b\"\ntype = \"stdout\"\n";
        let rotated = a.replace("rotate_mib = 1", "rotate_mib = 2");
        let (applied, restart) = change(a, &rotated);
        assert_eq!((applied, restart), (keys(&["sink.a.rotate_mib"]), vec![]));
        let (applied, restart) = change(a, &format!("{a}{b}"));
        assert_eq!((applied, restart), (vec![], keys(&["sink", "sink.b.name", "sink.b.type"])));
        let (_, restart) = change(&format!("{a}{b}"), &format!("{b}{a}"));
        assert_eq!(restart, keys(&["sink"]), "another primary sink");
        let (applied, restart) = change(&format!("{a}{b}"), b);
        assert!(applied.is_empty() && restart.contains(&"sink.a.rotate_mib".to_owned()));
    }
}
