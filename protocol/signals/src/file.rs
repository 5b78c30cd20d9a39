//! `signals.toml` to a catalogue, or to what is wrong with it and where.

use std::collections::HashMap;

use protocol::codec::{Guess, Hints, SignalHint, Timing, table_len};
use protocol::thinning::{Thin, Thinning};
use protocol::{Catalogue, CatalogueId, Signal, Step};
use serde::Deserialize;
use toml::Spanned;

use super::decimal::Decimal;
use super::owned::{OwnedCatalogue, OwnedHints, OwnedSignal};
use super::thin::{self, Surroundings};

/// Something that is wrong, and in which line, counted from 1.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{line}: {what}")]
pub struct Problem {
    /// The line.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "milliseconds")]
    tick_ms: Spanned<u32>,
    timing: Option<Spanned<TimingEntry>>,
    start: Option<Spanned<String>>,
    #[serde(default)]
    signal: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "\"any\", \"sequence\", or { beats_ms = [PERIOD] }")]
enum TimingEntry {
    Word(String),
    Beats { beats_ms: Vec<f64> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: Spanned<String>,
    unit: Option<Spanned<String>>,
    step: Option<Spanned<String>>,
    #[serde(default)]
    offset: i32,
    range: Option<Spanned<[f64; 2]>>,
    raw_range: Option<Spanned<[i64; 2]>>,
    predictor: Option<Spanned<String>>,
    related: Option<Spanned<String>>,
    next: Option<Spanned<String>>,
    expected_raw: Option<i64>,
    spread: Option<u8>,
    interval_ms: Option<Spanned<f64>>,
    period_ms: Option<Spanned<f64>>,
    thin: Option<Spanned<thin::Entry>>,
}

fn milliseconds() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}

/// The names of guesses.
pub const PREDICTORS: [(&str, Guess); 5] = [
    ("last", Guess::Last),
    ("linear", Guess::Linear),
    ("half", Guess::Half),
    ("mean", Guess::Mean),
    ("related", Guess::Related),
];

struct Reading<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

/// Reads a catalogue; or all that is wrong with it, in the order of the lines.
pub fn read(text: &str) -> Result<OwnedCatalogue, Vec<Problem>> {
    let mut reading = Reading { text, problems: Vec::new() };
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            reading.note(at, error.message().to_owned());
            return Err(reading.problems);
        }
    };
    let catalogue = reading.catalogue(&file);
    reading.problems.sort_by_key(|problem| problem.line);
    match catalogue {
        Some(catalogue) if reading.problems.is_empty() => Ok(catalogue),
        _ => Err(reading.problems),
    }
}

