//! Finding records: over the sectors of a region, and over the records of a sector.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use protocol::{Counts, RingId, Seq};

use super::layout::{
    COMMIT_LEN, Commit, Purpose, RECORD_HEADER_LEN, RECORD_OVERHEAD, RecordHeader,
    SECTOR_HEADER_LEN_MAX, SectorHeader, Span, UNIT, extent, may_be_record,
};
use super::{Gone, Region, RingError, body};
use crate::checksum::flipped_bit;

/// How a region is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    start: u32,
    /// How many sectors; at least 3.
    pub sectors: u32,
    /// Bytes of a sector.
    pub sector_len: u32,
}

impl Geometry {
    /// Divides a region by the flash's erase size.
    pub(super) fn new<F: NorFlash>(region: Region) -> Result<Self, RingError<F::Error>> {
        const { assert!(UNIT.is_multiple_of(F::WRITE_SIZE), "a write unit has at most 8 bytes") };
        const { assert!(UNIT.is_multiple_of(F::READ_SIZE), "a read unit has at most 8 bytes") };
        let sector_len = u32::try_from(F::ERASE_SIZE).map_err(|_| RingError::Region)?;
        let sectors = region.len.checked_div(sector_len).ok_or(RingError::Region)?;
        let aligned = region.start.is_multiple_of(sector_len)
            && region.len.is_multiple_of(sector_len)
            && F::ERASE_SIZE.is_multiple_of(UNIT);
        let roomy = F::ERASE_SIZE >= SECTOR_HEADER_LEN_MAX + 2 * RECORD_OVERHEAD + 256;
        if !aligned || !roomy || sectors < 3 || region.start.checked_add(region.len).is_none() {
            return Err(RingError::Region);
        }
        Ok(Self { start: region.start, sectors, sector_len })
    }

    /// The place in flash of the sector with this number: strictly in a circle.
    pub(super) const fn sector_address(&self, number: u32) -> u32 {
        // In range: the region ends within 32 bits, and the remainder is below `sectors`.
        let index = match number.checked_rem(self.sectors) {
            Some(index) => index,
            None => 0,
        };
        self.start.saturating_add(index.saturating_mul(self.sector_len))
    }

    pub(super) const fn address(&self, number: u32, at: u32) -> u32 {
        self.sector_address(number).saturating_add(at)
    }

    /// The lowest sector number that is retained while `head` is the newest. One sector less than
    /// there are: what the next sector will take the place of has been given up before.
    pub(super) const fn window_start(&self, head: u32) -> u32 {
        head.saturating_add(2).saturating_sub(self.sectors)
    }

    /// The header of a sector, if that one is there and whole.
    pub(super) fn sector<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        number: u32,
    ) -> Result<Option<SectorHeader>, F::Error> {
        let mut bytes = [0; SECTOR_HEADER_LEN_MAX];
        flash.read(self.sector_address(number), &mut bytes)?;
        let is_here = |header: &SectorHeader| {
            header.sectors == self.sectors
                && self.sector_address(header.span.number) == self.sector_address(number)
        };
        if let Some(whole) = SectorHeader::decode(&bytes) {
            return Ok(Some(whole).filter(is_here));
        }
        let Some(mended) = SectorHeader::mended(&bytes).filter(is_here) else { return Ok(None) };
        Ok(self.bears_out(flash, &mended.span)?.then_some(mended))
    }

    /// Where the last byte that is not blank ends, from `at` on; `at` if all is blank.
    pub(super) fn used_until<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        number: u32,
        from: u32,
    ) -> Result<u32, F::Error> {
        let mut used = from;
        let mut at = from;
        let mut chunk = [0; 64];
        while let Some(left) = self.sector_len.checked_sub(at).filter(|left| *left > 0) {
            let take = chunk.len().min(usize::try_from(left).unwrap_or(chunk.len()));
            let part = chunk.get_mut(..take).unwrap_or_default();
            flash.read(self.address(number, at), part)?;
            let mut unit_end = at;
            for unit in part.chunks(UNIT) {
                unit_end = unit_end.saturating_add(extent::UNIT);
                if unit.iter().any(|byte| *byte != 0xFF) {
                    used = unit_end;
                }
            }
            at = unit_end;
        }
        Ok(used)
    }

    /// The first whole record header of a sector from `at` on, up to `end`. Steps over whatever is
    /// none: damage costs the record it hits and no other.
    pub(super) fn record<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        chain: &Chain,
        span: &Span,
        mut at: u32,
        end: u32,
    ) -> Result<Option<Record>, F::Error> {
        let mut unit = [0; UNIT];
        let mut bytes = [0; RECORD_OVERHEAD];
        while at.saturating_add(RecordHeader::record_len(0)) <= end {
            flash.read(self.address(span.number, at), &mut unit)?;
            if may_be_record(unit) {
                flash.read(self.address(span.number, at), &mut bytes)?;
                if let Some(record) = self.judge(flash, &bytes, chain, span, at)? {
                    return Ok(Some(record));
                }
            }
            at = at.saturating_add(extent::UNIT);
        }
        Ok(None)
    }
}

