//! A walk through all of a journal that changes nothing.

use std::path::Path;
use std::sync::Arc;

use protocol::Lane;
use tokio::sync::watch;

use super::cursor::{Ends, Epoch, Identity, PerLane, Point, Position};
use super::flaws::{self, Flaw};
use super::reader::Shared;
use super::recovery::Survey;
use super::{DAMAGES_LISTED_MAX, Damage, Item, JournalError, JournalTail};
use storage::SharedStorage;

/// What a journal holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its id.
    pub journal: [u8; 16],
    /// Its last life.
    pub epoch: Epoch,
    /// Its lanes, by [`Lane::index`].
    pub lanes: [LaneReport; 3],
    /// What is not as it was written and costs nothing: the first of each file, and of
    /// [`DAMAGES_LISTED_MAX`] files at most.
    pub flaws: Vec<Flaw>,
}

impl Report {
    /// Whether all of it is as it was written, but for what a crash left at the end.
    pub fn is_whole(&self) -> bool {
        self.flaws.is_empty() && self.lanes.iter().all(|lane| lane.damage_count == 0)
    }
}

/// What a lane holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LaneReport {
    /// Segments.
    pub segments: usize,
    /// Bytes of their files.
    pub bytes: u64,
    /// Where it begins; what stood before was pruned.
    pub begin: Position,
    /// Where it ends, and the totals there.
    pub end: Point,
    /// Entries that are whole.
    pub entries: u64,
    /// The first [`DAMAGES_LISTED_MAX`] damages.
    pub damages: Vec<Damage>,
    /// How many there are.
    pub damage_count: u64,
    /// Bytes at the end that are no whole records; the next open cuts them off.
    pub torn_bytes: u64,
}

/// Reads everything in `dir`, from the beginning to the end, and changes nothing. None if there is
/// no journal. Not for a journal that is open: it would see a commit half done.
pub fn verify(storage: &SharedStorage, dir: &Path) -> Result<Option<Report>, JournalError> {
    let survey = Survey::read(&**storage, dir)?;
    if survey.is_new() {
        return Ok(None);
    }
    let Some(journal) = survey.journal else {
        return Err(JournalError::Unrecognisable { path: dir.to_owned() });
    };
    let identity = Identity { journal, epoch: survey.latest };
    let ends = survey.ends();
    let flaws = flaws::find(&**storage, dir, &survey, DAMAGES_LISTED_MAX)?;
    let segments = PerLane::new(|lane| survey.lanes.get(lane).segments.clone());
    let torn = PerLane::new(|lane| survey.lanes.get(lane).torn_bytes());
    let shared =
        Shared::new(Arc::clone(storage), dir.to_owned(), identity, survey.epochs, segments);
    let sender = watch::Sender::new(ends);
    let tail = JournalTail::new(Arc::new(shared), sender.subscribe());
    let lanes = PerLane::try_new(|lane| {
        let mut report =
            walk(&tail, lane, ends).map_err(|error| JournalError::at(dir, error.source))?;
        report.torn_bytes = *torn.get(lane);
        Ok(report)
    })?;
    Ok(Some(Report { journal, epoch: survey.latest, lanes: lanes.0, flaws }))
}

/// The id, the last life and the ends of the journal in `dir`, without reading through it.
pub fn peek(
    storage: &SharedStorage,
    dir: &Path,
) -> Result<Option<([u8; 16], Epoch, Ends)>, JournalError> {
    let survey = Survey::read(&**storage, dir)?;
    Ok(survey.journal.map(|journal| (journal, survey.latest, survey.ends())))
}

fn walk(tail: &JournalTail, lane: Lane, ends: Ends) -> Result<LaneReport, super::ReadError> {
    let (segments, bytes, begin) = tail.extent(lane);
    let mut report =
        LaneReport { segments, bytes, begin, end: ends.get(lane), ..LaneReport::default() };
    let mut reader = tail.reader(lane, begin);
    while let Some(item) = reader.next()? {
        match item {
            Item::Entry { .. } => report.entries += 1,
            Item::Damage(damage) => {
                report.damage_count += 1;
                if report.damages.len() < DAMAGES_LISTED_MAX {
                    report.damages.push(damage);
                }
            }
        }
    }
    Ok(report)
}
