//! What a frame of records holds: everything that is not a column of samples.
//!
//! Each record stands behind its length, because postcard cannot skip what it does not know: an
//! older agent loses sight of a newer kind of record, not of the frame.

use serde::{Deserialize, Serialize};

use crate::event::{Event, Log};
use crate::health::{Boot, Crash, Fork, Heartbeat};
use crate::identity::Counts;

/// One record. Append only: the number of a variant is on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "no heap to box into; one lives at a time")]
pub enum Record<'a> {
    /// The first record after a boot.
    Boot(Boot),
    /// Something happened.
    #[serde(borrow)]
    Event(Event<'a>),
    /// A line of log.
    Log(Log<'a>),
    /// The periodic report.
    Heartbeat(Heartbeat),
    /// The device left a ring.
    Fork(Fork),
    /// A crash's remains.
    Crash(Crash<'a>),
    /// The encoding of a [`crate::Catalogue`]; counts as nothing.
    Catalogue(&'a [u8]),
}

impl Record<'_> {
    /// The longest encoding, length prefix included, that an agent takes.
    pub const LEN_MAX: usize = 4096 + 16;

    /// What the record adds to the ledger.
    pub const fn counts(&self) -> Counts {
        match self {
            Self::Catalogue(_) => Counts::ZERO,
            _ => Counts { samples: 0, events: 1 },
        }
    }

    /// Appends the record, behind its length, at `at` of `into`; the end of what was written, or
    /// nothing if it does not fit.
    pub fn append(&self, into: &mut [u8], at: usize) -> Option<usize> {
        // Two bytes of length, always: what the record needs is known only afterwards.
        let body_at = at.checked_add(2)?;
        let used = postcard::to_slice(self, into.get_mut(body_at..)?).ok()?.len();
        let len = u16::try_from(used).ok()?;
        into.get_mut(at..body_at)?.copy_from_slice(&len.to_be_bytes());
        body_at.checked_add(used)
    }
}

/// The records of a frame's body, in order.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

/// Why a record could not be read; the ones after it still can, unless it was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A kind of record, or a variant inside it, that this version does not know.
    #[error("unknown or malformed record")]
    Unknown,
    /// The body ends inside a record.
    #[error("truncated record")]
    Truncated,
}

impl<'a> Records<'a> {
    /// The records in a body.
    pub const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// What they add to the ledger. A record this version does not know counts as one event: its
    /// sender counted it.
    pub fn counts(&self) -> Counts {
        self.clone().fold(Counts::ZERO, |sum, record| {
            sum + record.map_or(Counts { samples: 0, events: 1 }, |known| known.counts())
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((len, rest)) = self.rest.split_first_chunk::<2>() else {
            self.rest = &[];
            return Some(Err(RecordError::Truncated));
        };
        let Some((record, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
        else {
            self.rest = &[];
            return Some(Err(RecordError::Truncated));
        };
        self.rest = rest;
        Some(postcard::from_bytes(record).map_err(|_| RecordError::Unknown))
    }
}
