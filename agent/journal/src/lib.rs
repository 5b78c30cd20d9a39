//! The durable log between intake and sinks: what an acknowledgement rests on (I1).
//!
//! # Constraints
//!
//! - **What was committed is there**, in order, after a power cut at any instant, a `kill -9`, a
//!   full disk, a failed write and a failed sync; and nothing is there that was not appended.
//! - **A damaged byte costs the records it touches** and no other: not the rest of the segment, not
//!   the start of the agent. What is damaged or missing is told, with the exact counts lost.
//! - **A journal restored from an old copy is noticed**: a cursor is worth something only in the
//!   life of the journal that it was taken from, or a later one of the same line.
//! - **A failed sync is never retried**: the kernel has marked the pages clean, so that the next one
//!   would succeed without having written them.
//! - **A full disk loses nothing and heals by itself**, and a start needs no room on it, except for
//!   what a crash left without a mark (below).
//! - **Memory is bounded**: 4 MiB of what is not yet durable, 64 KiB per reader, 40 bytes per
//!   segment, 88 per remembered life (at most 2048). No segment is ever read as a whole.
//! - **Nobody can plant a record**: a device knows every byte of its frames, so it could send one
//!   that contains a record; it must not be taken for one, however the bytes around it are damaged.
//!
//! # Mechanism
//!
//! Each lane is a log of its own: a sequence of bytes whose positions grow over segments and
//! restarts and are never used twice. `DIR/LANE/BASE.seg`, BASE in 20 digits, holds the part that
//! begins at BASE. A segment ends where the next one begins; bytes of its file beyond that count for
//! nothing, and if the file ends before that, what lies between is missing.
//!
//! **Group commit.** [`Journal::append`] only buffers; [`Journal::commit`] does one write and one
//! fdatasync per lane that has something, and only then moves the durable end, beyond which no
//! reader reads. What is not known durable stays in the buffer. After a failed sync, or a failed
//! write for any reason but a full disk, the segment is sealed where it was last durable and the
//! buffer is written to a new one. On a full disk the partial write is cut off and the buffer waits
//! for the next commit.
//!
//! **A segment has its name only when it is whole.** It is written as `BASE.new`, header and first
//! group, synced, renamed, and the directory synced. A segment is begun only when there is something
//! to write: starts leave no empty ones behind. When one exceeds its size the next is begun; a start
//! always begins new ones.
//!
//! **Marks.** A commit is followed by an unsynced mark, a record that says "what stands before me
//! was durable when I was written". So at the next open a damaged byte before the last mark is
//! damage, and one after it is what a power cut left of a group that was never committed. An open
//! keeps the whole records that follow the last mark without a break (they may have been committed:
//! the process may have died before it wrote the mark), and writes them again, in a segment of their
//! own, before it trusts them: they may be the pages of a failed sync. The rest is cut off.
//!
//! **Resynchronisation.** Every record begins with a marker and carries its length and a CRC32C.
//! Where there is no valid record, the next valid one is looked for at every byte. The checksum
//! starts from the journal's id, which no device knows, the lane, and the record's position: a
//! record is valid nowhere else.
//!
//! **Exact losses.** Every record, mark and header carries the lane's totals before it, so what lies
//! between two valid ones is known by subtraction.
//!
//! **Lives.** The file `DIR/epochs` has a slot for each start: the epoch, a number raised by one and
//! a random nonce, and where the lanes ended. A cursor of life N is valid if life N + 1 began where
//! the cursor points, or further on. Slots are overwritten in place and the file is as long as it
//! will ever be from the beginning. Before a start writes its slot it writes the last one again, which
//! may be in memory only; and as long as no lane has a segment it makes the file anew, because its name
//! may be. After 2048 starts the oldest is forgotten: its cursors become
//! invalid and their sinks are reconciled by identity, which is what an invalid cursor means.
//!
//! # On disk
//!
//! Little endian; varints as in [`protocol::varint`]. Format version 1.
//!
//! | segment header | bytes | |
//! |---|---|---|
//! | magic | 8 | `MPJSEG\r\n` |
//! | format version | 2 | 1; another one refuses the open |
//! | lane | 1 | by number |
//! | zero | 1 | |
//! | epoch | 4 + 8 | number, nonce |
//! | journal id | 16 | random |
//! | base | 8 | position of the first record |
//! | base totals | 8 + 8 | samples, events |
//! | CRC32C | 4 | over the above |
//! | zeros | to 512 | then the same 512 bytes again: a copy per sector |
//!
//! | record | bytes | |
//! |---|---|---|
//! | marker | 4 | `a7 4d 72 1e` |
//! | length | 4 | of what follows the checksum |
//! | CRC32C | 4 | over journal id, lane number (1), position (8), length, and what follows |
//! | kind | 1 | 0 frame, 1 gap, 2 mark |
//! | totals before | varint, varint | samples, events of the lane |
//! | received | 8 | milliseconds since 1970 UTC; a mark has neither this nor anything below |
//! | device | 1 + n | length, name |
//! | ring | 16 | |
//! | seq | varint | |
//! | adds | varint, varint | samples, events |
//! | through | varint, varint | samples, events of the ring |
//! | payload | the rest | the frame as it came, or a [`protocol::Loss`] in postcard |
//!
//! | slot of `epochs` | bytes | |
//! |---|---|---|
//! | magic | 4 | `MPEp` |
//! | journal id | 16 | |
//! | epoch | 4 + 8 | number, nonce; the slot's index is number modulo 2048 |
//! | lanes | 3 x (8 + 8 + 8) | where the lane ended: position, samples, events |
//! | CRC32C | 4 | over the above |
//! | zeros | to 128 | |
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::frame::FRAME_LEN_MAX;
use protocol::{JournalInstance, Lane};
use tokio::sync::watch;

