//! The app's side of the link: what comes from the agent, what the session asks for, and what a
//! fork makes necessary.

use core::borrow::BorrowMut;

use embedded_storage::nor_flash::NorFlash;
use protocol::ack::Ack;
use protocol::downlink::{Downlink, Envelope, Welcome};
use protocol::frame::{self, Binding, FrameError, HEADER_LEN_MAX, Kind, Origin, compact};
use protocol::health::{Fork, ForkReason};
use protocol::hello::{Challenge, Hello};
use protocol::loss::LossReason;
use protocol::record::Record;
use protocol::topic::Channel;
use protocol::{DeviceTime, FrameTag, Lane, RingId, Seq, keys};

use super::App;
use super::open::next_ring;
use super::store::{Identity, Store};
use super::system::Unsent;
use crate::batch::{Batches, Closed};
use crate::ports::{Entropy, Link, LinkEvent, Now, Ports};
use crate::ring::{Gone, OldFrame, RingError};
use crate::session::{Step, fork_reason};

/// Frames sealed anew in one poll.
const RESEAL_MAX: u32 = 16;
/// Frames sent in one poll, at most: the link takes only a few anyway.
const STEPS_MAX: u32 = 64;

/// What came of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Done {
    Yes,
    /// The link takes nothing now.
    Blocked,
}

