//! One lane's ring and keys: everything that goes into flash or comes out of it passes here, and
//! here it is decided how what is gone is told.
//!
//! Three ways to be gone, and what tells of it:
//! - A burnt number (the power went): a loss frame is the very next one and covers it.
//! - Dropped or damaged: the hello's first retained number and counts let the agent pass; a loss
//!   frame somewhere behind says why.
//! - Superseded, in the latest-value lane: a loss frame takes the place of all that came before it,
//!   and the hello goes on naming the first number it covers.

use embedded_storage::nor_flash::NorFlash;
use protocol::frame::{self, Binding, HEADER_LEN_MAX, Header, Kind, TAG_LEN};
use protocol::hello::RingState;
use protocol::keys::{self, AckKey, FrameKey};
use protocol::loss::LossReason;
use protocol::{Counts, DeviceId, DeviceTime, Generation, Lane, Loss, Registration, Secret, Seq};

use super::system::Unsent;
use crate::batch::Closed;
use crate::ring::{Cause, Gone, Lost, Ring, RingError};
use crate::session::{Acknowledged, RingView};

/// How long losses are gathered before one frame says them all, in milliseconds.
const LOSS_DELAY_MS: u64 = 1_000;
/// The longest body of a loss frame: five numbers, two times, a reason.
const LOSS_LEN_MAX: usize = 88;
/// How many frames a boot looks through for the loss at the front of the latest-value lane.
const FRONT_SEARCH_MAX: u64 = 16;
/// How many gaps in a row are taken as one.
const GAP_SEARCH_MAX: u32 = 16;

/// Who seals: the same in every lane.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub device: DeviceId,
    pub secret: Secret,
    pub generation: Generation,
    pub registration: Option<Registration>,
}

/// One lane's ring and keys.
#[derive(Debug)]
pub(super) struct Store {
    pub lane: Lane,
    pub ring: Ring,
    /// What was retained in a ring that could not be opened and gave way to this one at the start.
    pub abandoned: Counts,
    pub ack_key: AckKey,
    device: DeviceId,
    generation: Generation,
    frame_key: FrameKey,
    unsaid: Option<Unsaid>,
    superseded: Option<Superseded>,
    /// The first number that no agent can have: neither sent, nor said to be gone.
    unsent: Seq,
    /// Acknowledged since the boot.
    is_met: bool,
    /// Frames stored, and frames dropped unacknowledged, since boot.
    pub stored_frames: u64,
    pub dropped_frames: u64,
}

/// Gone, and not yet said.
#[derive(Clone, Copy, Debug)]
struct Unsaid {
    gone: Gone,
    reason: LossReason,
    since_ms: u64,
}

/// The frame `said_at` is a loss that covers everything from `from` on.
#[derive(Clone, Copy, Debug)]
struct Superseded {
    from: Seq,
    /// What the ring had taken before `from`. Only where a header was destroyed is it not known any
    /// more, and then what the ring had taken when the loss was said: for an agent that lacks frames
    /// before `from`, that moves counts from one reason to another.
    before: Counts,
    said_at: Seq,
}

impl Store {
    pub fn new(identity: &Identity, ring: Ring) -> Self {
        let Identity { device, secret, generation, .. } = identity;
        let id = ring.id();
        Self {
            lane: ring.lane(),
            ack_key: keys::ack_key(secret, device, &id, *generation),
            frame_key: keys::frame_key(secret, device, &id, *generation),
            unsent: ring.next(),
            is_met: false,
            ring,
            abandoned: Counts::ZERO,
            device: *device,
            generation: *generation,
            unsaid: None,
            superseded: None,
            stored_frames: 0,
            dropped_frames: 0,
        }
    }

    /// The keys of the ring that took the old one's place.
    pub fn reopened(&mut self, identity: &Identity) {
        let Identity { device, secret, generation, .. } = identity;
        let id = self.ring.id();
        self.ack_key = keys::ack_key(secret, device, &id, *generation);
        self.frame_key = keys::frame_key(secret, device, &id, *generation);
        (self.unsaid, self.superseded) = (None, None);
        (self.unsent, self.is_met) = (self.ring.next(), false);
    }

