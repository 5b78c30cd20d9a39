//! Chapters: records, which are JSON documents, with what they are filed under.

use protocol::{Clock, DeviceId, DeviceTime, Lane, RingId, Seq};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::piece::{self, PieceKind};
use crate::privacy::{ClearedRecord, RecordKind};

/// One record as it stands in a chapter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Filed {
    /// Whose.
    pub device: DeviceId,
    /// Which ring's.
    pub ring: RingId,
    /// The ring's lane.
    pub lane: Lane,
    /// Which frame.
    pub seq: Seq,
    /// Its place in the frame; none if the agent itself says it.
    pub ordinal: Option<u32>,
    /// When the agent received the frame.
    pub received_ms: i64,
    /// The device's time; none if the agent itself says it.
    pub time: Option<DeviceTime>,
    /// What it is, by number.
    pub kind: u8,
    /// The document.
    pub document: String,
}

impl Filed {
    /// A cleared record, to be filed.
    pub fn new(record: &ClearedRecord, document: &[u8]) -> Self {
        Self {
            device: record.from.device,
            ring: record.from.ring,
            lane: record.from.lane,
            seq: record.from.seq,
            ordinal: record.ordinal,
            received_ms: record.from.received_ms,
            time: record.time,
            kind: kind_number(record.kind),
            document: String::from_utf8_lossy(document).into_owned(),
        }
    }

    /// Milliseconds since 1970, where they are known.
    pub fn time_ms(&self) -> Option<i64> {
        match self.time {
            // The agent says it, and has a clock.
            None => Some(self.received_ms),
            Some(time) => time.wall_ms(),
        }
    }

    /// What `records.ordinal` has.
    pub fn ordinal_number(&self) -> i64 {
        self.ordinal.map_or(-1, i64::from)
    }

    /// The boot, and what is to be added to its uptime; where it says both times.
    pub fn boot_offset(&self) -> Option<(u32, i64, Clock)> {
        let time = self.time.filter(|time| time.clock != Clock::Uptime)?;
        let uptime = i64::try_from(time.uptime_ms).ok()?;
        Some((time.boot, time.unix_ms.checked_sub(uptime)?, time.clock))
    }
}

/// `records.kind`.
pub const fn kind_number(kind: RecordKind) -> u8 {
    match kind {
        RecordKind::Event => 0,
        RecordKind::Log => 1,
        RecordKind::Health => 2,
        RecordKind::Boot => 3,
        RecordKind::Fork => 4,
        RecordKind::Crash => 5,
        RecordKind::Loss => 6,
    }
}

/// Appends a chapter, as a piece.
pub fn append(out: &mut Vec<u8>, records: &[Filed]) -> Result<(), StoreError> {
    let failed = |error: postcard::Error| {
        StoreError::io("cannot encode records")(std::io::Error::other(error))
    };
    let content = postcard::to_extend(records, Vec::new()).map_err(failed)?;
    piece::append(out, PieceKind::Chapter, |out| out.extend_from_slice(&content))
}

/// Reads a chapter.
pub fn read(piece: &[u8]) -> Result<Vec<Filed>, StoreError> {
    postcard::from_bytes(piece::content(piece, PieceKind::Chapter)?)
        .map_err(|error| StoreError::damaged(format!("a chapter of records: {error}")))
}
