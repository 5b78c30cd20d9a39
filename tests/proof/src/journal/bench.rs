//! How the product's journal is opened, and compared with what must be there.

use std::sync::Arc;

use agent::journal::{Journal, JournalConfig, JournalError, Positions, RecoveryReport};
use agent::storage::SharedStorage;

use super::disk::Disk;
use super::history::History;
use super::planted::Planted;
use super::truth::{Handed, Truth, Violation};

/// The id of every journal: two that hold the same are the same.
pub(super) const JOURNAL: [u8; 16] = [7; 16];
/// Bytes of the table of lives.
pub(super) const EPOCHS_LEN: u64 = 2048 * 128;

/// How journals are opened.
#[derive(Clone, Debug)]
pub(super) struct Bench {
    pub(super) config: JournalConfig,
    pub(super) planted: Option<Planted>,
}

impl Bench {
    pub(super) fn new(history: &History, planted: Option<Planted>) -> Self {
        let config = JournalConfig {
            segment_bytes: history.segment,
            bytes_max: EPOCHS_LEN.saturating_add(history.bytes_max),
            reserve_bytes: history.reserve,
            ..JournalConfig::new("journal".into())
        };
        Self { config, planted }
    }

    /// Opens the journal on this disk and compares it with what must be there.
    pub(super) fn open(
        &self,
        disk: &Disk,
        nonce: u64,
        truth: &Truth,
    ) -> Result<Result<Opened, JournalError>, Violation> {
        let mut handed = Handed::default();
        let storage: SharedStorage = Arc::new(disk.clone());
        let opened = Journal::open(
            storage,
            self.config.clone(),
            JOURNAL,
            nonce,
            &Positions::ZERO,
            &mut |lane, entry, end| truth.take(&mut handed, lane, entry, end),
        );
        let (journal, report) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let counts = truth.check(&journal, &report, &handed)?;
        Ok(Ok(Opened { journal, report, counts }))
    }

    /// As [`Self::open`], after a crash: only a full disk is a reason why it cannot be, and nothing
    /// needs a hand but that.
    pub(super) fn recover(
        &self,
        disk: &Disk,
        nonce: u64,
        truth: &Truth,
    ) -> Result<Opened, Violation> {
        match self.open(disk, nonce, truth)? {
            Ok(opened) => return Ok(opened),
            Err(JournalError::NoSpace { .. }) if disk.capacity().is_some() => {}
            Err(error) => return Err(cannot_open(&error)),
        }
        disk.set_capacity(None);
        self.open(disk, nonce, truth)?.map_err(|error| cannot_open(&error))
    }
}

pub(super) fn cannot_open(error: &JournalError) -> Violation {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    Violation(format!("the journal cannot be opened: {error}: {source}"))
}

/// A journal that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) report: RecoveryReport,
    /// How many of the entries there are, by lane.
    pub(super) counts: [usize; 3],
}