impl<'a, const SIGNALS: usize, const FRAME: usize, B> App<'a, SIGNALS, FRAME, B>
where
    B: BorrowMut<Batches<'a, SIGNALS, FRAME>>,
{
    /// Takes everything the link has to tell.
    pub(super) fn take_link_events<F: NorFlash, S, L: Link, E: Entropy>(
        &mut self,
        now: &Now,
        ports: &mut Ports<'_, F, S, L, E>,
    ) {
        let mut bytes = [0; protocol::downlink::DOWNLINK_LEN_MAX];
        while let Some(event) = ports.link.event(now.uptime_ms, &mut bytes) {
            match event {
                LinkEvent::Up => {
                    self.counters.link_up = self.counters.link_up.saturating_add(1);
                    self.session.up(now.uptime_ms);
                }
                LinkEvent::Down { busy } => self.session.down(now.uptime_ms, busy),
                LinkEvent::Published => {}
                LinkEvent::Message { channel, len } => {
                    let message = bytes.get_mut(..len).unwrap_or_default();
                    let authentic = match channel {
                        Channel::Ack => self.on_ack(now, ports, message),
                        Channel::Downlink => self.on_downlink(now, message),
                        Channel::Frames(_) | Channel::Hello => false,
                    };
                    if !authentic {
                        self.counters.rejected = self.counters.rejected.saturating_add(1);
                    }
                }
            }
        }
    }

    /// An acknowledgement; whether it was authentic.
    fn on_ack<F: NorFlash, S, L, E: Entropy>(
        &mut self,
        now: &Now,
        ports: &mut Ports<'_, F, S, L, E>,
        bytes: &[u8],
    ) -> bool {
        let Ok(claim) = Ack::peek(bytes) else { return false };
        let Some(store) = self.stores.get_mut(claim.lane.index()) else { return false };
        if claim.generation != self.identity.generation {
            return false;
        }
        let ring = store.ring.id();
        let Ok(ack) = Ack::open(&store.ack_key, &self.identity.device, &ring, bytes) else {
            return false;
        };
        // A loss covers it there, or it is no longer here: nothing to compare.
        let says_tag = ack.tag != FrameTag::default();
        let own = if says_tag { store.ring.tag(ports.flash, ack.durable).ok() } else { None };
        if let Some(reason) = fork_reason(&ack, &store.view(), own) {
            self.session.answered();
            self.fork(now, ports, &ack, reason);
        } else if self.meet(ports.flash, ack.lane) {
            self.release(now, &ack);
        }
        true
    }

    /// The agent holds this ring's frames up to there.
    fn release(&mut self, now: &Now, ack: &Ack) {
        let Some(store) = self.stores.get_mut(ack.lane.index()) else { return };
        self.session.acknowledged(now.uptime_ms, ack, &store.view());
        store.release(ack.durable);
    }

    /// From now on an agent may have what a lane sends: remembers it before anything is sent. Whether
    /// that worked; if not, the next answer asks again.
    fn meet<F: NorFlash>(&mut self, flash: &mut F, lane: Lane) -> bool {
        if self.stores.get(lane.index()).is_some_and(Store::is_met) {
            return true;
        }
        let mut state = self.system.state();
        if let Some(unsent) = state.unsent.get_mut(lane.index()) {
            *unsent = Unsent::default();
        }
        if state != self.system.state() && self.system.write(flash, state).is_err() {
            self.counters.flash_errors = self.counters.flash_errors.saturating_add(1);
            return false;
        }
        if let Some(store) = self.stores.get_mut(lane.index()) {
            store.met();
        }
        true
    }

    /// Anything else the agent says; whether it was authentic.
    fn on_downlink(&mut self, now: &Now, bytes: &mut [u8]) -> bool {
        let identity = &self.identity;
        let opened = Envelope::open(&identity.secret, &identity.device, &self.challenge, bytes);
        let Ok((envelope, Downlink::Welcome(welcome))) = opened else { return false };
        if envelope.generation != identity.generation {
            return false;
        }
        self.session.answered();
        self.catalogue_wanted |= welcome.wants_catalogue;
        self.set_clock(now, &welcome);
        true
    }

    /// The agent's time when it answered was about half a round trip ago.
    fn set_clock(&mut self, now: &Now, welcome: &Welcome) {
        let Some(round_trip_ms) = now.uptime_ms.checked_sub(welcome.hello_uptime_ms) else {
            return;
        };
        let answered_ms = now.uptime_ms.saturating_sub(round_trip_ms / 2);
        if let Ok(answered_ms) = i64::try_from(answered_ms) {
            self.agent_clock_ms = Some(welcome.unix_ms.saturating_sub(answered_ms));
        }
    }

    /// Does what the session asks for until it waits or the link takes no more; until when.
    pub(super) fn run_session<F: NorFlash, S, L: Link, E: Entropy>(
        &mut self,
        now: &Now,
        ports: &mut Ports<'_, F, S, L, E>,
    ) -> u64 {
        for _ in 0..STEPS_MAX {
            let views = self.stores.each_ref().map(Store::view);
            let done = match self.session.step(now.uptime_ms, &views) {
                Step::Wait(until_ms) => return until_ms,
                Step::Connect => {
                    ports.link.connect(now.uptime_ms);
                    Done::Yes
                }
                Step::Disconnect => {
                    ports.link.disconnect(now.uptime_ms);
                    self.session.down(now.uptime_ms, false);
                    Done::Yes
                }
                Step::Hello => self.say_hello(now, ports),
                Step::Send(lane, seq) => self.send(now, ports, lane, seq),
            };
            if done == Done::Blocked {
                return self.session.patience_ms(now.uptime_ms);
            }
        }
        now.uptime_ms
    }

    fn say_hello<F: NorFlash, S, L: Link, E: Entropy>(
        &mut self,
        now: &Now,
        ports: &mut Ports<'_, F, S, L, E>,
    ) -> Done {
        let mut challenge = Challenge::default();
        let mut nonce = [0; 12];
        ports.entropy.fill(&mut challenge.0);
        ports.entropy.fill(&mut nonce);
        let mut rings = heapless::Vec::new();
        for store in &self.stores {
            let fits = rings.push(store.state(self.session.acknowledged_since_boot(store.lane)));
            debug_assert!(fits.is_ok(), "three lanes, three rings");
        }
        let hello = Hello {
            time: self.device_time(now),
            challenge,
            catalogue: self.catalogue_id,
            campaign: self.campaign_id,
            image: self.image,
            rings,
        };
        let Identity { device, secret, generation, .. } = &self.identity;
        let key = keys::hello_key(secret, device, *generation);
        // Cannot fail: the buffer holds the longest hello.
        let sealed = hello.seal(&key, device, *generation, nonce, &mut self.scratch);
        let message = sealed.ok().and_then(|len| self.scratch.get(..len)).unwrap_or_default();
        if ports.link.publish(Channel::Hello, message).is_err() {
            return Done::Blocked;
        }
        self.challenge = challenge;
        self.counters.hellos = self.counters.hellos.saturating_add(1);
        let views = self.stores.each_ref().map(Store::view);
        for (store, view) in self.stores.iter_mut().zip(&views) {
            // An agent passes by what is before.
            store.sent(view.said_first.prev());
        }
        self.session.said_hello(now.uptime_ms, &views);
        Done::Yes
    }

    fn send<F: NorFlash, S, L: Link, E>(
        &mut self,
        now: &Now,
        ports: &mut Ports<'_, F, S, L, E>,
        lane: Lane,
        seq: Seq,
    ) -> Done {
        let Some(store) = self.stores.get_mut(lane.index()).filter(|_| ports.link.is_ready())
        else {
            return Done::Blocked;
        };
        match store.ring.read(ports.flash, seq, &mut self.scratch) {
            Ok(frame) => {
                let frame = self.scratch.get_mut(..frame.len).unwrap_or_default();
                let boot = self.system.state().boot;
                let said = compact::Context { catalogue: self.catalogue_id, boot };
                let message = compact::shorten(frame, said, self.session.acked(lane));
                if ports.link.publish(Channel::Frames(lane), message).is_err() {
                    return Done::Blocked;
                }
                self.counters.sent_frames = self.counters.sent_frames.saturating_add(1);
                store.sent(seq);
                self.session.sent(now.uptime_ms, lane, seq);
                Done::Yes
            }
            Err(RingError::Damaged(gone)) => {
                self.on_unreadable(now, ports.flash, lane, &gone);
                Done::Yes
            }
            Err(_) => {
                self.counters.flash_errors = self.counters.flash_errors.saturating_add(1);
                Done::Blocked
            }
        }
    }

    /// Frames cannot be read. Burnt numbers are covered by the frame after them. Anything else
    /// waits until all before it is acknowledged; then the ring begins after it, the next hello
    /// lets the agent pass by its counts, and a loss frame says why.
    fn on_unreadable<F: NorFlash>(&mut self, now: &Now, flash: &mut F, lane: Lane, gone: &Gone) {
        let Some(store) = self.stores.get_mut(lane.index()) else { return };
        let gone = store.whole_gap(flash, *gone, &mut self.scratch);
        if store.unreadable(&gone) {
            self.session.rewind(lane);
            return;
        }
        let cover = store.loss_at(flash, gone.last.next(), &mut self.scratch);
        if cover.is_some_and(|loss| loss.first <= gone.first && loss.last == gone.last) {
            self.session.skip(lane, gone.last);
        } else if self.session.acked(lane).next() >= gone.first {
            if store.ring.give_up(flash, &gone).is_err() {
                self.counters.flash_errors = self.counters.flash_errors.saturating_add(1);
                return;
            }
            store.lost(gone, LossReason::Damaged, now.uptime_ms);
        } else {
            self.session.hold(lane, gone.first);
        }
    }

    /// The agent knows another history of a ring: leave it.
    fn fork<F: NorFlash, S, L, E: Entropy>(
        &mut self,
        now: &Now,
        ports: &mut Ports<'_, F, S, L, E>,
        ack: &Ack,
        reason: ForkReason,
    ) {
        let time = self.device_time(now);
        let Some(store) = self.stores.get_mut(ack.lane.index()) else { return };
        let (from, next) = (store.ring.id(), store.ring.next());
        let identity = &self.identity;
        let begun = next_ring(identity, ack.lane, &mut self.system, ports.flash, ports.entropy)
            .ok()
            .and_then(|new| store.ring.begin_fork(ports.flash, new).ok());
        if begun.is_none() {
            // The flash failed, or an earlier fork is not finished. The next answer asks again.
            self.counters.flash_errors = self.counters.flash_errors.saturating_add(1);
            return;
        }
        store.reopened(identity);
        let to = store.ring.id();
        self.session.reopened(ack.lane);
        // What was unsent in the ring that is left means nothing in the new one.
        self.meet(ports.flash, ack.lane);
        self.counters.forks = self.counters.forks.saturating_add(1);
        let acknowledged = ack.durable;
        self.say(&Record::Fork(Fork {
            time,
            lane: ack.lane,
            from,
            to,
            acknowledged,
            next,
            reason,
        }));
    }

    /// Seals anew what a fork left behind, a few frames a poll; whether there is more.
    pub(super) fn reseal<F: NorFlash, S, L, E>(
        &mut self,
        now: &Now,
        ports: &mut Ports<'_, F, S, L, E>,
    ) -> bool {
        let time = self.device_time(now);
        let mut more = false;
        for store in &mut self.stores {
            let mut resealed = Ok(());
            for _ in 0..RESEAL_MAX {
                let Some(fork) = store.ring.fork().filter(|_| resealed.is_ok()) else { break };
                let (identity, scratch) = (&self.identity, &mut self.scratch);
                resealed = reseal_next(store, ports.flash, identity, fork.old, time, scratch);
            }
            if resealed.is_err() {
                // Tried again at the next poll, whenever that is.
                self.counters.flash_errors = self.counters.flash_errors.saturating_add(1);
            } else {
                more |= store.ring.fork().is_some();
            }
        }
        more
    }
}

