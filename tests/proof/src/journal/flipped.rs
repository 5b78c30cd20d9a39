//! A journal of which one bit at a time is turned over, and what must come of it.

use std::path::Path;
use std::sync::Arc;

use agent::forward::continuity::{Advance, Continuity, Hole, Verdict};
use agent::journal::{Damage, Item, Position};
use protocol::{Counts, Lane, Seq};

use super::content::Content;
use super::disk::Disk;
use super::flips::FlipsReport;
use super::history::{Act, History};
use super::holding::Holding;
use super::sink;
use super::truth::{Told, Violation, must};
use super::world::World;
use crate::chance::Chance;

/// Bytes of a segment: a few dozen entries.
const SEGMENT_LEN: u64 = 8192;
const HEADER_LEN: usize = 1024;
/// Header copy, and what of it is used.
const COPY_LEN: usize = 512;
const COPY_USED: usize = 68;
const SLOT_LEN: usize = 128;
/// What of a slot is used.
const SLOT_USED: usize = 108;
/// Lives of the journal.
const LIVES: usize = 3;

/// A file, a byte of it, and a bit of that.
pub(super) type Flip = (usize, usize, u8);

/// An entry, and where it stands.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) at: Position,
    pub(super) end: Position,
    /// The lane's totals at its end.
    pub(super) totals: Counts,
    pub(super) told: Arc<Told>,
}

/// One file of the journal.
#[derive(Debug)]
pub(super) enum Part {
    Table,
    Segment {
        lane: Lane,
        base: Position,
        /// Where the next one begins, if there is one; else where the log ends.
        end: Position,
        is_last: bool,
    },
}

#[derive(Debug)]
pub(super) struct Piece {
    pub(super) path: Arc<Path>,
    pub(super) content: Content,
    pub(super) part: Part,
    /// The part of the journal that it is given to the product with.
    pub(super) slice: Holding,
}

/// What a bit touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Touched {
    /// An entry: which of its lane's.
    Entry(usize),
    /// A mark, which stands from here to there.
    Mark(Position, Position),
    Header,
    Slot,
    EmptySlot,
    Nothing,
}

impl Touched {
    const fn name(self) -> &'static str {
        match self {
            Self::Entry(_) => "entries",
            Self::Mark(..) => "marks",
            Self::Header => "headers",
            Self::Slot => "lives",
            Self::EmptySlot => "empty slots",
            Self::Nothing => "padding",
        }
    }
}

/// The journal.
#[derive(Debug)]
pub(super) struct Flipped {
    pub(super) world: World,
    lanes: [Vec<Written>; 3],
    pieces: Vec<Piece>,
}

impl Flipped {
    /// Writes one of so many bytes.
    pub(super) fn write(bytes: usize, seed: u64) -> Result<Self, Violation> {
        let history = History {
            seed,
            number: 0,
            segment: SEGMENT_LEN,
            bytes_max: 1 << 40,
            reserve: 0,
            acts: Vec::new(),
            bits: 0,
            draws: 0,
        };
        let mut world = World::new(&history, None);
        let mut chance = Chance::new(seed, 0);
        world.perform(&Act::Kill)?;
        let empty = world.disk.used();
        let share = bytes.saturating_sub(empty).div_ceil(LIVES);
        for life in 1..=LIVES {
            while world.disk.used() < empty + share * life {
                for _ in 0..=chance.below(3) {
                    let lane = chance.pick(&Lane::ALL).unwrap_or(Lane::Bulk);
                    let len = chance.pick(&[0, 40, 90, 200, 600]).unwrap_or(90);
                    world.perform(&Act::Append { lane, count: 1 + chance.below(4), len })?;
                }
                world.perform(&Act::Commit)?;
            }
            if life < LIVES {
                world.perform(&Act::Kill)?;
            }
        }
        let files: Vec<(Arc<Path>, Content)> = world
            .disk
            .holding()
            .files()
            .map(|(path, file)| (Arc::clone(path), file.clone()))
            .collect();
        world.disk.replace(Holding::at_rest(files.clone()));
        let mut flipped = Self { world, lanes: Default::default(), pieces: Vec::new() };
        for lane in Lane::ALL {
            flipped.read(lane)?;
        }
        flipped.cut(&files);
        Ok(flipped)
    }

    fn read(&mut self, lane: Lane) -> Result<(), Violation> {
        let Some(journal) = &self.world.journal else { return Ok(()) };
        let mut reader = journal.tail().reader(lane, Position::ZERO);
        let Some(written) = self.lanes.get_mut(lane.index()) else { return Ok(()) };
        while let Some(item) = reader.next().map_err(|error| Violation(error.to_string()))? {
            let Item::Entry { entry, at, end, totals } = item else {
                return Err(Violation(format!("{item:?} in a journal that is whole")));
            };
            let told = Arc::clone(self.world.truth.told(lane, &entry, end)?);
            written.push(Written { at, end, totals, told });
        }
        let is_all = written.len() == self.world.truth.lane(lane).len();
        must(is_all, || format!("{lane}: {} entries are there", written.len()))
    }

