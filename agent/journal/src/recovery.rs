//! What a journal's directory holds: read by an open, which then puts it in order, and by `verify`,
//! which changes nothing.

use std::io;
use std::path::Path;

use protocol::{Counts, Lane};

use super::JournalError;
use super::cursor::{Ends, Epoch, Identity, PerLane, Point, Position};
use super::epochs::Epochs;
use super::record::{self, Seed};
use super::scan::{Scan, Span, Step};
use super::segment::{
    self, FORMAT_VERSION, HEADER_LEN, Header, HeaderRead, Segment, Unfinished, lane_dir, offset_of,
    path_of,
};
use storage::{SharedStorage, Storage};

/// Bytes copied at once.
const COPY_LEN: usize = 64 * 1024;

/// What was found.
#[derive(Debug)]
pub(super) struct Survey {
    /// The journal's id; none if there is no journal yet, or nothing of it can be read.
    pub(super) journal: Option<[u8; 16]>,
    pub(super) epochs: Epochs,
    /// The highest epoch that anything names.
    pub(super) latest: Epoch,
    pub(super) lanes: PerLane<LaneSurvey>,
}

/// What was found of a lane.
#[derive(Debug, Default)]
pub(super) struct LaneSurvey {
    pub(super) segments: Vec<Segment>,
    tip: Tip,
    /// Who wrote the last segment.
    last: Option<Identity>,
}

/// How the last segment ends.
#[derive(Clone, Copy, Debug, Default)]
struct Tip {
    /// Where its last mark stands: the end of what that vouches for.
    marked: Point,
    /// The end of the entries that follow without a break, which is the end of the log.
    end: Point,
    /// The end of what is whole: `end`, or the mark that stands there.
    whole: Position,
}

impl LaneSurvey {
    /// Bytes beyond the last whole record: what a crash left of a group that was never committed.
    pub(super) fn torn_bytes(&self) -> u64 {
        self.segments
            .last()
            .map_or(0, |last| last.bytes.saturating_sub(offset_of(last.base.at, self.tip.whole)))
    }

    /// Bytes that are whole, but that no mark vouches for.
    pub(super) fn unmarked_bytes(&self) -> u64 {
        self.tip.end.at.since(self.tip.marked.at)
    }
}

impl Survey {
    /// Looks at everything, and changes nothing.
    pub(super) fn read(storage: &dyn Storage, dir: &Path) -> Result<Self, JournalError> {
        let (journal, epochs) =
            Epochs::read(storage, dir).map_err(|source| JournalError::at(dir, source))?;
        let headers = PerLane::try_new(|lane| read_headers(storage, dir, lane))?;
        let newest = headers
            .0
            .iter()
            .flatten()
            .filter_map(|(_, identity, _)| *identity)
            .max_by_key(|identity| identity.epoch.number);
        let journal = journal.or(newest.map(|identity| identity.journal));
        let latest = epochs.last().map(|start| start.epoch);
        let latest = latest.into_iter().chain(newest.map(|identity| identity.epoch));
        let latest = latest.max_by_key(|epoch| epoch.number).unwrap_or_default();
        let known = epochs.last().map_or_else(Ends::default, |start| start.ends);
        let lanes = PerLane::try_new(|lane| {
            let seed = Seed::new(journal.unwrap_or_default(), lane);
            survey_lane(storage, &lane_dir(dir, lane), seed, headers.get(lane), known.get(lane))
                .map_err(|source| JournalError::at(&lane_dir(dir, lane), source))
        })?;
        Ok(Self { journal, epochs, latest, lanes })
    }

    /// Whether there is nothing yet.
    pub(super) fn is_new(&self) -> bool {
        self.journal.is_none() && self.lanes.0.iter().all(|lane| lane.segments.is_empty())
    }

    pub(super) fn ends(&self) -> Ends {
        Ends::from_points(&PerLane::new(|lane| self.lanes.get(lane).tip.end))
    }

    /// Makes a lane's end durable: what no mark vouches for is written again, in a new segment that
    /// continues the old one, because a page that a failed sync marked clean reads as if it were on
    /// disk. Then cuts what is torn.
    pub(super) fn repair(
        &mut self,
        storage: &SharedStorage,
        dir: &Path,
        lane: Lane,
        journal: [u8; 16],
    ) -> io::Result<()> {
        let lane_dir = lane_dir(dir, lane);
        let latest = self.latest;
        let survey = self.lanes.get_mut(lane);
        let Some(last) = survey.segments.last().copied() else { return Ok(()) };
        let Tip { marked, end, whole } = survey.tip;
        let mut kept = offset_of(last.base.at, whole);
        if survey.unmarked_bytes() > 0 {
            let identity = survey.last.unwrap_or(Identity { journal, epoch: latest });
            let header = Header { identity, lane, base: marked };
            let bytes = copy(storage, &lane_dir, last.base.at, end, &header)?;
            survey.segments.retain(|segment| segment.base.at < marked.at);
            survey.segments.push(Segment { base: marked, bytes });
            if marked.at == last.base.at {
                // The copy took the old one's name.
                return Ok(());
            }
            kept = offset_of(last.base.at, marked.at);
        }
        let file = storage.open(&path_of(&lane_dir, last.base.at), false)?;
        if last.bytes > kept {
            file.set_len(kept)?;
            let cut = survey.segments.iter_mut().find(|segment| segment.base.at == last.base.at);
            if let Some(segment) = cut {
                segment.bytes = kept;
            }
        }
        // The last life may have cut it, too, and not lived to sync it: what is gone now must not
        // come back.
        file.sync()?;
        Ok(())
    }
}

/// A segment as its directory and header tell of it: the totals are known if the header is whole.
type Found = (Segment, Option<Identity>, Option<Counts>);