    /// What was unsent when the boot began.
    pub fn recall(&mut self, unsent: Unsent) {
        self.unsent = unsent.first(self.ring.next());
    }

    /// What the system area keeps of it until it is met.
    pub const fn unsent(&self) -> Unsent {
        Unsent::from(self.unsent)
    }

    /// An agent may have this one from now on.
    pub fn sent(&mut self, seq: Seq) {
        self.unsent = self.unsent.max(seq.next());
    }

    /// Whether it was acknowledged since the boot.
    pub const fn is_met(&self) -> bool {
        self.is_met
    }

    /// It is acknowledged for the first time since the boot.
    pub const fn met(&mut self) {
        self.is_met = true;
    }

    /// After a boot: finds the loss that stands for all before it in the latest-value lane.
    pub fn find_front<F: NorFlash>(&mut self, flash: &mut F, scratch: &mut [u8]) {
        if self.lane != Lane::Latest {
            return;
        }
        let (first, next) = (self.ring.first_retained(), self.ring.next());
        let from = first.0.max(next.0.saturating_sub(FRONT_SEARCH_MAX));
        for said_at in (from..next.0).rev().map(Seq) {
            if let Some(loss) = self.loss_at(flash, said_at, scratch)
                && loss.reason == LossReason::Superseded
                && loss.last == said_at.prev()
            {
                let from = loss.first;
                let gone = self.ring.lost().filter(|lost| lost.first == from);
                let before = match gone {
                    Some(lost) => lost.before,
                    None if from == Seq::FIRST => Counts::ZERO,
                    None => self.ring.before(flash, from).unwrap_or(loss.through),
                };
                self.stand_for(Superseded { from, before, said_at });
                self.ring.release(loss.last);
                return;
            }
        }
    }

    /// What the session goes by.
    pub fn view(&self) -> RingView {
        let first = self.ring.first_retained();
        let front = self.superseded;
        RingView {
            said_first: self.said_first().0,
            first: front.map_or(first, |front| front.said_at.max(first)),
            next: self.ring.next(),
            unsent: self.unsent,
        }
    }

    /// The first that a hello says is kept, and what was counted before it.
    ///
    /// What was dropped and never sent is not said to be gone before an agent has answered once: it
    /// would pass by those numbers, and if it has them from before this flash was rolled back, nobody
    /// would find out.
    fn said_first(&self) -> (Seq, Counts) {
        if let Some(front) = self.superseded {
            return (front.from, front.before);
        }
        let first = (self.ring.first_retained(), self.ring.before_first());
        let lost = self
            .ring
            .lost()
            .filter(|lost| !self.is_met && first.0 > self.unsent && lost.first <= self.unsent);
        lost.map_or(first, |lost| (lost.first, lost.before))
    }

    /// What the hello says.
    pub fn state(&self, acknowledged: Acknowledged) -> RingState {
        let ring = &self.ring;
        let (first_retained, before_first) = self.said_first();
        RingState {
            lane: self.lane,
            ring: ring.id(),
            first_retained,
            next: ring.next(),
            before_first,
            before_next: ring.before_next(),
            acknowledged: acknowledged.through,
            acknowledged_by: acknowledged.by,
        }
    }

    /// Frames stored and not acknowledged since the boot.
    pub fn outstanding(&self) -> u64 {
        let from = self.view().first.max(self.ring.released().next());
        self.ring.next().0.saturating_sub(from.0)
    }

    /// A gap with the gaps right behind it: what a boot found burnt may have been followed by a
    /// loss that was cut short, too. The buffer's content is used up.
    pub fn whole_gap<F: NorFlash>(
        &mut self,
        flash: &mut F,
        mut gone: Gone,
        buffer: &mut [u8],
    ) -> Gone {
        for _ in 0..GAP_SEARCH_MAX {
            match self.ring.read(flash, gone.last.next(), buffer) {
                Err(RingError::Damaged(more)) => gone = Gone { first: gone.first, ..more },
                _ => break,
            }
        }
        gone
    }

    /// These frames cannot be read. If the loss that stands for older ones is among them, the older
    /// ones count again, as far as they are still there; whether that is so.
    pub fn unreadable(&mut self, gone: &Gone) -> bool {
        let front = self.superseded;
        self.superseded =
            front.filter(|front| front.said_at < gone.first || front.said_at > gone.last);
        self.superseded.is_none() && front.is_some()
    }