    /// Which part of the journal goes with which file.
    fn cut(&mut self, files: &[(Arc<Path>, Content)]) {
        let table = files.iter().find(|(path, _)| path.ends_with("epochs")).cloned();
        let mut segments = Vec::new();
        for (path, content) in files {
            let lane = Lane::ALL
                .into_iter()
                .find(|lane| path.parent().is_some_and(|dir| dir.ends_with(lane.name())));
            let base = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if let (Some(lane), Some(base)) = (lane, base) {
                segments.push((lane, Position(base), Arc::clone(path), content.clone()));
            }
        }
        let header_of = |(_, _, path, content): &(Lane, Position, Arc<Path>, Content)| {
            let mut header = content.clone();
            header.set_len(HEADER_LEN);
            (Arc::clone(path), header)
        };
        for (index, (lane, base, path, content)) in segments.iter().enumerate() {
            let next = segments.get(index + 1).filter(|(of, ..)| of == lane);
            let end = self.lanes.get(lane.index()).and_then(|written| written.last());
            let end = next.map(|(_, base, ..)| *base).or(end.map(|last| last.end));
            let own = (Arc::clone(path), content.clone());
            let others = match next {
                Some(next) => vec![header_of(next)],
                None => table.iter().cloned().collect(),
            };
            self.pieces.push(Piece {
                path: Arc::clone(path),
                content: content.clone(),
                part: Part::Segment {
                    lane: *lane,
                    base: *base,
                    end: end.unwrap_or_default(),
                    is_last: next.is_none(),
                },
                slice: Holding::at_rest([own].into_iter().chain(others)),
            });
        }
        if let Some((path, content)) = table {
            let header = segments.last().map(header_of);
            let slice = [(Arc::clone(&path), content.clone())].into_iter().chain(header);
            let slice = Holding::at_rest(slice);
            self.pieces.push(Piece { path, content, part: Part::Table, slice });
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.content.len() as u64).sum()
    }

    pub(super) fn entries(&self) -> u64 {
        self.lanes.iter().map(|written| written.len() as u64).sum()
    }