fn read_headers(storage: &dyn Storage, dir: &Path, lane: Lane) -> Result<Vec<Found>, JournalError> {
    let lane_dir = lane_dir(dir, lane);
    let bases =
        segment::list(storage, &lane_dir).map_err(|source| JournalError::at(&lane_dir, source))?;
    let mut found = Vec::with_capacity(bases.len());
    for base in bases {
        let path = path_of(&lane_dir, base);
        let read = storage
            .open(&path, false)
            .and_then(|file| Ok((file.len()?, Header::read(&*file, lane, base)?)));
        let (bytes, header) = read.map_err(|source| JournalError::at(&path, source))?;
        let header = match header {
            HeaderRead::Valid(header) => Some(header),
            HeaderRead::Damaged => None,
            HeaderRead::Version(found) => {
                return Err(JournalError::Version { path, found, known: FORMAT_VERSION });
            }
        };
        let totals = header.map(|header| header.base.totals);
        let base = Point { at: base, totals: totals.unwrap_or_default() };
        found.push((Segment { base, bytes }, header.map(|header| header.identity), totals));
    }
    Ok(found)
}

fn survey_lane(
    storage: &dyn Storage,
    lane_dir: &Path,
    seed: Seed,
    found: &[Found],
    known: Point,
) -> io::Result<LaneSurvey> {
    let mut survey = LaneSurvey::default();
    // From the last to the first: what a damaged header no longer tells, the next one does.
    let mut following = known.totals;
    for (segment, _, totals) in found.iter().rev() {
        let totals = match totals {
            Some(totals) => *totals,
            None => first_totals(storage, lane_dir, seed, segment)?.unwrap_or(following),
        };
        following = totals;
        survey.segments.push(Segment { base: Point { totals, ..segment.base }, ..*segment });
    }
    survey.segments.reverse();
    if let (Some(last), Some((_, identity, _))) = (survey.segments.last(), found.last()) {
        survey.tip = find_tip(storage, lane_dir, seed, last)?;
        survey.last = *identity;
    }
    if survey.tip.end.at < known.at {
        // The last life began further on: its segments are gone. No position is used twice.
        survey.tip = Tip { marked: known, end: known, whole: known.at };
    }
    Ok(survey)
}

fn whole_file(segment: &Segment) -> Span {
    let len = segment.bytes.saturating_sub(HEADER_LEN);
    Span { base: segment.base.at, end: Position(segment.base.at.0.saturating_add(len)) }
}

/// The totals before the first whole record.
fn first_totals(
    storage: &dyn Storage,
    lane_dir: &Path,
    seed: Seed,
    segment: &Segment,
) -> io::Result<Option<Counts>> {
    let file = storage.open(&path_of(lane_dir, segment.base.at), false)?;
    let mut scan = Scan::new(seed);
    let at = match scan.step(&*file, whole_file(segment), segment.base.at)? {
        Step::Record(_) => segment.base.at,
        Step::Damage(to) => to,
        Step::End => return Ok(None),
    };
    Ok(scan.totals_at(at))
}

fn find_tip(
    storage: &dyn Storage,
    lane_dir: &Path,
    seed: Seed,
    segment: &Segment,
) -> io::Result<Tip> {
    let file = storage.open(&path_of(lane_dir, segment.base.at), false)?;
    let mut scan = Scan::new(seed);
    let all = whole_file(segment);
    let mut tip = Tip { marked: segment.base, end: segment.base, whole: segment.base.at };
    let mut at = segment.base.at;
    let mut unbroken = true;
    loop {
        match scan.step(&*file, all, at)? {
            Step::Record(len) => {
                let Some(record) = scan.record(at, len) else { break };
                let after = at.plus(len);
                if record.entry.is_none() {
                    // It may not be durable itself: the log ends before it.
                    let marked = Point { at, totals: record.before };
                    tip = Tip { marked, end: marked, whole: after };
                    unbroken = true;
                } else if unbroken {
                    tip.end = Point { at: after, totals: record.after() };
                    tip.whole = after;
                }
                at = after;
            }
            Step::Damage(to) => (at, unbroken) = (to, false),
            Step::End => break,
        }
    }
    Ok(tip)
}

/// Writes what stands from `header.base` to `end` in the segment at `from` to a segment of its own,
/// with a mark: once that has its name, all of it is durable. The length of its file.
fn copy(
    storage: &SharedStorage,
    lane_dir: &Path,
    from: Position,
    end: Point,
    header: &Header,
) -> io::Result<u64> {
    let file = storage.open(&path_of(lane_dir, from), false)?;
    let segment = Unfinished::segment(storage, lane_dir, header)?;
    let mut buffer = vec![0; COPY_LEN];
    let mut at = header.base.at;
    let copied = loop {
        let wanted = usize::try_from(end.at.since(at)).unwrap_or(COPY_LEN).min(COPY_LEN);
        if wanted == 0 {
            break Ok(());
        }
        let chunk = buffer.get_mut(..wanted).unwrap_or_default();
        match file.read_at(offset_of(from, at), chunk) {
            Ok(read) if read == wanted => {}
            Ok(_) => break Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => break Err(error),
        }
        if let Err(error) = segment.write_at(offset_of(header.base.at, at), chunk) {
            break Err(error);
        }
        at = at.plus(wanted);
    };
    let mut mark = Vec::new();
    let seed = Seed::new(header.identity.journal, header.lane);
    record::put_mark(&mut mark, seed, at, end.totals);
    let marked = copied.and_then(|()| segment.write_at(offset_of(header.base.at, at), &mark));
    match marked {
        Ok(()) => drop(segment.finish()?),
        Err(error) => return Err(segment.give_up(error)),
    }
    Ok(offset_of(header.base.at, at.plus(mark.len())))
}
