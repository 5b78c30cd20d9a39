//! What the catalogue has left out of its signals: readings that say too little new, and windows in place
//! of readings.
//!
//! What is left out was never accepted: no ledger has it. Whoever has a sample knows from the catalogue
//! that its neighbours may be missing, and why.

use protocol::sample::Value;
use protocol::thinning::{Skip, Take, Thin, Thinning, Window, finer};
use protocol::{Catalogue, Clock, Sample, Signal};

use crate::ports::Reading;

/// Where the thinning of up to `SIGNALS` signals stands, in the order of the catalogue's list.
#[derive(Clone, Debug)]
pub struct Thinner<const SIGNALS: usize> {
    states: [State; SIGNALS],
}

#[derive(Clone, Copy, Debug)]
enum State {
    Fresh,
    Taken(Taken),
    Open(OpenWindow),
}

/// What was taken last.
#[derive(Clone, Copy, Debug)]
struct Taken {
    tick: i64,
    value: Value,
    clock: Clock,
}

/// Readings of one window, so far.
#[derive(Clone, Copy, Debug)]
struct OpenWindow {
    begin: i64,
    clock: Clock,
    /// The least, the greatest, or the sum.
    steps: i64,
    /// How many; 0 if there is no room for them or for their sum.
    count: u32,
}

impl<const SIGNALS: usize> Thinner<SIGNALS> {
    /// Nothing taken yet.
    pub const fn new() -> Self {
        Self { states: [State::Fresh; SIGNALS] }
    }

    /// A window that a reading ends, for as long as there is one: what it comes to.
    pub fn ended(&mut self, catalogue: &Catalogue<'_>, reading: &Reading) -> Option<Reading> {
        let tick_ms = catalogue.tick_ms;
        self.close(catalogue, |window, open| {
            window.of == reading.sample.signal && !open.holds(window, tick_ms, reading)
        })
    }

    /// A window that is open, for as long as there is one: what it has come to.
    pub fn open(&mut self, catalogue: &Catalogue<'_>) -> Option<Reading> {
        self.close(catalogue, |_, _| true)
    }

    /// Takes a reading into the windows of its signal; whether there are any.
    pub fn note(&mut self, catalogue: &Catalogue<'_>, reading: &Reading) -> bool {
        let mut any = false;
        for (thinning, state) in catalogue.thinning.iter().zip(&mut self.states) {
            let Thin::Window(window) = thinning.how else { continue };
            if window.of != reading.sample.signal {
                continue;
            }
            any = true;
            let Some(steps) = reading.sample.steps() else { continue };
            match state {
                State::Open(open) => open.add(window.take, steps),
                _ => *state = State::Open(OpenWindow::new(window, catalogue, reading, steps)),
            }
        }
        any
    }

    /// Whether a reading is taken for itself; if so, it is the last one taken.
    pub fn takes(&mut self, catalogue: &Catalogue<'_>, reading: &Reading) -> bool {
        let mut all = catalogue.thinning.iter().zip(&mut self.states);
        let own = all.find(|(thinning, _)| thinning.signal == reading.sample.signal);
        let Some((thinning, state)) = own else { return true };
        let Thin::Skip(skip) = thinning.how else { return false };
        let taken = match state {
            State::Taken(last) => last.calls_for(&skip, catalogue.tick_ms, reading),
            _ => true,
        };
        if taken {
            let Sample { tick, value, .. } = reading.sample;
            *state = State::Taken(Taken { tick, value, clock: reading.clock });
        }
        taken
    }

    fn close(
        &mut self,
        catalogue: &Catalogue<'_>,
        is_over: impl Fn(Window, &OpenWindow) -> bool,
    ) -> Option<Reading> {
        for (thinning, state) in catalogue.thinning.iter().zip(&mut self.states) {
            if let (Thin::Window(window), State::Open(open)) = (thinning.how, &*state)
                && is_over(window, open)
            {
                let ended = open.reading(thinning, window, catalogue);
                *state = State::Fresh;
                return Some(ended);
            }
        }
        None
    }
}

