//! What the product makes of a flipped bit, and whether that is right.

use std::path::Path;
use std::sync::Arc;

use agent::journal::{Item, Position, Positions, Report, peek, verify};
use agent::storage::SharedStorage;
use protocol::{Counts, Lane};

use super::bench::JOURNAL;
use super::disk::Disk;
use super::flipped::{Flipped, Part, Piece, Touched, flipped};
use super::truth::{Violation, must};

impl Flipped {
    /// A reader goes past the segment: whether it noticed.
    pub(super) fn read_past(
        &self,
        lane: Lane,
        base: Position,
        end: Position,
        touched: Touched,
    ) -> Result<bool, Violation> {
        let Some(journal) = &self.world.journal else { return Ok(false) };
        let (lost, mut damage) = self.damage(lane, touched);
        let is_damaged = damage.is_some();
        let written = self.written(lane);
        let from = written.partition_point(|written| written.at < base);
        let to = written.partition_point(|written| written.at < end);
        let mut left = (from..to).filter(|index| Some(*index) != lost);
        let mut reader = journal.tail().reader(lane, base);
        while reader.position() < end {
            match reader.next().map_err(|error| Violation(error.to_string()))? {
                Some(Item::Entry { at, .. }) if at >= end => break,
                Some(Item::Entry { entry, at, end, totals }) => {
                    let own = left.next().and_then(|index| written.get(index));
                    let is_it = own.is_some_and(|own| {
                        own.at == at
                            && own.end == end
                            && own.totals == totals
                            && own.told.entry() == entry
                    });
                    must(is_it, || format!("{entry:?} at {at:?}, and {own:?} is right"))?;
                }
                Some(Item::Damage(said)) => {
                    must(damage.take() == Some(said), || format!("{said:?} is said"))?;
                }
                None => break,
            }
        }
        must(left.next().is_none(), || "more than one entry is lost".to_owned())?;
        must(damage.is_none(), || format!("{damage:?} is not said"))?;
        Ok(is_damaged)
    }

    /// An open finds what is left of a lane, from a segment on: whether it noticed.
    pub(super) fn open(
        &self,
        disk: &Disk,
        from: &[(Lane, Position)],
        touched: Touched,
        in_lane: Lane,
    ) -> Result<bool, Violation> {
        let mut found: [Vec<u64>; 3] = Default::default();
        let mut wrong = None;
        let storage: SharedStorage = Arc::new(disk.clone());
        let config = self.world.bench.config.clone();
        let opened = agent::journal::Journal::open(
            storage,
            config,
            JOURNAL,
            99,
            &Positions::ZERO,
            &mut |lane, entry, end| match self.world.truth.told(lane, entry, end) {
                Ok(told) => found.iter_mut().skip(lane.index()).take(1).for_each(|found| {
                    found.push(told.number);
                }),
                Err(Violation(violation)) => wrong = Some(violation),
            },
        );
        let (journal, report) = opened.map_err(|error| Violation(error.to_string()))?;
        must(wrong.is_none(), || format!("{wrong:?}"))?;
        let (lost, damage) = self.damage(in_lane, touched);
        let written = self.written(in_lane);
        let end = written.last().map_or(Position::ZERO, |last| last.end);
        // A last mark that is not whole is no damage: it is cut off.
        let said = damage.filter(|damage| damage.from < end);
        let is_torn = damage.is_some() && said.is_none();
        let is_cut = report.torn_bytes.iter().any(|bytes| *bytes > 0);
        must(is_torn == is_cut, || format!("torn: {:?}", report.torn_bytes))?;
        for (lane, base) in from {
            let written = self.written(*lane);
            let begin = written.partition_point(|written| written.at < *base);
            let left = written.iter().enumerate().skip(begin);
            let left = left.filter(|(index, _)| *lane != in_lane || Some(*index) != lost);
            let found = found.get(lane.index()).map_or(&[][..], Vec::as_slice);
            must(left.map(|(_, written)| written.told.number).eq(found.iter().copied()), || {
                format!("{lane}: more is lost than {touched:?}: {} are left", found.len())
            })?;
            let damages = report.damages.iter().filter(|(of, _)| of == lane);
            let damages = damages.map(|(_, damage)| *damage);
            let beyond = damages.filter(|damage| damage.to > *base);
            let expected = said.filter(|_| *lane == in_lane);
            must(beyond.eq(expected), || format!("{lane}: {:?} is said", report.damages))?;
            let totals = written.last().map_or(Counts::ZERO, |last| last.totals);
            let ends = journal.ends().get(*lane);
            must(ends.totals == totals, || format!("{lane}: {ends:?} at the end"))?;
        }
        Ok(said.is_some() || is_torn)
    }

