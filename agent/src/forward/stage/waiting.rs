//! The stage's part for frames whose catalogue is not known yet.

use std::io;

use protocol::frame::Body;
use protocol::{CatalogueId, Lane, RingId};

use super::super::parked::ParkedFrame;
use super::super::{CatalogueSource, OpenFrame};
use super::{Content, Held, Settled, Stage, open};
use crate::journal::Entry;

impl<O: OpenFrame, C: CatalogueSource> Stage<O, C> {
    /// Lets parked rings go on whose catalogue is known by now, while the batch is below
    /// `bytes_max`.
    pub fn drain_parked(&mut self, bytes_max: usize) -> Result<(), Held> {
        if !self.drain_from.within(&self.positions) {
            return Ok(());
        }
        while let Some(adds) = self.parts.parked.take_erased() {
            self.tallies.quarantined = self.tallies.quarantined.since(adds);
            self.tallies.exclude(super::ERASED, adds);
        }
        while self.pending_bytes() < bytes_max {
            let catalogues = &self.parts.catalogues;
            let Some(ring) = self.parts.parked.ready(|id| catalogues.get(id).is_some()) else {
                break;
            };
            let first = self.parts.parked.first(&ring, |_| true);
            let frame = match first {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.lose_parked(&ring);
                    continue;
                }
                Err(error) => return Err(Held::Storage(format!("parked frames: {error}"))),
            };
            let mut scratch = std::mem::take(&mut self.scratch);
            let settled = self.settle_parked(&frame, &mut scratch);
            self.scratch = scratch;
            if !settled? {
                break;
            }
        }
        Ok(())
    }

    fn settle_parked(&mut self, frame: &ParkedFrame, scratch: &mut Vec<u8>) -> Result<bool, Held> {
        self.turn_to(frame.device)?;
        let entry = frame.entry();
        let content = open(&mut self.parts.opener, frame.lane, &entry, scratch)?;
        match self.settle(frame.lane, &entry, content, frame.adds) {
            Settled::Awaits(_) => Ok(false),
            Settled::Done => {
                self.parts.parked.gone(&frame.ring);
                self.tallies.quarantined = self.tallies.quarantined.since(frame.adds);
                Ok(true)
            }
        }
    }

    /// A parked frame's bytes are damaged: nothing is left to put among the dead letters.
    fn lose_parked(&mut self, ring: &RingId) {
        if let Some((seq, adds)) = self.parts.parked.gone(ring) {
            tracing::error!(%ring, %seq, "a parked frame is damaged");
            self.tallies.quarantined = self.tallies.quarantined.since(adds);
            self.tallies.dead_lettered += adds;
        }
    }

    pub(super) fn park(&mut self, lane: Lane, entry: &Entry<'_>, awaits: Option<CatalogueId>) {
        let frame = ParkedFrame {
            device: entry.device,
            ring: entry.ring,
            lane,
            seq: entry.seq,
            received_ms: entry.received_ms,
            adds: entry.adds,
            awaits,
            payload: entry.payload.to_vec(),
        };
        if self.parts.parked.park(frame) {
            self.tallies.quarantined += entry.adds;
        } else {
            let name = awaits.map_or_else(|| "another".to_owned(), |id| id.to_string());
            let reason = format!("no room to wait for catalogue {name}");
            self.dead_letter(lane, entry, entry.adds, &reason);
        }
    }

    /// The catalogue that a frame waits for, if it is not known.
    pub(super) fn awaits(&self, content: &Content<'_>) -> Option<CatalogueId> {
        let Ok((Body::Samples(header, _), _)) = content else { return None };
        let id = header.context.catalogue;
        self.parts.catalogues.get(id).is_none().then_some(id)
    }
}
