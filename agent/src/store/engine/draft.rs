//! One commit's blocks on their way: a batch, coded stream by stream.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use protocol::Clock;
use rusqlite::Connection;

use crate::document::OwnedCatalogue;
use crate::privacy::{Cleared, ClearedFrame, ClearedSample, Piece, Seat};
use crate::store::block::{self, Run, SAMPLES_MAX, Samples, Stream};
use crate::store::chapter::{self, Filed};
use crate::store::error::StoreError;
use crate::store::facts::Facts;
use crate::store::files::Appender;
use crate::store::index::{self, NewBlock, Place};
use crate::store::preface::{Preface, append_catalogue};
use crate::store::seat::{self, SeatNumber};
use crate::value::Exact;

/// One commit's blocks on their way.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub pieces: Vec<u8>,
    /// Offsets are from the pieces' beginning.
    pub blocks: Vec<NewBlock>,
    /// What the file does not say yet, and stands among the pieces.
    pub catalogues: Vec<(Arc<OwnedCatalogue>, Vec<u8>)>,
    pub seats: Vec<(SeatNumber, Arc<Seat>)>,
    /// Where the chapter stands, and what is in it.
    pub chapter: Option<(usize, usize, Vec<Filed>)>,
}

/// A frame and its samples.
type Taken<'a> = (&'a ClearedFrame, &'a [ClearedSample]);

impl Draft {
    /// Codes a batch, stream by stream.
    pub fn of(
        batch: &Cleared,
        db: &Connection,
        appender: &Appender,
        known: &mut seat::Known,
    ) -> Result<Self, StoreError> {
        let mut draft = Self::default();
        let mut streams: HashMap<Stream, usize> = HashMap::new();
        let mut frames: Vec<(Stream, Vec<Taken<'_>>)> = Vec::new();
        let mut records = Vec::new();
        // By where they lie: a batch's frames share what they know of their seats.
        let mut seats: HashMap<*const Seat, SeatNumber> = HashMap::new();
        for piece in batch.pieces() {
            match piece {
                Piece::Samples(frame, samples) => {
                    draft.catalogue(appender, frame.lens.catalogue())?;
                    let seat = match &frame.from.seat {
                        None => None,
                        Some(seat) => Some(match seats.entry(Arc::as_ptr(seat)) {
                            Entry::Occupied(known) => *known.get(),
                            Entry::Vacant(new) => {
                                let number = known.number(db, seat)?;
                                draft.seat(appender, number, seat)?;
                                *new.insert(number)
                            }
                        }),
                    };
                    let stream = Stream { seat, ..stream_of(frame) };
                    let at = *streams.entry(stream).or_insert_with(|| {
                        frames.push((stream, Vec::new()));
                        frames.len() - 1
                    });
                    if let Some((_, frames)) = frames.get_mut(at) {
                        frames.push((frame, samples));
                    }
                }
                Piece::Record(record, document) => records.push(Filed::new(record, document)),
            }
        }
        let mut samples = Samples::default();
        for (stream, mut frames) in frames {
            frames.sort_by_key(|(frame, _)| frame.from.seq);
            for (frame, taken) in frames {
                if samples.entries.len() + taken.len() > SAMPLES_MAX {
                    draft.block(&stream, &mut samples)?;
                }
                samples.take(frame, taken, batch.exacts());
            }
            draft.block(&stream, &mut samples)?;
        }
        if !records.is_empty() {
            let start = draft.pieces.len();
            chapter::append(&mut draft.pieces, &records)?;
            draft.chapter = Some((start, draft.pieces.len() - start, records));
        }
        Ok(draft)
    }

    /// Puts a catalogue before the blocks that need it, unless the file has it.
    fn catalogue(
        &mut self,
        appender: &Appender,
        catalogue: &Arc<OwnedCatalogue>,
    ) -> Result<(), StoreError> {
        let is_here = |(other, _): &(Arc<OwnedCatalogue>, Vec<u8>)| other.id == catalogue.id;
        if appender.has(Preface::Catalogue(catalogue.id)) || self.catalogues.iter().any(is_here) {
            return Ok(());
        }
        let encoded = index::encode(catalogue)
            .map_err(|error| StoreError::damaged(format!("catalogue {}: {error}", catalogue.id)))?;
        append_catalogue(&mut self.pieces, catalogue.id, &encoded)?;
        self.catalogues.push((Arc::clone(catalogue), encoded));
        Ok(())
    }

    /// The same for a seat.
    fn seat(
        &mut self,
        appender: &Appender,
        number: SeatNumber,
        seat: &Arc<Seat>,
    ) -> Result<(), StoreError> {
        let is_here = |(other, _): &(SeatNumber, Arc<Seat>)| *other == number;
        if appender.has(Preface::Seat(number)) || self.seats.iter().any(is_here) {
            return Ok(());
        }
        seat::append(&mut self.pieces, number, seat)?;
        self.seats.push((number, Arc::clone(seat)));
        Ok(())
    }

    /// What stands in the pieces for blocks to refer to.
    pub fn prefaces(&self) -> Vec<Preface> {
        let catalogues = self.catalogues.iter().map(|(one, _)| Preface::Catalogue(one.id));
        catalogues.chain(self.seats.iter().map(|(number, _)| Preface::Seat(*number))).collect()
    }

    /// Makes a block of what there is, and empties it.
    fn block(&mut self, stream: &Stream, samples: &mut Samples) -> Result<(), StoreError> {
        if samples.entries.is_empty() {
            return Ok(());
        }
        let start = self.pieces.len();
        block::append(&mut self.pieces, stream, samples)?;
        self.blocks.push(NewBlock {
            place: Place { file: 0, offset: start as u64, len: self.pieces.len() - start },
            stream: *stream,
            facts: Facts::of(stream, &samples.runs, &samples.entries),
            rollups: None,
            level: 0,
        });
        samples.clear();
        Ok(())
    }
}

fn stream_of(frame: &ClearedFrame) -> Stream {
    let catalogue = frame.lens.catalogue();
    Stream {
        device: frame.from.device,
        ring: frame.from.ring,
        lane: frame.from.lane,
        catalogue: catalogue.id,
        tick_ms: catalogue.tick_ms,
        boot: (frame.clock == Clock::Uptime).then_some(frame.boot),
        seat: None,
    }
}

impl Samples {
    /// Adds a frame's samples behind those of the frames before it.
    fn take(&mut self, frame: &ClearedFrame, samples: &[ClearedSample], exacts: &[Exact]) {
        let run = u16::try_from(self.runs.len()).unwrap_or(u16::MAX);
        self.runs.push(Run {
            seq: frame.from.seq,
            received_ms: frame.from.received_ms,
            clock: frame.clock,
            boot: frame.boot,
            origin: frame.from.origin,
        });
        let own = &mut self.exacts;
        self.entries.extend(samples.iter().map(|sample| block::Entry {
            tick: sample.tick,
            amount: sample.amount.moved(exacts, own),
            ordinal: sample.ordinal,
            run,
            column: sample.column,
        }));
    }

    /// Empties it, and keeps its room.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.entries.clear();
        self.exacts.clear();
    }
}
