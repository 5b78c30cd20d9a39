//! Bits that flip by themselves: one in what is in use, wherever that is.

use std::collections::BTreeSet;
use std::fmt;

use protocol::{RingId, Seq};

use super::flash::sector_len;
use super::system::SystemArea;
use super::truth::{Entry, Truth};
use super::world::{Store, World};
use crate::chance::Chance;

/// Bytes of a record before its body.
const RECORD_OVERHEAD: u32 = 40;
/// Bytes of a sector's header, without a fork's mark and with it, and where it says so.
const SECTOR_HEADER_LEN: u64 = 88;
const FORKING_HEADER_LEN: u64 = 152;
const FORKING_AT: usize = 13;

/// A frame that a flipped bit destroys.
pub(super) type Hurt = (RingId, Seq);

/// One bit that flipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rot {
    at: u32,
    bit: u8,
    of: Of,
}

/// What the bit is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Of {
    SystemArea,
    SectorHeader,
    /// Header or commit.
    Record(Seq),
    Body(Seq),
}

impl fmt::Display for Rot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, bit, of } = self;
        write!(f, "bit {bit} at {at:#x} flips, of ")?;
        match of {
            Of::SystemArea => f.write_str("the system area"),
            Of::SectorHeader => f.write_str("a sector's header"),
            Of::Record(seq) => write!(f, "the record of frame {seq}"),
            Of::Body(seq) => write!(f, "the body of frame {seq}"),
        }
    }
}

impl<const U: usize, const S: usize> World<U, S> {
    /// Flips a bit of what is in use; nothing if there is nothing.
    pub(super) fn rot(&mut self, chance: &mut Chance) -> Option<Rot> {
        let (rot, hurt) = match chance.below(8) {
            0 => (self.rot_system(chance), None),
            1 | 2 => (self.rot_header(chance)?, None),
            _ => self.rot_record(chance)?,
        };
        let byte = self.bench.flash.model.bytes_mut().get_mut(usize::try_from(rot.at).ok()?)?;
        *byte ^= 1 << rot.bit;
        self.bench.hurt = hurt;
        for truth in self.stores.iter_mut().filter_map(|store| store.held.as_mut()) {
            truth.truth.is_hurt_by(hurt);
        }
        Some(rot)
    }

    fn rot_system(&self, chance: &mut Chance) -> Rot {
        let region = self.bench.system.region();
        let bytes = self.bench.flash.model.bytes();
        let is_used = |at: &u32| {
            let entry = usize::try_from(*at).unwrap_or(usize::MAX);
            bytes.get(entry..).is_some_and(|bytes| bytes.starts_with(b"MPs\x00"))
        };
        let entries: Vec<u32> = region.clone().step_by(32).filter(is_used).collect();
        // Mostly the newest: the one before it is of no use any more.
        let at = match chance.below(4) {
            0 => chance.pick(&entries),
            _ => SystemArea::newest_at(bytes, &entries),
        };
        let at = at.unwrap_or(region.start).saturating_add(byte_of(32, chance));
        Rot { at, bit: bit(chance), of: Of::SystemArea }
    }

    fn rot_header(&self, chance: &mut Chance) -> Option<Rot> {
        // Of sectors with a record: without one it is as if the sector had not been opened.
        let records = self.stores.iter().flat_map(Store::in_use);
        let at = records.filter_map(|(_, _, entry)| entry.at.filter(|_| entry.is_durable));
        let starts: BTreeSet<u32> = at.map(|at| at - at % sector_len::<S>()).collect();
        let starts: Vec<u32> = starts.into_iter().filter(|at| self.is_headed(*at)).collect();
        let start = chance.pick(&starts)?;
        let bytes = self.bench.flash.model.bytes().get(usize::try_from(start).ok()?..)?;
        let is_forking = bytes.get(FORKING_AT) == Some(&1);
        let len = if is_forking { FORKING_HEADER_LEN } else { SECTOR_HEADER_LEN };
        let at = start + byte_of(len, chance);
        Some(Rot { at, bit: bit(chance), of: Of::SectorHeader })
    }

    fn is_headed(&self, start: u32) -> bool {
        let sector = usize::try_from(start).unwrap_or(usize::MAX) / S;
        self.bench.flash.headed.get(sector) == Some(&true)
    }

    fn rot_record(&self, chance: &mut Chance) -> Option<(Rot, Option<Hurt>)> {
        let mut records: Vec<(RingId, Seq, u32, u64)> = Vec::new();
        for store in &self.stores {
            records.extend(store.in_use().filter_map(|(ring, seq, entry)| {
                let at = entry.at.filter(|_| entry.is_durable)?;
                let body = usize::try_from(at + RECORD_OVERHEAD).ok()?;
                let stands = self.bench.flash.model.bytes().get(body..)?.starts_with(&entry.bytes);
                stands.then_some((ring, seq, at, entry.bytes.len() as u64))
            }));
        }
        let (ring, seq, at, len) = chance.pick(&records)?;
        let is_body = chance.one_in(2);
        let (offset, of) = if is_body {
            (RECORD_OVERHEAD + byte_of(len, chance), Of::Body(seq))
        } else {
            (byte_of(u64::from(RECORD_OVERHEAD), chance), Of::Record(seq))
        };
        let rot = Rot { at: at + offset, bit: bit(chance), of };
        Some((rot, is_body.then_some((ring, seq))))
    }
}

impl Store {
    /// The entries that are to be found: of the ring, and of the one it takes over.
    fn in_use(&self) -> impl Iterator<Item = (RingId, Seq, &Entry)> {
        let own = self.held.iter().flat_map(|held| {
            let (id, first) = (held.truth.meta.ring, held.ring.first_retained());
            let entries = (1_u64..).map(Seq).zip(&held.truth.entries);
            entries.filter(move |(seq, _)| *seq >= first).map(move |(seq, e)| (id, seq, e))
        });
        let old = self.held.iter().flat_map(|held| {
            let fork = held.ring.fork();
            let old = held.truth.old.iter().filter(move |_| fork.is_some());
            old.flat_map(move |old| {
                // What is gone is to be said and stands nowhere.
                let from = fork.map_or(Seq::FIRST, |fork| fork.next.max(old.retained));
                let entries = (1_u64..).map(Seq).zip(&old.entries);
                entries.filter(move |(seq, _)| *seq >= from).map(|(seq, e)| (old.id, seq, e))
            })
        });
        own.chain(old)
    }
}

impl Truth {
    /// Takes note of what a bit destroyed.
    pub(super) fn is_hurt_by(&mut self, hurt: Option<Hurt>) {
        let of = |id: RingId| hurt.filter(|(ring, _)| *ring == id).map(|(_, seq)| seq);
        self.hurt = of(self.meta.ring);
        self.hurt_old = self.old.as_ref().and_then(|old| of(old.id));
    }
}

fn byte_of(len: u64, chance: &mut Chance) -> u32 {
    u32::try_from(chance.below(len)).unwrap_or(0)
}

fn bit(chance: &mut Chance) -> u8 {
    u8::try_from(chance.below(8)).unwrap_or(0)
}
