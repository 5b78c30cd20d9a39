//! The frame store: one lane's region of a NOR flash, used in a circle.
//!
//! Constraints first. A write unit is programmed once between two erases (flashes with ECC allow no
//! more), an erase takes a whole sector and wears it, and the power may go at any moment: a word
//! being written or a sector being erased then holds anything. Nothing is kept on a heap and
//! nothing per frame in RAM. The flash is handed into each call, because several rings share one.
//!
//! What follows from them:
//!
//! - **Sectors in a circle.** Each begins with a checksummed header: its number (which only ever
//!   rises and fixes its place), the ring, the first sequence number in it and what the ring had
//!   taken before. Boot needs the headers and the records of the newest sector; what an older
//!   sector held is known exactly from the header of the next one, even when it cannot be read.
//! - **A record is written twice over**: header when the number is reserved (before the frame is
//!   sealed with it), then body, then commit. Without commit the number is burnt ([`Ring::burnt`])
//!   and the header still says what was lost. Records do not span sectors.
//! - **One sector is always given up in advance.** The header of the newest sector says which ones
//!   no longer count, and what was lost with them, before any is erased. So an erase cut short
//!   destroys nothing that was not already accounted for, and a fork finds room.
//! - **A sector is erased right before it is used**, never trusted to be blank.
//! - **Damage stays where it is.** A header that does not check is stepped over to the next one
//!   that does. Every header carries cumulative counts, so what is gone in between is known.
//!
//! Acknowledgements are kept in RAM only: after a boot everything in flash is retained again, and
//! the first acknowledgement tells what is not needed.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use protocol::frame::FRAME_LEN_MAX;
use protocol::{Counts, FrameTag, Lane, RingId, Seq};

mod body;
#[cfg(any(test, feature = "model"))]
pub mod flash_model;
mod fields;
mod fork;
mod layout;
mod open;
#[cfg(test)]
mod tests;
mod walk;
mod written;

pub use fork::{Fork, OldFrame};
pub use open::{Opened, Recovery};

use fork::Takeover;
use layout::{Purpose, RecordHeader, Span, extent};
use walk::{Chain, Found, Geometry, Place};

/// A ring's part of the flash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Its first byte; a multiple of the erase size.
    pub start: u32,
    /// Its bytes; a multiple of the erase size, at least three of them.
    pub len: u32,
}

/// What names a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingMeta {
    /// Its id, never used before.
    pub ring: RingId,
    /// Its lane.
    pub lane: Lane,
    /// The format counter its id was derived with.
    pub format: u32,
}

/// A range of sequence numbers without their frames: what a loss record has to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone {
    /// First number gone.
    pub first: Seq,
    /// Last number gone.
    pub last: Seq,
    /// What the ring had taken up to and including `last`.
    pub through: Counts,
}

/// Where a run of numbers begins that reaches up to the first frame retained, and whose frames are
/// gone without the agent having said that it holds them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The first of them.
    pub first: Seq,
    /// What the ring had taken before it. Less, where that cannot be read any more: what is gone is
    /// a claim, and too much of it is subtracted by whoever holds it.
    pub before: Counts,
    /// Why.
    pub cause: Cause,
}

/// Why frames are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// For want of room, or damaged: a loss record has to say so.
    Dropped = 0,
    /// A newer value took their place, and a loss record behind them says so.
    Superseded = 1,
}

impl Cause {
    pub(crate) const fn from_index(index: u8) -> Option<Self> {
        match index {
            0 => Some(Self::Dropped),
            1 => Some(Self::Superseded),
            _ => None,
        }
    }
}

/// A sequence number that is durably the caller's, with room for its frame.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a reserved number that is not written is burnt"]
pub struct Reserved {
    seq: Seq,
    number: u32,
    at: u32,
    len: u16,
    adds: Counts,
    purpose: Purpose,
}

impl Reserved {
    /// The number to seal the frame with.
    pub const fn seq(&self) -> Seq {
        self.seq
    }
}

/// A frame that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadFrame {
    /// Its bytes.
    pub len: usize,
    /// What it adds to the counts.
    pub adds: Counts,
    /// Its tag, from its own last bytes.
    pub tag: FrameTag,
}

/// Why the ring could not do as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError<E> {
    /// Resource: the flash failed. A number that was being reserved or written is burnt.
    #[error("flash: {0:?}")]
    Flash(E),
    /// Config: the region is not on erase boundaries, has fewer than three sectors, or its sectors
    /// are too small.
    #[error("unusable region")]
    Region,
    /// Config: longer than [`Ring::frame_len_max`], empty, longer than what was reserved, or counts
    /// beyond 32 bits.
    #[error("frame or counts too large")]
    TooLarge,
    /// Config: the buffer is shorter than the frame, whose length this is.
    #[error("a frame of {0} bytes does not fit the buffer")]
    Room(usize),
    /// Config: not the latest reservation, or a fork while another one is not finished.
    #[error("not now")]
    Order,
    /// The number is below the first retained, or not assigned yet.
    #[error("not retained")]
    NotRetained,
    /// These numbers are retained and have no readable frame: burnt, or damaged.
    #[error("frames {} to {} are damaged", .0.first, .0.last)]
    Damaged(Gone),
}

