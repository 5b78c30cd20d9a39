//! Reading typed values out of a TOML table, noting every mistake instead of stopping at one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Problem;

/// What reading found out besides the values.
#[derive(Debug, Default)]
pub(super) struct Notes {
    problems: RefCell<Vec<Problem>>,
    /// Path of a key (`sink[0].path`) -> where its value stands.
    spans: RefCell<BTreeMap<String, Range<usize>>>,
    /// Paths of keys asked for and not there.
    absent: RefCell<Vec<String>>,
}

impl Notes {
    /// Notes a mistake at the value of the key with this path; if the file does not have it, at no
    /// place.
    pub fn wrong_at(&self, path: &str, what: impl Into<String>, meant: Option<String>) {
        let span = self.span(path);
        self.problems.borrow_mut().push(Problem { span, what: what.into(), meant });
    }

    /// Where the value of the key with this path stands.
    pub fn span(&self, path: &str) -> Option<Range<usize>> {
        self.spans.borrow().get(path).cloned()
    }

    /// The mistakes so far; they are taken out.
    pub fn take_problems(&self) -> Vec<Problem> {
        self.problems.take()
    }

    /// Keys that could have been set and were not.
    pub fn absent(&self) -> Vec<String> {
        self.absent.borrow().clone()
    }
}

/// One table of the file, or its absence, in which case every key is absent.
pub(super) struct Section<'t> {
    /// How messages call it, like `[listen]`.
    title: String,
    /// What the paths of its keys begin with, like `listen.`.
    prefix: String,
    table: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
    notes: &'t Notes,
}

impl<'t> Section<'t> {
    /// The whole file.
    pub fn root(table: &'t DeTable<'t>, notes: &'t Notes) -> Self {
        let title = "the top level".to_owned();
        Self { title, prefix: String::new(), table: Some(table), known: Vec::new(), notes }
    }

    /// The path of one of its keys.
    pub fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Whether the file has this key; does not count as asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Notes a mistake at the value of `key`, or if it is not there at the table.
    pub fn wrong(&self, key: &str, what: impl Into<String>, meant: Option<String>) {
        let path = if self.has(key) { self.path(key) } else { self.own_path() };
        self.notes.wrong_at(&path, what, meant);
    }

    /// A key that must be there.
    pub fn missing(&self, key: &str, meant: &str) {
        let what = format!("`{key}` is missing in {}", self.title);
        self.notes.wrong_at(&self.own_path(), what, Some(meant.to_owned()));
    }

