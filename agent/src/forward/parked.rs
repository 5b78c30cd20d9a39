//! Rings whose catalogue is not known yet: their frames wait here, sealed, in order, and hold up
//! nobody else. When the catalogue comes they go on; beyond the bounds they become dead letters.
//!
//! `DATA/parked/SINK-000001.log`: frames, and notes that a ring has gone on up to some frame. Its
//! end is committed with the sink's cursor: a frame is parked, or has gone on, exactly when the
//! cursor says so. In memory: 64 bytes per frame.
//!
//! | record | bytes | |
//! |---|---|---|
//! | length | 4 | little endian, of what follows the checksum |
//! | CRC32C | 4 | over what follows |
//! | note | | in postcard |

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;

use protocol::{CatalogueId, Counts, DeviceId, Lane, RingId, Seq};
use serde::{Deserialize, Serialize};

use crate::journal::{Entry, EntryKind};
use crate::sink::{LogEnd, Naming, NumberedLog};
use crate::storage::{File, SharedStorage};

const HEAD_LEN: usize = 8;
const FILE_BYTES: u64 = 4 << 20;
const NOTE_LEN_MAX: usize = 256 + protocol::frame::FRAME_LEN_MAX;

/// How much may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParkedBounds {
    /// Bytes of one ring.
    pub ring_bytes: u64,
    /// Bytes in all, on disk.
    pub bytes: u64,
}

/// A frame that waits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ParkedFrame {
    /// Whose.
    pub device: DeviceId,
    /// Which ring's.
    pub ring: RingId,
    /// Which lane's.
    pub lane: Lane,
    /// Its number.
    pub seq: Seq,
    /// When the agent took it, in milliseconds since 1970 UTC.
    pub received_ms: i64,
    /// What it adds.
    pub adds: Counts,
    /// What it waits for; nothing if only for those before it.
    pub awaits: Option<CatalogueId>,
    /// Its sealed bytes.
    pub payload: Vec<u8>,
}

impl ParkedFrame {
    /// The entry it came as.
    pub fn entry(&self) -> Entry<'_> {
        Entry {
            kind: EntryKind::Frame,
            received_ms: self.received_ms,
            device: self.device,
            ring: self.ring,
            seq: self.seq,
            adds: self.adds,
            through: Counts::ZERO,
            payload: &self.payload,
        }
    }
}

#[derive(Serialize, Deserialize)]
enum Note {
    Parked(ParkedFrame),
    /// The ring has gone on up to this frame.
    Gone(RingId, Seq),
    /// A frame stood here whose device was to be forgotten; the rest of the note is zeros.
    Erased(RingId, Seq, Counts),
}

/// Where a parked frame stands, and what is asked about it most.
#[derive(Clone, Copy, Debug)]
struct Slot {
    seq: Seq,
    adds: Counts,
    awaits: Option<CatalogueId>,
    len: u32,
    /// None while it waits for its own commit.
    place: Option<(u32, u64)>,
    is_erased: bool,
}

/// The parked frames of one sink.
#[derive(Debug)]
pub struct Parked {
    log: NumberedLog,
    storage: SharedStorage,
    bounds: ParkedBounds,
    rings: HashMap<RingId, VecDeque<Slot>>,
    /// Bytes of all files.
    disk_bytes: u64,
    pending: Vec<u8>,
    /// Some notes could not be read.
    is_damaged: bool,
}

impl Parked {
    /// Opens those of the sink `name`, which end at `end`.
    pub fn open(
        storage: &SharedStorage,
        data_dir: &Path,
        name: &str,
        end: LogEnd,
        bounds: ParkedBounds,
    ) -> io::Result<Self> {
        let naming = Naming { dir: data_dir.join("parked"), stem: name.to_owned(), suffix: "log" };
        let log = NumberedLog::open(storage.clone(), naming, end)?;
        let mut parked = Self {
            log,
            storage: storage.clone(),
            bounds,
            rings: HashMap::new(),
            disk_bytes: 0,
            pending: Vec::new(),
            is_damaged: false,
        };
        for number in parked.log.naming().numbers(storage)? {
            parked.read_file(number)?;
        }
        Ok(parked)
    }

    /// Whether some of the files could not be read: frames may be missing, and others here that have
    /// gone on.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Whether frames of this ring wait.
    pub fn holds(&self, ring: &RingId) -> bool {
        self.rings.contains_key(ring)
    }

    /// Whether this frame waits.
    pub fn holds_frame(&self, ring: &RingId, seq: Seq) -> bool {
        self.rings.get(ring).is_some_and(|slots| slots.iter().any(|slot| slot.seq == seq))
    }

    /// The rings that wait, and the last frame of each.
    pub fn rings(&self) -> impl Iterator<Item = (RingId, Seq)> {
        self.rings.iter().filter_map(|(ring, slots)| Some((*ring, slots.back()?.seq)))
    }

    /// What all that waits adds up to.
    pub fn counts(&self) -> Counts {
        self.rings.values().flatten().fold(Counts::ZERO, |sum, slot| sum + slot.adds)
    }