impl<E> From<E> for RingError<E> {
    fn from(error: E) -> Self {
        Self::Flash(error)
    }
}

/// One lane's store of sealed frames.
#[derive(Debug)]
// A device has one for each region. A proof tries what follows from one moment again and again.
#[cfg_attr(any(test, feature = "model"), derive(Clone))]
pub struct Ring {
    geometry: Geometry,
    meta: RingMeta,
    /// The newest sector.
    head: Span,
    chain: Chain,
    /// The last number with a frame.
    committed: Seq,
    first: Seq,
    before_first: Counts,
    released: Seq,
    /// Dropped unacknowledged and not told yet.
    dropped: Option<Gone>,
    /// The unbroken run of unacknowledged drops that ends at `first`.
    lost: Option<Lost>,
    /// What a loss record stands for whose frames may be gone: see [`Ring::account_for`].
    account: Option<Lost>,
    /// Where [`Ring::read`] stands.
    read_at: Option<Place>,
    /// Where [`Ring::tag`] stands.
    tag_at: Option<Place>,
    fork: Option<Takeover>,
}

impl Ring {
    /// The ring's id.
    pub const fn id(&self) -> RingId {
        self.meta.ring
    }

    /// Its lane.
    pub const fn lane(&self) -> Lane {
        self.meta.lane
    }

    /// Its id, lane and format counter.
    pub const fn meta(&self) -> RingMeta {
        self.meta
    }

    /// The oldest number it retains, acknowledged or not.
    pub const fn first_retained(&self) -> Seq {
        self.first
    }

    /// The next number it assigns.
    pub const fn next(&self) -> Seq {
        self.chain.next
    }

    /// The highest number acknowledged since the boot.
    pub const fn released(&self) -> Seq {
        self.released
    }

    /// What it had taken before [`Ring::first_retained`].
    pub const fn before_first(&self) -> Counts {
        self.before_first
    }

    /// What it had taken before [`Ring::next`].
    pub const fn before_next(&self) -> Counts {
        self.chain.before_next
    }

    /// The longest frame it takes, in bytes.
    pub fn frame_len_max(&self) -> usize {
        let room = self
            .geometry
            .sector_len
            .saturating_sub(extent::SECTOR_FORKING)
            .saturating_sub(extent::RECORD_OVERHEAD);
        usize::try_from(room).unwrap_or(FRAME_LEN_MAX).min(FRAME_LEN_MAX)
    }

    /// How much of the region holds frames that are not acknowledged, in percent. An estimate, for
    /// the heartbeat: it takes the frames for equally long.
    pub fn used(&self) -> u8 {
        let sectors = u64::from(self.chain.to.saturating_sub(self.chain.from)).saturating_add(1);
        let share = |from: Seq| self.chain.next.0.saturating_sub(from.0);
        let waiting = share(self.first.max(self.released.next()));
        let percent = sectors
            .saturating_mul(100)
            .saturating_mul(waiting)
            .div_ceil(share(self.first).max(1))
            .div_ceil(u64::from(self.geometry.sectors).saturating_sub(1).max(1));
        u8::try_from(percent.min(100)).unwrap_or(100)
    }

    /// The latest numbers that were assigned and hold no frame, because the power went or the flash
    /// failed in between: a loss record has to be the next frame. Meaningless while a reservation
    /// is open.
    pub fn burnt(&self) -> Option<Gone> {
        let first = self.committed.next();
        let last = self.chain.next.prev();
        (first <= last).then_some(Gone { first, last, through: self.chain.before_next })
    }

    /// Durably assigns the next number to a frame of at most `len_max` bytes that adds `adds`.
    ///
    /// The room is taken as asked for, so ask for what the frame will have: see
    /// [`Ring::next`] for its number. May drop the oldest sector to make room: see
    /// [`Ring::take_dropped`]. One reservation at a time: the next one burns it.
    pub fn reserve<F: NorFlash>(
        &mut self,
        flash: &mut F,
        len_max: usize,
        adds: Counts,
    ) -> Result<Reserved, RingError<F::Error>> {
        self.reserve_for(flash, Purpose::Own, len_max, adds)
    }

