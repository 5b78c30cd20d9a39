//! How the run goes, and what it came to.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use super::{Control, Gauges, of_all_lanes};

/// Vehicles named one by one at most.
const NAMED_MAX: usize = 5;

/// Shows how the run goes: one line that is written over on a terminal, else a line now and then.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    shown: Duration,
    samples_shown: u64,
}

impl Progress {
    /// On a terminal or not.
    pub fn new(terminal: bool) -> Self {
        Self { terminal, shown: Duration::ZERO, samples_shown: 0 }
    }

    /// Shows it, if it is time to.
    pub fn show(&mut self, elapsed: Duration, gauges: &[Rc<Gauges>], control: &Control) {
        let every = Duration::from_secs(if self.terminal { 1 } else { 5 });
        let since = elapsed.saturating_sub(self.shown);
        if since < every {
            return;
        }
        let samples: u64 = gauges.iter().map(|gauges| samples_of(gauges)).sum();
        let new = u128::from(samples.saturating_sub(self.samples_shown));
        let per_s = new.saturating_mul(1000).checked_div(since.as_millis()).unwrap_or_default();
        let read = gauges.iter().filter(|gauges| gauges.exhausted.get()).count();
        let mut line = format!(
            "{:>6} s  {} of {} connected, {read} read to the end, {samples} samples ({per_s}/s), {} frames to acknowledge",
            elapsed.as_secs(),
            control.connected.get(),
            gauges.len(),
            Totals::outstanding(gauges),
        );
        if let Some(error) = &*control.link_error.borrow() {
            line.push_str(", trying again after: ");
            line.push_str(error);
        }
        self.print(&line);
        (self.shown, self.samples_shown) = (elapsed, samples);
    }

    /// Ends the line that was written over.
    pub fn end(&self) {
        if self.terminal && !self.shown.is_zero() {
            eprintln!();
        }
    }

    fn print(&self, line: &str) {
        let mut out = std::io::stderr().lock();
        let written =
            if self.terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        // Progress that nobody can see is no reason to stop.
        drop(written.and_then(|()| out.flush()));
    }
}

/// What a run came to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Totals {
    /// Vehicles.
    pub vehicles: usize,
    /// Samples that the campaigns admitted.
    pub samples: u64,
    /// Events and the devices' own records.
    pub events: u64,
    /// Frames stored.
    pub frames: u64,
    /// Frames that full rings dropped.
    pub dropped_frames: u64,
    /// Frames stored and not acknowledged at the end.
    pub outstanding_frames: u64,
    /// Readings taken in earlier runs with the same state.
    pub resumed_at: u64,
    /// Bytes given to TCP, MQTT included.
    pub sent_bytes: u64,
    /// What the flash refused.
    pub flash_errors: u64,
    /// Times that supplies browned out.
    pub reboots: u64,
    /// How long it took.
    pub seconds: f64,
    /// Samples over seconds.
    pub samples_per_s: f64,
    /// Frames over seconds.
    pub frames_per_s: f64,
    /// Bytes over samples.
    pub bytes_per_sample: f64,
    /// CAN frames that were replayed as frames.
    pub can_frames: u64,
    /// Bytes over those.
    pub bytes_per_can_frame: f64,
    /// How often devices were turned away, by why, as they saw it.
    pub refusals: BTreeMap<String, u64>,
    /// Vehicles that still hold something, the first few.
    pub holding: Vec<String>,
}

