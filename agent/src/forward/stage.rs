//! What becomes of each entry: opened, followed up, decoded, cleared; or set aside.
//!
//! A state machine: entries in, a batch with its tallies and its cursor out. It waits for nothing;
//! what cannot be decided now ([`Held`]) changes nothing and is offered again.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use protocol::frame::{Body, FRAME_LEN_MAX, Origin};
use protocol::loss::{Loss, LossReason};
use protocol::{CatalogueId, Counts, DeviceId, Lane};

use super::continuity::{Advance, Continuity, Hole, Verdict};
use super::dead_letters::DeadLetters;
use super::origins::Origins;
use super::parked::Parked;
use super::{CatalogueSource, OpenFrame, lane_mut};
use crate::document::{Claimant, LossReport};
use crate::journal::{Damage, Entry, EntryKind, JournalCursor, JournalTail, Position, Positions};
use crate::ledger::Tallies;
use crate::privacy::{Cleared, Lens, Policy, Source};
use crate::sink::CursorState;

mod content;
mod ended;
mod waiting;

use content::{Content, Settled, Unread, open};
use ended::Ended;
pub use ended::{HeldRing, RingSource};

/// The rule that takes out what is left of a device that was erased.
const ERASED: &str = "erased";

/// Why an entry cannot be decided now.
#[derive(Debug, thiserror::Error)]
pub enum Held {
    /// Resource: the registry cannot be asked.
    #[error("cannot open frames: {0}")]
    Opener(String),
    /// Resource: the journal, or what is beside it, cannot be read.
    #[error("{0}")]
    Storage(String),
}

/// What the stage works with; made at the start.
#[derive(Debug)]
pub struct Parts<O, C> {
    /// What the sink is called.
    pub name: String,
    /// Opens frames.
    pub opener: O,
    /// Knows catalogues.
    pub catalogues: C,
    /// Knows how far each ring was taken in.
    pub rings: Box<dyn RingSource>,
    /// Clears what leaves.
    pub policy: Policy,
    /// Where the rings stand.
    pub continuity: Continuity,
    /// Keeps what cannot be read.
    pub dead_letters: DeadLetters,
    /// Keeps what cannot be read yet.
    pub parked: Parked,
}

/// The stage between journal and sink.
#[derive(Debug)]
pub struct Stage<O, C> {
    parts: Parts<O, C>,
    tail: JournalTail,
    lenses: HashMap<CatalogueId, Arc<Lens>>,
    origins: Origins,
    scratch: Vec<u8>,
    batch: Cleared,
    tallies: Tallies,
    positions: Positions,
    totals: [Counts; 3],
    /// Why there are holes in each lane, as far as is known.
    holes: [LossReason; 3],
    ended: Ended,
    /// Entries alone do not tell what this batch makes of the rings.
    tells_more: bool,
    /// Parked rings go on once the journal was read up to here.
    drain_from: Positions,
}

impl<O: OpenFrame, C: CatalogueSource> Stage<O, C> {
    /// The stage, going on from `state`. After a start by identity the journal tells again of
    /// frames that are parked: parked rings wait until it was read up to `drain_from`. `holes`
    /// is why frames are missing, where nothing else says why.
    pub fn new(
        parts: Parts<O, C>,
        tail: JournalTail,
        state: &CursorState,
        drain_from: Positions,
        holes: LossReason,
    ) -> Self {
        let (positions, totals) =
            state.journal.map_or_else(Default::default, |cursor| (cursor.positions, cursor.totals));
        let to_name = parts.continuity.to_name();
        Self {
            parts,
            tail,
            lenses: HashMap::new(),
            origins: Origins::default(),
            scratch: Vec::with_capacity(FRAME_LEN_MAX),
            batch: Cleared::default(),
            tallies: state.tallies.clone(),
            positions,
            totals,
            holes: to_name.map(|reason| reason.unwrap_or(holes)),
            ended: Ended::new(to_name.map(|reason| reason.is_some())),
            tells_more: false,
            drain_from,
        }
    }

    /// From the next frame on other rules apply; the batch must be empty.
    pub fn set_policy(&mut self, policy: Policy) {
        debug_assert!(self.batch.documents() == 0, "a batch is cleared by one policy");
        self.parts.policy = policy;
        // They tell what the old rules make of each signal.
        self.lenses.clear();
    }

    /// The batch so far.
    pub fn batch(&self) -> &Cleared {
        &self.batch
    }

    /// Bytes that the batch so far holds in memory.
    pub fn pending_bytes(&self) -> usize {
        let beside = self.parts.dead_letters.pending_bytes() + self.parts.parked.pending_bytes();
        self.batch.bytes() + beside
    }

    /// How far the batch so far reaches.
    pub fn positions(&self) -> Positions {
        self.positions
    }

    /// When the latest entry in it was received, in milliseconds since 1970 UTC.
    pub fn received_ms(&self) -> i64 {
        self.parts.continuity.received_ms()
    }

