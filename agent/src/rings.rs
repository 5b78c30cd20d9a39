//! Every ring ever seen, and how far it is held: a cache of the live ones over a table of all.
//!
//! The journal is the truth; the table is a checkpoint of it, so that a start reads the journal
//! only from the checkpoint on. Retired rings stay in the table for ever: a frame of theirs may
//! still come (I2: the horizon is infinite), but costs no memory.

use std::collections::HashMap;
use std::io;

use protocol::{Counts, DeviceId, FrameTag, Lane, RingId, Seq};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::dedup::Watermark;
use crate::forward::{HeldRing, RingSource};
use crate::journal::{JournalCursor, Positions};
use crate::state::{self, State, StateError};

const RINGS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("rings");
const CHECKPOINT: TableDefinition<(), &[u8]> = TableDefinition::new("rings-checkpoint");

/// Format of these tables; see [`state::claim`].
const FORMAT: u32 = 1;
/// The names of these tables: they hold together, and go with the journal.
pub const TABLES: [&str; 2] = ["rings", "rings-checkpoint"];

/// One ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ring {
    /// Whose.
    pub device: DeviceId,
    /// Which lane's.
    pub lane: Lane,
    /// How far it is held.
    pub watermark: Watermark,
    /// What its device said it had taken, at the last hello; zero if it never said hello.
    pub declared: Counts,
}

impl Ring {
    /// Whether a device may say that it is its own: it is, or it was before somebody forgot whose
    /// it is. Nobody says the 128 random bits of a ring that it never had.
    pub fn may_be_of(&self, device: DeviceId) -> bool {
        self.device == device || self.device.as_str() == NOBODY
    }
}

#[derive(Debug)]
struct Cached {
    ring: Ring,
    /// Not yet in the table.
    dirty: bool,
}

/// The rings; owned by the acceptor.
#[derive(Debug)]
pub struct Rings {
    cache: HashMap<RingId, Cached>,
    cache_max: usize,
    /// Rings in the cache from which on those that have not moved go.
    room_at: usize,
    database: State,
}

/// The row of a ring. Append only; version in front.
#[derive(Serialize, Deserialize)]
struct Row {
    version: u8,
    device: DeviceId,
    lane: Lane,
    durable: Seq,
    tag: FrameTag,
    through: Counts,
    declared: Counts,
}

const ROW_VERSION: u8 = 1;
/// Whose rings are whose device was erased. A device of this name has other rings.
const NOBODY: &str = "-erased-";

/// The table could not be read or written, or holds what this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum RingsError {
    /// The database failed.
    #[error("ring table: {0}")]
    Database(#[from] Box<redb::Error>),
    /// The tables are of a newer version, or cannot be asked.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row is damaged.
    #[error("ring table: a row is damaged: move state.redb aside and bring it back from a backup")]
    Row,
    /// A row is of a newer version.
    #[error("ring table: a row has format {0}: run the newer milepost that wrote it")]
    Newer(u8),
}