    /// Frames that wait.
    pub fn frame_count(&self) -> usize {
        self.rings.values().map(VecDeque::len).sum()
    }

    /// Parks a frame behind the others of its ring; false, with nothing changed, if that would
    /// exceed a bound.
    pub fn park(&mut self, frame: ParkedFrame) -> bool {
        let slots = self.rings.get(&frame.ring);
        let held: u64 = slots.into_iter().flatten().map(|slot| u64::from(slot.len)).sum();
        let Ok(len) = u32::try_from(HEAD_LEN + frame.payload.len()) else { return false };
        let pending = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        let bytes = self.disk_bytes.saturating_add(pending).saturating_add(u64::from(len));
        if held.saturating_add(u64::from(len)) > self.bounds.ring_bytes || bytes > self.bounds.bytes
        {
            return false;
        }
        let slot = Slot {
            seq: frame.seq,
            adds: frame.adds,
            awaits: frame.awaits,
            len,
            place: None,
            is_erased: false,
        };
        let ring = frame.ring;
        if !put(&mut self.pending, &Note::Parked(frame)) {
            return false;
        }
        self.rings.entry(ring).or_default().push_back(slot);
        true
    }

    /// A ring whose first frame waits for a catalogue that `is_known`, or for nothing more.
    pub fn ready(&self, mut is_known: impl FnMut(CatalogueId) -> bool) -> Option<RingId> {
        self.rings.iter().find_map(|(ring, slots)| {
            let first = slots.front().filter(|slot| slot.place.is_some() && !slot.is_erased)?;
            first.awaits.is_none_or(&mut is_known).then_some(*ring)
        })
    }

    /// The first frame of a ring, if it is durable and waits for nothing but a catalogue that
    /// `is_known`.
    pub fn first(
        &self,
        ring: &RingId,
        is_known: impl FnOnce(CatalogueId) -> bool,
    ) -> io::Result<Option<ParkedFrame>> {
        let Some(slot) = self.rings.get(ring).and_then(VecDeque::front) else { return Ok(None) };
        let Some((number, at)) = slot.place else { return Ok(None) };
        if !slot.awaits.is_none_or(is_known) {
            return Ok(None);
        }
        let file = self.storage.open(&self.log.naming().path(number), false)?;
        let mut bytes = vec![0; HEAD_LEN + NOTE_LEN_MAX];
        let read = file.read_at(at, &mut bytes)?;
        match take(bytes.get(..read).unwrap_or_default()) {
            Some((Note::Parked(frame), _)) => Ok(Some(frame)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a parked frame is damaged")),
        }
    }

    /// The first frame of a ring has gone on; what it adds.
    pub fn gone(&mut self, ring: &RingId) -> Option<(Seq, Counts)> {
        let slots = self.rings.get_mut(ring)?;
        let slot = slots.pop_front()?;
        if slots.is_empty() {
            self.rings.remove(ring);
        }
        put(&mut self.pending, &Note::Gone(*ring, slot.seq));
        Some((slot.seq, slot.adds))
    }

    /// The next frame that was erased under way is gone; what it had added.
    pub fn take_erased(&mut self) -> Option<Counts> {
        let is_erased = |slots: &VecDeque<Slot>| slots.front().is_some_and(|slot| slot.is_erased);
        let ring = self.rings.iter().find_map(|(ring, slots)| is_erased(slots).then_some(*ring))?;
        self.gone(&ring).map(|(_, adds)| adds)
    }

    /// Forgets what the sink holds already, after its cursor was lost.
    pub fn forget_through(&mut self, ring: &RingId, last: Seq) {
        while self.rings.get(ring).and_then(VecDeque::front).is_some_and(|slot| slot.seq <= last) {
            self.gone(ring);
        }
    }

    /// Bytes that wait for a commit.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Makes what happened durable; where the log then ends, for the cursor.
    pub fn flush(&mut self) -> io::Result<LogEnd> {
        self.log.append(&self.pending, FILE_BYTES)
    }

    /// The cursor with this end is durable.
    pub fn commit(&mut self, end: LogEnd) {
        let len = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        let start = end.len.saturating_sub(len);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        let mut at = start;
        while let Some((note, after)) = take(rest) {
            if let Note::Parked(frame) = note
                && let Some(slots) = self.rings.get_mut(&frame.ring)
                && let Some(slot) = slots.iter_mut().find(|slot| slot.seq == frame.seq)
            {
                slot.place = Some((end.file, at));
            }
            at += u64::try_from(rest.len() - after.len()).unwrap_or(0);
            rest = after;
        }
        self.disk_bytes = self.disk_bytes.saturating_add(len);
        self.log.commit(end);
        if len > 0
            && let Err(error) = self.remove_done()
        {
            tracing::warn!(%error, "cannot remove parked frames that have gone on");
        }
    }

    /// Removes the files before the first that is needed: the oldest of a frame that waits.
    fn remove_done(&mut self) -> io::Result<()> {
        let needed = self.rings.values().flatten().filter_map(|slot| slot.place);
        let first = needed.map(|(file, _)| file).min().unwrap_or(self.log.end().file);
        for number in self.log.naming().numbers(&self.storage)? {
            if number < first {
                let len = self.storage.open(&self.log.naming().path(number), false)?.len()?;
                self.log.remove(number)?;
                self.disk_bytes = self.disk_bytes.saturating_sub(len);
            }
        }
        Ok(())
    }

    fn read_file(&mut self, number: u32) -> io::Result<()> {
        let path = self.log.naming().path(number);
        let file = self.storage.open(&path, false)?;
        self.disk_bytes = self.disk_bytes.saturating_add(file.len()?);
        let rings = &mut self.rings;
        let is_damaged = each_note(&*file, &path, |at, note, _| {
            let slot = |seq, adds, awaits, len: usize, is_erased| Slot {
                seq,
                adds,
                awaits,
                len: u32::try_from(HEAD_LEN + len).unwrap_or(u32::MAX),
                place: Some((number, at)),
                is_erased,
            };
            match note {
                Note::Parked(frame) => {
                    let len = frame.payload.len();
                    let slot = slot(frame.seq, frame.adds, frame.awaits, len, false);
                    rings.entry(frame.ring).or_default().push_back(slot);
                }
                Note::Erased(ring, seq, adds) => {
                    let slot = slot(seq, adds, None, 0, true);
                    rings.entry(ring).or_default().push_back(slot);
                }
                Note::Gone(ring, seq) => {
                    let slots = rings.entry(ring).or_default();
                    while slots.front().is_some_and(|slot| slot.seq <= seq) {
                        slots.pop_front();
                    }
                    if slots.is_empty() {
                        rings.remove(&ring);
                    }
                }
            }
            Ok(())
        })?;
        self.is_damaged |= is_damaged;
        Ok(())
    }
}

/// Hands on the notes of a file: where each begins and how long it is. Whether others are damaged: these
/// are passed over.
fn each_note(
    file: &dyn File,
    path: &Path,
    mut take_note: impl FnMut(u64, Note, usize) -> io::Result<()>,
) -> io::Result<bool> {
    // A note that begins in the first half is whole in view.
    let mut chunk = vec![0; 2 * (HEAD_LEN + NOTE_LEN_MAX)];
    let (mut at, mut is_damaged) = (0, false);
    loop {
        let read = file.read_at(at, &mut chunk)?;
        let bytes = chunk.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(is_damaged);
        }
        let len = if let Some((note, after)) = take(bytes) {
            let len = read - after.len();
            take_note(at, note, len)?;
            len
        } else {
            is_damaged = true;
            let len = damaged_len(bytes);
            tracing::error!(path = %path.display(), at, len, "parked frames are damaged");
            len
        };
        at += u64::try_from(len).unwrap_or(0);
    }
}

