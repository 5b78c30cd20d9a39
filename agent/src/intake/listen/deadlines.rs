//! When a session has been quiet, or its device deaf, for too long.

use std::time::Duration;

use tokio::time::Instant;

use super::reason::End;

/// One session's deadlines; the driver keeps a timer to [`Self::next`].
pub(super) struct Deadlines {
    silence_max: Duration,
    write_timeout: Duration,
    heard_at: Instant,
    stalled_since: Option<Instant>,
}

impl Deadlines {
    pub(super) fn new(keep_alive_s: u16, write_timeout: Duration, now: Instant) -> Self {
        // One and a half times the keep alive (MQTT 5, 3.1.2.10).
        let silence_max = Duration::from_millis(u64::from(keep_alive_s) * 1500);
        Self { silence_max, write_timeout, heard_at: now, stalled_since: None }
    }

    /// A whole packet came, or we did not read.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// Whether bytes wait for the socket to take them; the time runs from the first until none do.
    pub(super) fn stalled(&mut self, stalled: bool, now: Instant) {
        self.stalled_since = stalled.then(|| self.stalled_since.unwrap_or(now));
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        let silent_at = self.heard_at + self.silence_max;
        match self.stalled_since {
            Some(since) => silent_at.min(since + self.write_timeout),
            None => silent_at,
        }
    }

    /// The deadline that is past.
    pub(super) fn missed(&self, now: Instant) -> Option<End> {
        if self.stalled_since.is_some_and(|since| since + self.write_timeout <= now) {
            return Some(End::Slow);
        }
        (self.heard_at + self.silence_max <= now).then_some(End::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_and_stalls_are_told_apart() {
        let begin = Instant::now();
        let seconds = Duration::from_secs;
        let mut deadlines = Deadlines::new(60, seconds(20), begin);
        assert_eq!(deadlines.next(), begin + seconds(90));
        assert_eq!(deadlines.missed(begin + seconds(89)), None);
        assert_eq!(deadlines.missed(begin + seconds(90)), Some(End::Silent));

        deadlines.heard(begin + seconds(60));
        assert_eq!(deadlines.next(), begin + seconds(150));

        deadlines.stalled(true, begin + seconds(61));
        deadlines.stalled(true, begin + seconds(70));
        assert_eq!(deadlines.next(), begin + seconds(81), "runs from the first byte that waits");
        assert_eq!(deadlines.missed(begin + seconds(81)), Some(End::Slow));
        deadlines.stalled(false, begin + seconds(75));
        assert_eq!(deadlines.missed(begin + seconds(81)), None);
    }
}