impl From<redb::Error> for RingsError {
    fn from(error: redb::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

macro_rules! redb_errors {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for RingsError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}
redb_errors!(TransactionError TableError StorageError CommitError);

impl Rings {
    /// Opens the table. At most about `cache_max` rings are kept in memory, plus those that have
    /// moved since the last checkpoint.
    pub fn open(database: State, cache_max: usize) -> Result<Self, RingsError> {
        state::claim(&database, "rings", FORMAT)?;
        let write = database.begin_write()?;
        write.open_table(RINGS)?;
        write.open_table(CHECKPOINT)?;
        write.commit()?;
        Ok(Self { cache: HashMap::new(), cache_max, room_at: cache_max, database })
    }

    /// The table, for others to read.
    pub fn table(&self) -> RingTable {
        RingTable(self.database.clone())
    }

    /// Up to where in the journal the table is complete.
    pub fn checkpoint(&self) -> Result<Option<JournalCursor>, RingsError> {
        saved(&self.database)
    }

    /// Forgets all rings: the journal is not the one that they were told by. What devices still have
    /// they send again, what they do not is accounted for by their hellos, and what sinks have they
    /// know themselves.
    pub fn clear(&mut self) -> Result<(), RingsError> {
        let write = self.database.begin_write()?;
        write.delete_table(RINGS)?;
        write.delete_table(CHECKPOINT)?;
        write.open_table(RINGS)?;
        write.open_table(CHECKPOINT)?;
        write.commit()?;
        self.cache.clear();
        Ok(())
    }

    /// The ring, if it was ever seen.
    pub fn get(&mut self, id: &RingId) -> Result<Option<Ring>, RingsError> {
        if let Some(cached) = self.cache.get(id) {
            return Ok(Some(cached.ring));
        }
        let Some(ring) = self.load(id)? else { return Ok(None) };
        self.make_room();
        self.cache.insert(*id, Cached { ring, dirty: false });
        Ok(Some(ring))
    }

    /// Sets a ring, new or known.
    pub fn put(&mut self, id: RingId, ring: Ring) {
        self.make_room();
        self.cache.insert(id, Cached { ring, dirty: true });
    }

    /// Writes what has moved, with the position up to which the journal is contained in it. All of
    /// it must be durable in the journal.
    pub fn save(&mut self, cursor: &JournalCursor) -> Result<(), RingsError> {
        let write = self.database.begin_write()?;
        {
            let mut rows = write.open_table(RINGS)?;
            for (id, cached) in self.cache.iter().filter(|(_, cached)| cached.dirty) {
                let row = postcard::to_extend(&Row::from(&cached.ring), Vec::new())
                    .map_err(|_| RingsError::Row)?;
                rows.insert(id.0, row.as_slice())?;
            }
            let position = postcard::to_extend(cursor, Vec::new()).map_err(|_| RingsError::Row)?;
            write.open_table(CHECKPOINT)?.insert((), position.as_slice())?;
        }
        write.commit()?;
        for cached in self.cache.values_mut() {
            cached.dirty = false;
        }
        self.room_at = self.cache_max;
        Ok(())
    }

    /// Sums over all rings: what devices declared, and what is held or accounted for. Reads the
    /// whole table.
    pub fn sums(&self) -> Result<(Counts, Counts), RingsError> {
        let mut sums = (Counts::ZERO, Counts::ZERO);
        self.each(|_, ring| {
            sums.0 += ring.declared;
            sums.1 += ring.watermark.through;
        })?;
        Ok(sums)
    }

    /// What a device said it had taken, and what of that is held or accounted for, over all its
    /// rings; none if it never had one. Reads the whole table.
    pub fn sums_of(&self, device: DeviceId) -> Result<Option<(Counts, Counts)>, RingsError> {
        let mut sums = None;
        self.each(|_, ring| {
            if ring.device == device {
                let sums = sums.get_or_insert((Counts::ZERO, Counts::ZERO));
                sums.0 += ring.declared;
                sums.1 += ring.watermark.through;
            }
        })?;
        Ok(sums)
    }

    /// Takes a device's name off its rings: what they hold stays counted, and is nobody's. How many
    /// there were; they are in the table after the next [`Rings::save`].
    pub fn disown(&mut self, device: DeviceId) -> Result<usize, RingsError> {
        let nobody = NOBODY.parse().map_err(|_| RingsError::Row)?;
        let mut owned = Vec::new();
        self.each(|id, ring| {
            if ring.device == device {
                owned.push((id, Ring { device: nobody, ..*ring }));
            }
        })?;
        let count = owned.len();
        for (id, ring) in owned {
            self.put(id, ring);
        }
        Ok(count)
    }

    /// Every ring, as it is now. Reads the whole table.
    fn each(&self, mut take: impl FnMut(RingId, &Ring)) -> Result<(), RingsError> {
        let read = self.database.begin_read()?;
        for row in read.open_table(RINGS)?.iter()? {
            let (id, row) = row?;
            let id = RingId(id.value());
            if !self.cache.contains_key(&id) {
                take(id, &decode(row.value())?);
            }
        }
        self.cache.iter().for_each(|(id, cached)| take(*id, &cached.ring));
        Ok(())
    }

    fn load(&self, id: &RingId) -> Result<Option<Ring>, RingsError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(RINGS)?;
        table.get(id.0)?.map(|row| decode(row.value())).transpose()
    }

    fn make_room(&mut self) {
        if self.cache.len() >= self.room_at {
            // Rare: a fleet larger than the cache. What is clean is in the table.
            self.cache.retain(|_, cached| cached.dirty);
            // Of rings that have nearly all moved it would make no room, however often.
            self.room_at = self.cache_max.max(self.cache.len().saturating_mul(2));
        }
    }
}

/// The table, for whoever does not own the rings: each as it was at the last checkpoint, which is never
/// behind what was pruned.
#[derive(Clone, Debug)]
pub struct RingTable(State);

/// Whose a ring is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// This device's.
    Device(DeviceId),
    /// Nobody's any more: its device was erased.
    Nobody,
}