/// How much in front of these bytes is damaged: the note that stands there, if its length still leads to
/// another one; otherwise all up to where one begins, as far as that can be seen.
fn damaged_len(bytes: &[u8]) -> usize {
    let is_note =
        |at: &usize| bytes.get(*at..).is_some_and(|rest| rest.is_empty() || take(rest).is_some());
    let said = bytes.first_chunk::<4>().map(|len| u32::from_le_bytes(*len));
    let said = said.and_then(|len| usize::try_from(len).ok()?.checked_add(HEAD_LEN));
    if let Some(said) = said.filter(is_note) {
        return said;
    }
    let begun = (1..bytes.len().min(HEAD_LEN + NOTE_LEN_MAX)).find(is_note);
    begun.unwrap_or_else(|| bytes.len().min(HEAD_LEN + NOTE_LEN_MAX))
}

/// Writes over a device's frames in a file that nobody has open; how many there were. That they
/// were there stays, so that the books balance.
pub(super) fn erase(storage: &SharedStorage, path: &Path, device: DeviceId) -> io::Result<u64> {
    let file = storage.open(path, false)?;
    let mut erased = 0;
    each_note(&*file, path, |at, note, len| {
        let Note::Parked(frame) = note else { return Ok(()) };
        if frame.device != device {
            return Ok(());
        }
        let mut over = Vec::with_capacity(len);
        if put_padded(&mut over, &Note::Erased(frame.ring, frame.seq, frame.adds), len) {
            file.write_at(at, &over)?;
            erased += 1;
        }
        Ok(())
    })?;
    if erased > 0 {
        file.sync()?;
    }
    Ok(erased)
}

fn put(into: &mut Vec<u8>, note: &Note) -> bool {
    put_padded(into, note, 0)
}

/// A note of at least so many bytes, head included; zeros behind it mean nothing.
fn put_padded(into: &mut Vec<u8>, note: &Note, len_min: usize) -> bool {
    let Ok(mut body) = postcard::to_extend(note, Vec::new()) else { return false };
    body.resize(body.len().max(len_min.saturating_sub(HEAD_LEN)), 0);
    let Ok(len) = u32::try_from(body.len()) else { return false };
    into.extend_from_slice(&len.to_le_bytes());
    into.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    into.extend_from_slice(&body);
    true
}

/// The note at the front, and what follows it.
fn take(bytes: &[u8]) -> Option<(Note, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let (body, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    Some((postcard::from_bytes(body).ok()?, rest))
}
