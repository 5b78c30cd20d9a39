//! Channels that a board without sensors measures: what an ADC of 12 bits would give, made from the
//! time alone, so that whoever gets the samples can tell whether they are those.

use firmware::campaign::{Rule, When};
use firmware::ports::{Now, Reading, Source};
use protocol::{Clock, Lane, Sample, Signal, SignalIndex, Step};

/// Signals: how many readings there were in this boot, and nine channels. Those of a board that measures more
/// come behind them.
pub const CHANNELS: usize = 10;
/// Milliseconds between two readings of each, if nothing else is provisioned.
const PERIOD_MS: u16 = 1_000;
const CHANNELS_U64: u64 = 10;

const fn channel(path: &'static str) -> Signal<'static> {
    Signal { path, unit: "mV", step: Step::ONE, raw_min: 0, raw_max: 4095 }
}

/// What they are.
pub const SIGNALS: [Signal<'static>; CHANNELS] = [
    Signal {
        path: "Milepost.Simulated.Readings",
        unit: "",
        step: Step::ONE,
        raw_min: 0,
        raw_max: i64::MAX,
    },
    channel("Milepost.Simulated.Channel1"),
    channel("Milepost.Simulated.Channel2"),
    channel("Milepost.Simulated.Channel3"),
    channel("Milepost.Simulated.Channel4"),
    channel("Milepost.Simulated.Channel5"),
    channel("Milepost.Simulated.Channel6"),
    channel("Milepost.Simulated.Channel7"),
    channel("Milepost.Simulated.Channel8"),
    channel("Milepost.Simulated.Channel9"),
];

/// All of them are recorded; and the first is kept as latest.
pub const RULES: [Rule; CHANNELS + 1] = {
    const fn recorded(signal: u8) -> Rule {
        Rule { signal: SignalIndex(signal), lane: Some(Lane::Bulk), when: When::Offered }
    }
    [
        recorded(0),
        recorded(1),
        recorded(2),
        recorded(3),
        recorded(4),
        recorded(5),
        recorded(6),
        recorded(7),
        recorded(8),
        recorded(9),
        Rule { signal: SignalIndex(0), lane: Some(Lane::Latest), when: When::Offered },
    ]
};

/// The channels at work.
#[derive(Clone, Copy, Debug)]
pub struct Channels {
    /// Readings so far.
    given: u64,
    period_ms: u16,
}

/// What a channel shows in its `row`th reading: a triangle, of another length each, and its last
/// bits as noise has them.
pub fn raw(channel: u64, row: u64) -> i64 {
    let half = 50 + 37 * channel;
    let phase = row % (2 * half);
    let slope = 3000 / half * phase.min(2 * half - phase);
    let noise = (row * CHANNELS_U64 + channel).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61;
    i64::try_from(500 + slope + noise).unwrap_or_default()
}

impl Channels {
    /// With so many milliseconds between two readings of each; 0 for a second.
    pub const fn new(period_ms: u16) -> Self {
        Self { given: 0, period_ms: if period_ms == 0 { PERIOD_MS } else { period_ms } }
    }

    fn due_ms(&self) -> u64 {
        (self.given / CHANNELS_U64).saturating_mul(u64::from(self.period_ms))
    }
}

impl Source for Channels {
    fn next(&mut self, now: &Now) -> Option<Reading> {
        let due_ms = self.due_ms();
        if now.uptime_ms < due_ms {
            return None;
        }
        let (row, column) = (self.given / CHANNELS_U64, self.given % CHANNELS_U64);
        let value = match column {
            0 => i64::try_from(self.given).ok()?,
            channel => raw(channel, row),
        };
        self.given += 1;
        let (tick, clock) = match now.wall {
            Some((wall_ms, clock)) => {
                let late_ms = i64::try_from(now.uptime_ms - due_ms).ok()?;
                (wall_ms.saturating_sub(late_ms), clock)
            }
            None => (i64::try_from(due_ms).ok()?, Clock::Uptime),
        };
        let signal = SignalIndex(u8::try_from(column).ok()?);
        Some(Reading { sample: Sample::new(tick, signal, value), clock })
    }

    fn read(&mut self, _signal: SignalIndex, _now: &Now) -> Option<Reading> {
        None
    }

    fn due(&self) -> Option<u64> {
        Some(self.due_ms())
    }
}