/// What one flipped bit does not destroy.
impl Geometry {
    /// Whether a record in the sector is whole that is bound to this header: none is behind one
    /// that was cut short.
    fn bears_out<F: ReadNorFlash>(&self, flash: &mut F, span: &Span) -> Result<bool, F::Error> {
        let mut bytes = [0; RECORD_HEADER_LEN];
        let mut at = span.records_at;
        while at.saturating_add(RecordHeader::record_len(0)) <= self.sector_len {
            flash.read(self.address(span.number, at), &mut bytes)?;
            if RecordHeader::decode(&bytes, span, Seq::ZERO).is_some() {
                return Ok(true);
            }
            at = at.saturating_add(extent::UNIT);
        }
        Ok(false)
    }

    /// Whether a record with a commit was written to its end: its body agrees, but for one bit that
    /// may have flipped since.
    pub(super) fn is_sound<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        record: &Record,
    ) -> Result<bool, F::Error> {
        let Some(commit) = record.commit else { return Ok(false) };
        let address = self.address(record.number, record.body_at());
        let difference = body::checksum(flash, address, commit.len)? ^ commit.checksum;
        Ok(difference == 0 || flipped_bit(difference, usize::from(commit.len)).is_some())
    }

    /// The record that these bytes are, if they are one, even if one bit of them flipped. What is
    /// mended in header or commit, the rest has to bear out.
    fn judge<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        bytes: &[u8; RECORD_OVERHEAD],
        chain: &Chain,
        span: &Span,
        at: u32,
    ) -> Result<Option<Record>, F::Error> {
        let Some((header, rest)) = bytes.split_first_chunk::<RECORD_HEADER_LEN>() else {
            return Ok(None);
        };
        let Some(said) = rest.first_chunk::<COMMIT_LEN>() else { return Ok(None) };
        let whole = RecordHeader::decode(header, span, chain.old_next);
        let is_header_whole = whole.is_some();
        let Some(header) = whole.or_else(|| RecordHeader::mended(header, span, chain.old_next))
        else {
            return Ok(None);
        };
        let commit = Commit::decode(*said, &header);
        let is_commit_whole = commit.is_some() || *said == [0xFF; COMMIT_LEN];
        let mended = || Commit::mended(*said, &header).filter(|_| is_header_whole);
        let commit = if is_commit_whole { commit } else { mended() };
        let record = Record { commit, header, number: span.number, at };
        if record.end() > self.sector_len {
            return Ok(None);
        }
        if is_header_whole && is_commit_whole {
            return Ok(Some(record));
        }
        let address = self.address(record.number, record.body_at());
        let is_borne_out = match commit {
            Some(commit) => body::checksum(flash, address, commit.len)? == commit.checksum,
            None => false,
        };
        Ok(match (is_borne_out, is_header_whole) {
            (true, _) => Some(record),
            (false, true) => Some(Record { commit: None, ..record }),
            (false, false) => None,
        })
    }
}

/// A record found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub header: RecordHeader,
    /// Nothing: reserved and never finished.
    pub commit: Option<Commit>,
    /// The sector's number.
    pub number: u32,
    /// Where in the sector it stands.
    pub at: u32,
}

impl Record {
    /// Where the next one stands.
    pub(super) fn end(&self) -> u32 {
        self.at.saturating_add(RecordHeader::record_len(self.header.len))
    }

    /// What the ring had taken with it.
    pub(super) fn through(&self) -> Counts {
        let header = &self.header;
        match header.purpose {
            // Counts only once it is committed.
            Purpose::Copy { .. } if self.commit.is_none() => header.before,
            _ => header.before + header.adds,
        }
    }

    /// Where its body stands.
    pub(super) fn body_at(&self) -> u32 {
        self.at.saturating_add(RecordHeader::record_len(0))
    }
}

