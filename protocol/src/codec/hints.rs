//! What a catalogue says of its signals beforehand, so that the first sample is cheap already.
//!
//! None of it is needed: whatever is said, everything comes back. What is wrong costs bytes.

use serde::{Deserialize, Serialize};

use super::start;

/// How samples follow each other in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Timing {
    /// Each signal may have a period of its own, or come a fixed time after the sample before it:
    /// whichever fits better.
    #[default]
    Any,
    /// One source: each sample comes some time after the one before it, or in the same instant.
    Sequence,
    /// One source that answers only at the beats of a clock, with jitter: the periods of these
    /// clocks in sixteenths of a tick, 0 for none. A batch has one of them.
    Beats([u16; 2]),
}

/// How a signal's next value is guessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Guess {
    /// The last one.
    #[default]
    Last,
    /// It goes on as it went.
    Linear,
    /// It goes back half of the way.
    Half,
    /// The running mean of its values.
    Mean,
    /// It moves as the related signal did.
    Related,
}

/// What is said of one signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SignalHint {
    /// Its guess.
    pub guess: Guess,
    /// The signal whose last change tells most about its next one.
    pub related: u8,
    /// The signal that comes after it.
    pub follower: u8,
    /// A raw value to begin with.
    pub expected: i64,
    /// How far the first one is from there: the number of bits of sixteen times the mean distance.
    pub spread: u8,
    /// Usual ticks since the sample before it.
    pub interval: i32,
    /// Usual ticks since its own last sample, in sixteenths.
    pub period: i32,
}

/// What is said of a catalogue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hints<'a> {
    /// How samples follow each other.
    pub timing: Timing,
    /// One a signal, or none: then they take turns by number, and nothing else is known.
    pub signals: &'a [SignalHint],
    /// A start table: levels of all chances, two a byte, low four bits first. The shared ones, then
    /// those of each signal. Empty: what is usual.
    pub levels: &'a [u8],
}

impl Hints<'_> {
    /// Nothing is known.
    pub const NONE: Self = Self { timing: Timing::Any, signals: &[], levels: &[] };

    /// Whether they are of so many signals.
    pub fn fit(&self, signals: usize) -> bool {
        (self.signals.is_empty() || self.signals.len() == signals)
            && (self.levels.is_empty() || self.levels.len() == start::table_len(signals))
    }

    /// What is said of a signal, of so many.
    pub fn of(&self, signal: u8, signals: u8) -> SignalHint {
        self.signals.get(usize::from(signal)).copied().unwrap_or_else(|| {
            let follower = if signal + 1 < signals { signal + 1 } else { 0 };
            let related = signal.checked_sub(1).unwrap_or(signals.saturating_sub(1));
            SignalHint { related, follower, ..SignalHint::default() }
        })
    }
}
