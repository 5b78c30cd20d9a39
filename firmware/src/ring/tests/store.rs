//! A ring in use, as the device uses it, with all that is needed to judge it: what was assigned,
//! written and told, and an agent that takes it all in.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use protocol::frame::Origin;
use protocol::{Counts, Lane, RingId, Seq};

use crate::ring::flash_model::{FlashModel, PowerCut};
use crate::ring::{Gone, Opened, Recovery, Region, Ring, RingError, RingMeta};

/// Bytes of a frame without filling.
pub(super) const FRAME_LEN_MIN: usize = 1 + 4 * 8;
const LOSS_LEN: usize = 1 + 4 * 8 + 16;
/// What a frame of [`Store::put`] adds.
pub(super) const ADDS: Counts = Counts { samples: 10, events: 1 };

/// What the tests' frames hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Data,
    Loss { first: Seq, through: Counts },
    Copy { origin: Seq },
}

/// Makes a frame that says all about itself; `extra` is the last seq of a loss, or a seed.
fn frame(seq: Seq, adds: Counts, content: Content, extra: u64, len: usize) -> Vec<u8> {
    let (kind, first) = match content {
        Content::Data => (0, 0),
        Content::Loss { first, .. } => (1, first.0),
        Content::Copy { origin } => (2, origin.0),
    };
    let mut bytes = vec![kind];
    for number in [seq.0, adds.samples, first, extra] {
        bytes.extend(number.to_le_bytes());
    }
    if let Content::Loss { through, .. } = content {
        bytes.extend(through.samples.to_le_bytes());
        bytes.extend(through.events.to_le_bytes());
    }
    let mut filling = seq.0.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ extra;
    while bytes.len() < len {
        filling = filling.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Never blank: what comes after a real seal is not blank either.
        bytes.push(filling.to_be_bytes()[0] & 0x7F);
    }
    bytes
}

fn number(bytes: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(bytes[1 + 8 * index..][..8].try_into().unwrap())
}

/// A frame, read back: its seq, content and `extra`.
pub(super) fn parse(bytes: &[u8]) -> (Seq, Content, u64) {
    let content = match bytes[0] {
        0 => Content::Data,
        1 => Content::Loss {
            first: Seq(number(bytes, 2)),
            through: Counts { samples: number(bytes, 4), events: number(bytes, 5) },
        },
        2 => Content::Copy { origin: Seq(number(bytes, 2)) },
        kind => panic!("unknown kind {kind}"),
    };
    (Seq(number(bytes, 0)), content, number(bytes, 3))
}

/// What became of a number.
#[derive(Clone, Debug)]
pub(super) struct Assigned {
    pub bytes: Vec<u8>,
    pub adds: Counts,
    pub confirmed: bool,
}

/// What a ring must remember.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    pub assigned: BTreeMap<Seq, Assigned>,
    /// Cumulative counts through each number.
    pub through: BTreeMap<Seq, Counts>,
    /// A reservation the ring has not answered: what it would add.
    reserving: Option<Counts>,
    /// What reservations added that the power cut before they were answered, and yet are there.
    pub half_reserved: Counts,
    /// A copy the ring has not answered: what it adds if it is whole nevertheless.
    copying: Option<Counts>,
    /// Ranges told as dropped or burnt.
    pub told: Vec<Gone>,
    /// Released at some time.
    pub released: Seq,
}

impl Oracle {
    pub(super) fn new() -> Self {
        Self {
            assigned: BTreeMap::new(),
            through: BTreeMap::from([(Seq::ZERO, Counts::ZERO)]),
            reserving: None,
            half_reserved: Counts::ZERO,
            copying: None,
            told: Vec::new(),
            released: Seq::ZERO,
        }
    }

    /// The next number that was never given out, and what was taken before.
    pub(super) fn next(&self) -> (Seq, Counts) {
        let (last, through) = self.through.last_key_value().unwrap();
        (last.next(), *through)
    }

