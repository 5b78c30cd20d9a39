//! Every single bit of a journal, turned over.
//!
//! A bit touches a record, a mark, a copy of a header, a slot of the table of lives, or nothing. What
//! the product does about it depends on one segment only, or on the table only, so each bit is given
//! to the product's own code over that part of the journal which it can touch:
//!
//! - a bit of a segment that is not its lane's last: to a reader of the open journal, from where the
//!   segment begins to where it ends;
//! - a bit of a header, or behind a segment's end: to `verify`, over its segment and where the next
//!   one begins;
//! - a bit of a lane's last segment, which recovery looks through: to an open, over that segment;
//! - a bit of a slot in use: to an open of the whole journal; of an empty one: to `peek`
//!   and to `verify`.
//!
//! That nothing else depends on it is tested: of all bits so many are drawn and given to an open of
//! the whole journal, and the outcome must be the same.
//!
//! That an entry which is lost is named is shown for each by what a sink knows of its ring, and for
//! the bits of a small journal by the forwarder itself, all the way to a file.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::flipped::Flipped;
use super::forwarded::Forwarded;
use super::planted::Planted;
use super::truth::Violation;
use crate::chance::Chance;

/// What to turn over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flips {
    /// Bytes of the journal, its table of lives included.
    pub bytes: usize,
    /// Only one in so many bits.
    pub every: usize,
    /// One in so many bits of a small journal is followed by the forwarder, to a file.
    pub forwarded_every: usize,
    /// So many bits, drawn, are given to an open of the whole journal.
    pub whole: u64,
    /// What is drawn.
    pub seed: u64,
    /// Plant a fault, to see it found.
    pub planted: Option<Planted>,
}

impl Flips {
    /// Enough to find what is planted.
    pub const SMALL: Self = Self {
        bytes: 40 << 10,
        every: 1009,
        forwarded_every: 101,
        whole: 20,
        seed: 1,
        planted: None,
    };
}

/// What was tried.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlipsReport {
    /// Bytes of the journal.
    pub bytes: u64,
    /// Its entries.
    pub entries: u64,
    /// Bits turned over, by what they touch.
    pub flips: BTreeMap<&'static str, u64>,
    /// Bits whose turning over was noticed by what reads them.
    pub detected: u64,
    /// The most entries that one bit cost.
    pub lost_max: u64,
    /// Entries whose loss is named by the hole in front of the next of their ring: all of them.
    pub named: u64,
    /// Bits of a small journal that the forwarder followed.
    pub forwarded: u64,
    /// Those that cost a frame: each is a loss record in the sink, with its number and counts.
    pub forwarded_lost: u64,
    /// Bits given to an open of the whole journal.
    pub whole: u64,
    /// A violation: nothing was tried after it.
    pub found: Option<String>,
}

impl FlipsReport {
    /// Bits turned over.
    pub fn total(&self) -> u64 {
        self.flips.values().sum()
    }

    /// One object.
    pub fn to_json(&self, seconds: f64) -> Value {
        json!({
            "proof": "flips",
            "bytes": self.bytes,
            "entries": self.entries,
            "flips": self.total(),
            "by_place": self.flips,
            "detected": self.detected,
            "lost_max": self.lost_max,
            "named": self.named,
            "forwarded": self.forwarded,
            "forwarded_lost": self.forwarded_lost,
            "whole": self.whole,
            "violations": u32::from(self.found.is_some()),
            "found": self.found,
            "seconds": seconds,
        })
    }
}

impl fmt::Display for FlipsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, entries, detected, lost_max, named, whole, .. } = self;
        writeln!(f, "journal flips: {} bits of {bytes} bytes, {entries} entries", self.total())?;
        for (place, flips) in &self.flips {
            writeln!(f, "  {flips:>10} in {place}")?;
        }
        writeln!(f, "  {detected:>10} noticed")?;
        writeln!(f, "  {lost_max:>10} entries lost at most; each of {named} is named by its hole")?;
        let (followed, lost) = (self.forwarded, self.forwarded_lost);
        writeln!(
            f,
            "  {followed:>10} of a small journal, forwarded; {lost} cost a frame: a loss record each"
        )?;
        writeln!(f, "  {whole:>10} of them once more, over the whole journal")?;
        match &self.found {
            None => f.write_str("  no violation"),
            Some(found) => write!(f, "  VIOLATION: {found}"),
        }
    }
}

/// Turns them over, one by one. `progress` sees the figures from time to time.
pub fn prove_flips(flips: &Flips, mut progress: impl FnMut(&FlipsReport)) -> FlipsReport {
    let mut report = FlipsReport::default();
    if let Err(Violation(violation)) = run(flips, &mut report, &mut progress) {
        report.found = Some(violation);
    }
    report
}

fn run(
    flips: &Flips,
    report: &mut FlipsReport,
    progress: &mut impl FnMut(&FlipsReport),
) -> Result<(), Violation> {
    let journal = Flipped::write(flips.bytes, flips.seed)?;
    report.bytes = journal.bytes();
    report.entries = journal.entries();
    report.named = journal.name_each()?;
    let mut bit = 0;
    let every = flips.every.max(1);
    for file in 0..journal.files() {
        let bits = journal.len(file) * 8;
        while bit < bits {
            let flip = (file, bit / 8, u8::try_from(bit % 8).unwrap_or(0));
            journal.flip(flip, report)?;
            bit += every;
        }
        bit -= bits;
        progress(report);
    }
    let small = Forwarded::write()?;
    for bit in (0..small.bits()).step_by(flips.forwarded_every.max(1)) {
        report.forwarded_lost += small.flip(bit, flips.planted)?;
        report.forwarded += 1;
    }
    progress(report);
    let mut chance = Chance::new(flips.seed, 1);
    while report.whole < flips.whole {
        let file = chance.index(journal.files());
        // As many of each kind of place.
        let byte = match chance.below(4) {
            0 => chance.index(1024),
            _ => chance.index(journal.len(file)),
        };
        journal.flip_whole((file, byte, u8::try_from(chance.below(8)).unwrap_or(0)))?;
        report.whole += 1;
    }
    Ok(())
}