impl Reading<'_> {
    fn note(&mut self, at: usize, what: String) {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        self.problems.push(Problem { line, what });
    }

    fn catalogue(&mut self, file: &File) -> Option<OwnedCatalogue> {
        let tick_ms = *file.tick_ms.get_ref();
        if tick_ms == 0 {
            self.note(file.tick_ms.span().start, "tick_ms is 0; 1 is a millisecond".to_owned());
        }
        let most = Catalogue::SIGNALS_MAX;
        if let Some(entry) = file.signal.get(most) {
            let what = format!("{} signals; a catalogue has {most} at most", file.signal.len());
            self.note(entry.path.span().start, what);
        }
        let places = self.places(&file.signal);
        // What is beyond the most has no number.
        let entries = file.signal.get(..most).unwrap_or(&file.signal);
        let signals: Vec<Option<OwnedSignal>> =
            entries.iter().map(|entry| self.signal(entry)).collect();
        let timing = self.timing(file.timing.as_ref(), tick_ms);
        let count = entries.len();
        let hints = (0..).zip(entries).map(|(at, entry)| {
            let usual = usual_hint(at, count);
            self.hint(entry, usual, &places, tick_ms)
        });
        let hints: Vec<SignalHint> = hints.collect();
        let is_hinted = entries.iter().any(Entry::is_hinted);
        let levels = self.levels(file.start.as_ref(), count);
        let around = Surroundings { tick_ms, signals: &signals, places: &places };
        let thinning = self.thinning(entries, &around);
        let hints =
            OwnedHints { timing, signals: if is_hinted { hints } else { Vec::new() }, levels };
        if !self.problems.is_empty() {
            return None;
        }
        let id = CatalogueId::default();
        let signals = signals.into_iter().flatten().collect();
        let owned = OwnedCatalogue { id, tick_ms, signals, hints, thinning };
        let mut bytes = vec![0; 4 * Catalogue::ENCODED_MAX];
        let encoded = owned.with(|catalogue| catalogue.encode(&mut bytes));
        match encoded {
            Ok(len) if len <= Catalogue::ENCODED_MAX => {
                let id = Catalogue::id_of(bytes.get(..len).unwrap_or_default());
                Some(OwnedCatalogue { id, ..owned })
            }
            Ok(len) => {
                let most = Catalogue::ENCODED_MAX;
                self.note(
                    0,
                    format!(
                        "a catalogue of {len} bytes; {most} is the most: shorten \
                     paths, leave out `start`, or split it"
                    ),
                );
                None
            }
            Err(error) => {
                self.note(0, error.to_string());
                None
            }
        }
    }

    /// Which signal has which name; each only once.
    fn places(&mut self, entries: &[Entry]) -> HashMap<String, u8> {
        let mut places = HashMap::new();
        for (at, entry) in (0_u8..=u8::MAX).zip(entries) {
            let path = entry.path.get_ref();
            let is_word = |word: &str| {
                !word.is_empty()
                    && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            if path.len() > Signal::PATH_MAX || !path.split('.').all(is_word) {
                let most = Signal::PATH_MAX;
                let what = format!(
                    "the path {path:?}: words of letters, digits and _ with dots \
                     between them are one, of {most} bytes at most, as Vehicle.Cabin.Temperature"
                );
                self.note(entry.path.span().start, what);
            }
            if places.insert(path.clone(), at).is_some() {
                self.note(entry.path.span().start, format!("{path} is there twice"));
            }
        }
        places
    }

    fn signal(&mut self, entry: &Entry) -> Option<OwnedSignal> {
        let path = entry.path.get_ref().clone();
        let unit = entry.unit.as_ref().map(|unit| unit.get_ref().clone()).unwrap_or_default();
        if unit.len() > 32 {
            let at = entry.unit.as_ref().map_or(0, |unit| unit.span().start);
            self.note(at, format!("a unit of {} bytes; 32 is the most", unit.len()));
        }
        let step = self.step(entry)?;
        let (raw_min, raw_max) = self.range(entry, &step)?;
        if raw_min > raw_max {
            let at = entry.path.span().start;
            self.note(at, format!("{path}: its range has its greater end first"));
            return None;
        }
        if let Some(raw) = entry.expected_raw
            && !(raw_min..=raw_max).contains(&raw)
        {
            let what = format!("{path}: expected_raw is {raw}, out of {raw_min} to {raw_max}");
            self.note(entry.path.span().start, what);
        }
        Some(OwnedSignal { path, unit, step, raw_min, raw_max })
    }

    fn step(&mut self, entry: &Entry) -> Option<Step> {
        let Some(said) = &entry.step else {
            return Some(Step { offset: entry.offset, ..Step::ONE });
        };
        let text = said.get_ref();
        let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
        let number = |text: &str| text.trim().parse().ok().filter(|number| *number > 0_u32);
        let (Some(numerator), Some(denominator)) = (number(numerator), number(denominator)) else {
            let what = format!("the step {text:?}: one is \"1\", \"1/10\" or \"100/255\"");
            self.note(said.span().start, what);
            return None;
        };
        Some(Step { numerator, denominator, offset: entry.offset })
    }

    fn range(&mut self, entry: &Entry, step: &Step) -> Option<(i64, i64)> {
        match (&entry.range, &entry.raw_range) {
            (None, None) => {
                let at = entry.path.span().start;
                let path = entry.path.get_ref();
                self.note(at, format!("{path} has no range; in its unit: range = [0, 250]"));
                None
            }
            (Some(_), Some(raw)) => {
                let what = "range and raw_range: one of them is enough";
                self.note(raw.span().start, what.to_owned());
                None
            }
            (None, Some(raw)) => {
                let [least, most] = *raw.get_ref();
                Some((least, most))
            }
            (Some(range), None) => {
                let ends = range.get_ref().map(|end| Decimal::of(end)?.in_steps(step));
                // The first step that is not below it.
                let [least, most] = ends;
                let least =
                    least.and_then(
                        |(least, is_whole)| {
                            if is_whole { Some(least) } else { least.checked_add(1) }
                        },
                    );
                let (Some(least), Some((most, _))) = (least, most) else {
                    let what = "the range has more steps than 64 bits can count";
                    self.note(range.span().start, what.to_owned());
                    return None;
                };
                Some((least, most))
            }
        }
    }

    fn timing(&mut self, said: Option<&Spanned<TimingEntry>>, tick_ms: u32) -> Timing {
        let Some(said) = said else { return Timing::Any };
        let at = said.span().start;
        match said.get_ref() {
            TimingEntry::Word(word) if word == "any" => Timing::Any,
            TimingEntry::Word(word) if word == "sequence" => Timing::Sequence,
            TimingEntry::Word(word) => {
                let what = "\"any\", \"sequence\", or { beats_ms = [30, 27.5] }";
                self.note(at, format!("the timing {word:?} is none: {what}"));
                Timing::Any
            }
            TimingEntry::Beats { beats_ms } => {
                let fine: Vec<Option<u16>> = beats_ms
                    .iter()
                    .map(|ms| sixteenths(*ms, tick_ms).and_then(|fine| u16::try_from(fine).ok()))
                    .collect();
                match *fine {
                    [Some(one @ 1..)] => Timing::Beats([one, 0]),
                    [Some(one @ 1..), Some(other @ 1..)] => Timing::Beats([one, other]),
                    _ => {
                        let what = "beats_ms has one period or two, each of 1 to 65,535 \
                                    sixteenths of tick_ms";
                        self.note(at, what.to_owned());
                        Timing::Any
                    }
                }
            }
        }
    }

    fn hint(
        &mut self,
        entry: &Entry,
        usual: SignalHint,
        places: &HashMap<String, u8>,
        tick_ms: u32,
    ) -> SignalHint {
        let mut hint = usual;
        if let Some(said) = &entry.predictor {
            if let Some((_, guess)) = PREDICTORS.iter().find(|(name, _)| name == said.get_ref()) {
                hint.guess = *guess;
            } else {
                let names = PREDICTORS.map(|(name, _)| name).join(", ");
                let what = format!("no predictor {:?}; there are {names}", said.get_ref());
                self.note(said.span().start, what);
            }
        }
        for (said, slot) in [(&entry.related, &mut hint.related), (&entry.next, &mut hint.follower)]
        {
            let Some(said) = said else { continue };
            if let Some(place) = places.get(said.get_ref()) {
                *slot = *place;
            } else {
                let what = format!("no signal {:?} in this file", said.get_ref());
                self.note(said.span().start, what);
            }
        }
        hint.expected = entry.expected_raw.unwrap_or(hint.expected);
        hint.spread = entry.spread.unwrap_or(hint.spread);
        for (said, per_tick, slot) in
            [(&entry.interval_ms, 1, &mut hint.interval), (&entry.period_ms, 16, &mut hint.period)]
        {
            let Some(said) = said else { continue };
            let fine = sixteenths(*said.get_ref(), tick_ms).filter(|fine| *fine >= 0);
            match fine.map(|fine| fine / (16 / per_tick)) {
                Some(count) => *slot = count,
                None => self.note(said.span().start, "from 0 to 36 hours".to_owned()),
            }
        }
        hint
    }

    fn thinning(&mut self, entries: &[Entry], around: &Surroundings<'_>) -> Vec<Thinning> {
        let mut thinned: Vec<Thinning> = Vec::new();
        for (place, entry) in (0_u8..).zip(entries) {
            let Some(said) = &entry.thin else { continue };
            match said.get_ref().thinning(place, around) {
                Ok(thinning) => thinned.extend(thinning),
                Err(what) => self.note(said.span().start, what),
            }
        }
        // Of what is itself a window there are no readings.
        let is_window = |signal| {
            let is_it = |other: &Thinning| other.signal == signal;
            let found = thinned.iter().find(|other| is_it(other));
            found.is_some_and(|found| matches!(found.how, Thin::Window(_)))
        };
        let of_windows = thinned.iter().filter_map(|thinning| match thinning.how {
            Thin::Window(window) if is_window(window.of) => Some(thinning.signal),
            _ => None,
        });
        for signal in of_windows {
            let Some(said) = entries.get(usize::from(signal.0)).and_then(|e| e.thin.as_ref())
            else {
                continue;
            };
            self.note(said.span().start, "a window of what is itself a window".to_owned());
        }
        thinned
    }

    fn levels(&mut self, said: Option<&Spanned<String>>, signals: usize) -> Vec<u8> {
        let Some(said) = said else { return Vec::new() };
        let digits: Option<Vec<u8>> = said
            .get_ref()
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .map(|byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let bytes: Option<Vec<u8>> = digits.map(|digits| {
            digits
                .chunks(2)
                .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
                .collect()
        });
        let len = table_len(signals);
        match bytes {
            Some(bytes) if bytes.len() == len => bytes,
            Some(bytes) => {
                let what = format!(
                    "the start table has {} bytes, and {signals} signals need {len}; `milepost \
                     signals learn` makes one, and without one it works too",
                    bytes.len()
                );
                self.note(said.span().start, what);
                Vec::new()
            }
            None => {
                let what = "the start table: hexadecimal digits, two for each byte";
                self.note(said.span().start, what.to_owned());
                Vec::new()
            }
        }
    }
}

impl Entry {
    fn is_hinted(&self) -> bool {
        self.predictor.is_some()
            || self.related.is_some()
            || self.next.is_some()
            || self.expected_raw.is_some()
            || self.spread.is_some()
            || self.interval_ms.is_some()
            || self.period_ms.is_some()
    }
}

/// What is taken of a signal where nothing is said.
pub fn usual_hint(at: u8, signals: usize) -> SignalHint {
    Hints::NONE.of(at, u8::try_from(signals).unwrap_or(u8::MAX))
}

/// Sixteenths of a tick.
fn sixteenths(ms: f64, tick_ms: u32) -> Option<i32> {
    let step = Step::new(tick_ms.max(1), 16);
    let (fine, _) = Decimal::of(ms)?.in_steps(&step)?;
    i32::try_from(fine).ok()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
