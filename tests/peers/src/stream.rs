//! What is encoded: samples, what is known of their signals, and how a drive is cut into messages.

/// From here on a float32 no longer brings back every decimal that the source printed: its 24 bits
/// hold seven digits, and the reference keeps one in hand.
const SINGLE_STEPS: u64 = 1_000_000;

/// A value at an instant, as its source prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Time since the Unix epoch, in the stream's ticks ([`Stream::tick_ms`]).
    pub tick: i64,
    /// Index in [`Stream::signals`].
    pub signal: usize,
    /// The value in units of the last decimal place: 41.3 with one decimal is 413.
    pub steps: i64,
}

/// The grid of a sensor that has fewer values than its printed decimals: its own integer `k` is
/// printed as `k * num / den`. An OBD percentage has `num` 100, `den` 255 (SAE J1979, PID 0x11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lattice {
    /// Numerator, above zero.
    pub num: u32,
    /// Denominator, above zero.
    pub den: u32,
}

/// What an adaptive Rice coder starts with: a sum of residuals and how many they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RiceStart {
    /// Sum of the residuals, at least 1.
    pub sum: u64,
    /// Their count, 1 to 31.
    pub count: u64,
}

/// What the encoders must know of a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// As JSON and OTLP spell it; ASCII without quotes or backslashes.
    pub name: String,
    /// Decimal places of [`Point::steps`], 0 to 15.
    pub decimals: u32,
    /// The sensor's own grid if it is coarser. Only what holds integers uses it: the columns, Pco
    /// and Rice.
    pub lattice: Option<Lattice>,
    /// Whether a float32 carries every value, so that Sparkplug and Gorilla may use one. True until
    /// [`Stream::note_range`] sees otherwise.
    pub single: bool,
    /// Learnt by [`Stream::train`].
    pub rice: Option<RiceStart>,
}

/// What all messages of a stream have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Indexed by [`Point::signal`].
    pub signals: Vec<Signal>,
    /// Named in OTLP's resource, whose length it adds to. The reference has 11 characters.
    pub vehicle: String,
    /// The source's own time resolution: 1000 for the reference's `ev` and `taxi`, else 1.
    pub tick_ms: i64,
    /// Whether points with one time stamp are one row of a table, whose time is coded once. True
    /// for the reference's `ev`, `imu` and `taxi`.
    pub rows: bool,
    /// Learnt by [`Stream::train`].
    pub rice_time: Option<RiceStart>,
}

impl Signal {
    /// A signal that nothing more is known of.
    pub fn new(name: impl Into<String>, decimals: u32) -> Self {
        Self { name: name.into(), decimals, lattice: None, single: true, rice: None }
    }

    /// The value as a number in the source's unit.
    #[allow(clippy::cast_precision_loss, reason = "15 digits are exact, and no source has more")]
    pub(crate) fn value(&self, steps: i64) -> f64 {
        let scale = 10_i64.checked_pow(self.decimals).unwrap_or(i64::MAX);
        steps as f64 / scale as f64
    }

    /// The value as a float32.
    #[allow(clippy::cast_possible_truncation, reason = "only asked for where `single` holds")]
    pub(crate) fn value_single(&self, steps: i64) -> f32 {
        self.value(steps) as f32
    }

    /// The sensor's own integer, or the decimal one if no lattice is known.
    pub(crate) fn code(&self, steps: i64) -> i64 {
        let Some(Lattice { num, den }) = self.lattice else { return steps };
        let scale = 10_i128.checked_pow(self.decimals).unwrap_or(i128::MAX);
        let unit = scale.saturating_mul(i128::from(num)).max(1);
        let doubled = i128::from(steps) * i128::from(den) * 2;
        let nearest = doubled.saturating_add(unit).div_euclid(unit.saturating_mul(2));
        i64::try_from(nearest).unwrap_or(steps)
    }
}

impl Stream {
    /// Takes note of how large values get: to be called with every drive before any is encoded, as
    /// one value of a signal beyond float32 makes all of them doubles.
    pub fn note_range(&mut self, points: &[Point]) {
        for point in points {
            if let Some(signal) = self.signals.get_mut(point.signal)
                && point.steps.unsigned_abs() >= SINGLE_STEPS
            {
                signal.single = false;
            }
        }
    }