    /// Everything up to here is held elsewhere.
    pub fn release(&mut self, through: Seq) {
        self.ring.release(through);
        if self.superseded.is_some_and(|front| front.said_at <= through) {
            self.superseded = None;
            self.ring.account_for(None);
        }
    }

    /// Seals a closed body where it stands, and stores the frame.
    pub fn store<F: NorFlash>(
        &mut self,
        flash: &mut F,
        time: DeviceTime,
        kind: Kind,
        buffer: &mut [u8],
        closed: &Closed,
    ) -> Result<(), RingError<F::Error>> {
        self.say_burnt(flash, time)?;
        if kind == Kind::Samples {
            self.supersede(flash, time)?;
        }
        self.put(flash, kind, buffer, closed)?;
        if let Some(gone) = self.ring.take_dropped() {
            let frames = gone.last.0.saturating_sub(gone.first.0).saturating_add(1);
            self.dropped_frames = self.dropped_frames.saturating_add(frames);
            self.lost(gone, LossReason::Full, time.uptime_ms);
        }
        Ok(())
    }

    /// Something is gone; it is said with the next [`Store::say_losses`].
    pub fn lost(&mut self, gone: Gone, reason: LossReason, now_ms: u64) {
        let (gone, since_ms) = match self.unsaid {
            Some(earlier) => {
                let first = earlier.gone.first.min(gone.first);
                let later = if gone.last >= earlier.gone.last { gone } else { earlier.gone };
                (Gone { first, ..later }, earlier.since_ms)
            }
            None => (gone, now_ms),
        };
        self.unsaid = Some(Unsaid { gone, reason, since_ms });
    }

    /// When losses are to be said, in uptime milliseconds.
    pub fn losses_due_ms(&self) -> Option<u64> {
        self.unsaid.map(|unsaid| unsaid.since_ms.saturating_add(LOSS_DELAY_MS))
    }

    /// Says losses in a frame of their own, if it is time or `at_once`.
    pub fn say_losses<F: NorFlash>(
        &mut self,
        flash: &mut F,
        time: DeviceTime,
        at_once: bool,
    ) -> Result<(), RingError<F::Error>> {
        self.say_burnt(flash, time)?;
        let due = self.losses_due_ms().is_some_and(|due| at_once || due <= time.uptime_ms);
        if let Some(unsaid) = self.unsaid.filter(|_| due) {
            self.put_loss(flash, unsaid.gone, unsaid.reason, time)?;
            self.unsaid = None;
        }
        Ok(())
    }

    /// The loss in a frame, if that is what it holds. The buffer's content is used up.
    pub fn loss_at<F: NorFlash>(
        &mut self,
        flash: &mut F,
        seq: Seq,
        buffer: &mut [u8],
    ) -> Option<Loss> {
        let len = self.ring.read(flash, seq, buffer).ok()?.len;
        let frame = buffer.get_mut(..len)?;
        let (header, body) = frame::open(&self.frame_key, &self.binding(), frame).ok()?;
        if header.kind != Kind::Loss {
            return None;
        }
        postcard::from_bytes(body).ok()
    }

    /// In the latest-value lane, before a newer value: what was not acknowledged is superseded.
    fn supersede<F: NorFlash>(
        &mut self,
        flash: &mut F,
        time: DeviceTime,
    ) -> Result<(), RingError<F::Error>> {
        if self.lane != Lane::Latest || self.outstanding() == 0 {
            return Ok(());
        }
        let (from, before) = self.superseded.map_or_else(
            || {
                let first = self.ring.first_retained();
                let unacked = self.ring.released().next();
                if unacked > first {
                    // If it cannot be read any more, all that came before it is said with it.
                    let before = self.ring.before(flash, unacked);
                    (unacked, before.unwrap_or(self.ring.before_next()))
                } else {
                    // What is gone before it, too.
                    let gone = self.ring.lost().map(|lost| (lost.first, lost.before));
                    gone.unwrap_or((first, self.ring.before_first()))
                }
            },
            |front| (front.from, front.before),
        );
        let last = self.ring.next().prev();
        let gone = Gone { first: from, last, through: self.ring.before_next() };
        let lost = Lost { first: from, before, cause: Cause::Superseded };
        // Before the record is stored: that may take a sector which holds some of it.
        self.ring.account_for(Some(lost));
        let said_at = self.put_loss(flash, gone, LossReason::Superseded, time)?;
        self.ring.release(last);
        self.superseded = Some(Superseded { from, before, said_at });
        Ok(())
    }

