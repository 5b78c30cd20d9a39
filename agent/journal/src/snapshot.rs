//! What a copy of the journal consists of, at one moment of its life.

use std::path::PathBuf;

use protocol::Lane;

use super::cursor::Ends;
use super::epochs;
use super::reader::JournalTail;
use super::segment::{lane_dir, offset_of, path_of};

/// A consistent copy, to be made while the writer goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// How far it reaches.
    pub ends: Ends,
    /// Its files: what they hold up to there never changes. Pruning must be held off until they are
    /// copied, but for the first ones of a lane, which may be on their way out already.
    pub files: Vec<SnapshotFile>,
}

/// One file of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its lane; none for the table of lives.
    pub lane: Option<Lane>,
    /// How many of its bytes belong to the copy.
    pub bytes: u64,
}

impl JournalTail {
    /// What is durable now, as files and lengths.
    pub fn snapshot(&self) -> Snapshot {
        // The ends first: what comes after them is cut off.
        let ends = self.ends();
        let table =
            SnapshotFile { path: epochs::path_of(self.dir()), lane: None, bytes: epochs::FILE_LEN };
        let mut files = vec![table];
        for lane in Lane::ALL {
            let end = ends.get(lane).at;
            let dir = lane_dir(self.dir(), lane);
            let bases = self.bases(lane);
            for (at, base) in bases.iter().enumerate().filter(|(_, base)| **base < end) {
                let next = bases.get(at.saturating_add(1)).copied().unwrap_or(end).min(end);
                files.push(SnapshotFile {
                    path: path_of(&dir, *base),
                    lane: Some(lane),
                    bytes: offset_of(*base, next),
                });
            }
        }
        Snapshot { ends, files }
    }
}
