//! What breaks: sensors that stick, spike or fall silent, clocks that jump, supplies that brown out.

use protocol::{Sample, SignalIndex, Value};

use super::Faults;
use super::signals::CATALOGUE;
use crate::seed::Seeded;

/// What a vehicle's faults are up to.
#[derive(Clone, Debug)]
pub(super) struct Breakdowns {
    stuck_at: i64,
    spike_at: i64,
    dropout_at: i64,
    clock_at: i64,
    reboot_at: i64,
    odd_at: i64,
    /// The sensor, until when, and the value it repeats, once it gave one.
    stuck: Option<(SignalIndex, i64, Option<i64>)>,
    spike: Option<SignalIndex>,
    odd: Option<SignalIndex>,
    dropout: Option<(SignalIndex, i64)>,
    /// The device's clock less the true time, in milliseconds.
    pub clock_offset_ms: i64,
}

/// The next time of something that happens each `every_ms` in the mean; never for 0.
fn next(after_ms: i64, every_ms: i64, chance: &mut Seeded) -> i64 {
    if every_ms == 0 {
        return i64::MAX;
    }
    after_ms.saturating_add(chance.between(every_ms / 2, every_ms + every_ms / 2).max(1))
}

impl Breakdowns {
    pub fn new(faults: &Faults, start_ms: i64, chance: &mut Seeded) -> Self {
        // Not all vehicles break half a period after the start.
        let mut first = |every_ms: i64| {
            next(start_ms.saturating_sub(chance.between(0, every_ms / 2)), every_ms, chance)
        };
        Self {
            stuck_at: first(faults.stuck_every_ms),
            spike_at: first(faults.spike_every_ms),
            dropout_at: first(faults.dropout_every_ms),
            clock_at: first(faults.clock_step_every_ms),
            reboot_at: first(faults.reboot_every_ms),
            // Drawn last, and only where it is asked for: a scenario of old stays as it was.
            odd_at: if faults.odd_every_ms > 0 { first(faults.odd_every_ms) } else { i64::MAX },
            stuck: None,
            spike: None,
            odd: None,
            dropout: None,
            clock_offset_ms: 0,
        }
    }

    /// When something that is no sensor's happens next.
    pub fn due_ms(&self) -> i64 {
        self.clock_at.min(self.reboot_at)
    }

    /// Lets happen what is due; whether the device boots again.
    pub fn advance(
        &mut self,
        faults: &Faults,
        sensors: &[SignalIndex],
        now_ms: i64,
        chance: &mut Seeded,
    ) -> bool {
        let sensor = |chance: &mut Seeded| {
            let last = i64::try_from(sensors.len()).unwrap_or(1) - 1;
            let at = usize::try_from(chance.between(0, last)).unwrap_or_default();
            sensors.get(at).copied()
        };
        if now_ms >= self.stuck_at {
            self.stuck_at = next(now_ms, faults.stuck_every_ms, chance);
            self.stuck = sensor(chance).map(|sensor| (sensor, now_ms + faults.stuck_for_ms, None));
        }
        if now_ms >= self.spike_at {
            self.spike_at = next(now_ms, faults.spike_every_ms, chance);
            self.spike = sensor(chance);
        }
        if now_ms >= self.dropout_at {
            self.dropout_at = next(now_ms, faults.dropout_every_ms, chance);
            self.dropout = sensor(chance).map(|sensor| (sensor, now_ms + faults.dropout_for_ms));
        }
        if now_ms >= self.odd_at {
            self.odd_at = next(now_ms, faults.odd_every_ms, chance);
            self.odd = sensor(chance);
        }
        if now_ms >= self.clock_at {
            self.clock_at = next(now_ms, faults.clock_step_every_ms, chance);
            let most = faults.clock_step_max_ms;
            self.clock_offset_ms =
                if self.clock_offset_ms == 0 { chance.between(-most, most) } else { 0 };
        }
        let reboots = now_ms >= self.reboot_at;
        if reboots {
            self.reboot_at = next(now_ms, faults.reboot_every_ms, chance);
        }
        reboots
    }

    /// What a sensor gives instead of this sample, by the device's clock.
    pub fn distort(&mut self, sample: Sample, chance: &mut Seeded) -> Option<Sample> {
        let Sample { tick, signal, value: Value::Steps(mut raw) } = sample else {
            return Some(sample);
        };
        if self.dropout.is_some_and(|(broken, until)| broken == signal && tick < until) {
            return None;
        }
        if let Some((broken, until, held)) = &mut self.stuck
            && *broken == signal
            && tick < *until
        {
            raw = *held.get_or_insert(raw);
        }
        if self.spike == Some(signal) {
            self.spike = None;
            let entry = CATALOGUE.get(signal);
            let (low, high) = entry.map_or((0, 0), |entry| (entry.raw_min, entry.raw_max));
            raw = if chance.once_in(2) { low } else { high };
        }
        let mut value = Value::Steps(raw);
        if self.odd == Some(signal) {
            self.odd = None;
            value = match chance.between(0, 3) {
                0 => Value::Missing,
                1 => Value::Double(f64::NAN.to_bits()),
                2 => Value::Single(f32::INFINITY.to_bits()),
                _ => Value::Single(0.1_f32.to_bits()),
            };
        }
        Some(Sample { tick: tick.saturating_add(self.clock_offset_ms), signal, value })
    }
}