    /// The ring itself goes on, and says what became of the reservation that failed.
    pub(super) fn forget_reservation(&mut self) {
        self.reserving = None;
    }

    fn tell(&mut self, gone: Gone) {
        assert_eq!(gone.through, self.through[&gone.last], "counts of {gone:?}");
        self.told.push(gone);
    }
}

pub(super) type Cut = RingError<PowerCut>;

/// A device's ring, its flash and its history.
pub(super) struct Store<const UNIT: usize, const SECTOR: usize> {
    pub flash: FlashModel<UNIT, UNIT, SECTOR>,
    pub region: Region,
    pub ring: Ring,
    pub oracle: Oracle,
}

impl<const UNIT: usize, const SECTOR: usize> Store<UNIT, SECTOR> {
    pub(super) fn new(sectors: u32, seed: u64) -> Self {
        let mut flash = FlashModel::new(sectors as usize + 1, seed);
        let start = u32::try_from(SECTOR).unwrap();
        let region = Region { start, len: sectors * start };
        let ring = Ring::format(&mut flash, region, meta(1)).unwrap();
        Self { flash, region, ring, oracle: Oracle::new() }
    }

    /// Appends a frame of data, and tells what it made the ring drop.
    pub(super) fn push(&mut self, len: usize, adds: Counts, seed: u64) -> Result<Seq, Cut> {
        let seq = self.append(adds, Content::Data, seed, len.max(FRAME_LEN_MIN))?;
        self.tell_dropped()?;
        Ok(seq)
    }

    /// Appends a frame that adds [`ADDS`], and tells nobody what it made the ring drop.
    pub(super) fn put(&mut self, len: usize) -> Seq {
        let reserved = self.ring.reserve(&mut self.flash, len, ADDS).unwrap();
        self.ring.write(&mut self.flash, reserved, &vec![7; len]).unwrap()
    }

    /// What stands in the sector with this number.
    pub(super) fn sector(&mut self, number: u32) -> &mut [u8] {
        let start =
            self.region.start + number % (self.region.len / self.region.start) * self.region.start;
        &mut self.flash.bytes_mut()[start as usize..][..SECTOR]
    }

    fn tell_dropped(&mut self) -> Result<(), Cut> {
        while let Some(gone) = self.ring.take_dropped() {
            self.tell(gone)?;
        }
        Ok(())
    }

    /// Appends a loss frame.
    pub(super) fn tell(&mut self, gone: Gone) -> Result<(), Cut> {
        self.oracle.tell(gone);
        let content = Content::Loss { first: gone.first, through: gone.through };
        self.append(Counts::ZERO, content, gone.last.0, LOSS_LEN).map(drop)
    }

    fn append(
        &mut self,
        adds: Counts,
        content: Content,
        extra: u64,
        len: usize,
    ) -> Result<Seq, Cut> {
        self.oracle.reserving = Some(adds);
        let reserved = self.ring.reserve(&mut self.flash, len, adds)?;
        self.oracle.reserving = None;
        self.finish(reserved, adds, content, extra, len)
    }

    fn finish(
        &mut self,
        reserved: crate::ring::Reserved,
        adds: Counts,
        content: Content,
        extra: u64,
        len: usize,
    ) -> Result<Seq, Cut> {
        let seq = reserved.seq();
        let (next, before) = self.oracle.next();
        assert_eq!(seq, next, "numbers are given out once and in order");
        let bytes = frame(seq, adds, content, extra, len);
        let is_copy = matches!(content, Content::Copy { .. });
        // A copy counts once it is written.
        let through = if is_copy { before } else { before + adds };
        self.oracle.through.insert(seq, through);
        let assigned = Assigned { bytes: bytes.clone(), adds, confirmed: false };
        self.oracle.assigned.insert(seq, assigned);
        self.oracle.copying = is_copy.then_some(adds);
        self.ring.write(&mut self.flash, reserved, &bytes)?;
        self.oracle.copying = None;
        self.oracle.through.insert(seq, before + adds);
        self.oracle.assigned.get_mut(&seq).unwrap().confirmed = true;
        assert_eq!(self.ring.next(), seq.next());
        assert_eq!(self.ring.before_next(), before + adds);
        Ok(seq)
    }