    /// `[key]` in this table.
    pub fn section(&mut self, key: &'static str) -> Section<'t> {
        // An absent table is no absent setting: only its keys are.
        let table = self.find(key).and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                self.expected(key, &format!("a table: [{key}]"), other);
                None
            }
        });
        let prefix = self.path(key) + ".";
        let title = format!("[{}]", self.path(key));
        Section { title, prefix, table, known: Vec::new(), notes: self.notes }
    }

    /// `[key]` in this table, where its absence means something.
    pub fn optional_section(&mut self, key: &'static str) -> Option<Section<'t>> {
        let section = self.section(key);
        section.table.is_some().then_some(section)
    }

    /// Every `[[key]]` in this table; none if there is no such key.
    pub fn sections(&mut self, key: &'static str) -> Option<Vec<Section<'t>>> {
        let entries = match self.take(key)?.get_ref() {
            DeValue::Array(entries) => entries,
            other => {
                self.expected(key, &format!("an array of tables: [[{key}]]"), other);
                return None;
            }
        };
        let mut sections = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{}[{index}]", self.path(key));
            self.notes.spans.borrow_mut().insert(path.clone(), entry.span());
            let DeValue::Table(table) = entry.get_ref() else {
                self.notes.wrong_at(&path, format!("expected a table: [[{key}]]"), None);
                continue;
            };
            let title = format!("[[{}]]", self.path(key));
            let prefix = path + ".";
            let known = Vec::new();
            sections.push(Section { title, prefix, table: Some(table), known, notes: self.notes });
        }
        Some(sections)
    }

    /// A string.
    pub fn text(&mut self, key: &'static str) -> Option<&'t str> {
        let value = self.take(key)?.get_ref();
        let text = value.as_str();
        if text.is_none() {
            self.expected(key, "a string", value);
        }
        text
    }

    /// An array of strings, each with the path of its place; empty if the key is absent.
    pub fn texts(&mut self, key: &'static str) -> Vec<(String, &'t str)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(entries) = value.get_ref() else {
            self.expected(key, "an array of strings", value.get_ref());
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{}[{index}]", self.path(key));
            self.notes.spans.borrow_mut().insert(path.clone(), entry.span());
            match entry.get_ref().as_str() {
                Some(text) => texts.push((path, text)),
                None => self.notes.wrong_at(&path, "expected a string", None),
            }
        }
        texts
    }

    /// A whole number within limits.
    pub fn whole(&mut self, key: &'static str, limits: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(key)?.get_ref();
        let Some(number) = value.as_integer() else {
            self.expected(key, "a whole number", value);
            return None;
        };
        let number = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let number = number.and_then(|number| u64::try_from(number).ok());
        self.within(key, number, &limits)
    }

    /// A number, whole or with a point, within limits.
    pub fn number(&mut self, key: &'static str, limits: RangeInclusive<f64>) -> Option<f64> {
        let value = self.take(key)?.get_ref();
        let number = match value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => {
                self.expected(key, "a number", value);
                return None;
            }
        };
        self.within(key, number, &limits)
    }

    /// A duration like `"250ms"`, `"10s"`, `"5m"`, `"2h"`, within limits.
    pub fn duration(
        &mut self,
        key: &'static str,
        limits: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.text(key)?;
        let Some(duration) = parse_duration(text) else {
            let meant = r#"a whole number and a unit, like "250ms", "10s", "5m", "2h""#;
            self.wrong(key, format!("`{text}` is no duration"), Some(meant.to_owned()));
            return None;
        };
        if limits.contains(&duration) {
            return Some(duration);
        }
        let meant = format!("from {:?} to {:?}", limits.start(), limits.end());
        self.wrong(key, format!("`{key}` is out of range"), Some(meant));
        None
    }

    /// An address with a port, like `"127.0.0.1:1883"`, of a text read from `key`.
    pub fn parse_address(&self, key: &str, text: &str) -> Option<SocketAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            let meant = r#"an IP address and a port, like "127.0.0.1:1883" or "[::1]:1883""#;
            self.wrong(key, format!("`{text}` is no address"), Some(meant.to_owned()));
        }
        address
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let what = format!("`{key}` can't be `{text}`");
            self.wrong(key, what, Some(suggestion(text, &words)));
        }
        chosen
    }

    /// Notes every key that was not asked for. Call it last.
    pub fn finish(self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref();
            if !self.known.iter().any(|known| *known == name.as_ref()) {
                let what = format!("unknown key `{name}` in {}", self.title);
                let meant = Some(suggestion(name, &self.known));
                let problem = Problem { span: Some(key.span()), what, meant };
                self.notes.problems.borrow_mut().push(problem);
            }
        }
    }

    /// A key whose value does not matter: whoever calls this has something else to say about it.
    pub fn skip(&mut self, key: &'static str) {
        self.find(key);
    }

    fn take(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        let value = self.find(key);
        if value.is_none() {
            self.notes.absent.borrow_mut().push(self.path(key));
        }
        value
    }

    fn find(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        let value = self.table?.get(key)?;
        self.notes.spans.borrow_mut().insert(self.path(key), value.span());
        Some(value)
    }

    fn expected(&self, key: &str, wanted: &str, found: &DeValue<'_>) {
        let found = found.type_str();
        let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
        self.wrong(key, format!("`{key}` must be {wanted}, not {article} {found}"), None);
    }

    fn within<T: PartialOrd + Display>(
        &self,
        key: &str,
        number: Option<T>,
        limits: &RangeInclusive<T>,
    ) -> Option<T> {
        let number = number.filter(|number| limits.contains(number));
        if number.is_none() {
            let meant = format!("from {} to {}", limits.start(), limits.end());
            self.wrong(key, format!("`{key}` is out of range"), Some(meant));
        }
        number
    }

    fn own_path(&self) -> String {
        self.prefix.trim_end_matches('.').to_owned()
    }
}

/// "did you mean" the word nearest to `text`, or if none is near, all of them.
pub(super) fn suggestion(text: &str, words: &[&str]) -> String {
    let near = |word: &&str| {
        let distance = strsim::damerau_levenshtein(text, word);
        (distance <= 1 + word.len().min(text.len()) / 4).then_some(distance)
    };
    let nearest = words.iter().filter_map(|word| Some((near(word)?, word))).min();
    match nearest {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None => format!("one of: {}", words.join(", ")),
    }
}

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let seconds = |seconds: u64| number.checked_mul(seconds).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        "d" => seconds(24 * 60 * 60),
        _ => None,
    }
}
