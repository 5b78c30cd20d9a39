//! Typed values out of a scenario's tables. Every mistake is noted, none ends the reading.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use recordings::civil;
use recordings::decimal::{Excess, decimal_of, scaled};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Problem;

/// Mistakes so far.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<Vec<Problem>>);

impl Notes {
    pub fn wrong(
        &self,
        span: Option<Range<usize>>,
        what: impl Into<String>,
        meant: impl Into<String>,
    ) {
        let (what, meant) = (what.into(), meant.into());
        self.0.borrow_mut().push(Problem { span, what, meant });
    }

    pub fn into_problems(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// One table.
pub(super) struct Section<'t> {
    /// How messages call it.
    title: String,
    table: &'t DeTable<'t>,
    span: Option<Range<usize>>,
    known: Vec<&'static str>,
    pub notes: &'t Notes,
}

impl<'t> Section<'t> {
    pub fn root(table: &'t DeTable<'t>, notes: &'t Notes) -> Self {
        let title = "the top level".to_owned();
        Self { title, table, span: None, known: Vec::new(), notes }
    }

    /// `[key]`, if it is there.
    pub fn section(&mut self, key: &'static str) -> Option<Self> {
        let value = self.find(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.expected(key, &format!("a table: [{key}]"));
            return None;
        };
        let (title, span) = (format!("[{key}]"), Some(value.span()));
        Some(Self { title, table, span, known: Vec::new(), notes: self.notes })
    }