impl Totals {
    /// Adds up.
    pub fn of(gauges: &[Rc<Gauges>], control: &Control, elapsed: Duration) -> Self {
        let (mut samples, mut events, mut frames, mut dropped) = (0, 0, 0, 0);
        let (mut flash_errors, mut reboots) = (0, 0);
        for sums in gauges.iter().map(|gauges| gauges.sums()) {
            samples += sums.samples;
            events += sums.events;
            frames += sums.frames;
            dropped += sums.dropped_frames;
            flash_errors += sums.flash_errors;
            reboots += sums.boots - 1;
        }
        let holding = gauges
            .iter()
            .filter(|gauges| of_all_lanes(gauges.outstanding.get()) > 0)
            .take(NAMED_MAX)
            .map(|gauges| gauges.device.to_string());
        let sent_bytes = control.sent_bytes.get();
        let seconds = elapsed.as_secs_f64();
        Self {
            vehicles: gauges.len(),
            samples,
            events,
            frames,
            dropped_frames: dropped,
            outstanding_frames: Self::outstanding(gauges),
            resumed_at: gauges.iter().map(|gauges| gauges.resumed_at).sum(),
            sent_bytes,
            flash_errors,
            reboots,
            seconds,
            samples_per_s: ratio(samples, seconds),
            frames_per_s: ratio(frames, seconds),
            bytes_per_sample: ratio(sent_bytes, approximate(samples)),
            can_frames: 0,
            bytes_per_can_frame: 0.0,
            refusals: control.refusals.borrow().clone(),
            holding: holding.collect(),
        }
    }

    /// The same, of raw CAN frames.
    #[must_use]
    pub fn of_can_frames(self, can_frames: u64) -> Self {
        let bytes_per_can_frame = ratio(self.sent_bytes, approximate(can_frames));
        Self { can_frames, bytes_per_can_frame, ..self }
    }

    /// Frames that are stored and not acknowledged.
    pub fn outstanding(gauges: &[Rc<Gauges>]) -> u64 {
        gauges.iter().map(|gauges| of_all_lanes(gauges.outstanding.get())).sum()
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28}{:>16}", "vehicles", self.vehicles)?;
        if self.resumed_at > 0 {
            writeln!(f, "{:<28}{:>16}", "readings of earlier runs", self.resumed_at)?;
        }
        writeln!(f, "{:<28}{:>16}", "samples", self.samples)?;
        writeln!(f, "{:<28}{:>16}", "events, own records", self.events)?;
        writeln!(f, "{:<28}{:>16}", "frames", self.frames)?;
        writeln!(f, "{:<28}{:>16}", "frames dropped", self.dropped_frames)?;
        writeln!(f, "{:<28}{:>16}", "frames not acknowledged", self.outstanding_frames)?;
        if self.flash_errors > 0 {
            writeln!(f, "{:<28}{:>16}", "flash errors", self.flash_errors)?;
        }
        if self.reboots > 0 {
            writeln!(f, "{:<28}{:>16}", "reboots", self.reboots)?;
        }
        writeln!(f, "{:<28}{:>16}", "bytes sent", self.sent_bytes)?;
        writeln!(f, "{:<28}{:>16.1}", "seconds", self.seconds)?;
        writeln!(f, "{:<28}{:>16.0}", "samples/s", self.samples_per_s)?;
        writeln!(f, "{:<28}{:>16.0}", "frames/s", self.frames_per_s)?;
        write!(f, "{:<28}{:>16.2}", "bytes/sample", self.bytes_per_sample)?;
        if self.can_frames > 0 {
            write!(f, "\n{:<28}{:>16}", "CAN frames", self.can_frames)?;
            write!(f, "\n{:<28}{:>16.2}", "bytes/CAN frame", self.bytes_per_can_frame)?;
        }
        for (why, count) in &self.refusals {
            write!(f, "\nrefused {count} times: {why}")?;
        }
        if !self.holding.is_empty() {
            write!(f, "\nstill held by {}", self.holding.join(", "))?;
        }
        Ok(())
    }
}

fn samples_of(gauges: &Gauges) -> u64 {
    gauges.sums().samples
}

fn ratio(count: u64, over: f64) -> f64 {
    if over > 0.0 { approximate(count) / over } else { 0.0 }
}

#[allow(clippy::cast_precision_loss, reason = "a figure for a person; counts stay far below 2^52")]
fn approximate(count: u64) -> f64 {
    count as f64
}