    /// Copies the old ring's next frame, or counts what is gone of it as lost.
    pub(super) fn copy_next(&mut self) -> Result<(), Cut> {
        let mut bytes = vec![0; SECTOR];
        match self.ring.read_old(&mut self.flash, &mut bytes) {
            Ok(None) => panic!("the fork is not finished"),
            Ok(Some(old)) if matches!(parse(&bytes).1, Content::Loss { .. }) => {
                self.ring.skip_old(&old);
            }
            Ok(Some(old)) => {
                let (seq, _, seed) = parse(&bytes);
                assert_eq!(seq, old.seq);
                // Sealed anew, it says where it is from.
                let len = old.len + Origin::LEN_MAX;
                self.oracle.reserving = Some(Counts::ZERO);
                let reserved = self.ring.reserve_copy(&mut self.flash, &old, len)?;
                self.oracle.reserving = None;
                let content = Content::Copy { origin: old.seq };
                self.finish(reserved, old.adds, content, seed, len)?;
                self.tell_dropped()?;
            }
            Err(RingError::Damaged(gone)) => {
                let fork = self.ring.fork().unwrap();
                assert_eq!(gone.first, fork.next);
                self.lose(&gone)?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn lose(&mut self, gone: &Gone) -> Result<(), Cut> {
        let before = self.ring.before_next();
        // How much it adds is for the ring to know; that it adds up is checked at the end.
        self.oracle.reserving = Some(Counts { samples: u64::MAX, events: 0 });
        let burnt = self.ring.lose_old(&mut self.flash, gone)?;
        self.oracle.reserving = None;
        let next = self.oracle.next().0;
        assert!(burnt.last >= next && burnt.through.samples >= before.samples);
        // More than one if they add more than a record can say.
        for seq in next.0..=burnt.last.0 {
            self.oracle.through.insert(Seq(seq), burnt.through);
        }
        self.tell(burnt)?;
        self.tell_dropped()
    }

    /// Boots: opens the ring and checks it against all that was promised.
    pub(super) fn boot(&mut self) -> Recovery {
        self.flash.power_on();
        let opened = Ring::open(&mut self.flash, self.region, Lane::Bulk).unwrap();
        let Opened::Existing(ring, recovery) = opened else { panic!("the ring is gone") };
        self.ring = ring;
        recovery
    }

    /// Boots and checks that the same ring came back whole.
    pub(super) fn reopen(&mut self) -> Recovery {
        let id = self.ring.id();
        let recovery = self.boot();
        assert_eq!(self.ring.id(), id);
        self.settle(&recovery);
        self.check();
        recovery
    }

    /// What a device does first after a boot.
    pub(super) fn recover(&mut self, recovery: &Recovery) -> Result<(), Cut> {
        if let Some(torn) = recovery.torn {
            self.tell(torn)?;
        }
        self.tell_dropped()
    }

    /// Brings the oracle in line with the one thing it cannot know: how far the reservation came
    /// that the power cut.
    pub(super) fn settle(&mut self, recovery: &Recovery) {
        let (next, before) = self.oracle.next();
        assert!(self.ring.next() >= next, "a number was forgotten");
        let extra = self.ring.before_next().since(before);
        let unlimited = |adds: Counts| adds.samples == u64::MAX;
        let reserving = self.oracle.reserving.take();
        if let Some(adds) = self.oracle.copying.take()
            && adds == extra
        {
            assert_eq!((self.ring.next(), recovery.torn), (next, None), "a copy that is whole");
            self.oracle.through.insert(next.prev(), before + adds);
            return;
        }
        assert!(
            extra.is_zero() || reserving.is_some_and(|adds| adds == extra || unlimited(adds)),
            "counts grew by {extra:?}"
        );
        assert_eq!(self.ring.before_next(), before + extra, "counts shrank");
        if reserving.is_some_and(|adds| !unlimited(adds)) {
            self.oracle.half_reserved += extra;
        }
        for seq in next.0..self.ring.next().0 {
            self.oracle.through.insert(Seq(seq), before + extra);
        }
        if let Some(torn) = recovery.torn {
            assert_eq!(torn.last, self.ring.next().prev());
        }
    }

    /// Reads everything and checks it.
    pub(super) fn check(&mut self) {
        let first = self.ring.first_retained();
        assert_eq!(self.ring.before_first(), self.oracle.through[&first.prev()]);
        let burnt = self.ring.burnt();
        let mut bytes = vec![0; SECTOR];
        for (seq, assigned) in self.oracle.assigned.range(first..) {
            match self.ring.read(&mut self.flash, *seq, &mut bytes) {
                Ok(read) => {
                    assert_eq!(bytes[..read.len], assigned.bytes, "frame {seq}");
                    assert_eq!(read.adds, assigned.adds);
                    assert_eq!(Ok(read.tag), self.ring.tag(&mut self.flash, *seq));
                }
                Err(RingError::Damaged(gone)) => {
                    assert!(!assigned.confirmed, "frame {seq} was written and is gone");
                    assert_eq!(gone.first, *seq);
                    assert_eq!(gone.through, self.oracle.through[&gone.last]);
                    let told = self.oracle.told.iter().chain(&burnt);
                    assert!(covered(told, *seq), "{seq} is gone untold");
                }
                Err(error) => panic!("{seq}: {error}"),
            }
        }
        let pending = self.ring.dropped;
        for (seq, assigned) in self.oracle.assigned.range(..first) {
            let told = covered(self.oracle.told.iter().chain(&pending), *seq);
            let excused = told || *seq <= self.oracle.released || !assigned.confirmed;
            assert!(excused, "frame {seq} was dropped untold");
        }
    }

    /// Reads all and feeds it to a fresh agent, which has to be able to account for everything.
    /// Returns what it took in.
    pub(super) fn deliver(&mut self) -> BTreeMap<Seq, Content> {
        let mut delivered = BTreeMap::new();
        let mut seq = self.ring.first_retained();
        let mut accounted = self.ring.before_first();
        let mut expected = seq;
        let mut bytes = vec![0; SECTOR];
        while seq < self.ring.next() {
            match self.ring.read(&mut self.flash, seq, &mut bytes) {
                Ok(read) => {
                    let (named, content, extra) = parse(&bytes[..read.len]);
                    assert_eq!(named, seq);
                    if seq != expected {
                        let Content::Loss { first, through } = content else {
                            panic!("{seq} follows a gap from {expected} on that nothing covers")
                        };
                        assert!(first <= expected && Seq(extra).next() == seq);
                        accounted = through;
                    }
                    accounted += read.adds;
                    assert_eq!(accounted, self.oracle.through[&seq], "counts through {seq}");
                    delivered.insert(seq, content);
                    expected = seq.next();
                    seq = expected;
                }
                Err(RingError::Damaged(gone)) => seq = gone.last.next(),
                Err(error) => panic!("{seq}: {error}"),
            }
        }
        assert_eq!(expected, self.ring.next(), "the end is covered");
        assert_eq!(accounted, self.ring.before_next());
        delivered
    }
}

pub(super) fn meta(format: u32) -> RingMeta {
    let mut ring = RingId([9; 16]);
    ring.0[..4].copy_from_slice(&format.to_le_bytes());
    RingMeta { ring, lane: Lane::Bulk, format }
}

fn covered<'a>(mut told: impl Iterator<Item = &'a Gone>, seq: Seq) -> bool {
    told.any(|gone| gone.first <= seq && seq <= gone.last)
}