impl<const SIGNALS: usize> Default for Thinner<SIGNALS> {
    fn default() -> Self {
        Self::new()
    }
}

impl Taken {
    /// Whether a reading is one to take after this one.
    fn calls_for(&self, skip: &Skip, tick_ms: u32, reading: &Reading) -> bool {
        let Skip { dead_band, interval_ms, silence_ms } = *skip;
        let Sample { tick, value, .. } = reading.sample;
        if self.clock != reading.clock || tick < self.tick {
            return true;
        }
        let passed_ms = tick.saturating_sub(self.tick).saturating_mul(i64::from(tick_ms));
        let is_new = dead_band.is_none_or(|band| differs(self.value, value, band.into()))
            || silence_ms > 0 && passed_ms >= i64::from(silence_ms);
        is_new && passed_ms >= i64::from(interval_ms)
    }
}

/// Whether a value is more than `band` steps away from the last. Bytes and text are not kept: each is
/// another one.
fn differs(last: Value, value: Value, band: u64) -> bool {
    match (last, value) {
        (Value::Steps(last), Value::Steps(steps)) => last.abs_diff(steps) > band,
        (_, Value::Bytes(_) | Value::Text(_)) => true,
        (last, value) => last != value,
    }
}

impl OpenWindow {
    fn new(window: Window, catalogue: &Catalogue<'_>, reading: &Reading, steps: i64) -> Self {
        let len = len_ticks(window, catalogue.tick_ms);
        let tick = reading.sample.tick;
        let begin = tick.saturating_sub(tick.checked_rem_euclid(len).unwrap_or_default());
        Self { begin, clock: reading.clock, steps, count: 1 }
    }

    fn end(&self, window: Window, tick_ms: u32) -> i64 {
        self.begin.saturating_add(len_ticks(window, tick_ms))
    }

    fn holds(&self, window: Window, tick_ms: u32, reading: &Reading) -> bool {
        let span = self.begin..self.end(window, tick_ms);
        self.clock == reading.clock && span.contains(&reading.sample.tick)
    }

    fn add(&mut self, take: Take, steps: i64) {
        let together = match take {
            Take::Min => Some(self.steps.min(steps)),
            Take::Max => Some(self.steps.max(steps)),
            Take::Mean if self.count == 0 => None,
            Take::Mean => self.steps.checked_add(steps),
        };
        match (together, self.count.checked_add(1)) {
            (Some(steps), Some(count)) => (self.steps, self.count) = (steps, count),
            (Some(steps), None) if take != Take::Mean => self.steps = steps,
            _ => self.count = 0,
        }
    }

    fn reading(&self, thinning: &Thinning, window: Window, catalogue: &Catalogue<'_>) -> Reading {
        let value = match window.take {
            Take::Min | Take::Max => Value::Steps(self.steps),
            Take::Mean => {
                let signals = (catalogue.get(window.of), catalogue.get(thinning.signal));
                mean(self.steps, self.count, signals).map_or(Value::Missing, Value::Steps)
            }
        };
        let tick = self.end(window, catalogue.tick_ms);
        Reading { sample: Sample { tick, signal: thinning.signal, value }, clock: self.clock }
    }
}

/// The mean of a sum, in steps of the window's signal, to the nearest one, halves upward; none of no
/// readings, or where it has no room.
fn mean(sum: i64, count: u32, signals: (Option<&Signal<'_>>, Option<&Signal<'_>>)) -> Option<i64> {
    let (Some(source), Some(own)) = signals else { return None };
    let (finer, count) = (i64::from(finer(source, own)?), i64::from(count));
    let (whole, rest) = (sum.checked_div_euclid(count)?, sum.checked_rem_euclid(count)?);
    let doubled = rest.checked_mul(2)?.checked_mul(finer)?.checked_add(count)?;
    whole.checked_mul(finer)?.checked_add(doubled.checked_div(count.checked_mul(2)?)?)
}

