//! A catalogue to `signals.toml`.

use std::fmt::Write as _;

use protocol::codec::{SignalHint, Timing};

use super::decimal::physical;
use super::file::{PREDICTORS, usual_hint};
use super::owned::{OwnedCatalogue, OwnedSignal};
use super::thin;

/// Bytes of the start table in a line.
const LINE: usize = 40;

/// Writes a catalogue as [`super::read`] reads it; `about` stands above it, as comments.
pub fn write(catalogue: &OwnedCatalogue, about: &str) -> String {
    let mut text = String::new();
    for line in about.lines() {
        put(&mut text, format_args!("# {line}"));
    }
    put(&mut text, format_args!("tick_ms = {}", catalogue.tick_ms));
    match catalogue.hints.timing {
        Timing::Any => {}
        Timing::Sequence => put(&mut text, format_args!("timing = \"sequence\"")),
        Timing::Beats(periods) => {
            let periods: Vec<String> = periods
                .iter()
                .filter(|period| **period > 0)
                .map(|period| milliseconds(i64::from(*period), catalogue.tick_ms))
                .collect();
            let periods = periods.join(", ");
            put(&mut text, format_args!("timing = {{ beats_ms = [{periods}] }}"));
        }
    }
    if !catalogue.hints.levels.is_empty() {
        put(&mut text, format_args!("start = '''"));
        for line in catalogue.hints.levels.chunks(LINE) {
            for byte in line {
                // A string takes everything.
                let _ignored = write!(text, "{byte:02x}");
            }
            put(&mut text, format_args!(""));
        }
        put(&mut text, format_args!("'''"));
    }
    for (at, signal) in (0_u8..).zip(&catalogue.signals) {
        put(&mut text, format_args!(""));
        put_signal(&mut text, signal);
        if let Some(hint) = catalogue.hints.signals.get(usize::from(at)) {
            put_hint(&mut text, catalogue, hint, &usual_hint(at, catalogue.signals.len()));
        }
        if let Some(thin) = thin::written(catalogue, at) {
            put(&mut text, format_args!("{thin}"));
        }
    }
    text
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ignored = writeln!(text, "{line}");
}

/// A number of sixteenths of a tick, in milliseconds.
fn milliseconds(fine: i64, tick_ms: u32) -> String {
    physical(fine, &protocol::Step::new(tick_ms, 16)).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn put_signal(text: &mut String, signal: &OwnedSignal) {
    let OwnedSignal { path, unit, step, raw_min, raw_max } = signal;
    put(text, format_args!("[[signal]]"));
    put(text, format_args!("path = {}", quoted(path)));
    if !unit.is_empty() {
        put(text, format_args!("unit = {}", quoted(unit)));
    }
    match (step.numerator, step.denominator) {
        (1, 1) => {}
        (numerator, 1) => put(text, format_args!("step = \"{numerator}\"")),
        (numerator, denominator) => put(text, format_args!("step = \"{numerator}/{denominator}\"")),
    }
    if step.offset != 0 {
        put(text, format_args!("offset = {}", step.offset));
    }
    match [raw_min, raw_max].map(|raw| physical(*raw, step).filter(|text| text.len() <= 15)) {
        [Some(least), Some(most)] => put(text, format_args!("range = [{least}, {most}]")),
        _ => put(text, format_args!("raw_range = [{raw_min}, {raw_max}]")),
    }
}

fn put_hint(text: &mut String, catalogue: &OwnedCatalogue, hint: &SignalHint, usual: &SignalHint) {
    let name = |place: u8| catalogue.signals.get(usize::from(place)).map(|signal| &signal.path);
    if let Some((predictor, _)) = PREDICTORS.iter().find(|(_, guess)| *guess == hint.guess) {
        put(text, format_args!("predictor = \"{predictor}\""));
    }
    for (key, place, usual) in
        [("related", hint.related, usual.related), ("next", hint.follower, usual.follower)]
    {
        if let Some(name) = name(place).filter(|_| place != usual) {
            put(text, format_args!("{key} = {}", quoted(name)));
        }
    }
    if hint.expected != 0 {
        put(text, format_args!("expected_raw = {}", hint.expected));
    }
    if hint.spread != 0 {
        put(text, format_args!("spread = {}", hint.spread));
    }
    let tick_ms = catalogue.tick_ms;
    if hint.interval != 0 {
        let interval = milliseconds(16 * i64::from(hint.interval), tick_ms);
        put(text, format_args!("interval_ms = {interval}"));
    }
    if hint.period != 0 {
        let period = milliseconds(i64::from(hint.period), tick_ms);
        put(text, format_args!("period_ms = {period}"));
    }
}
