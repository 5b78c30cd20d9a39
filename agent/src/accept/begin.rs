//! A start: journal and rings, brought up to date with each other.

use std::sync::Arc;

use protocol::Lane;

use super::{replay, replay_from};
use crate::journal::{
    Entry, Item, Journal, JournalConfig, JournalError, JournalTail, Position, ReadError,
    RecoveryReport,
};
use crate::rings::{Rings, RingsError};
use crate::storage::SharedStorage;

/// What an acceptor begins with.
#[derive(Debug)]
pub struct Begun {
    /// The journal, in a new life.
    pub journal: Journal,
    /// The rings as it has them.
    pub rings: Rings,
    /// What recovery found.
    pub report: RecoveryReport,
    /// The rings' checkpoint was of another journal, or of a life that this one knows nothing of.
    pub is_other: bool,
}

/// Why a start fails.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ring table.
    #[error(transparent)]
    Rings(#[from] RingsError),
}

impl Begun {
    /// Opens the journal and brings the rings up to date. `identity_entropy` and `epoch_nonce` as
    /// for [`Journal::open`].
    pub fn open(
        storage: &SharedStorage,
        config: JournalConfig,
        (identity_entropy, epoch_nonce): ([u8; 16], u64),
        mut rings: Rings,
    ) -> Result<Self, BeginError> {
        // The checkpoint's journal cannot be asked before it is open, so the rings are brought up to
        // date afterwards, from where the checkpoint is known to be good.
        let checkpoint = rings.checkpoint()?;
        let end = checkpoint.map(|cursor| cursor.positions).unwrap_or_default();
        let mut ignored = |_, _: &Entry<'_>, _: Position| {};
        let (journal, report) = Journal::open(
            Arc::clone(storage),
            config,
            identity_entropy,
            epoch_nonce,
            &end,
            &mut ignored,
        )?;
        let tail = journal.tail();
        let from = replay_from(checkpoint, |cursor| tail.validates(cursor));
        let is_other = checkpoint.is_some_and(|cursor| !tail.validates(&cursor));
        if is_other {
            // An acknowledgement may only say what this journal holds.
            rings.clear()?;
        }
        for lane in Lane::ALL {
            replay_lane(&tail, lane, from.get(lane), &mut rings)?;
        }
        Ok(Self { journal, rings, report, is_other })
    }
}

fn replay_lane(
    tail: &JournalTail,
    lane: Lane,
    from: Position,
    rings: &mut Rings,
) -> Result<(), BeginError> {
    let mut reader = tail.reader(lane, from);
    while let Some(item) = reader.next()? {
        if let Item::Entry { entry, .. } = item {
            replay(rings, lane, &entry)?;
        }
    }
    Ok(())
}
