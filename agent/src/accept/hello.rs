//! Hellos: which rings a connection sends, and what of them is gone.

use protocol::frame::compact::Context;
use protocol::hello::{Hello, RingState};
use protocol::keys::{ack_key, hello_key};
use protocol::loss::LossReason;
use protocol::{Counts, DeviceId, FrameTag, Loss};

use super::session::{Answer, HelloAnswer, LaneSession};
use super::{Acceptor, Blocked};
use crate::dedup::Watermark;
use crate::intake::SessionId;
use crate::journal::{Entry, EntryKind};
use crate::rings::Ring;

impl Acceptor {
    /// A hello: which rings this session sends, what of them is gone, what the device wants to hear.
    pub(super) fn hello(
        &mut self,
        now_ms: i64,
        id: SessionId,
        device: DeviceId,
        payload: &[u8],
    ) -> Result<(), Blocked> {
        let Ok(generation) = Hello::generation(payload) else {
            self.counters.rejected_malformed.add(1);
            return Ok(());
        };
        let Some(secret) = self.registry.secret(device, generation)? else {
            self.counters.rejected_key.add(1);
            return Ok(());
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(payload);
        let key = hello_key(&secret, &device, generation);
        let hello = match Hello::open(&key, &device, &mut self.scratch) {
            Ok(hello) => hello,
            Err(error) => {
                self.counters.reject(error);
                return Ok(());
            }
        };
        let mut owned = [false; 3];
        for ring in &hello.rings {
            if let Some(owned) = owned.get_mut(ring.lane.index()) {
                *owned = self.account_gap(now_ms, device, ring)?;
            }
        }
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        session.generation = generation;
        session.context = Some(Context { catalogue: hello.catalogue, boot: hello.time.boot });
        for ring in &hello.rings {
            let key = ack_key(&secret, &device, &ring.ring, generation);
            let index = ring.lane.index();
            if let (Some(lane), Some(true)) = (session.lanes.get_mut(index), owned.get(index)) {
                *lane = Some(LaneSession { ring: ring.ring, key, answer: Answer::Ack });
            }
        }
        session.hello = Some(HelloAnswer {
            challenge: hello.challenge,
            uptime_ms: hello.time.uptime_ms,
            wants_catalogue: self.catalogues.get(hello.catalogue).is_none(),
        });
        self.waiting.push(id);
        self.seen.insert(device, now_ms);
        self.counters.activity.seen(device, now_ms);
        self.counters.hellos.add(1);
        Ok(())
    }

    /// What a device no longer has and this agent never saw is written down as such, exactly, by
    /// the cumulative counts. Whether the ring is this device's.
    fn account_gap(
        &mut self,
        now_ms: i64,
        device: DeviceId,
        said: &RingState,
    ) -> Result<bool, Blocked> {
        let mut ring = match self.rings.get(&said.ring)? {
            Some(ring) if ring.may_be_of(device) && ring.lane == said.lane => {
                Ring { device, ..ring }
            }
            Some(other) => {
                // Someone else's ring: 128 random bits do not meet by chance.
                self.counters.rejected_ring.add(1);
                tracing::warn!(
                    %device, lane = %said.lane, owner = %other.device,
                    "a device says that it has another one's ring; is its flash a copy?"
                );
                return Ok(false);
            }
            None => Ring {
                device,
                lane: said.lane,
                watermark: Watermark::default(),
                declared: Counts::ZERO,
            },
        };
        ring.declared = said.before_next;
        if let Some((last, lost)) =
            ring.watermark.gap_before(said.first_retained, said.before_first)
        {
            let elsewhere = said.acknowledged >= last;
            let loss = Loss {
                first: ring.watermark.durable.next(),
                last,
                through: ring.watermark.through + lost,
                reason: if elsewhere {
                    LossReason::AcknowledgedElsewhere
                } else {
                    LossReason::Unexplained
                },
                time: protocol::DeviceTime::default(),
            };
            let payload = postcard::to_extend(&loss, Vec::new()).unwrap_or_default();
            let entry = Entry {
                kind: EntryKind::Gap,
                received_ms: now_ms,
                device,
                ring: said.ring,
                seq: last,
                adds: lost,
                through: loss.through,
                payload: &payload,
            };
            self.journal.append(said.lane, &entry)?;
            ring.watermark.advance(last, FrameTag::default(), lost);
            self.counters.gaps.add(1);
            tracing::warn!(
                %device, lane = %said.lane, first = %loss.first, %last,
                samples = lost.samples, events = lost.events, reason = loss.reason.name(),
                "frames are gone from a device without having been seen here"
            );
        }
        self.rings.put(said.ring, ring);
        Ok(true)
    }
}
