//! How long to wait before the next attempt: full jitter under a bound that doubles.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);

/// The waits of one row of failures.
#[derive(Clone, Debug)]
pub struct Backoff {
    max: Duration,
    failures: u32,
    state: u64,
}

impl Backoff {
    /// Waits of at most `max`; two with other seeds wait apart.
    pub fn new(max: Duration, seed: u64) -> Self {
        Self { max, failures: 0, state: seed | 1 }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed: how long to wait.
    pub fn next(&mut self) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        // xorshift64: spread, not secrecy.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.state % bound_us + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_begin_anew() {
        let max = Duration::from_secs(30);
        let mut backoff = Backoff::new(max, 7);
        let waits: Vec<Duration> = (0..200).map(|_| backoff.next()).collect();
        assert!(waits[0] <= FIRST && waits.iter().all(|wait| *wait <= max));
        assert!(
            waits.iter().any(|wait| *wait > max / 2)
                && waits.iter().skip(20).any(|wait| *wait < max / 2)
        );
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }

    #[test]
    fn waits_are_drawn_by_xorshift64_below_a_bound_that_doubles() {
        let mut backoff = Backoff::new(Duration::MAX, 1);
        // Marsaglia's triple 13, 7, 17, from 1: modulo 100 ms, 200 ms.
        let drawn = [1_082_269_761_u64 % 100_000 + 1, 1_152_992_998_833_853_505 % 200_000 + 1];
        assert_eq!([(); 2].map(|()| backoff.next()), drawn.map(Duration::from_micros));
    }

    #[test]
    fn failures_are_counted_until_it_works() {
        let mut backoff = Backoff::new(Duration::from_secs(1), 7);
        for failures in 0..3 {
            assert_eq!(backoff.failures(), failures);
            backoff.next();
        }
        backoff.reset();
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn waits_are_apart_whatever_the_seed() {
        for seed in 0..8 {
            let mut backoff = Backoff::new(Duration::from_secs(30), seed);
            let mut waits: Vec<Duration> = (0..50).map(|_| backoff.next()).skip(10).collect();
            waits.sort_unstable();
            waits.dedup();
            assert_eq!(waits.len(), 40, "seed {seed}");
        }
    }
}
