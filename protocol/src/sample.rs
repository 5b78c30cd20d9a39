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
    /// What.
    pub value: Value,
}

/// A value.
///
/// Most are a whole number of their signal's steps, and cost little. Whatever is not is carried as it is:
/// it is never rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// So many steps of the signal.
    Steps(i64),
    /// There is none, and the sensor says so.
    Missing,
    /// The bits of an IEEE 754 binary32 number that is no whole number of steps, or no number at all.
    Single(u32),
    /// The same of a binary64 one.
    Double(u64),
    /// So many bytes, of any kind: a frame of a bus. They stand beside the sample.
    Bytes(u8),
    /// So many bytes of UTF-8, which stand beside the sample.
    Text(u8),
}

/// The most bytes of [`Value::Bytes`] and [`Value::Text`]: a CAN FD frame.
pub const CONTENT_LEN_MAX: usize = 64;

impl Sample {
    /// A sample of a whole number of steps.
    pub const fn new(tick: i64, signal: SignalIndex, steps: i64) -> Self {
        Self { tick, signal, value: Value::Steps(steps) }
    }

    /// How many steps; nothing of a value that is none.
    pub const fn steps(&self) -> Option<i64> {
        match self.value {
            Value::Steps(steps) => Some(steps),
            _ => None,
        }
    }
}

impl Value {
    /// Bytes that stand beside the sample.
    pub const fn content_len(self) -> usize {
        match self {
            Self::Bytes(len) | Self::Text(len) => len as usize,
            Self::Steps(_) | Self::Missing | Self::Single(_) | Self::Double(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_number_of_steps_says_how_many() {
        let steps = |value| Sample { value, ..Sample::new(5, SignalIndex(1), 7) }.steps();
        assert_eq!([Value::Steps(-7), Value::Steps(0)].map(steps), [Some(-7), Some(0)]);
        let others =
            [Value::Missing, Value::Single(7), Value::Double(7), Value::Bytes(7), Value::Text(7)];
        assert_eq!(others.map(steps), [None; 5]);
    }
}
