//! A device as the database keeps it.
//!
//! A version byte, then postcard. Records are append-only in kind: a new version gets a new number
//! and every older one stays readable.

use protocol::{DeviceId, Generation, Registration};
use serde::{Deserialize, Serialize};

use super::DeviceEntry;
use super::wrap::Wrapped;

const VERSION: u8 = 3;

/// Version 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub added_ms: i64,
    pub revoked_ms: Option<i64>,
    pub current: Generation,
    /// Live secrets, at most one per generation.
    pub secrets: Vec<Wrapped>,
    pub decommissioned_ms: Option<i64>,
    /// None of a device that an earlier version added.
    pub registration: Option<Registration>,
}

/// Version 2 knew no registration.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(super) struct RecordV2 {
    pub added_ms: i64,
    pub revoked_ms: Option<i64>,
    pub current: Generation,
    pub secrets: Vec<Wrapped>,
    pub decommissioned_ms: Option<i64>,
}

impl From<RecordV2> for Record {
    fn from(record: RecordV2) -> Self {
        let RecordV2 { added_ms, revoked_ms, current, secrets, decommissioned_ms } = record;
        Self { added_ms, revoked_ms, current, secrets, decommissioned_ms, registration: None }
    }
}

/// Version 1 knew no decommissioning.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(super) struct RecordV1 {
    pub added_ms: i64,
    pub revoked_ms: Option<i64>,
    pub current: Generation,
    pub secrets: Vec<Wrapped>,
}

impl From<RecordV1> for Record {
    fn from(RecordV1 { added_ms, revoked_ms, current, secrets }: RecordV1) -> Self {
        RecordV2 { added_ms, revoked_ms, current, secrets, decommissioned_ms: None }.into()
    }
}

impl Record {
    pub fn new(added_ms: i64, secret: Wrapped, registration: Registration) -> Self {
        let (current, registration) = (secret.generation, Some(registration));
        let (revoked_ms, decommissioned_ms) = (None, None);
        let secrets = vec![secret];
        Self { added_ms, revoked_ms, current, secrets, decommissioned_ms, registration }
    }

    /// Whether it may speak.
    pub fn is_admitted(&self) -> bool {
        self.revoked_ms.is_none() && self.decommissioned_ms.is_none()
    }

    pub fn encode(&self) -> Vec<u8> {
        let encoded = postcard::to_extend(self, vec![VERSION]);
        debug_assert!(encoded.is_ok(), "plain fields into growing memory always encode");
        encoded.unwrap_or_default()
    }

    /// The version of a record that only a later milepost reads.
    pub fn newer(bytes: &[u8]) -> Option<u8> {
        bytes.first().copied().filter(|version| *version > VERSION)
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&VERSION, record) => postcard::from_bytes(record).ok(),
            (2, record) => postcard::from_bytes::<RecordV2>(record).ok().map(Self::from),
            (1, record) => postcard::from_bytes::<RecordV1>(record).ok().map(Self::from),
            _ => None,
        }
    }

    /// The first generation after the current one that has no live secret.
    pub fn next_free(&self) -> Option<Generation> {
        let later = std::iter::successors(Some(self.current.next()), |last| Some(last.next()));
        later.take(3).find(|next| self.secrets.iter().all(|secret| secret.generation != *next))
    }

    pub fn entry(&self, device: DeviceId, last_seen_ms: Option<i64>) -> DeviceEntry {
        let mut generations: Vec<_> = self.secrets.iter().map(|secret| secret.generation).collect();
        generations.sort_unstable();
        DeviceEntry {
            device,
            added_ms: self.added_ms,
            revoked_ms: self.revoked_ms,
            decommissioned_ms: self.decommissioned_ms,
            current: self.current,
            generations,
            registration: self.registration,
            last_seen_ms,
        }
    }
}
