//! Roll-ups added up: over blocks, over hours, over catalogues with different steps.

use super::super::value::{Number, Scale};
use crate::store::rollup::Rollup;

/// What is known of one signal in one bucket.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Tally {
    pub count: u64,
    pub min: Number,
    pub max: Number,
    pub first: Number,
    pub last: Number,
    first_ms: i64,
    last_ms: i64,
    /// In steps of this scale, so that the sum is exact as long as the catalogue stays.
    scale: Scale,
    scaled_count: u64,
    scaled_sum: i128,
    /// What came in other steps.
    other_sum: f64,
}

impl Tally {
    /// What a block knows.
    pub fn new(rollup: &Rollup, scale: Scale) -> Self {
        Self {
            count: u64::from(rollup.count),
            min: scale.number(rollup.min),
            max: scale.number(rollup.max),
            first: scale.number(rollup.first),
            last: scale.number(rollup.last),
            first_ms: rollup.first_ms,
            last_ms: rollup.last_ms,
            scale,
            scaled_count: u64::from(rollup.count),
            scaled_sum: rollup.sum,
            other_sum: 0.0,
        }
    }

    /// Takes in what another block knows.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.first_ms < self.first_ms {
            (self.first, self.first_ms) = (other.first, other.first_ms);
        }
        if other.last_ms >= self.last_ms {
            (self.last, self.last_ms) = (other.last, other.last_ms);
        }
        self.other_sum += other.other_sum;
        if other.scale == self.scale {
            self.scaled_count += other.scaled_count;
            self.scaled_sum = self.scaled_sum.saturating_add(other.scaled_sum);
        } else {
            self.other_sum += other.scale.sum(other.scaled_sum, other.scaled_count);
        }
    }

    pub fn sum(&self) -> f64 {
        self.scale.sum(self.scaled_sum, self.scaled_count) + self.other_sum
    }

    #[allow(clippy::cast_precision_loss, reason = "a mean of fewer than 2^53 samples")]
    pub fn mean(&self) -> f64 {
        self.sum() / self.count as f64
    }
}

/// The samples of one column in one bucket, as they come.
pub(super) fn take(rollup: &mut Option<Rollup>, bucket: i64, column: u8, raw: i64, at_ms: i64) {
    let Some(rollup) = rollup else {
        *rollup = Some(Rollup {
            bucket,
            column,
            count: 1,
            min: raw,
            max: raw,
            sum: i128::from(raw),
            first: raw,
            last: raw,
            first_ms: at_ms,
            last_ms: at_ms,
        });
        return;
    };
    rollup.count += 1;
    rollup.min = rollup.min.min(raw);
    rollup.max = rollup.max.max(raw);
    rollup.sum += i128::from(raw);
    if at_ms < rollup.first_ms {
        (rollup.first, rollup.first_ms) = (raw, at_ms);
    }
    if at_ms >= rollup.last_ms {
        (rollup.last, rollup.last_ms) = (raw, at_ms);
    }
}

#[cfg(test)]
mod tests {
    use protocol::Step;

    use super::*;

    fn tally(samples: &[(i64, i64)], step: Step) -> Tally {
        let mut rollup = None;
        for (at_ms, raw) in samples {
            take(&mut rollup, 0, 0, *raw, *at_ms);
        }
        Tally::new(&rollup.unwrap(), Scale::new(step))
    }

    #[test]
    fn blocks_add_up_whatever_their_steps() {
        let mut all = tally(&[(5, 10), (3, 20)], Step::new(1, 10));
        all.add(&tally(&[(4, 30), (9, -10)], Step::new(1, 10)));
        assert_eq!((all.count, all.sum().to_bits()), (4, 5_f64.to_bits()));
        assert_eq!((all.first, all.last), (Number::Real(2.0), Number::Real(-1.0)));
        all.add(&tally(&[(1, 7)], Step::ONE));
        assert_eq!(all.count, 5);
        assert_eq!([all.sum(), all.mean()].map(f64::to_bits), [12.0, 2.4].map(f64::to_bits));
        assert_eq!((all.min, all.max), (Number::Real(-1.0), Number::Whole(7)));
        assert_eq!(all.first, Number::Whole(7));
    }
}