use storage::{SharedStorage, Storage};

mod error;
mod cursor;
mod fields;
mod record;
mod segment;
mod epochs;
mod scan;
mod recovery;
mod lane;
mod reserve;
mod reader;
mod flaws;
mod verify;
#[doc(hidden)]
#[cfg(feature = "model")]
pub mod fuzzing;
mod snapshot;
#[cfg(test)]
mod tests;

pub use cursor::{Ends, Epoch, JournalCursor, Point, Position, Positions};
pub use error::{AppendError, CommitError, JournalError};
pub use flaws::Flaw;
pub use reader::{Damage, Item, JournalTail, ReadError, Reader};
pub use record::{Entry, EntryKind};
pub use snapshot::{Snapshot, SnapshotFile};
pub use verify::{LaneReport, Report, peek, verify};

use cursor::{Identity, PerLane};
use error::is_no_space;
use lane::LaneLog;
use reader::Shared;
use recovery::Survey;
use reserve::Reserve;

/// The most bytes that wait for a commit, over all lanes.
pub const PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most damages that a report lists; the rest is counted.
pub const DAMAGES_LISTED_MAX: usize = 64;

/// Where the journal is and how much room it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalConfig {
    /// Its directory; nothing else is in it.
    pub dir: PathBuf,
    /// Bytes after which a segment is followed by the next: what pruning frees at once.
    pub segment_bytes: u64,
    /// Bytes that all files together take at most, to within some KiB of headers and marks.
    pub bytes_max: u64,
    /// Bytes of the file system that are left to the sinks, which must be able to write what lets
    /// the journal go; a tenth of it, if that is less.
    pub reserve_bytes: u64,
}

impl JournalConfig {
    /// 64 MiB.
    pub const SEGMENT_BYTES: u64 = 64 << 20;
    /// 8 GiB.
    pub const BYTES_MAX: u64 = 8 << 30;
    /// 256 MiB: a sink can take some segments, and keep how far it has got, before any goes.
    pub const RESERVE_BYTES: u64 = 256 << 20;

    /// The defaults, in this directory.
    pub const fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            segment_bytes: Self::SEGMENT_BYTES,
            bytes_max: Self::BYTES_MAX,
            reserve_bytes: Self::RESERVE_BYTES,
        }
    }
}

/// What an open found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// There was no journal; one was made.
    pub created: bool,
    /// Entries handed on.
    pub entries: u64,
    /// The first [`DAMAGES_LISTED_MAX`] damages from the position asked for on. One that begins at
    /// [`Position::ZERO`] may have been pruned.
    pub damages: Vec<(Lane, Damage)>,
    /// How many there were.
    pub damage_count: u64,
    /// Bytes cut off, by lane: what a power cut left of a group that was never committed.
    pub torn_bytes: [u64; 3],
    /// Bytes written again, by lane, because no mark vouched for them.
    pub rewritten_bytes: [u64; 3],
    /// A position asked for lies beyond the end: the journal is older than whoever kept it.
    pub is_behind: bool,
}

