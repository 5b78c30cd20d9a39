//! What a device leaves out of what it records of a signal, on purpose. Of latest values it leaves out
//! none.
//!
//! It stands in the catalogue, and the catalogue's id in every frame of samples: whoever has a sample
//! knows by what its neighbours may be missing. Off where nothing is said.

use serde::{Deserialize, Serialize};

use crate::signal::{Signal, SignalIndex};

/// What is left out of one signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Thinning {
    /// Which.
    pub signal: SignalIndex,
    /// How.
    pub how: Thin,
}

/// How a signal is thinned. All times are by the source's own stamps: one that steps back or whose clock
/// becomes another begins anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Thin {
    /// Readings that say too little new.
    Skip(Skip),
    /// All readings: in their place stands what they come to, a window at a time.
    Window(Window),
}

/// Which readings of a signal are taken: each that fulfils all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Skip {
    /// More than so many steps away from the value taken last; 0: another value. A value that is no
    /// number of steps is another than any number.
    pub dead_band: Option<u32>,
    /// So many milliseconds at least after the one taken last; 0: at once.
    pub interval_ms: u32,
    /// So many milliseconds or more after the one taken last, one is taken however little it differs;
    /// 0: never. Only with a dead-band.
    pub silence_ms: u32,
}

/// One value for all readings of another signal in a stretch of time that begins at a multiple of its
/// length.
///
/// Values that are no number of steps are not in it. It is stamped with the window's end, which is the
/// next one's beginning, and there when a reading of the next one comes or the device stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Window {
    /// Whose readings.
    pub of: SignalIndex,
    /// What of them.
    pub take: Take,
    /// Length in milliseconds: a multiple of the tick.
    pub length_ms: u32,
}

/// What is taken of the readings in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Take {
    /// The least.
    Min,
    /// The mean, to the nearest step, halves upward. [`Missing`](crate::sample::Value::Missing) where
    /// the sum has no room in 64 bits.
    Mean,
    /// The greatest.
    Max,
}

impl Take {
    /// The name in files and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Mean => "mean",
            Self::Max => "max",
        }
    }
}

impl Thinning {
    /// How many steps of a mean's signal are one of its source's, at most.
    pub const FINER_MAX: u32 = 1000;

    /// Whether a list says something of signals that there are, of each once and in their order.
    pub(crate) fn fit(list: &[Self], signals: &[Signal<'_>], tick_ms: u32) -> bool {
        let in_order = list.is_sorted_by(|one, next| one.signal < next.signal);
        in_order && list.iter().all(|thinning| thinning.fits(list, signals, tick_ms))
    }

    fn fits(&self, list: &[Self], signals: &[Signal<'_>], tick_ms: u32) -> bool {
        let signal = |index: SignalIndex| signals.get(usize::from(index.0));
        let Some(own) = signal(self.signal) else { return false };
        match self.how {
            Thin::Skip(Skip { dead_band, interval_ms, silence_ms }) => {
                let is_said = dead_band.is_some() || interval_ms > 0;
                is_said && (silence_ms == 0 || dead_band.is_some() && silence_ms >= interval_ms)
            }
            Thin::Window(Window { of, take, length_ms }) => {
                let is_window =
                    |other: &Self| other.signal == of && matches!(other.how, Thin::Window(_));
                let finer = signal(of).and_then(|source| finer(source, own));
                length_ms > 0
                    && length_ms.checked_rem(tick_ms) == Some(0)
                    && !list.iter().any(is_window)
                    && of != self.signal
                    && finer.is_some_and(|finer| finer == 1 || take == Take::Mean)
            }
        }
    }
}

/// How many steps of a window's signal are one of its source's; none if that is no whole number.
pub fn finer(source: &Signal<'_>, window: &Signal<'_>) -> Option<u32> {
    let (from, to) = (source.step, window.step);
    if from.offset != to.offset || source.unit != window.unit {
        return None;
    }
    let whole = u64::from(from.numerator).checked_mul(to.denominator.into())?;
    let part = u64::from(from.denominator).checked_mul(to.numerator.into())?;
    let finer = u32::try_from(whole.checked_div(part)?).ok()?;
    let is_whole = whole.checked_rem(part) == Some(0);
    (is_whole && (1..=Thinning::FINER_MAX).contains(&finer)).then_some(finer)
}
