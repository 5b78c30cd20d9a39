//! A catalogue to Rust source: what a device links, and needs no heap for.

use std::fmt::Write as _;

use protocol::codec::{SignalHint, Timing};
use protocol::thinning::{Skip, Thin, Thinning, Window};

use super::owned::{OwnedCatalogue, OwnedSignal};

/// Bytes of the start table in a line.
const LINE: usize = 16;

/// Rust source with a `static CATALOGUE`, for `include!` in a module of its own, or as one. It names
/// the `protocol` crate, and needs nothing else.
pub fn rust(catalogue: &OwnedCatalogue, about: &str) -> String {
    let mut text = String::new();
    // A string takes everything.
    let _ignored = put(&mut text, catalogue, about);
    text
}

fn put(text: &mut String, catalogue: &OwnedCatalogue, about: &str) -> std::fmt::Result {
    for line in about.lines() {
        writeln!(text, "// {line}")?;
    }
    writeln!(text, "/// The catalogue {}.", catalogue.id)?;
    writeln!(text, "#[allow(clippy::unreadable_literal, reason = \"made by a program\")]")?;
    writeln!(text, "pub static CATALOGUE: protocol::Catalogue<'static> = protocol::Catalogue {{")?;
    writeln!(text, "    tick_ms: {},", catalogue.tick_ms)?;
    writeln!(text, "    signals: &[")?;
    for OwnedSignal { path, unit, step, raw_min, raw_max } in &catalogue.signals {
        let (numerator, denominator, offset) = (step.numerator, step.denominator, step.offset);
        writeln!(text, "        protocol::Signal {{")?;
        writeln!(text, "            path: {path:?},")?;
        writeln!(text, "            unit: {unit:?},")?;
        writeln!(
            text,
            "            step: protocol::Step {{ numerator: {numerator}, denominator: {denominator}, \
             offset: {offset} }},"
        )?;
        writeln!(text, "            raw_min: {raw_min},")?;
        writeln!(text, "            raw_max: {raw_max},")?;
        writeln!(text, "        }},")?;
    }
    writeln!(text, "    ],")?;
    writeln!(text, "    hints: protocol::codec::Hints {{")?;
    match catalogue.hints.timing {
        Timing::Beats([one, other]) => {
            writeln!(text, "        timing: protocol::codec::Timing::Beats([{one}, {other}]),")?;
        }
        timing => writeln!(text, "        timing: protocol::codec::Timing::{timing:?},")?,
    }
    writeln!(text, "        signals: &[")?;
    for hint in &catalogue.hints.signals {
        let SignalHint { guess, related, follower, expected, spread, interval, period } = hint;
        writeln!(text, "            protocol::codec::SignalHint {{")?;
        writeln!(text, "                guess: protocol::codec::Guess::{guess:?},")?;
        writeln!(text, "                related: {related},")?;
        writeln!(text, "                follower: {follower},")?;
        writeln!(text, "                expected: {expected},")?;
        writeln!(text, "                spread: {spread},")?;
        writeln!(text, "                interval: {interval},")?;
        writeln!(text, "                period: {period},")?;
        writeln!(text, "            }},")?;
    }
    writeln!(text, "        ],")?;
    writeln!(text, "        levels: &[")?;
    for line in catalogue.hints.levels.chunks(LINE) {
        let bytes: Vec<String> = line.iter().map(|byte| format!("{byte},")).collect();
        writeln!(text, "            {}", bytes.join(" "))?;
    }
    writeln!(text, "        ],")?;
    writeln!(text, "    }},")?;
    if catalogue.thinning.is_empty() {
        writeln!(text, "    thinning: &[],")?;
    } else {
        writeln!(text, "    thinning: &[")?;
        catalogue.thinning.iter().try_for_each(|thinning| put_thinning(text, thinning))?;
        writeln!(text, "    ],")?;
    }
    writeln!(text, "}};")
}

fn put_thinning(text: &mut String, thinning: &Thinning) -> std::fmt::Result {
    writeln!(text, "        protocol::thinning::Thinning {{")?;
    writeln!(text, "            signal: protocol::SignalIndex({}),", thinning.signal.0)?;
    match thinning.how {
        Thin::Skip(Skip { dead_band, interval_ms, silence_ms }) => {
            writeln!(
                text,
                "            how: protocol::thinning::Thin::Skip(protocol::thinning::Skip {{"
            )?;
            writeln!(text, "                dead_band: {dead_band:?},")?;
            writeln!(text, "                interval_ms: {interval_ms},")?;
            writeln!(text, "                silence_ms: {silence_ms},")?;
        }
        Thin::Window(Window { of, take, length_ms }) => {
            writeln!(
                text,
                "            how: protocol::thinning::Thin::Window(protocol::thinning::Window {{"
            )?;
            writeln!(text, "                of: protocol::SignalIndex({}),", of.0)?;
            writeln!(text, "                take: protocol::thinning::Take::{take:?},")?;
            writeln!(text, "                length_ms: {length_ms},")?;
        }
    }
    writeln!(text, "            }}),")?;
    writeln!(text, "        }},")
}
