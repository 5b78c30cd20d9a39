//! One reading.

use crate::signal::SignalIndex;

/// One timestamped value of one signal, as the source gave it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// When, in ticks of the catalogue: since 1970 UTC, or since boot while there is no wall clock.
    /// May step backwards, as clocks do.
    pub tick: i64,
    /// Which signal.
    pub signal: SignalIndex,
    /// The raw value, in steps of the signal.
    pub raw: i64,
}