/// All that can be read of one ring: a run of sectors, and where it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chain {
    pub ring: RingId,
    /// The oldest sector retained.
    pub from: u32,
    /// The newest.
    pub to: u32,
    /// How far the newest is filled.
    pub end: u32,
    /// The number after the last one assigned.
    pub next: Seq,
    /// What the ring had taken before that.
    pub before_next: Counts,
    /// The same of the ring that it takes over: what its records' origins are relative to.
    pub old_next: Seq,
}

/// Where a reader stands: in front of the record `seq`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub seq: Seq,
    pub span: Span,
    pub at: u32,
}

impl Place {
    fn start(span: Span) -> Self {
        Self { seq: span.first, span, at: span.records_at }
    }
}

/// What a look for a sequence number ends with.
pub(super) enum Found {
    Record(Record),
    Gone(Gone),
}

impl Chain {
    /// The first whole sector of the ring from `number` on.
    pub(super) fn sector_from<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        geometry: &Geometry,
        number: u32,
    ) -> Result<Option<SectorHeader>, F::Error> {
        for number in number.max(self.from)..=self.to {
            let found = geometry.sector(flash, number)?;
            if let Some(sector) = found.filter(|sector| self.has(&sector.span, number)) {
                return Ok(Some(sector));
            }
        }
        Ok(None)
    }

    /// Finds a record; `seq` is below `self.next`. Cheap if `place` stands in front of it, and
    /// leaves it behind what was found.
    pub(super) fn find<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        geometry: &Geometry,
        place: &mut Option<Place>,
        seq: Seq,
    ) -> Result<Found, F::Error> {
        let nearby = place.filter(|place| place.seq <= seq && self.covers(place.span.number));
        let mut here = match nearby {
            Some(here) if here.seq == seq => Some(here),
            _ => self.locate(flash, geometry, nearby, seq)?,
        };
        // Each turn goes one record or one sector ahead.
        while let Some(stand) = here {
            if stand.seq > seq {
                // Only the start of a sector can lie behind what is looked for.
                *place = here;
                let gone = Gone { first: seq, last: stand.seq.prev(), through: stand.span.before };
                return Ok(Found::Gone(gone));
            }
            let end = if stand.span.number == self.to { self.end } else { geometry.sector_len };
            here = match geometry.record(flash, self, &stand.span, stand.at, end)? {
                Some(Record { header, at, .. }) if header.seq > seq => {
                    *place = Some(Place { seq: header.seq, at, ..stand });
                    let gone = Gone { first: seq, last: header.seq.prev(), through: header.before };
                    return Ok(Found::Gone(gone));
                }
                Some(record) => {
                    let next = Place { seq: record.header.seq.next(), at: record.end(), ..stand };
                    if record.header.seq == seq {
                        *place = Some(next);
                        return Ok(Found::Record(record));
                    }
                    Some(next)
                }
                None => {
                    let number = stand.span.number.saturating_add(1);
                    self.sector_from(flash, geometry, number)?.map(|next| Place::start(next.span))
                }
            };
        }
        *place = None;
        let last = self.next.prev();
        Ok(Found::Gone(Gone { first: seq, last, through: self.before_next }))
    }

    /// What is gone if the record `seq` cannot be used: it, and whatever else follows it up to the
    /// next one that is there.
    pub(super) fn gone_at<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        geometry: &Geometry,
        place: &mut Option<Place>,
        seq: Seq,
    ) -> Result<Gone, F::Error> {
        let next = seq.next();
        if next >= self.next {
            return Ok(Gone { first: seq, last: seq, through: self.before_next });
        }
        let gone = match self.find(flash, geometry, place, next)? {
            Found::Gone(more) => Gone { first: seq, ..more },
            Found::Record(record) => {
                *place = place.map(|behind| Place { seq: next, at: record.at, ..behind });
                Gone { first: seq, last: seq, through: record.header.before }
            }
        };
        Ok(gone)
    }

    /// The start of the sector that has to hold `seq`, or `nearby` if that is in it; the oldest
    /// sector if all begin behind it.
    fn locate<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        geometry: &Geometry,
        nearby: Option<Place>,
        seq: Seq,
    ) -> Result<Option<Place>, F::Error> {
        let mut best = nearby;
        let mut from = nearby.map_or(self.from, |place| place.span.number.saturating_add(1));
        while let Some(sector) = self.sector_from(flash, geometry, from)? {
            if best.is_some() && sector.span.first > seq {
                break;
            }
            best = Some(Place::start(sector.span));
            from = sector.span.number.saturating_add(1);
        }
        Ok(best)
    }

    fn has(&self, span: &Span, number: u32) -> bool {
        span.ring == self.ring && span.number == number
    }

    const fn covers(&self, number: u32) -> bool {
        self.from <= number && number <= self.to
    }
}