    /// Writes the sealed frame under its reserved number, durably. On failure the number is burnt.
    #[allow(clippy::needless_pass_by_value, reason = "a reservation is used up")]
    pub fn write<F: NorFlash>(
        &mut self,
        flash: &mut F,
        reserved: Reserved,
        frame: &[u8],
    ) -> Result<Seq, RingError<F::Error>> {
        let Reserved { seq, number, at, len: len_max, adds, purpose } = reserved;
        let latest = seq.next() == self.chain.next && number == self.head.number;
        if !latest || self.committed == seq {
            return Err(RingError::Order);
        }
        let len = u16::try_from(frame.len()).map_err(|_| RingError::TooLarge)?;
        if len == 0 || len > len_max {
            return Err(RingError::TooLarge);
        }
        let written = body::write(flash, self.geometry.address(number, at), seq, frame, len);
        if written.is_err() && !self.is_written(flash, seq, number, at) {
            written?;
        }
        self.committed = seq;
        if let Purpose::Copy { origin } = purpose {
            self.chain.before_next += adds;
            self.copied(origin, adds);
        }
        Ok(seq)
    }

    /// Reads a frame. Cheap for the one after the last that was read.
    ///
    /// [`RingError::Damaged`] names all that cannot be read from `seq` on: burnt numbers, which the
    /// frame after them covers, or damage, for which see [`Ring::give_up`].
    pub fn read<F: ReadNorFlash>(
        &mut self,
        flash: &mut F,
        seq: Seq,
        into: &mut [u8],
    ) -> Result<ReadFrame, RingError<F::Error>> {
        if seq < self.first || seq >= self.chain.next {
            return Err(RingError::NotRetained);
        }
        body::read(flash, &self.geometry, &self.chain, &mut self.read_at, seq, into)
    }

    /// The tag of a retained frame, which is checked but not copied anywhere. Does not disturb the
    /// order of reads.
    pub fn tag<F: ReadNorFlash>(
        &mut self,
        flash: &mut F,
        seq: Seq,
    ) -> Result<FrameTag, RingError<F::Error>> {
        if seq < self.first || seq >= self.chain.next {
            return Err(RingError::NotRetained);
        }
        body::tag(flash, &self.geometry, &self.chain, &mut self.tag_at, seq)
    }

    /// What was counted before a retained frame. Does not disturb the order of reads.
    pub fn before<F: ReadNorFlash>(
        &mut self,
        flash: &mut F,
        seq: Seq,
    ) -> Result<Counts, RingError<F::Error>> {
        if seq < self.first || seq >= self.chain.next {
            return Err(RingError::NotRetained);
        }
        match self.chain.find(flash, &self.geometry, &mut self.tag_at, seq)? {
            Found::Record(record) => Ok(record.header.before),
            Found::Gone(gone) => Err(RingError::Damaged(gone)),
        }
    }

    /// Takes note that everything up to `through` is held elsewhere. In RAM only: the sectors are
    /// used again when their turn comes.
    pub fn release(&mut self, through: Seq) {
        self.released = self.released.max(through.min(self.chain.next.prev()));
        if self.released >= self.first.prev() {
            // Whoever holds more than what is gone has accounted for it.
            self.lost = None;
        }
    }

    /// A loss record stands for all from `lost` on: if the ring is left before that is acknowledged,
    /// what is gone of it counts as lost. Kept with the next sector; after a boot, see
    /// [`Ring::lost`].
    pub fn account_for(&mut self, lost: Option<Lost>) {
        self.account = lost;
        // What a boot found of an earlier one is in it, or acknowledged.
        self.lost = self.lost.filter(|run| run.cause == Cause::Dropped);
    }

    /// The run of frames up to [`Ring::first_retained`] that are gone and not acknowledged.
    pub fn lost(&self) -> Option<Lost> {
        let runs = [self.lost, self.account];
        let gone = runs.into_iter().flatten().filter(|lost| lost.first < self.first);
        gone.min_by_key(|lost| lost.first)
    }

    /// Takes note that a damaged range is told as lost: what is retained begins after it.
    ///
    /// To be called once everything before the range is acknowledged: the hello that follows lets
    /// the agent pass, and the loss record, somewhere behind, says why.
    pub fn give_up<F: ReadNorFlash>(
        &mut self,
        flash: &mut F,
        gone: &Gone,
    ) -> Result<(), RingError<F::Error>> {
        if gone.last >= self.first && gone.last < self.chain.next {
            // Like what is dropped: a boot tells it again if the loss record was not stored.
            self.lost = Some(self.lost_from(flash, gone.first)?);
            self.first = gone.last.next();
            self.before_first = gone.through;
        }
        Ok(())
    }

    /// The frames that were dropped without an acknowledgement since the last time this was asked:
    /// a loss record has to be the next frame. After a boot it tells once more what may not have
    /// been told before; a loss is a claim, so that does no harm.
    pub fn take_dropped(&mut self) -> Option<Gone> {
        self.dropped.take()
    }

