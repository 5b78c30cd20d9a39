//! The watermark of one ring: what is next, what is old, what is too early (I2).
//!
//! Pure and tiny on purpose: one number per ring is the whole memory of deduplication, with an
//! infinite horizon. Time is nowhere in it.

use protocol::{Counts, FrameTag, Loss, Seq};

/// What the agent holds of one ring: everything up to `durable`, or the record of its loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watermark {
    /// The last sequence number held or accounted for.
    pub durable: Seq,
    /// Tag of that frame; zeros if there is none because a loss covers it.
    pub tag: FrameTag,
    /// What the ring had taken up to there, lost or not.
    pub through: Counts,
}

/// What an authenticated frame is to the watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The next one: take it. What it adds to the ledger.
    Next(Counts),
    /// Held already.
    Duplicate,
    /// One before it is missing: the device must go back.
    Ahead,
}

impl Watermark {
    /// Judges a frame that carries samples or records.
    pub fn judge(&self, seq: Seq, counts: Counts) -> Verdict {
        if seq <= self.durable {
            Verdict::Duplicate
        } else if seq == self.durable.next() {
            Verdict::Next(counts)
        } else {
            Verdict::Ahead
        }
    }

    /// Judges a loss record: it may itself cover the gap before it. A claim: what this agent holds
    /// or has accounted for already is subtracted, by cumulative counts.
    pub fn judge_loss(&self, seq: Seq, loss: &Loss) -> Verdict {
        let covers_gap = loss.first <= self.durable.next() && loss.last.next() >= seq;
        if seq <= self.durable {
            Verdict::Duplicate
        } else if seq == self.durable.next() || covers_gap {
            Verdict::Next(loss.through.since(self.through))
        } else {
            Verdict::Ahead
        }
    }

    /// The part of a ring that its device no longer has and that was never seen here: the last
    /// sequence number missing, and what went with it.
    pub fn gap_before(&self, first_retained: Seq, before_first: Counts) -> Option<(Seq, Counts)> {
        let last_gone = first_retained.prev();
        (last_gone > self.durable).then(|| (last_gone, before_first.since(self.through)))
    }

    /// Moves on to a frame or gap that was taken.
    pub fn advance(&mut self, seq: Seq, tag: FrameTag, adds: Counts) {
        *self = Self { durable: seq, tag, through: self.through + adds };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::DeviceTime;
    use protocol::loss::LossReason;

    fn samples(samples: u64) -> Counts {
        Counts { samples, events: 0 }
    }

    fn loss(first: u64, last: u64, through: u64) -> Loss {
        Loss {
            first: Seq(first),
            last: Seq(last),
            through: samples(through),
            reason: LossReason::Full,
            time: DeviceTime::default(),
        }
    }

    #[test]
    fn takes_each_once_and_in_order() {
        let mut mark = Watermark::default();
        assert_eq!(mark.judge(Seq(2), samples(5)), Verdict::Ahead);
        assert_eq!(mark.judge(Seq(1), samples(5)), Verdict::Next(samples(5)));
        mark.advance(Seq(1), FrameTag::default(), samples(5));
        assert_eq!(mark.judge(Seq(1), samples(5)), Verdict::Duplicate);
        assert_eq!(mark.judge(Seq(2), samples(7)), Verdict::Next(samples(7)));
    }

    #[test]
    fn a_loss_counts_only_what_is_not_held() {
        // The device dropped 3..=6; 3 and 4 had arrived.
        let mark = Watermark { durable: Seq(4), tag: FrameTag::default(), through: samples(40) };
        assert_eq!(mark.judge_loss(Seq(7), &loss(3, 6, 60)), Verdict::Next(samples(20)));
        // It does not reach down to what is held: something before it is still to come.
        assert_eq!(mark.judge_loss(Seq(9), &loss(6, 8, 80)), Verdict::Ahead);
        // It covers a gap but is not adjacent to it: frames in between are still to come.
        assert_eq!(mark.judge_loss(Seq(9), &loss(5, 6, 60)), Verdict::Ahead);
        // Accounted already, by an earlier claim or a hello.
        let mark = Watermark { durable: Seq(6), tag: FrameTag::default(), through: samples(60) };
        assert_eq!(mark.judge_loss(Seq(7), &loss(3, 6, 60)), Verdict::Next(samples(0)));
    }

    #[test]
    fn a_hello_shows_what_is_gone() {
        let mark = Watermark { durable: Seq(4), tag: FrameTag::default(), through: samples(40) };
        assert_eq!(mark.gap_before(Seq(5), samples(40)), None);
        assert_eq!(mark.gap_before(Seq(2), samples(10)), None);
        assert_eq!(mark.gap_before(Seq(8), samples(75)), Some((Seq(7), samples(35))));
    }

    proptest! {
        /// However frames are repeated, reordered and lost on the way, what is taken is 1, 2, 3 ...
        #[test]
        fn what_is_taken_is_gapless(arrivals in prop::collection::vec(1_u64..30, 0..300)) {
            let mut mark = Watermark::default();
            let mut taken = Vec::new();
            for seq in arrivals {
                if let Verdict::Next(adds) = mark.judge(Seq(seq), samples(seq)) {
                    mark.advance(Seq(seq), FrameTag::default(), adds);
                    taken.push(seq);
                }
            }
            let expected: Vec<u64> = (1..=mark.durable.0).collect();
            prop_assert_eq!(&taken, &expected);
            prop_assert_eq!(mark.through, samples(expected.iter().sum()));
        }
    }
}
