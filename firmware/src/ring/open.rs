//! From a region of flash to a ring: format, and what a boot finds.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use protocol::{Counts, Lane, Seq};

use super::fork::{Fork, Takeover};
use super::layout::{ForkMark, Purpose, RecordHeader, SectorHeader, Span, extent};
use super::walk::{Chain, Geometry, Record};
use super::{Cause, Gone, Lost, Region, Ring, RingError, RingMeta};

/// What a region holds.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "no heap to box into; taken apart at once")]
pub enum Opened {
    /// A ring, and what the boot found wrong with it.
    Existing(Ring, Recovery),
    /// No ring of this lane: never formatted, or nothing valid.
    Blank,
}

/// What is to be done before a ring goes on as before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// Numbers that were burnt: a loss record that covers them has to be the next frame. The same
    /// as [`Ring::burnt`].
    pub torn: Option<Gone>,
    /// A fork that was not finished: go on with [`Ring::read_old`].
    pub fork: Option<Fork>,
}

impl Ring {
    /// Finds the ring in a region. Writes nothing.
    pub fn open<F: NorFlash>(
        flash: &mut F,
        region: Region,
        lane: Lane,
    ) -> Result<Opened, RingError<F::Error>> {
        let geometry = Geometry::new::<F>(region)?;
        let newest = geometry.newest(flash)?;
        let Some(newest) = newest.filter(|sector| sector.lane == lane) else {
            return Ok(Opened::Blank);
        };
        let head = newest.span;
        let mut chain = Chain {
            ring: head.ring,
            from: geometry.window_start(head.number),
            to: head.number,
            end: geometry.sector_len,
            next: head.first,
            before_next: head.before,
            old_next: newest.fork.map_or(Seq::ZERO, |mark| mark.old_next),
        };
        let mut scan = geometry.scan(flash, &chain, &head)?;
        let mut ring_head = head;
        if let Some((orphan, found)) = geometry.orphan(flash, &chain, &head, &scan)? {
            ring_head = orphan;
            chain.from = geometry.window_start(orphan.number);
            scan = scan.followed_by(found);
        }
        chain.to = ring_head.number;
        (chain.next, chain.before_next, chain.end) = (scan.next, scan.before, scan.end);
        let oldest = chain.sector_from(flash, &geometry, chain.from)?.unwrap_or(newest);
        chain.from = oldest.span.number;
        let committed = match scan.committed {
            Some(committed) => committed,
            None => chain.committed_before(flash, &geometry, head.number)?,
        };
        let (first, before_first) = (oldest.span.first, oldest.span.before);
        let gone =
            |lost: Lost| Gone { first: lost.first, last: first.prev(), through: before_first };
        let lost = newest.lost.filter(|lost| lost.first < first);
        let dropped = lost.filter(|lost| lost.cause == Cause::Dropped).map(gone);
        let fork = match newest.fork {
            Some(mark) => Takeover::resume(flash, &geometry, &mark, &chain, &scan)?,
            None => None,
        };
        let ring = Self {
            geometry,
            meta: newest.meta(),
            head: ring_head,
            chain,
            committed: committed.max(first.prev()),
            first,
            before_first,
            released: Seq::ZERO,
            dropped,
            lost,
            account: None,
            read_at: None,
            tag_at: None,
            fork,
        };
        let recovery = Recovery { torn: ring.burnt(), fork: ring.fork() };
        Ok(Opened::Existing(ring, recovery))
    }

    /// Begins a new ring in a region. What was there is gone.
    pub fn format<F: NorFlash>(
        flash: &mut F,
        region: Region,
        meta: RingMeta,
    ) -> Result<Self, RingError<F::Error>> {
        let geometry = Geometry::new::<F>(region)?;
        // The circle goes on, so that formatting wears no sector more than another.
        let newest = geometry.newest(flash)?;
        let number = newest.map_or(0, |sector| sector.span.number.saturating_add(1));
        Self::begin(flash, geometry, meta, number, None)
    }

    /// Begins a ring in the sector `number`.
    pub(super) fn begin<F: NorFlash>(
        flash: &mut F,
        geometry: Geometry,
        meta: RingMeta,
        number: u32,
        fork: Option<Takeover>,
    ) -> Result<Self, RingError<F::Error>> {
        let begin = (Seq::FIRST, Counts::ZERO);
        let mark = fork.as_ref().map(Takeover::mark);
        let head = geometry.start_sector(flash, meta, number, begin, None, mark)?;
        let chain = Chain {
            ring: meta.ring,
            from: number,
            to: number,
            end: head.records_at,
            next: Seq::FIRST,
            before_next: Counts::ZERO,
            old_next: mark.map_or(Seq::ZERO, |mark| mark.old_next),
        };
        Ok(Self {
            geometry,
            meta,
            head,
            chain,
            committed: Seq::ZERO,
            first: Seq::FIRST,
            before_first: Counts::ZERO,
            released: Seq::ZERO,
            dropped: None,
            lost: None,
            account: None,
            read_at: None,
            tag_at: None,
            fork,
        })
    }
}

/// What the records of the newest sector say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// The number after the last one that may have been assigned.
    pub next: Seq,
    /// What the ring had taken before that.
    pub before: Counts,
    /// From here on the sector is blank.
    pub end: u32,
    /// The last number with a frame.
    pub committed: Option<Seq>,
    /// The last of the old ring's frames that was taken over here.
    pub copied: Option<Seq>,
    /// What those taken over here add.
    pub copied_adds: Counts,
}

