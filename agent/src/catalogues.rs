//! The signal catalogues that devices have sent: by id, shared by a fleet, kept for ever.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use protocol::signal::CatalogueError;
use protocol::{Catalogue, CatalogueId};
use redb::{ReadableTable, TableDefinition};

use crate::document::OwnedCatalogue;
use crate::state::State;

/// Encodings by id.
const TABLE: TableDefinition<u32, &[u8]> = TableDefinition::new("catalogues");
/// Catalogues that one agent keeps: a fleet has a handful; a hostile device must not fill the disk.
const CATALOGUES_MAX: usize = 4096;

/// All known catalogues; handed around by clone.
#[derive(Clone, Debug)]
pub struct Catalogues {
    known: Arc<RwLock<HashMap<CatalogueId, Arc<OwnedCatalogue>>>>,
    database: State,
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
    pub fn open(database: State) -> Result<Self, redb::Error> {
        let write = database.begin_write()?;
        let mut known = HashMap::new();
        for row in write.open_table(TABLE)?.iter()? {
            let (_, encoded) = row?;
            if let Ok(catalogue) = decode(encoded.value()) {
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

    /// The paths of all signals that any of them has.
    pub fn paths(&self) -> Vec<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let signals = known.values().flat_map(|catalogue| &catalogue.signals);
        let mut paths: Vec<String> = signals.map(|signal| signal.path.clone()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Keeps a catalogue, durably; whether it is new.
    pub fn learn(&self, encoded: &[u8]) -> Result<bool, LearnError> {
        let catalogue = decode(encoded)?;
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

fn decode(encoded: &[u8]) -> Result<OwnedCatalogue, CatalogueError> {
    let decoded = Catalogue::decode::<{ Catalogue::SIGNALS_MAX }>(encoded)?;
    Ok(OwnedCatalogue::new(Catalogue::id_of(encoded), &decoded.catalogue()))
}