    /// Where the rings stand.
    pub fn continuity(&self) -> &Continuity {
        &self.parts.continuity
    }

    /// Frames that wait for a catalogue.
    pub fn parked_frames(&self) -> usize {
        self.parts.parked.frame_count()
    }

    /// The cursor behind what was read.
    pub fn cursor(&self) -> JournalCursor {
        JournalCursor {
            journal: self.tail.id(),
            epoch: self.tail.epoch(),
            positions: self.positions,
            totals: self.totals,
        }
    }

    /// Whether entries alone do not tell where the rings stand behind the batch so far: a part of the
    /// journal is gone, or rings were named that do not go on.
    pub fn tells_more(&self) -> bool {
        self.tells_more
    }

    /// Documents that the sink has once it has the batch.
    pub fn documents(&self) -> u64 {
        self.tallies.documents + self.batch.documents()
    }

    /// Makes durable what was set aside; the cursor behind the batch.
    pub fn seal(&mut self) -> io::Result<CursorState> {
        let dead_letters = self.parts.dead_letters.flush()?;
        let parked = self.parts.parked.flush()?;
        let mut tallies = self.tallies.clone();
        tallies.documents = self.documents();
        let journal = self.cursor();
        let name = self.parts.name.clone();
        Ok(CursorState { journal: Some(journal), tallies, dead_letters, parked, name })
    }

    /// The sink has the batch and the cursor; the next one begins, with this much room.
    pub fn committed(&mut self, state: &CursorState, room: usize) {
        self.tallies.documents = state.tallies.documents;
        self.tells_more = false;
        if self.ended.is_done() {
            self.parts.continuity.names_are_told();
        }
        self.parts.continuity.settle();
        self.parts.dead_letters.commit(state.dead_letters);
        self.parts.parked.commit(state.parked);
        self.batch.clear(room);
    }

