//! What the service manager is told: ready, reloading, stopping, how it is going, and that it is
//! alive.
//!
//! Without `NOTIFY_SOCKET` in the environment all of it goes nowhere. Alive is said only while every
//! thread that moves data has moved since the last time, or rests: a timer that always fires would
//! say nothing. What the threads do for that is beat a [`Pulse`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// The longest status line, in characters.
const STATUS_MAX: usize = 200;
/// The lowest bit says whether the thread rests; the others count its beats.
const RESTS: u64 = 1;
const BEAT: u64 = 2;

/// A sign of life of one thread. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// It goes on with its work.
    pub fn beat(&self) {
        let beats = self.0.load(Ordering::Relaxed) & !RESTS;
        self.0.store(beats.wrapping_add(BEAT), Ordering::Release);
    }

    /// It has nothing to do, or has ended, and waits until it beats again.
    pub fn rest(&self) {
        self.0.fetch_or(RESTS, Ordering::AcqRel);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// One thread as it was last seen to move.
#[derive(Debug)]
struct Seen {
    name: String,
    pulse: Pulse,
    reading: u64,
    moved: Duration,
}

/// Watches threads: `now` is on any clock that only goes forward.
#[derive(Debug)]
pub struct Vigil {
    still_max: Duration,
    seen: Vec<Seen>,
}

impl Vigil {
    /// A thread that does not move for `still_max` while it has work is taken to hang.
    pub const fn new(still_max: Duration) -> Self {
        Self { still_max, seen: Vec::new() }
    }

    /// Looks at these threads; the first that hangs, if one does.
    pub fn look(&mut self, now: Duration, threads: Vec<(String, Pulse)>) -> Option<&str> {
        self.seen.retain(|seen| threads.iter().any(|(name, _)| *name == seen.name));
        for (name, pulse) in threads {
            let reading = pulse.read();
            match self.seen.iter_mut().find(|seen| seen.name == name) {
                // Another thread may have taken its name and place.
                Some(seen) if seen.reading == reading && Arc::ptr_eq(&seen.pulse.0, &pulse.0) => {}
                Some(seen) => *seen = Seen { name, pulse, reading, moved: now },
                None => self.seen.push(Seen { name, pulse, reading, moved: now }),
            }
        }
        let hangs = |seen: &&Seen| {
            seen.reading & RESTS == 0 && now.saturating_sub(seen.moved) >= self.still_max
        };
        self.seen.iter().find(hangs).map(|seen| seen.name.as_str())
    }
}

/// How often the service manager wants to hear that we are alive; none if it does not.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|every| !every.is_zero())
}

/// All intakes listen.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
}

/// The configuration is being read again; [`ready`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(at) => tell(&[NotifyState::Reloading, at]),
        Err(error) => tracing::debug!(%error, "no monotonic clock to name"),
    }
}

/// The stop has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// How it is going.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(&line(status))]);
}

/// Everything moves.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn line(status: &str) -> String {
    status.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_MAX).collect()
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(pulses: &[(&str, &Pulse)]) -> Vec<(String, Pulse)> {
        pulses.iter().map(|(name, pulse)| ((*name).to_owned(), (*pulse).clone())).collect()
    }

    #[test]
    fn a_thread_that_stands_still_with_work_hangs_and_one_that_rests_does_not() {
        let (accept, forward) = (Pulse::default(), Pulse::default());
        let both = || threads(&[("accept", &accept), ("forward a", &forward)]);
        let s = Duration::from_secs;
        let mut vigil = Vigil::new(s(10));
        accept.beat();
        forward.beat();
        forward.rest();
        assert_eq!(vigil.look(s(0), both()), None);
        accept.beat();
        assert_eq!(vigil.look(s(9), both()), None);
        assert_eq!(vigil.look(s(18), both()), None, "resting since long, moved 9 s ago");
        assert_eq!(vigil.look(s(19), both()), Some("accept"));
        accept.beat();
        forward.beat();
        assert_eq!(vigil.look(s(20), both()), None, "it came back");
        accept.beat();
        assert_eq!(vigil.look(s(29), both()), None);
        accept.beat();
        assert_eq!(vigil.look(s(30), both()), Some("forward a"));
        // It is gone, and another one took its place.
        assert_eq!(vigil.look(s(31), threads(&[("accept", &accept)])), None);
        accept.beat();
        let again = Pulse::default();
        let threads = threads(&[("accept", &accept), ("forward a", &again)]);
        assert_eq!(vigil.look(s(60), threads), None, "new since");
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(line("a\nb"), "a b");
        assert_eq!(line(&"x".repeat(1000)).len(), STATUS_MAX);
    }
}
