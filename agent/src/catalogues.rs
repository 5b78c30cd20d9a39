//! The signal catalogues that devices have sent: by id, shared by a fleet, kept for ever.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use protocol::signal::CatalogueError;
use protocol::{Catalogue, CatalogueId, Signal, Step};
use redb::{Database, ReadableTable, TableDefinition};

/// Encodings by id.
const TABLE: TableDefinition<u32, &[u8]> = TableDefinition::new("catalogues");
/// Catalogues that one agent keeps: a fleet has a handful; a hostile device must not fill the disk.
const CATALOGUES_MAX: usize = 4096;

/// A catalogue, decoded and owned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedCatalogue {
    /// Its id.
    pub id: CatalogueId,
    /// Milliseconds a tick.
    pub tick_ms: u32,
    /// Its signals, by index.
    pub signals: Vec<OwnedSignal>,
}

/// A signal, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedSignal {
    /// VSS path.
    pub path: String,
    /// Unit.
    pub unit: String,
    /// Raw to physical.
    pub step: Step,
    /// Least healthy raw value.
    pub raw_min: i64,
    /// Greatest healthy raw value.
    pub raw_max: i64,
}

impl OwnedCatalogue {
    /// Decodes a catalogue as devices send it.
    pub fn decode(encoded: &[u8]) -> Result<Self, CatalogueError> {
        let (tick_ms, signals) = Catalogue::decode::<{ Catalogue::SIGNALS_MAX }>(encoded)?;
        Ok(Self {
            id: Catalogue::id_of(encoded),
            tick_ms,
            signals: signals.iter().map(OwnedSignal::from).collect(),
        })
    }
}

impl From<&Signal<'_>> for OwnedSignal {
    fn from(signal: &Signal<'_>) -> Self {
        Self {
            path: signal.path.to_owned(),
            unit: signal.unit.to_owned(),
            step: signal.step,
            raw_min: signal.raw_min,
            raw_max: signal.raw_max,
        }
    }
}

/// All known catalogues; handed around by clone.
#[derive(Clone, Debug)]
pub struct Catalogues {
    known: Arc<RwLock<HashMap<CatalogueId, Arc<OwnedCatalogue>>>>,
    database: Arc<Database>,
}

/// Why a catalogue was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The device sent something that is none.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The table is full.
    #[error("more than {CATALOGUES_MAX} signal catalogues")]
    TooMany,
    /// It could not be stored.
    #[error("cannot store the catalogue: {0}")]
    Database(#[from] Box<redb::Error>),
}

impl Catalogues {
    /// Loads what was learnt before.
    pub fn open(database: Arc<Database>) -> Result<Self, redb::Error> {
        let write = database.begin_write()?;
        let mut known = HashMap::new();
        for row in write.open_table(TABLE)?.iter()? {
            let (_, encoded) = row?;
            if let Ok(catalogue) = OwnedCatalogue::decode(encoded.value()) {
                known.insert(catalogue.id, Arc::new(catalogue));
            }
        }
        write.commit()?;
        Ok(Self { known: Arc::new(RwLock::new(known)), database })
    }

    /// The catalogue with this id.
    pub fn get(&self, id: CatalogueId) -> Option<Arc<OwnedCatalogue>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Keeps a catalogue, durably; whether it is new.
    pub fn learn(&self, encoded: &[u8]) -> Result<bool, LearnError> {
        let catalogue = OwnedCatalogue::decode(encoded)?;
        if self.get(catalogue.id).is_some() {
            return Ok(false);
        }
        if self.known.read().unwrap_or_else(PoisonError::into_inner).len() >= CATALOGUES_MAX {
            return Err(LearnError::TooMany);
        }
        self.store(catalogue.id, encoded).map_err(Box::new)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(catalogue.id, Arc::new(catalogue));
        Ok(true)
    }

    fn store(&self, id: CatalogueId, encoded: &[u8]) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        write.open_table(TABLE)?.insert(id.0, encoded)?;
        write.commit()?;
        Ok(())
    }
}