/// The writer's side. One owner; not cheap to wait for: an open and a commit block on the disk.
#[derive(Debug)]
pub struct Journal {
    config: JournalConfig,
    lanes: PerLane<LaneLog>,
    shared: Arc<Shared>,
    ends: watch::Sender<Ends>,
    usage_bytes: u64,
    room: Reserve,
}

impl Journal {
    /// Opens the journal, or makes one, begins a new life of it, and hands on every entry from
    /// `since` on, lane by lane in order, with the position of its end. All of it is durable by
    /// then. `identity_entropy` becomes the id of a new journal, `epoch_nonce` tells this life from
    /// any other with its number: both from a good random source.
    pub fn open(
        storage: SharedStorage,
        config: JournalConfig,
        identity_entropy: [u8; 16],
        epoch_nonce: u64,
        since: &Positions,
        on_entry: &mut dyn FnMut(Lane, &Entry<'_>, Position),
    ) -> Result<(Self, RecoveryReport), JournalError> {
        let dir = &config.dir;
        let failed = |source| JournalError::at(dir, source);
        prepare(&*storage, dir).map_err(failed)?;
        let room = Reserve::of(&*storage, dir, config.reserve_bytes);
        let mut survey = Survey::read(&*storage, dir)?;
        let mut report = RecoveryReport { created: survey.is_new(), ..RecoveryReport::default() };
        if survey.journal.is_none() && !report.created {
            return Err(JournalError::Unrecognisable { path: dir.clone() });
        }
        let journal = survey.journal.unwrap_or(identity_entropy);
        report.torn_bytes = PerLane::new(|lane| survey.lanes.get(lane).torn_bytes()).0;
        report.rewritten_bytes = PerLane::new(|lane| survey.lanes.get(lane).unmarked_bytes()).0;
        for lane in Lane::ALL {
            survey.repair(&storage, dir, lane, journal).map_err(failed)?;
        }
        let ends = survey.ends();
        let number = survey.latest.number.saturating_add(1);
        let identity = Identity { journal, epoch: Epoch { number, nonce: epoch_nonce } };
        let is_unused = survey.lanes.0.iter().all(|lane| lane.segments.is_empty());
        let begun = survey.epochs.begin(&storage, dir, &identity, ends, is_unused);
        begun.map_err(failed)?;

        let segments = PerLane::new(|lane| survey.lanes.get(lane).segments.clone());
        let file_bytes: u64 = segments.0.iter().flatten().map(|segment| segment.bytes).sum();
        let lanes = PerLane::new(|lane| LaneLog::new(dir, lane, identity, ends.get(lane)));
        let shared = Shared::new(storage, config.dir.clone(), identity, survey.epochs, segments);
        let opened = Self {
            config,
            lanes,
            shared: Arc::new(shared),
            ends: watch::Sender::new(ends),
            usage_bytes: file_bytes.saturating_add(epochs::FILE_LEN),
            room,
        };
        opened.replay(since, on_entry, &mut report)?;
        Ok((opened, report))
    }

    fn replay(
        &self,
        since: &Positions,
        on_entry: &mut dyn FnMut(Lane, &Entry<'_>, Position),
        report: &mut RecoveryReport,
    ) -> Result<(), JournalError> {
        let tail = self.tail();
        report.is_behind = !since.within(&tail.ends().positions);
        for lane in Lane::ALL {
            let mut reader = tail.reader(lane, since.get(lane));
            loop {
                match reader.next() {
                    Ok(Some(Item::Entry { entry, end, .. })) => {
                        report.entries += 1;
                        on_entry(lane, &entry, end);
                    }
                    Ok(Some(Item::Damage(damage))) => {
                        report.damage_count += 1;
                        if report.damages.len() < DAMAGES_LISTED_MAX {
                            report.damages.push((lane, damage));
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return Err(JournalError::at(&self.config.dir, error.source)),
                }
            }
        }
        Ok(())
    }

    /// Names this life towards devices.
    pub fn instance(&self) -> JournalInstance {
        self.shared.identity.instance()
    }

    /// The journal's id.
    pub fn id(&self) -> [u8; 16] {
        self.shared.identity.journal
    }

    /// This life of it.
    pub fn epoch(&self) -> Epoch {
        self.shared.identity.epoch
    }

    /// Takes an entry; it is durable after the next [`Self::commit`] that succeeds.
    pub fn append(&mut self, lane: Lane, entry: &Entry<'_>) -> Result<(), AppendError> {
        if entry.payload.len() > FRAME_LEN_MAX {
            return Err(AppendError::TooLarge);
        }
        // Rounded up: the fields are mostly short.
        let with =
            self.pending_bytes() + record::RECORD_LEN_MAX - FRAME_LEN_MAX + entry.payload.len();
        if with > PENDING_BYTES_MAX {
            return Err(AppendError::Pending);
        }
        let with = u64::try_from(with).unwrap_or(u64::MAX);
        if self.usage_bytes.saturating_add(with) > self.config.bytes_max {
            return Err(AppendError::Full);
        }
        if !self.room.has(&*self.shared.storage, &self.config.dir, with) {
            return Err(AppendError::NoSpace);
        }
        self.lanes.get_mut(lane).append(entry);
        Ok(())
    }

    /// Makes everything appended durable: the durable ends. On an error the lanes that could be
    /// written are durable, as [`Self::ends`] tells, and the rest is kept for the next commit.
    pub fn commit(&mut self) -> Result<Positions, CommitError> {
        let segment_bytes = self.config.segment_bytes.min(self.room.segment_bytes_max);
        let mut fault = None;
        for lane in Lane::ALL {
            let log = self.lanes.get_mut(lane);
            match log.commit(&self.shared, segment_bytes) {
                Ok(grown) => {
                    self.usage_bytes = self.usage_bytes.saturating_add(grown);
                    self.room.used(grown);
                }
                Err(source) if fault.is_none() => fault = Some((lane, source)),
                Err(source) => tracing::debug!(%lane, error = %source, "commit failed here too"),
            }
        }
        let ends = Ends::from_points(&PerLane::new(|lane| self.lanes.get(lane).durable()));
        self.ends.send_if_modified(|known| std::mem::replace(known, ends) != ends);
        match fault {
            None => Ok(ends.positions),
            Some((lane, source)) if is_no_space(&source) => {
                Err(CommitError::NoSpace { lane, source })
            }
            Some((lane, source)) => Err(CommitError::Io { lane, source }),
        }
    }

    /// How far it is durable.
    pub fn ends(&self) -> Ends {
        *self.ends.borrow()
    }

    /// Bytes that wait for a commit; at most [`PENDING_BYTES_MAX`].
    pub fn pending_bytes(&self) -> usize {
        self.lanes.0.iter().map(LaneLog::pending_bytes).sum()
    }

    /// The readers' view.
    pub fn tail(&self) -> JournalTail {
        JournalTail::new(Arc::clone(&self.shared), self.ends.subscribe())
    }

    /// Removes the segments that lie wholly below, except each lane's last. Every cursor that is
    /// still needed must be durable, at or above `below`, before this. Readers below find damage.
    ///
    /// On an error some may be left; the next call goes on with them.
    pub fn prune(&mut self, below: &Positions) -> io::Result<()> {
        for lane in Lane::ALL {
            let lane_dir = segment::lane_dir(&self.config.dir, lane);
            loop {
                let oldest = match self.shared.segments().get(lane).as_slice() {
                    [oldest, next, ..] if next.base.at <= below.get(lane) => *oldest,
                    _ => break,
                };
                // Oldest first, each durably, and the list after the file: a crash leaves no hole.
                let path = segment::path_of(&lane_dir, oldest.base.at);
                segment::remove_if_there(&*self.shared.storage, &path)?;
                self.shared.storage.sync_dir(&lane_dir)?;
                self.shared.segments().get_mut(lane).retain(|segment| *segment != oldest);
                self.usage_bytes = self.usage_bytes.saturating_sub(oldest.bytes);
            }
        }
        Ok(())
    }

    /// Bytes that the files take.
    pub fn usage_bytes(&self) -> u64 {
        self.usage_bytes
    }
}

/// Whether the journal in `dir` has anything in it.
pub fn has_segments(storage: &dyn Storage, dir: &Path) -> io::Result<bool> {
    for lane in Lane::ALL {
        if !segment::list(storage, &segment::lane_dir(dir, lane))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the directories, and takes away what an earlier life began and did not finish.
fn prepare(storage: &dyn Storage, dir: &Path) -> io::Result<()> {
    storage.create_dir_all(dir)?;
    segment::remove_unfinished(storage, dir)?;
    for lane in Lane::ALL {
        let lane_dir = segment::lane_dir(dir, lane);
        storage.create_dir_all(&lane_dir)?;
        segment::remove_unfinished(storage, &lane_dir)?;
        // A name that the last life gave and did not live to make durable.
        storage.sync_dir(&lane_dir)?;
    }
    storage.sync_dir(dir)
}