    /// Learns Rice start values from another drive, in the order of time. Each call replaces what
    /// the last one learnt, as in the reference, so the last drive with a signal counts.
    pub fn train(&mut self, points: &[Point]) {
        for (index, signal) in self.signals.iter_mut().enumerate() {
            let codes = points.iter().filter(|p| p.signal == index).map(|p| signal.code(p.steps));
            let (sum, count) = differences(codes).fold((0, 0), |(s, n), d| (s + d, n + 1));
            signal.rice = start(sum, count, 16).or(signal.rice);
        }
        let ticks = self.times(points);
        let steps: Vec<i64> =
            ticks.iter().zip(ticks.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a)).collect();
        let (sum, count) =
            differences(steps.into_iter()).fold((0, 0), |(s, n), d| (s + d.min(1000), n + 1));
        self.rice_time = start(sum, count, 8).or(self.rice_time);
    }

    /// The times to code, in ticks: one a point, or one a row.
    pub(crate) fn times(&self, points: &[Point]) -> Vec<i64> {
        let mut ticks: Vec<i64> = points.iter().map(|p| p.tick).collect();
        if self.rows {
            ticks.dedup();
        }
        ticks
    }
}

/// Cuts one drive (one vehicle's points without a break that matters) into messages of `seconds`.
///
/// The windows start at the drive's first point, not at the full minute: point `p` is in window
/// `(p.tick - first.tick) / (seconds * 1000 / tick_ms)`, rounded down. A message is a run of points
/// in one window, so an empty window sends nothing, and a clock that steps back into an earlier
/// window opens a new message.
///
/// The reference does so with 1, 10, 60 and 600 s for `obd`, `ev` and `box`, without 600 s for
/// `imu`, and with 60, 600 and 3600 s for `taxi`, which has a fix a minute. The bytes of all
/// messages of all drives, over the count of points, are its bytes per sample.
pub fn split(points: &[Point], seconds: u32, tick_ms: i64) -> impl Iterator<Item = &[Point]> {
    let window = (i64::from(seconds) * 1000 / tick_ms.max(1)).max(1);
    let first = points.first().map_or(0, |p| p.tick);
    let place = move |p: &Point| p.tick.wrapping_sub(first).div_euclid(window);
    points.chunk_by(move |a, b| place(a) == place(b))
}

/// The distances between neighbours.
fn differences(numbers: impl Iterator<Item = i64>) -> impl Iterator<Item = u64> {
    let mut last = None;
    numbers.filter_map(move |n| last.replace(n).map(|l: i64| l.abs_diff(n)))
}

/// Zigzag doubles a difference, so a residual is twice the mean distance.
fn start(sum: u64, count: u64, weight: u64) -> Option<RiceStart> {
    let rounded = sum.saturating_mul(4 * weight).saturating_add(count).checked_div(count * 2)?;
    Some(RiceStart { sum: rounded.max(1), count: weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tick: i64) -> Point {
        Point { tick, signal: 0, steps: 0 }
    }

    #[test]
    fn windows_start_at_the_first_point() {
        let points = [at(500), at(1499), at(1500), at(3600), at(3700), at(1400)];
        let sizes: Vec<usize> = split(&points, 1, 1).map(<[Point]>::len).collect();
        assert_eq!(sizes, [2, 1, 2, 1], "an empty window sends nothing, a step back cuts");
        let sizes: Vec<usize> = split(&points, 1, 1000).map(<[Point]>::len).collect();
        assert_eq!(sizes, [1; 6]);
        assert_eq!(split(&[], 1, 1).count(), 0);
    }

    #[test]
    fn a_percentage_goes_back_to_its_byte() {
        let lattice = Some(Lattice { num: 100, den: 255 });
        let throttle = Signal { lattice, ..Signal::new("throttle", 1) };
        for byte in 0..=255_i64 {
            let printed = (byte * 1000 + 127) / 255;
            assert_eq!(throttle.code(printed), byte);
        }
        assert_eq!(Signal::new("maf", 2).code(-1234), -1234);
        assert!((Signal::new("maf", 2).value(-1234) - -12.34).abs() < f64::EPSILON);
    }

    #[test]
    fn learns_mean_residuals_and_ranges() {
        let mut stream = crate::message::tests::stream(&[("a", 0), ("b", 0), ("c", 0)], false);
        let point = |tick, signal, steps| Point { tick, signal, steps };
        let drive = [point(0, 0, 10), point(10, 0, 13), point(20, 0, 12), point(90, 1, 1_000_000)];
        stream.note_range(&drive);
        stream.train(&drive);
        let single: Vec<bool> = stream.signals.iter().map(|s| s.single).collect();
        assert_eq!(single, [true, false, true]);
        let rice: Vec<_> = stream.signals.iter().map(|s| s.rice).collect();
        assert_eq!(rice, [Some(RiceStart { sum: 64, count: 16 }), None, None]);
        assert_eq!(stream.rice_time, Some(RiceStart { sum: 480, count: 8 }));
    }
}