fn len_ticks(window: Window, tick_ms: u32) -> i64 {
    // Never 0: a length is a multiple of the tick.
    i64::from(window.length_ms.checked_div(tick_ms).unwrap_or(1).max(1))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use protocol::{SignalIndex, Step};

    use super::*;

    const fn signal(path: &'static str, step: Step) -> Signal<'static> {
        Signal { path, unit: "", step, raw_min: i64::MIN, raw_max: i64::MAX }
    }

    static SIGNALS: [Signal<'static>; 4] = [
        signal("Vehicle.Speed", Step::ONE),
        signal("Vehicle.Speed.Min", Step::ONE),
        signal("Vehicle.Speed.Mean", Step::new(1, 4)),
        signal("Vehicle.Speed.Max", Step::ONE),
    ];

    const TICK_MS: u32 = 10;

    fn catalogue(thinning: &[Thinning]) -> Catalogue<'_> {
        Catalogue { thinning, ..Catalogue::new(TICK_MS, &SIGNALS) }
    }

    fn skip(dead_band: Option<u32>, interval_ms: u32, silence_ms: u32) -> [Thinning; 1] {
        let skip = Skip { dead_band, interval_ms, silence_ms };
        [Thinning { signal: SignalIndex(0), how: Thin::Skip(skip) }]
    }

    /// Windows of 100 ms.
    fn windows() -> [Thinning; 3] {
        [(1, Take::Min), (2, Take::Mean), (3, Take::Max)].map(|(signal, take)| {
            let window = Window { of: SignalIndex(0), take, length_ms: 100 };
            Thinning { signal: SignalIndex(signal), how: Thin::Window(window) }
        })
    }

    fn reading(tick: i64, value: Value) -> Reading {
        let sample = Sample { tick, signal: SignalIndex(0), value };
        Reading { sample, clock: Clock::Reference }
    }

    fn taken(thinning: &[Thinning], readings: &[(i64, Value)]) -> Vec<usize> {
        let mut thinner = Thinner::<4>::new();
        let takes = |(_, (tick, value)): &(usize, &(i64, Value))| {
            thinner.takes(&catalogue(thinning), &reading(*tick, *value))
        };
        readings.iter().enumerate().filter(takes).map(|(at, _)| at).collect()
    }

    /// All windows of some readings, and the last ones when the device stops.
    fn windows_of(readings: &[Reading]) -> Vec<Reading> {
        let (thinning, mut thinner) = (windows(), Thinner::<4>::new());
        let catalogue = catalogue(&thinning);
        let mut made = Vec::new();
        for reading in readings {
            made.extend(core::iter::from_fn(|| thinner.ended(&catalogue, reading)));
            assert!(thinner.note(&catalogue, reading));
        }
        made.extend(core::iter::from_fn(|| thinner.open(&catalogue)));
        made
    }

    #[test]
    fn a_value_that_says_nothing_new_is_left_out() {
        let steps = |steps: [i64; 7]| {
            (0..).map(|at| at * 10).zip(steps.map(Value::Steps)).collect::<Vec<_>>()
        };
        let readings = steps([5, 5, 6, 8, 8, 5, i64::MIN]);
        assert_eq!(taken(&[], &readings), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(taken(&skip(Some(0), 0, 0), &readings), [0, 2, 3, 5, 6]);
        assert_eq!(taken(&skip(Some(2), 0, 0), &readings), [0, 3, 5, 6], "from the last one taken");
        assert_eq!(taken(&skip(None, 200, 0), &readings), [0, 2, 4, 6]);
        assert_eq!(taken(&skip(Some(0), 200, 0), &readings), [0, 2, 4, 6]);
        let silent = steps([5; 7]);
        assert_eq!(taken(&skip(Some(0), 0, 300), &silent), [0, 3, 6]);
    }

    #[test]
    fn what_is_no_number_is_new_once_and_what_is_not_kept_always() {
        let values = [
            Value::Steps(1),
            Value::Missing,
            Value::Missing,
            Value::Double(1),
            Value::Double(1),
            Value::Steps(1),
            Value::Text(3),
            Value::Text(3),
        ];
        let readings: Vec<_> = (0..).zip(values).collect();
        assert_eq!(taken(&skip(Some(9), 0, 0), &readings), [0, 1, 3, 5, 6, 7]);
    }

    #[test]
    fn a_clock_that_steps_back_or_becomes_another_begins_anew() {
        let one = Value::Steps(1);
        let thinning = skip(Some(0), 0, 0);
        assert_eq!(taken(&thinning, &[(10, one), (20, one), (5, one), (6, one)]), [0, 2]);
        let mut thinner = Thinner::<4>::new();
        let mut takes =
            |clock| thinner.takes(&catalogue(&thinning), &Reading { clock, ..reading(1, one) });
        let clocks = [Clock::Uptime, Clock::Uptime, Clock::Agent, Clock::Agent];
        assert_eq!(clocks.map(&mut takes), [true, false, true, false]);
    }

    #[test]
    fn windows_are_what_their_readings_come_to() {
        let mut seed = 1_u64;
        let mut draw = |most: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from((seed >> 33) % most).unwrap()
        };
        let mut readings = Vec::new();
        let mut tick = -57;
        for _ in 0..500 {
            // Mostly a few ticks on; now and then far away, or back.
            tick += if draw(40) == 0 { draw(200) - 80 } else { draw(5) };
            let is_number = draw(10) > 0;
            let value = if is_number { Value::Steps(draw(2000) - 1000) } else { Value::Missing };
            readings.push(reading(tick, value));
        }
        // By another way: runs of readings of one window.
        let window = |reading: &Reading| reading.sample.tick.div_euclid(10);
        let mut expected = Vec::new();
        for run in readings.chunk_by(|one, next| window(one) == window(next)) {
            let steps: Vec<i64> = run.iter().filter_map(|one| one.sample.steps()).collect();
            let Some(first) = run.first().filter(|_| !steps.is_empty()) else { continue };
            let count = i64::try_from(steps.len()).unwrap();
            // Four times as fine, rounded: floor of the mean and a half.
            let mean = (8 * steps.iter().sum::<i64>() + count).div_euclid(2 * count);
            let of =
                [(1, *steps.iter().min().unwrap()), (2, mean), (3, *steps.iter().max().unwrap())];
            let end = (window(first) + 1) * 10;
            expected.extend(of.map(|(signal, raw)| Sample::new(end, SignalIndex(signal), raw)));
        }
        let made: Vec<Sample> = windows_of(&readings).iter().map(|made| made.sample).collect();
        assert!(expected.len() > 300, "{}", expected.len());
        assert_eq!(made, expected);
    }

    #[test]
    fn a_sum_without_room_is_said_to_be_missing() {
        let most = [3, 4, 5].map(|tick| reading(tick, Value::Steps(i64::MAX - 1)));
        let values: Vec<Value> = windows_of(&most).iter().map(|made| made.sample.value).collect();
        let most = Value::Steps(i64::MAX - 1);
        assert_eq!(values, [most, Value::Missing, most]);
    }

    #[test]
    fn a_window_ends_where_its_clock_does() {
        let readings = [Clock::Uptime, Clock::Agent]
            .map(|clock| Reading { clock, ..reading(3, Value::Steps(7)) });
        let clocks: Vec<Clock> = windows_of(&readings).iter().map(|made| made.clock).collect();
        assert_eq!(clocks, [[Clock::Uptime; 3], [Clock::Agent; 3]].concat());
    }

    #[test]
    fn a_window_is_made_and_not_offered() {
        let (thinning, mut thinner) = (windows(), Thinner::<4>::new());
        let offered = reading(1, Value::Steps(1));
        let sample = Sample { signal: SignalIndex(2), ..offered.sample };
        assert!(!thinner.takes(&catalogue(&thinning), &Reading { sample, ..offered }));
    }
}