    /// After a boot: a loss stands for all before it.
    fn stand_for(&mut self, front: Superseded) {
        let Superseded { from, before, .. } = front;
        self.ring.account_for(Some(Lost { first: from, before, cause: Cause::Superseded }));
        self.superseded = Some(front);
    }

    /// Says at once that frames of the ring that was left are gone: a number was burnt for them.
    pub fn say_left<F: NorFlash>(
        &mut self,
        flash: &mut F,
        gone: Gone,
        time: DeviceTime,
    ) -> Result<(), RingError<F::Error>> {
        let reason = match self.lane {
            Lane::Latest => LossReason::Superseded,
            Lane::Critical | Lane::Bulk => LossReason::Forked,
        };
        self.put_loss(flash, gone, reason, time).map(|_| ())
    }

    fn say_burnt<F: NorFlash>(
        &mut self,
        flash: &mut F,
        time: DeviceTime,
    ) -> Result<(), RingError<F::Error>> {
        if let Some(gone) = self.ring.burnt() {
            self.put_loss(flash, gone, LossReason::Torn, time)?;
        }
        Ok(())
    }

    fn put_loss<F: NorFlash>(
        &mut self,
        flash: &mut F,
        gone: Gone,
        reason: LossReason,
        time: DeviceTime,
    ) -> Result<Seq, RingError<F::Error>> {
        let Gone { first, last, through } = gone;
        let loss = Loss { first, last, through, reason, time };
        let mut buffer = [0; HEADER_LEN_MAX + LOSS_LEN_MAX + TAG_LEN];
        let room = buffer.get_mut(HEADER_LEN_MAX..HEADER_LEN_MAX + LOSS_LEN_MAX);
        let said = postcard::to_slice(&loss, room.unwrap_or_default());
        let len = said.map_err(|_| RingError::TooLarge)?.len();
        let body = HEADER_LEN_MAX..HEADER_LEN_MAX.saturating_add(len);
        let closed = Closed { counts: Counts::ZERO, body, samples: None };
        self.put(flash, Kind::Loss, &mut buffer, &closed)
    }

    fn put<F: NorFlash>(
        &mut self,
        flash: &mut F,
        kind: Kind,
        buffer: &mut [u8],
        closed: &Closed,
    ) -> Result<Seq, RingError<F::Error>> {
        let len = self.sealed_len(kind, closed);
        let reserved = self.ring.reserve(flash, len, closed.counts)?;
        let seq = reserved.seq();
        let frame = self.seal(kind, seq, buffer, closed).ok_or(RingError::TooLarge)?;
        self.ring.write(flash, reserved, frame)?;
        self.stored_frames = self.stored_frames.saturating_add(1);
        Ok(seq)
    }

    /// Seals a body as frame `seq` of the ring.
    pub fn seal<'b>(
        &self,
        kind: Kind,
        seq: Seq,
        buffer: &'b mut [u8],
        closed: &Closed,
    ) -> Option<&'b [u8]> {
        let header = self.header(kind, seq, closed);
        let body = closed.body.clone();
        let sealed = frame::seal(&self.frame_key, &self.binding(), &header, buffer, body);
        let (at, _) = sealed.ok()?;
        buffer.get(at)
    }

    /// How long a body becomes as the ring's next frame.
    pub fn sealed_len(&self, kind: Kind, closed: &Closed) -> usize {
        let body_len = closed.body.end.saturating_sub(closed.body.start);
        let header = self.header(kind, self.ring.next(), closed).bytes();
        body_len.saturating_add(header.len()).saturating_add(TAG_LEN)
    }

    const fn header(&self, kind: Kind, seq: Seq, closed: &Closed) -> Header {
        Header { generation: self.generation, kind, seq, samples: closed.samples }
    }

    fn binding(&self) -> Binding {
        Binding { device: self.device, ring: self.ring.id(), lane: self.lane }
    }
}
