//! The manifest: what a backup holds, with a checksum of every file.
//!
//! `manifest.ndjson`, two lines: the manifest, and `{"crc32c":"..."}` over the first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::journal::{Ends, Epoch};

/// The manifest's name; the last member of an archive.
pub const MANIFEST_NAME: &str = "manifest.ndjson";
/// The format of backups that this version writes, and the newest it reads.
pub(super) const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the backup.
    pub backup: u32,
    /// Version of the program that made it.
    pub agent: String,
    /// When, in milliseconds since 1970 UTC.
    pub made_ms: i64,
    /// Whether the agent ran meanwhile.
    pub running: bool,
    /// The wrapping key is in it.
    pub with_key: bool,
    /// Format of the data directory, and of its parts.
    pub formats: BTreeMap<String, u32>,
    /// Which journal; none if there is none yet.
    pub journal: Option<JournalMark>,
    /// Its files, the manifest apart.
    pub files: Vec<FileEntry>,
    /// What lies in the data directory and is not in the backup.
    pub left_out: Vec<LeftOut>,
}

/// Which journal, and how far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JournalMark {
    /// Its id, in hexadecimal digits.
    pub id: String,
    /// The life that the backup was made in; the last one, if no agent ran.
    pub epoch: Epoch,
    /// Where each lane ends, in bytes: critical, bulk, latest.
    pub ends: [u64; 3],
    /// Samples taken up to there.
    pub samples: u64,
    /// Events taken up to there.
    pub events: u64,
}

impl JournalMark {
    pub(super) fn new(id: [u8; 16], epoch: Epoch, ends: &Ends) -> Self {
        let totals = ends.totals.iter().fold(protocol::Counts::ZERO, |sum, lane| sum + *lane);
        Self {
            id: format!("{:032x}", u128::from_be_bytes(id)),
            epoch,
            ends: ends.positions.0.map(|at| at.0),
            samples: totals.samples,
            events: totals.events,
        }
    }
}

/// One file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where in the backup, with slashes.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// CRC32C of its content, in hexadecimal digits.
    pub crc32c: String,
}

/// Something that is not in the backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name in the data directory.
    pub path: String,
    /// Why not.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
struct Seal {
    crc32c: String,
}

/// A checksum as it is written.
pub(super) fn digits(crc: u32) -> String {
    format!("{crc:08x}")
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(super) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        let seal = Seal { crc32c: digits(crc32c::crc32c(&text)) };
        text.push(b'\n');
        text.extend(serde_json::to_vec(&seal)?);
        text.push(b'\n');
        Ok(text)
    }

    /// The manifest in this text, or what is wrong with it.
    pub(super) fn decode(text: &[u8]) -> Result<Self, String> {
        let mut lines = text.split(|byte| *byte == b'\n');
        let (body, seal) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let seal: Seal = serde_json::from_slice(seal)
            .map_err(|_| format!("{MANIFEST_NAME} is cut off or not a manifest"))?;
        if seal.crc32c != digits(crc32c::crc32c(body)) {
            return Err(format!("{MANIFEST_NAME} does not match its checksum"));
        }
        serde_json::from_slice(body).map_err(|error| format!("{MANIFEST_NAME}: {error}"))
    }
}

/// What is read of a manifest before it is known to be understood.
#[derive(Deserialize)]
pub(super) struct Preface {
    pub backup: u32,
    #[serde(default)]
    pub agent: String,
}

impl Preface {
    /// From a manifest's text.
    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text.split(|byte| *byte == b'\n').next()?).ok()
    }
}