/// Takes the old ring's next frame over.
fn reseal_next<F: NorFlash>(
    store: &mut Store,
    flash: &mut F,
    identity: &Identity,
    old_ring: RingId,
    time: DeviceTime,
    scratch: &mut [u8],
) -> Result<(), RingError<F::Error>> {
    // What was lost on the way is said first.
    store.say_losses(flash, time, false)?;
    let from = Binding { device: identity.device, ring: old_ring, lane: store.lane };
    match store.ring.read_old(flash, scratch) {
        Ok(Some(old)) => copy(store, flash, identity, &from, &old, time, scratch),
        Ok(None) => Ok(()),
        Err(RingError::Damaged(gone)) => leave(store, flash, &gone, time),
        Err(error) => Err(error),
    }
}

/// Frames of the old ring are gone, or cannot be opened: they count as lost.
fn leave<F: NorFlash>(
    store: &mut Store,
    flash: &mut F,
    gone: &Gone,
    time: DeviceTime,
) -> Result<(), RingError<F::Error>> {
    let lost = store.ring.lose_old(flash, gone)?;
    store.say_left(flash, lost, time)
}

/// Seals a frame of the old ring, which stands in `scratch`, as the next one of the new ring.
fn copy<F: NorFlash>(
    store: &mut Store,
    flash: &mut F,
    identity: &Identity,
    from: &Binding,
    old: &OldFrame,
    time: DeviceTime,
    scratch: &mut [u8],
) -> Result<(), RingError<F::Error>> {
    let Some((kind, body)) = unwrap(identity, from, old, scratch).ok().flatten() else {
        // A loss of the old ring means nothing in the new one, and adds nothing.
        if old.adds.is_zero() {
            store.ring.skip_old(old);
            return Ok(());
        }
        return leave(store, flash, &old.gone, time);
    };
    let closed = Closed { counts: old.adds, body, samples: None };
    let len = store.sealed_len(kind, &closed);
    let reserved = store.ring.reserve_copy(flash, old, len)?;
    let sealed = store.seal(kind, reserved.seq(), scratch, &closed).ok_or(RingError::TooLarge)?;
    store.ring.write(flash, reserved, sealed).map(|_| ())
}