    /// Every `[[key]]`.
    pub fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let DeValue::Array(entries) = value.get_ref() else {
            self.expected(key, &format!("tables: [[{key}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for entry in entries {
            match entry.get_ref() {
                DeValue::Table(table) => sections.push(Self {
                    title: format!("[[{key}]]"),
                    table,
                    span: Some(entry.span()),
                    known: Vec::new(),
                    notes: self.notes,
                }),
                _ => self.notes.wrong(Some(entry.span()), "this is no table", format!("[[{key}]]")),
            }
        }
        sections
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub fn text(&mut self, key: &'static str) -> Option<&'t str> {
        let text = self.find(key)?.get_ref().as_str();
        if text.is_none() {
            self.expected(key, "a string");
        }
        text
    }

    pub fn texts(&mut self, key: &'static str) -> Vec<&'t str> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let DeValue::Array(entries) = value.get_ref() else {
            self.expected(key, "an array of strings");
            return Vec::new();
        };
        let texts = entries.iter().filter_map(|entry| {
            let text = entry.get_ref().as_str();
            if text.is_none() {
                self.notes.wrong(Some(entry.span()), "this is no string", "put it in quotes");
            }
            text
        });
        texts.collect()
    }

    /// A whole number.
    pub fn whole(&mut self, key: &'static str, limits: RangeInclusive<i64>) -> Option<i64> {
        let number = self.find(key)?.get_ref().as_integer().cloned();
        let Some(number) = number else {
            self.expected(key, "a whole number");
            return None;
        };
        let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
        self.within(key, number, limits, 0)
    }

    /// A number with at most so many digits behind its point that count, in units of the last.
    pub fn decimal(
        &mut self,
        key: &'static str,
        places: u8,
        limits: RangeInclusive<i64>,
    ) -> Option<i64> {
        let text = match self.find(key)?.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            _ => {
                self.expected(key, "a number");
                return None;
            }
        };
        let number = scaled(text.as_bytes(), places, Excess::Round);
        self.within(key, number, limits, places)
    }

    /// A duration like `"250ms"`, in milliseconds.
    pub fn duration(&mut self, key: &'static str, limits: RangeInclusive<i64>) -> Option<i64> {
        let text = self.text(key)?;
        let Some(ms) = parse_duration_ms(text) else {
            let meant = r#"a whole number and a unit, like "250ms", "10s", "5m", "2h", "7d""#;
            self.wrong(key, format!("`{text}` is no duration"), meant);
            return None;
        };
        if limits.contains(&ms) {
            return Some(ms);
        }
        let meant = format!("from {} to {}", show_ms(*limits.start()), show_ms(*limits.end()));
        self.wrong(key, format!("`{key}` is out of range"), meant);
        None
    }

    /// A time of day like `"07:30"`, in milliseconds after midnight.
    pub fn time_of_day(&mut self, key: &'static str) -> Option<i64> {
        let text = self.text(key)?;
        let parsed = parse_time_of_day(text);
        if parsed.is_none() {
            self.wrong(key, format!("`{text}` is no time of day"), r#"like "07:30" or "23:59:30""#);
        }
        parsed
    }

    /// A date and time, UTC.
    pub fn instant(&mut self, key: &'static str) -> Option<i64> {
        let text = self.text(key)?;
        let parsed = parse_instant(text);
        if parsed.is_none() {
            let meant = r#"UTC, like "2026-03-02T00:00:00Z""#;
            self.wrong(key, format!("`{text}` is no time"), meant);
        }
        parsed
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.wrong(key, format!("`{key}` can't be `{text}`"), suggestion(text, &words));
        }
        chosen
    }

    /// Notes a mistake at the value of `key`, or at the table if it is not there.
    pub fn wrong(&self, key: &str, what: impl Into<String>, meant: impl Into<String>) {
        let span = self.table.get(key).map(Spanned::span).or_else(|| self.span.clone());
        self.notes.wrong(span, what, meant);
    }

    /// Notes a key that must be there.
    pub fn missing(&self, key: &str, meant: &str) {
        let what = format!("`{key}` is missing in {}", self.title);
        self.notes.wrong(self.span.clone(), what, meant);
    }

    /// Notes every key that was not asked for. Call it last.
    pub fn finish(self) {
        for (key, _) in self.table {
            let name = key.get_ref();
            if !self.known.iter().any(|known| *known == name.as_ref()) {
                let what = format!("unknown key `{name}` in {}", self.title);
                self.notes.wrong(Some(key.span()), what, suggestion(name, &self.known));
            }
        }
    }

    fn find(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn expected(&self, key: &str, wanted: &str) {
        let found = self.table.get(key).map_or("", |value| value.get_ref().type_str());
        self.wrong(key, format!("`{key}` must be {wanted}"), format!("this is of type {found}"));
    }

    fn within(
        &self,
        key: &str,
        number: Option<i64>,
        limits: RangeInclusive<i64>,
        places: u8,
    ) -> Option<i64> {
        let number = number.filter(|number| limits.contains(number));
        if number.is_none() {
            let step = protocol::Step::new(1, 10_u32.saturating_pow(u32::from(places)));
            let show = |limit| decimal_of(limit, step);
            let meant = format!("from {} to {}", show(*limits.start()), show(*limits.end()));
            self.wrong(key, format!("`{key}` is out of range"), meant);
        }
        number
    }
}

/// "did you mean" the word nearest to `text`, or if none is near, all of them.
pub(super) fn suggestion(text: &str, words: &[&str]) -> String {
    let near = |word: &&str| {
        let distance = strsim::damerau_levenshtein(text, word);
        (distance <= 1 + word.len().min(text.len()) / 4).then_some(distance)
    };
    match words.iter().filter_map(|word| Some((near(word)?, word))).min() {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None => format!("one of: {}", words.join(", ")),
    }
}

/// `-` in front makes it negative: an offset.
pub(super) fn parse_duration_ms(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text),
    };
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms * sign)
}

/// Milliseconds in the greatest unit in which they are whole.
pub(super) fn show_ms(ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let unit = units.iter().find(|(unit, _)| ms != 0 && ms % unit == 0);
    match unit {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

pub(super) fn parse_time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let mut part = |most: i64| {
        let text = parts.next().filter(|text| text.len() == 2)?;
        text.parse().ok().filter(|number: &i64| (0..=most).contains(number))
    };
    let (hours, minutes) = (part(23)?, part(59)?);
    let seconds = if text.len() > 5 { part(59)? } else { 0 };
    parts.next().is_none().then_some(((hours * 60 + minutes) * 60 + seconds) * 1000)
}

/// With or without milliseconds.
pub(super) fn parse_instant(text: &str) -> Option<i64> {
    let whole = text.strip_suffix('Z').filter(|text| !text.contains('.'));
    match whole {
        Some(whole) => civil::parse_rfc3339_ms(format!("{whole}.000Z").as_bytes()),
        None => civil::parse_rfc3339_ms(text.as_bytes()),
    }
}
