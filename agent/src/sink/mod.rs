//! Sinks: one attempt each. What waits, retries and gives up is [`crate::forward`].
//!
//! A sink keeps its own cursor, together with what it was given, so that it alone knows how far it
//! has got: a batch and the cursor behind it are one. `Ok` means that both are durable upstream.

use std::collections::HashMap;
use std::fmt;
use std::io;

use protocol::{DeviceId, RingId, Seq};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::journal::JournalCursor;
use crate::ledger::Tallies;
use crate::privacy::Cleared;

mod file;
mod ndjson;
mod numbered;
mod room;
mod scan;
mod slots;
mod stdout;
mod store;

pub use file::{FileSink, FileSinkConfig, Holds, holds};
pub use ndjson::Ndjson;
pub use numbered::{LogEnd, Naming, NumberedLog};
pub use stdout::StdoutSink;
pub use store::{StoreSink, StoreSinkConfig};

pub(crate) use slots::refuse_newer;

/// How far a sink has got, in the journal and in the files beside it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CursorState {
    /// Where in the journal; none before anything of it was read.
    pub journal: Option<JournalCursor>,
    /// What became of what stood before that.
    pub tallies: Tallies,
    /// The end of the dead letters.
    pub dead_letters: LogEnd,
    /// The end of the parked frames.
    pub parked: LogEnd,
    /// What the sink was called then: files beside the journal bear its name. Empty in a cursor of
    /// the time before it was kept.
    pub name: String,
}

/// Reads a record that ends with a [`CursorState`], also of the time before the name was kept.
fn decode_cursor<T: DeserializeOwned>(record: &[u8]) -> postcard::Result<T> {
    const NO_NAME: u8 = 0;
    postcard::from_bytes(record)
        .or_else(|error| postcard::from_bytes(&[record, &[NO_NAME]].concat()).map_err(|_| error))
}

/// What a sink holds when it is opened.
#[derive(Debug)]
pub enum Resume {
    /// Nothing: it begins.
    Fresh,
    /// Exactly what stands before this cursor.
    At(Box<CursorState>),
    /// Something, and no cursor says what in terms of this journal: go by identity.
    Reconcile(Box<Reconcile>),
}

/// What a sink can say of itself where no cursor holds.
#[derive(Debug, Default)]
pub struct Reconcile {
    /// Why.
    pub why: String,
    /// The last cursor, if there is one: what it says of files other than the journal is right.
    pub cursor: Option<CursorState>,
    /// The journal is the cursor's, and has pruned what follows it.
    pub is_behind: bool,
    /// Per ring, the highest sequence number that was delivered.
    pub delivered: HashMap<RingId, Seq>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// Resource: may succeed later; nothing was taken in effect.
    #[error("{0}")]
    Retry(String),
    /// Peer: will not succeed in this life of the agent.
    #[error("{0}")]
    Stop(String),
}

impl SinkError {
    fn retry(doing: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull {
            Self::Retry(format!("{doing}: the disk is full"))
        } else {
            Self::Retry(format!("{doing}: {error}"))
        }
    }
}

/// An upstream.
pub trait Sink: fmt::Debug {
    /// Takes a batch, and remembers that all that stands before `cursor` is done with. One attempt;
    /// after [`SinkError::Retry`] the same batch is offered again.
    fn write(&mut self, batch: &Cleared, cursor: &CursorState) -> Result<(), SinkError>;

    /// Takes out all that it holds of a device, under the name under which it left, durably; and
    /// says what it cannot take out. Its cursor and its counts stay as they are.
    fn erase(&mut self, device: &DeviceId) -> Result<Erased, SinkError>;

    /// Takes out a vehicle's name, as it left, from all that it holds of devices that stay; and says
    /// where it cannot.
    fn erase_vehicle(&mut self, vehicle: &str) -> Result<Erased, SinkError>;

    /// Per ring, the highest sequence number that the sink itself holds documents of; nothing if it
    /// cannot be asked.
    fn delivered(&self) -> io::Result<HashMap<RingId, Seq>> {
        Ok(HashMap::new())
    }

    /// Begins new files after so many bytes, if it has files.
    fn rotate_after(&mut self, _bytes: u64) {}
}

/// What a sink took out of itself, and what it could not.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Erased {
    /// Samples.
    pub samples: u64,
    /// Events and other records; of a vehicle, those that stay without its name.
    pub records: u64,
    /// Bytes given back or written over.
    pub bytes: u64,
    /// What stays, and where.
    pub remains: Vec<Remains>,
}

/// What of a device stays in a place that Milepost only ever adds to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remains {
    /// A file, or who has it.
    pub place: String,
    /// How many documents, if that is known.
    pub documents: Option<u64>,
}

/// Any of them.
pub type AnySink = Box<dyn Sink + Send>;
