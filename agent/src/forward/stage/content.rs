//! What an opened frame holds, and what becomes of it: cleared into the batch, or a dead letter.

use std::sync::Arc;

use protocol::frame::{Body, Origin};
use protocol::record::{Record, Records};
use protocol::{CatalogueId, Counts, Lane};

use super::{ERASED, Held, Stage, is_erased, source};
use crate::document::{Claimant, LossReport};
use crate::forward::{CatalogueSource, OpenFrame, Unopened};
use crate::journal::Entry;
use crate::privacy::Lens;

/// The most catalogues whose views are kept; about 10 KiB each.
const LENSES_MAX: usize = 32;
/// An opened frame's content, or why there is none.
pub(super) type Content<'a> = Result<(Body<'a>, Option<Origin>), Unread>;

/// Why there is none.
#[derive(Debug)]
pub(super) enum Unread {
    /// Nobody can read it: it goes to the dead letters.
    Dead(String),
    /// Nobody may: its device was erased, and nothing of it leaves, not even its name.
    Erased,
}

/// What became of a frame.
pub(super) enum Settled {
    Done,
    Awaits(CatalogueId),
}

/// Opens a frame in `scratch`.
pub(super) fn open<'a>(
    opener: &mut impl OpenFrame,
    lane: Lane,
    entry: &Entry<'_>,
    scratch: &'a mut Vec<u8>,
) -> Result<Content<'a>, Held> {
    scratch.clear();
    scratch.extend_from_slice(entry.payload);
    let (head, content) = match opener.open(entry.device, entry.ring, lane, scratch) {
        Ok(parts) => parts,
        Err(Unopened::Unavailable(why)) => return Err(Held::Opener(why)),
        Err(Unopened::Unopenable(why)) => {
            let is_erased = is_erased(opener, entry)?;
            return Ok(Err(if is_erased { Unread::Erased } else { Unread::Dead(why) }));
        }
    };
    if head.seq != entry.seq {
        return Ok(Err(Unread::Dead("another number than it was journaled under".to_owned())));
    }
    Ok(Body::read(&head, content).map_err(|error| Unread::Dead(error.to_string())))
}

impl<O: OpenFrame, C: CatalogueSource> Stage<O, C> {
    pub(super) fn settle(
        &mut self,
        lane: Lane,
        entry: &Entry<'_>,
        content: Content<'_>,
        fresh: Counts,
    ) -> Settled {
        match content {
            Err(Unread::Erased) => self.tallies.exclude(ERASED, entry.adds),
            Err(Unread::Dead(reason)) => self.dead_letter(lane, entry, entry.adds, &reason),
            Ok((Body::Samples(header, columns), origin)) => {
                let Some(lens) = self.lens(header.context.catalogue) else {
                    return Settled::Awaits(header.context.catalogue);
                };
                let source = source(lane, entry, origin.as_ref());
                let policy = &mut self.parts.policy;
                match policy.samples(&source, &header, columns, &lens, &mut self.batch) {
                    Ok(passed) => {
                        self.tallies.delivered.samples += passed;
                        for (rule, taken) in policy.rules().iter().zip(policy.taken()) {
                            if *taken > 0 {
                                self.tallies.exclude(rule, Counts { samples: *taken, events: 0 });
                            }
                        }
                    }
                    Err(error) => self.dead_letter(lane, entry, entry.adds, &error.to_string()),
                }
            }
            Ok((Body::Records(records), origin)) => {
                self.records(lane, entry, origin.as_ref(), records);
            }
            Ok((Body::Loss(loss), origin)) => {
                let report = LossReport {
                    first: loss.first,
                    last: loss.last,
                    lost: fresh,
                    reason: loss.reason.name(),
                    by: Claimant::Device(loss.time),
                };
                let source = source(lane, entry, origin.as_ref());
                self.parts.policy.loss(&source, &report, &mut self.batch);
                self.tally_loss(loss.reason, fresh);
                self.tallies.delivered += entry.adds.since(fresh);
            }
        }
        Settled::Done
    }

    fn records(
        &mut self,
        lane: Lane,
        entry: &Entry<'_>,
        origin: Option<&Origin>,
        records: Records<'_>,
    ) {
        let source = source(lane, entry, origin);
        let mut unread = Counts::ZERO;
        for (ordinal, record) in (0..).zip(records) {
            let Ok(record) = record else {
                unread.events += 1;
                continue;
            };
            if let Record::Boot(boot) = &record {
                let total = |per_lane: [u32; 3]| per_lane.into_iter().map(u64::from).sum();
                self.tallies.unsealed_max += Counts {
                    samples: total(boot.unsealed_samples_max),
                    events: total(boot.unsealed_events_max),
                };
            }
            let counts = self.parts.policy.record(&source, ordinal, &record, &mut self.batch);
            self.tallies.delivered += counts;
        }
        if !unread.is_zero() {
            self.dead_letter(lane, entry, unread, "unknown or malformed record");
        }
    }

    fn lens(&mut self, id: CatalogueId) -> Option<Arc<Lens>> {
        if let Some(lens) = self.lenses.get(&id) {
            return Some(Arc::clone(lens));
        }
        let lens = Arc::new(self.parts.policy.lens(&self.parts.catalogues.get(id)?));
        if self.lenses.len() >= LENSES_MAX {
            self.lenses.clear();
        }
        self.lenses.insert(id, Arc::clone(&lens));
        Some(lens)
    }
}