    /// A segment with a header that is not whole is as it was: the other copy tells it. So is one
    /// that has something else behind its end. Whether it was noticed.
    pub(super) fn verify(&self, piece: &Piece, byte: usize, bit: u8) -> Result<bool, Violation> {
        let Part::Segment { lane, base, end, .. } = piece.part else { return Ok(false) };
        let disk = flipped(&piece.slice, &piece.path, byte, bit);
        let storage: SharedStorage = Arc::new(disk);
        let report = verify(&storage, Path::new("journal"));
        let report = report.map_err(|error| Violation(error.to_string()))?;
        let Some(report) = report else { return Err(Violation("no journal".to_owned())) };
        let written = self.written(lane);
        let from = written.partition_point(|written| written.at < base);
        let to = written.partition_point(|written| written.at < end);
        let totals = to.checked_sub(1).and_then(|last| written.get(last));
        let totals = totals.map_or(Counts::ZERO, |last| last.totals);
        let is_same = report.journal == JOURNAL
            && report.lanes.get(lane.index()).is_some_and(|lane| {
                let is_whole = lane.damage_count == 0 && lane.torn_bytes == 0;
                let entries = (to - from) as u64;
                is_whole && lane.entries == entries && lane.end.totals == totals
            });
        must(is_same, || format!("{report:?}"))?;
        Ok(is_named(&report, piece))
    }

    /// A slot that is not whole costs cursors of two lives, and nothing else.
    pub(super) fn open_table(&self, disk: &Disk) -> Result<(), Violation> {
        let last = self.world.truth.epoch;
        let mut entries = 0;
        let opened = agent::journal::Journal::open(
            Arc::new(disk.clone()),
            self.world.bench.config.clone(),
            JOURNAL,
            99,
            &Positions::ZERO,
            &mut |_, _, _| entries += 1,
        );
        let (journal, report) = opened.map_err(|error| Violation(error.to_string()))?;
        must(entries == self.entries() && report.damage_count == 0, || format!("{report:?}"))?;
        must(journal.epoch().number > last, || format!("{:?} follows {last}", journal.epoch()))?;
        let hold = &self.world.truth.hold;
        let gone = hold.iter().filter(|cursor| !journal.tail().validates(cursor));
        let mut lives: Vec<u32> = gone.map(|cursor| cursor.epoch.number).collect();
        lives.dedup();
        must(lives.len() <= 2, || format!("cursors of {lives:?} do not hold any more"))
    }

    /// An empty slot that is not empty says nothing. Whether it was noticed.
    pub(super) fn peek(&self, piece: &Piece, byte: usize, bit: u8) -> Result<bool, Violation> {
        let disk = flipped(&piece.slice, &piece.path, byte, bit);
        let storage: SharedStorage = Arc::new(disk);
        let seen = peek(&storage, Path::new("journal"));
        let seen = seen.map_err(|error| Violation(error.to_string()))?;
        let epoch = self.world.truth.epoch;
        let is_same = seen.is_some_and(|(journal, at, _)| journal == JOURNAL && at.number == epoch);
        must(is_same, || format!("{seen:?}"))?;
        Self::is_noticed(piece, byte, bit)
    }

    /// Whether who looks through the journal is told.
    pub(super) fn is_noticed(piece: &Piece, byte: usize, bit: u8) -> Result<bool, Violation> {
        let disk = flipped(&piece.slice, &piece.path, byte, bit);
        let storage: SharedStorage = Arc::new(disk);
        let report = verify(&storage, Path::new("journal"));
        let report = report.map_err(|error| Violation(error.to_string()))?;
        Ok(report.is_some_and(|report| is_named(&report, piece)))
    }
}

/// Whether the file is named that the bit is in, and no other.
fn is_named(report: &Report, piece: &Piece) -> bool {
    matches!(&report.flaws[..], [flaw] if *flaw.path == *piece.path)
}