impl Scan {
    /// With one record more, `whole` or not.
    fn with(mut self, record: &Record, whole: bool) -> Self {
        let header = &record.header;
        self.next = header.seq.next();
        self.end = record.end();
        self.committed = if whole { Some(header.seq) } else { self.committed };
        let (adds, origin) = match header.purpose {
            Purpose::Own => (header.adds, None),
            Purpose::Copy { origin } if whole => (header.adds, Some(origin)),
            Purpose::Copy { .. } => (Counts::ZERO, None),
            Purpose::LostCopy { origin } => (header.adds, Some(origin)),
        };
        self.before = header.before + adds;
        if origin.is_some() {
            self.copied = origin;
            self.copied_adds += adds;
        }
        self
    }

    fn followed_by(self, later: Self) -> Self {
        Self {
            committed: later.committed.or(self.committed),
            copied: later.copied.or(self.copied),
            copied_adds: self.copied_adds + later.copied_adds,
            ..later
        }
    }
}

impl Geometry {
    /// Erases a sector and makes it the newest.
    pub(super) fn start_sector<F: NorFlash>(
        &self,
        flash: &mut F,
        meta: RingMeta,
        number: u32,
        (first, before): (Seq, Counts),
        lost: Option<Lost>,
        fork: Option<ForkMark>,
    ) -> Result<Span, F::Error> {
        let records_at = SectorHeader::extent(fork.is_some());
        let span = Span { ring: meta.ring, number, first, before, records_at };
        let RingMeta { lane, format, .. } = meta;
        let header = SectorHeader { span, lane, format, sectors: self.sectors, lost, fork };
        let (bytes, len) = header.encode();
        let start = self.sector_address(number);
        // Even if it looks blank: an erase that was cut short leaves bits that look erased.
        flash.erase(start, start.saturating_add(self.sector_len))?;
        let written = flash.write(start, bytes.get(..len).unwrap_or_default());
        // What the next boot would take for written is written, whatever the flash says of it.
        if written.is_err()
            && !matches!(self.sector(flash, number), Ok(Some(found)) if found == header)
        {
            written?;
        }
        Ok(span)
    }

    /// The sector that was opened last.
    fn newest<F: ReadNorFlash>(&self, flash: &mut F) -> Result<Option<SectorHeader>, F::Error> {
        let mut newest: Option<SectorHeader> = None;
        for index in 0..self.sectors {
            let sector = self.sector(flash, index)?;
            if let Some(sector) = sector
                && newest.is_none_or(|newest| newest.span.number < sector.span.number)
            {
                newest = Some(sector);
            }
        }
        Ok(newest)
    }

    /// Reads all record headers of a sector, and finds where it is free.
    fn scan<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        chain: &Chain,
        span: &Span,
    ) -> Result<Scan, F::Error> {
        let used = self.used_until(flash, span.number, span.records_at)?;
        let reach = used.saturating_add(extent::COMMIT).min(self.sector_len);
        let mut seen = Scan {
            next: span.first,
            before: span.before,
            end: span.records_at,
            committed: None,
            copied: None,
            copied_adds: Counts::ZERO,
        };
        let mut last = None;
        while let Some(record) = self.record(flash, chain, span, seen.end, reach)? {
            last = Some((record, seen));
            seen = seen.with(&record, record.commit.is_some());
        }
        // A commit cut short may by chance look whole: its check is short.
        if let Some((record, before)) = last
            && record.commit.is_some()
            && !self.is_sound(flash, &record)?
        {
            seen = before.with(&record, false);
        }
        if used > seen.end {
            // A header cut short, or headers destroyed: burn as many numbers as may have stood
            // there, and leave room for the bits of a header that do not show.
            let burnt = (used - seen.end).div_euclid(RecordHeader::record_len(1)).max(1);
            seen.next = Seq(seen.next.0.saturating_add(u64::from(burnt)));
            seen.end = used.saturating_add(extent::RECORD_HEADER).min(self.sector_len);
        }
        Ok(seen)
    }

    /// The sector after the newest, if it has records of this ring and only its header is damaged.
    /// It is not written on in, but its numbers are taken.
    fn orphan<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        chain: &Chain,
        head: &Span,
        seen: &Scan,
    ) -> Result<Option<(Span, Scan)>, F::Error> {
        let number = head.number.saturating_add(1);
        if self.sector(flash, number)?.is_some() {
            return Ok(None);
        }
        let records_at = SectorHeader::extent(false);
        let span = Span { number, first: seen.next, before: seen.before, records_at, ..*head };
        let used = self.used_until(flash, number, records_at)?;
        let reach = used.saturating_add(extent::COMMIT).min(self.sector_len);
        if self.record(flash, chain, &span, records_at, reach)?.is_none() {
            return Ok(None);
        }
        let found = self.scan(flash, chain, &span)?;
        Ok(Some((span, Scan { end: self.sector_len, ..found })))
    }
}

impl Chain {
    /// The last number with a frame in the sectors before `number`; the one before the first
    /// retained if there is none.
    fn committed_before<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        geometry: &Geometry,
        number: u32,
    ) -> Result<Seq, F::Error> {
        for number in (self.from..number).rev() {
            // If it is damaged, one behind it, which was looked through before.
            if let Some(sector) = self.sector_from(flash, geometry, number)?
                && let Some(committed) = geometry.scan(flash, self, &sector.span)?.committed
            {
                return Ok(committed);
            }
        }
        Ok(Seq::ZERO)
    }
}
