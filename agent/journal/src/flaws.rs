//! What is not as it was written and costs nothing: padding, the second copy of a header, slots of
//! the table that are empty, and the mark behind the end of a segment that another one continues.
//!
//! Nobody relies on any of it, so nothing is lost with it. But a disk that turns bits over here does
//! so elsewhere too: whoever looks through a journal is told.

use std::io;
use std::path::{Path, PathBuf};

use protocol::Lane;

use super::epochs::{self, Epochs};
use super::error::JournalError;
use super::record::{self, RECORD_LEN_MAX, Seed};
use super::recovery::Survey;
use super::segment::{Header, Segment, lane_dir, offset_of, path_of};
use storage::Storage;

/// A place that is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// In which file.
    pub path: PathBuf,
    /// The first byte of that file's that is another one, or is missing.
    pub at: u64,
}

/// The first flaw of each file; at most `most` of them.
pub(super) fn find(
    storage: &dyn Storage,
    dir: &Path,
    survey: &Survey,
    most: usize,
) -> Result<Vec<Flaw>, JournalError> {
    let mut flaws = Vec::new();
    let table = epochs::path_of(dir);
    let at = Epochs::flaw(storage, dir).map_err(|source| JournalError::at(&table, source))?;
    flaws.extend(at.map(|at| Flaw { path: table, at }));
    let journal = survey.journal.unwrap_or_default();
    for lane in Lane::ALL {
        let (lane_dir, seed) = (lane_dir(dir, lane), Seed::new(journal, lane));
        let segments = &survey.lanes.get(lane).segments;
        let followers = segments.iter().skip(1).map(Some).chain([None]);
        for (segment, next) in segments.iter().zip(followers) {
            if flaws.len() >= most {
                return Ok(flaws);
            }
            let path = path_of(&lane_dir, segment.base.at);
            let at = flaw_of(storage, &path, (lane, seed), segment, next)
                .map_err(|source| JournalError::at(&path, source))?;
            flaws.extend(at.map(|at| Flaw { path, at }));
        }
    }
    Ok(flaws)
}

fn flaw_of(
    storage: &dyn Storage,
    path: &Path,
    (lane, seed): (Lane, Seed),
    segment: &Segment,
    next: Option<&Segment>,
) -> io::Result<Option<u64>> {
    let file = storage.open(path, false)?;
    if let Some(at) = Header::flaw(&*file, lane, segment.base.at)? {
        return Ok(Some(at));
    }
    let Some(next) = next else { return Ok(None) };
    let end = offset_of(segment.base.at, next.base.at);
    let left = usize::try_from(segment.bytes.saturating_sub(end)).unwrap_or(RECORD_LEN_MAX);
    let mut behind = vec![0; left.min(RECORD_LEN_MAX)];
    let read = file.read_at(end, &mut behind)?;
    let behind = behind.get(..read).unwrap_or_default();
    let is_whole = behind.is_empty() || record::check(seed, next.base.at, behind).is_some();
    Ok((!is_whole).then_some(end))
}

/// Where two runs of bytes first differ, or the shorter one ends.
pub(super) fn first_difference(found: &[u8], written: &[u8]) -> Option<usize> {
    let differs = found.iter().zip(written).position(|(found, written)| found != written);
    differs.or((found.len() != written.len()).then_some(found.len().min(written.len())))
}