/// Opens a frame of the old ring in place and puts where it comes from in front of its body.
/// Nothing for a loss.
fn unwrap(
    identity: &Identity,
    from: &Binding,
    old: &OldFrame,
    scratch: &mut [u8],
) -> Result<Option<(Kind, core::ops::Range<usize>)>, FrameError> {
    let Identity { device, secret, generation, .. } = identity;
    let key = keys::frame_key(secret, device, &from.ring, *generation);
    let frame = scratch.get_mut(..old.len).ok_or(FrameError::Room)?;
    let (header, body) = frame::open(&key, from, frame)?;
    let body_len = body.len();
    let body_at = old.len.saturating_sub(body_len).saturating_sub(frame::TAG_LEN);
    let mut origin = [0; Origin::LEN_MAX];
    let origin_len = match header.kind {
        Kind::Loss => return Ok(None),
        // It says already where it comes from.
        Kind::Resealed => 0,
        kind @ (Kind::Samples | Kind::Records) => {
            Origin { ring: from.ring, tag: old.tag, seq: old.seq, kind }.write(&mut origin)
        }
    };
    // What stood in clear in its header stands in its body from now on.
    let context = header.samples.map(|samples| samples.bytes()).unwrap_or_default();
    let start = HEADER_LEN_MAX;
    let content_at = start + origin_len + context.len();
    let end = content_at.checked_add(body_len).ok_or(FrameError::Room)?;
    if end > scratch.len() {
        return Err(FrameError::Room);
    }
    scratch.copy_within(body_at..body_at + body_len, content_at);
    let slots = scratch.iter_mut().skip(start);
    for (slot, byte) in slots.zip(origin.into_iter().take(origin_len).chain(context)) {
        *slot = byte;
    }
    Ok(Some((Kind::Resealed, start..end)))
}