impl RingTable {
    /// Whose a ring is; none if it is not in the table yet.
    pub fn owner(&self, ring: &RingId) -> Result<Option<Owner>, RingsError> {
        let read = self.0.begin_read()?;
        let table = read.open_table(RINGS)?;
        let Some(row) = table.get(ring.0)? else { return Ok(None) };
        let Ring { device, .. } = decode(row.value())?;
        let is_nobodys = device.as_str() == NOBODY;
        Ok(Some(if is_nobodys { Owner::Nobody } else { Owner::Device(device) }))
    }

    fn rows(&self, take: &mut dyn FnMut(HeldRing)) -> Result<(), RingsError> {
        for row in self.0.begin_read()?.open_table(RINGS)?.iter()? {
            let (id, row) = row?;
            let Ring { device, lane, watermark, .. } = decode(row.value())?;
            take(HeldRing {
                ring: RingId(id.value()),
                device: (device.as_str() != NOBODY).then_some(device),
                lane,
                last: watermark.durable,
                through: watermark.through,
            });
        }
        Ok(())
    }
}

impl RingSource for RingTable {
    fn each(&self, take: &mut dyn FnMut(HeldRing)) -> io::Result<()> {
        self.rows(take).map_err(io::Error::other)
    }

    fn known_to(&self) -> io::Result<Positions> {
        let cursor = saved(&self.0).map_err(io::Error::other)?;
        Ok(cursor.map_or(Positions::ZERO, |cursor| cursor.positions))
    }
}

/// Up to where in the journal the table is complete.
fn saved(database: &State) -> Result<Option<JournalCursor>, RingsError> {
    let read = database.begin_read()?;
    let table = read.open_table(CHECKPOINT)?;
    let Some(row) = table.get(())? else { return Ok(None) };
    postcard::from_bytes(row.value()).map(Some).map_err(|_| RingsError::Row)
}

fn decode(bytes: &[u8]) -> Result<Ring, RingsError> {
    if let Some(version) = bytes.first().filter(|version| **version > ROW_VERSION) {
        return Err(RingsError::Newer(*version));
    }
    let row: Row = postcard::from_bytes(bytes).map_err(|_| RingsError::Row)?;
    if row.version != ROW_VERSION {
        return Err(RingsError::Row);
    }
    Ok(Ring {
        device: row.device,
        lane: row.lane,
        watermark: Watermark { durable: row.durable, tag: row.tag, through: row.through },
        declared: row.declared,
    })
}

impl From<&Ring> for Row {
    fn from(ring: &Ring) -> Self {
        Self {
            version: ROW_VERSION,
            device: ring.device,
            lane: ring.lane,
            durable: ring.watermark.durable,
            tag: ring.watermark.tag,
            through: ring.watermark.through,
            declared: ring.declared,
        }
    }
}

#[cfg(test)]
mod tests;