    fn reserve_for<F: NorFlash>(
        &mut self,
        flash: &mut F,
        purpose: Purpose,
        len_max: usize,
        adds: Counts,
    ) -> Result<Reserved, RingError<F::Error>> {
        let fits = len_max <= self.frame_len_max() && layout::is_short(adds);
        let len = u16::try_from(len_max).ok().filter(|_| fits).ok_or(RingError::TooLarge)?;
        let taken = RecordHeader::record_len(len);
        let before = self.chain.before_next;
        let full = self.chain.end.saturating_add(taken) > self.geometry.sector_len;
        if full || !layout::is_short(before.since(self.head.before)) {
            self.open_sector(flash)?;
        }
        let seq = self.chain.next;
        let header = RecordHeader { seq, purpose, len, adds, before };
        let bytes = header.encode(&self.head, self.chain.old_next).ok_or(RingError::TooLarge)?;
        let (number, at) = (self.head.number, self.chain.end);
        // Whatever the flash makes of it, this number and this place are used now.
        self.chain.next = seq.next();
        self.chain.end = at.saturating_add(taken);
        let written = flash.write(self.geometry.address(number, at), &bytes);
        if written.is_err() && self.header_at(flash, number, at) != Some(header) {
            written?;
        }
        if !matches!(purpose, Purpose::Copy { .. }) {
            self.chain.before_next += adds;
        }
        Ok(Reserved { seq, number, at, len, adds, purpose })
    }

    /// Goes on in the next sector. What its header gives up is lost from then on, not before.
    fn open_sector<F: NorFlash>(&mut self, flash: &mut F) -> Result<(), RingError<F::Error>> {
        let number = self.head.number.saturating_add(1);
        let from = self.geometry.window_start(number).max(self.chain.from);
        let mut kept = (self.first, self.before_first);
        let mut dropped = None;
        let mut lost = self.lost;
        if from > self.chain.from {
            let oldest = self.chain.sector_from(flash, &self.geometry, from)?;
            let oldest = oldest.map_or((self.chain.next, self.chain.before_next), |sector| {
                (sector.span.first, sector.span.before)
            });
            if oldest.0 > self.first {
                kept = oldest;
                let gone = Gone {
                    first: self.first.max(self.released.next()),
                    last: kept.0.prev(),
                    through: kept.1,
                };
                dropped = (gone.first <= gone.last).then_some(gone);
                lost = match dropped {
                    Some(gone) => Some(self.lost_from(flash, gone.first)?),
                    None => None,
                };
            }
        }
        let mark = self.fork.as_ref().map(Takeover::mark);
        let head = self.geometry.start_sector(
            flash,
            self.meta,
            number,
            (self.chain.next, self.chain.before_next),
            longer(lost, self.account),
            mark,
        )?;
        self.head = head;
        self.chain = Chain { from, to: number, end: head.records_at, ..self.chain };
        (self.first, self.before_first) = kept;
        self.lost = lost;
        self.dropped = match (self.dropped, dropped) {
            (Some(told), Some(gone)) => Some(Gone { first: told.first, ..gone }),
            (told, gone) => gone.or(told),
        };
        Ok(())
    }

    /// The run of what is gone, if it goes on with `first`; else one that begins there.
    fn lost_from<F: ReadNorFlash>(&mut self, flash: &mut F, first: Seq) -> Result<Lost, F::Error> {
        if let Some(run) = self.lost.filter(|_| first == self.first) {
            return Ok(run);
        }
        let before = self.counted_before(flash, first)?;
        Ok(Lost { first, before, cause: Cause::Dropped })
    }

    /// What was counted before `seq`: less, if neither it nor the record before it can be read.
    fn counted_before<F: ReadNorFlash>(
        &mut self,
        flash: &mut F,
        seq: Seq,
    ) -> Result<Counts, F::Error> {
        if let Found::Record(record) = self.chain.find(flash, &self.geometry, &mut None, seq)? {
            return Ok(record.header.before);
        }
        let before = self.chain.find(flash, &self.geometry, &mut None, seq.prev())?;
        Ok(match before {
            Found::Record(record) => record.through(),
            Found::Gone(_) => self.before_first,
        })
    }
}

/// Of two runs that end at the same number, the one that begins earlier.
fn longer(one: Option<Lost>, other: Option<Lost>) -> Option<Lost> {
    match (one, other) {
        (Some(one), Some(other)) => {
            // What was dropped has to be told, whatever else it lies in.
            Some(if one.first <= other.first { one } else { Lost { cause: one.cause, ..other } })
        }
        (one, other) => one.or(other),
    }
}