    pub(super) fn files(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn len(&self, file: usize) -> usize {
        self.pieces.get(file).map_or(0, |piece| piece.content.len())
    }

    pub(super) fn written(&self, lane: Lane) -> &[Written] {
        self.lanes.get(lane.index()).map_or(&[], Vec::as_slice)
    }

    /// Each entry, when it is lost, is a hole in front of the next of its ring, with its counts.
    pub(super) fn name_each(&self) -> Result<u64, Violation> {
        let mut named = 0;
        for written in &self.lanes {
            for (index, lost) in written.iter().enumerate() {
                let of_ring = |other: &&Written| other.told.ring == lost.told.ring;
                let mut continuity = Continuity::default();
                let before = written.get(..index).unwrap_or_default().iter().rfind(of_ring);
                if let Some(before) = before {
                    continuity.advance(&sink::advance(&before.told.entry()));
                }
                let last = before.map_or(Seq::ZERO, |before| before.told.seq);
                let next = written.get(index + 1..).unwrap_or_default().iter().find(of_ring);
                // If it was the last one, the ring goes on one day.
                let next = next.map_or_else(
                    || Advance {
                        ring: lost.told.ring,
                        first: lost.told.seq.next(),
                        seq: lost.told.seq.next(),
                        adds: Counts { samples: 1, events: 0 },
                        through: lost.told.through + Counts { samples: 1, events: 0 },
                    },
                    |next| sink::advance(&next.told.entry()),
                );
                let verdict = continuity.judge(&next);
                let hole = Hole { first: last.next(), last: lost.told.seq, lost: lost.told.adds };
                let said = Verdict::New { hole: Some(hole), fresh: next.adds };
                must(verdict == said, || format!("{:?} lost, and said is {verdict:?}", lost.told))?;
                named += 1;
            }
        }
        Ok(named)
    }

    fn touched(&self, piece: &Piece, byte: usize) -> Touched {
        let Part::Segment { lane, base, end, .. } = piece.part else {
            let (slot, within) = (byte / SLOT_LEN, byte % SLOT_LEN);
            return match slot {
                1..=LIVES if within < SLOT_USED => Touched::Slot,
                1..=LIVES => Touched::Nothing,
                _ => Touched::EmptySlot,
            };
        };
        let Some(offset) = byte.checked_sub(HEADER_LEN) else {
            let is_used = byte % COPY_LEN < COPY_USED;
            return if is_used { Touched::Header } else { Touched::Nothing };
        };
        let at = Position(base.0.saturating_add(offset as u64));
        let written = self.written(lane);
        let index = written.partition_point(|written| written.end <= at);
        let before = index.checked_sub(1).and_then(|before| written.get(before));
        let from = before.map_or(base, |before| before.end.max(base));
        match written.get(index) {
            Some(own) if own.at <= at && at < end => Touched::Entry(index),
            Some(next) if at < end => Touched::Mark(from, next.at.min(end)),
            _ if at < end => Touched::Mark(from, end),
            // The last mark of all.
            None => {
                let len = piece.content.len().saturating_sub(HEADER_LEN) as u64;
                Touched::Mark(from, Position(base.0.saturating_add(len)))
            }
            Some(_) => Touched::Nothing,
        }
    }

    /// Turns one bit over, gives it to the product, and turns it back.
    pub(super) fn flip(
        &self,
        (file, byte, bit): Flip,
        report: &mut FlipsReport,
    ) -> Result<(), Violation> {
        let Some(piece) = self.pieces.get(file) else { return Ok(()) };
        let touched = self.touched(piece, byte);
        let noticed = match (&piece.part, touched) {
            (Part::Segment { is_last: false, .. }, Touched::Nothing) if byte >= HEADER_LEN => {
                self.verify(piece, byte, bit)
            }
            (Part::Segment { is_last: false, lane, base, end }, _) if byte >= HEADER_LEN => {
                self.world.disk.flip(&piece.path, byte, bit);
                let noticed = self.read_past(*lane, *base, *end, touched);
                self.world.disk.flip(&piece.path, byte, bit);
                noticed
            }
            (Part::Segment { .. }, _) if byte < HEADER_LEN => self.verify(piece, byte, bit),
            (Part::Segment { lane, base, .. }, _) => {
                let disk = flipped(&piece.slice, &piece.path, byte, bit);
                self.open(&disk, &[(*lane, *base)], touched, *lane)
            }
            (Part::Table, Touched::Slot) => {
                let disk = flipped(&self.world.disk.holding(), &piece.path, byte, bit);
                self.open_table(&disk).and_then(|()| Self::is_noticed(piece, byte, bit))
            }
            (Part::Table, _) => self.peek(piece, byte, bit),
        };
        let noticed = noticed.map_err(|Violation(violation)| {
            Violation(format!("{} byte {byte} bit {bit}: {violation}", piece.path.display()))
        })?;
        must(noticed, || {
            format!("{} byte {byte} bit {bit}: nobody noticed", piece.path.display())
        })?;
        *report.flips.entry(touched.name()).or_default() += 1;
        report.detected += 1;
        report.lost_max = report.lost_max.max(u64::from(matches!(touched, Touched::Entry(_))));
        Ok(())
    }

    /// Gives it to an open of all of the journal.
    pub(super) fn flip_whole(&self, (file, byte, bit): Flip) -> Result<(), Violation> {
        let Some(piece) = self.pieces.get(file) else { return Ok(()) };
        let touched = self.touched(piece, byte);
        let disk = flipped(&self.world.disk.holding(), &piece.path, byte, bit);
        let all = Lane::ALL.map(|lane| (lane, Position::ZERO));
        let outcome = match piece.part {
            Part::Table => self.open_table(&disk),
            Part::Segment { lane, .. } => self.open(&disk, &all, touched, lane).map(drop),
        };
        outcome.map_err(|Violation(violation)| {
            let path = piece.path.display();
            Violation(format!("{path} byte {byte} bit {bit}, whole: {violation}"))
        })
    }

    /// What the bit costs: an entry, and what is said of it.
    pub(super) fn damage(&self, lane: Lane, touched: Touched) -> (Option<usize>, Option<Damage>) {
        let written = self.written(lane);
        match touched {
            Touched::Entry(index) => {
                let lost = written.get(index);
                let damage =
                    lost.map(|lost| Damage { from: lost.at, to: lost.end, totals: lost.totals });
                (Some(index), damage)
            }
            Touched::Mark(from, to) => {
                let index = written.partition_point(|written| written.end <= from);
                let totals = index.checked_sub(1).and_then(|before| written.get(before));
                let totals = totals.map_or(Counts::ZERO, |before| before.totals);
                (None, Some(Damage { from, to, totals }))
            }
            _ => (None, None),
        }
    }
}

/// A disk with this, one bit of it turned over.
pub(super) fn flipped(holding: &Holding, path: &Path, byte: usize, bit: u8) -> Disk {
    let disk = Disk::new(holding.clone(), None, None);
    disk.flip(path, byte, bit);
    disk
}