    /// Takes an entry into the batch.
    pub fn entry(
        &mut self,
        lane: Lane,
        entry: &Entry<'_>,
        end: Position,
        totals: Counts,
    ) -> Result<(), Held> {
        self.turn_to(entry.device)?;
        match entry.kind {
            EntryKind::Gap => self.gap(lane, entry)?,
            EntryKind::Frame => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let framed = self.frame(lane, entry, end, &mut scratch);
                self.scratch = scratch;
                framed?;
            }
        }
        self.parts.continuity.received(entry.received_ms);
        self.positions.set(lane, end);
        *lane_mut(&mut self.totals, lane) = totals;
        Ok(())
    }

    /// Passes over a damaged part of the journal. Whose it was shows when those rings go on.
    pub fn damage(&mut self, lane: Lane, damage: &Damage) {
        let gone = damage.totals.since(*lane_mut(&mut self.totals, lane));
        let oldest = self.tail.oldest(lane);
        let reason = if damage.from < oldest { LossReason::Overrun } else { LossReason::Journal };
        tracing::error!(
            %lane, from = damage.from.0, to = damage.to.0, ?gone, reason = reason.name(),
            "a part of the journal is gone"
        );
        *lane_mut(&mut self.holes, lane) = reason;
        *lane_mut(&mut self.tallies.unnamed, lane) += gone;
        self.ended.hole(lane);
        self.parts.continuity.owe_names(lane, reason);
        self.tells_more = true;
        self.positions.set(lane, damage.to);
        *lane_mut(&mut self.totals, lane) = damage.totals;
    }

    fn gap(&mut self, lane: Lane, entry: &Entry<'_>) -> Result<(), Held> {
        let loss = postcard::from_bytes::<Loss>(entry.payload).ok();
        let first = loss.map_or(entry.seq, |loss| loss.first.min(entry.seq));
        let reason = loss.map_or(LossReason::Unexplained, |loss| loss.reason);
        let advance = advance(entry, first);
        let is_erased = is_erased(&mut self.parts.opener, entry)?;
        match self.parts.continuity.judge(&advance) {
            Verdict::Repeat if self.tallies.recounts => self.tally_loss(reason, entry.adds),
            Verdict::Repeat => self.tallies.before += entry.adds,
            Verdict::New { hole, fresh } => {
                if let Some(hole) = hole {
                    self.hole_before(lane, entry, &hole, is_erased);
                }
                let (last, by) = (entry.seq, Claimant::Agent);
                let report = LossReport { first, last, lost: fresh, reason: reason.name(), by };
                if !is_erased {
                    self.parts.policy.loss(&source(lane, entry, None), &report, &mut self.batch);
                }
                self.tally_loss(reason, fresh);
                self.tallies.delivered += entry.adds.since(fresh);
                self.parts.continuity.advance(&advance);
            }
        }
        Ok(())
    }

    fn frame(
        &mut self,
        lane: Lane,
        entry: &Entry<'_>,
        end: Position,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Held> {
        let content = open(&mut self.parts.opener, lane, entry, scratch)?;
        let first = match &content {
            Ok((Body::Loss(loss), None)) if loss.last >= entry.seq.prev() => {
                loss.first.min(entry.seq)
            }
            _ => entry.seq,
        };
        let advance = advance(entry, first);
        let Verdict::New { hole, fresh } = self.parts.continuity.judge(&advance) else {
            self.repeat(entry, &content);
            return Ok(());
        };
        let is_resealed = match &content {
            Ok((_, Some(origin))) => self.is_forwarded(lane, end, origin)?,
            _ => false,
        };
        let is_erased = matches!(content, Err(Unread::Erased));
        // From here on nothing can fail.
        if let Some(hole) = hole {
            self.hole_before(lane, entry, &hole, is_erased);
        }
        self.parts.continuity.advance(&advance);
        if is_erased {
            self.tallies.exclude(ERASED, entry.adds);
        } else if is_resealed {
            self.tallies.exclude("resealed", entry.adds);
        } else if self.parts.parked.holds(&entry.ring) {
            self.park(lane, entry, self.awaits(&content));
        } else if let Settled::Awaits(catalogue) = self.settle(lane, entry, content, fresh) {
            self.park(lane, entry, Some(catalogue));
        }
        Ok(())
    }

    fn is_forwarded(&mut self, lane: Lane, until: Position, origin: &Origin) -> Result<bool, Held> {
        let passed =
            self.parts.continuity.get(&origin.ring).is_some_and(|at| origin.seq <= at.last);
        if !passed {
            return Ok(false);
        }
        let held = self.origins.is_held(&self.tail, lane, until, origin);
        held.map_err(|error| Held::Storage(error.to_string()))
    }

    /// The sink has it already, from an earlier life of the journal.
    fn repeat(&mut self, entry: &Entry<'_>, content: &Content<'_>) {
        if !self.tallies.recounts {
            // It was counted when it was forwarded.
            self.tallies.before += entry.adds;
        } else if self.parts.parked.holds_frame(&entry.ring, entry.seq) {
            self.tallies.elsewhere = self.tallies.elsewhere.since(entry.adds);
        } else if let Ok((Body::Loss(loss), _)) = content {
            self.tally_loss(loss.reason, entry.adds);
        } else {
            self.tallies.delivered += entry.adds;
        }
    }

    /// What is missing in front of an entry.
    fn hole_before(&mut self, lane: Lane, entry: &Entry<'_>, hole: &Hole, is_erased: bool) {
        let before = Source { seq: hole.last, ..source(lane, entry, None) };
        self.hole(lane, (!is_erased).then_some(before), hole);
    }

    /// What is missing, said under this agent's name; of a device that was erased it is counted, and
    /// nothing said.
    fn hole(&mut self, lane: Lane, source: Option<Source<'_>>, hole: &Hole) {
        let reason = *lane_mut(&mut self.holes, lane);
        let report = LossReport {
            first: hole.first,
            last: hole.last,
            lost: hole.lost,
            reason: reason.name(),
            by: Claimant::Agent,
        };
        if let Some(source) = source {
            self.parts.policy.loss(&source, &report, &mut self.batch);
        }
        let unnamed = lane_mut(&mut self.tallies.unnamed, lane);
        // What exceeds the known damages was lost with another journal.
        self.tallies.elsewhere += hole.lost.since(*unnamed);
        *unnamed = unnamed.since(hole.lost);
        self.tallies.lose(reason, hole.lost);
    }

    fn turn_to(&mut self, device: DeviceId) -> Result<(), Held> {
        let turned = self.parts.policy.turn_to(device);
        turned.map_err(|error| Held::Storage(format!("the registry of vehicles: {error}")))
    }

    fn tally_loss(&mut self, reason: LossReason, counts: Counts) {
        if reason.is_exclusion() {
            self.tallies.exclude(reason.name(), counts);
        } else {
            self.tallies.lose(reason, counts);
        }
    }

    fn dead_letter(&mut self, lane: Lane, entry: &Entry<'_>, counts: Counts, reason: &str) {
        self.parts.dead_letters.add(lane, entry, counts, reason);
        self.tallies.dead_lettered += counts;
    }
}

/// Whether nothing of an entry may leave any more.
fn is_erased(opener: &mut impl OpenFrame, entry: &Entry<'_>) -> Result<bool, Held> {
    let is_erased = opener.is_erased(entry.device, &entry.ring, entry.received_ms);
    is_erased.map_err(|error| Held::Opener(error.to_string()))
}

fn advance(entry: &Entry<'_>, first: protocol::Seq) -> Advance {
    Advance { ring: entry.ring, first, seq: entry.seq, adds: entry.adds, through: entry.through }
}

fn source<'a>(lane: Lane, entry: &Entry<'_>, origin: Option<&'a Origin>) -> Source<'a> {
    Source {
        device: entry.device,
        ring: entry.ring,
        seq: entry.seq,
        lane,
        received_ms: entry.received_ms,
        origin,
    }
}
