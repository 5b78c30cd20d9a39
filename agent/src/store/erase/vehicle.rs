//! Taking a vehicle's name out: seats stay, and say no vehicle; so do records' documents.
//!
//! Devices that sat in other vehicles too stay, with what they recorded; only in which vehicle that
//! was is forgotten. What the vehicle belonged to stays, as it does where a rule leaves vehicles out.

use rusqlite::{Connection, params};

use super::{CHAPTERS, Taken, read_chapter};
use crate::document;
use crate::storage::File;
use crate::store::chapter::Filed;
use crate::store::engine::Engine;
use crate::store::error::StoreError;
use crate::store::index::Place;
use crate::store::piece::{self, PieceKind};
use crate::store::seat;

/// Records that are looked through at a time.
const RECORDS: i64 = 4096;

/// A piece about a seat, and what is to stand in its place; none for one that cannot be read.
type SaidAnew = (Place, Option<Vec<u8>>);

/// Where a vehicle's name stands in block files.
#[derive(Debug, Default)]
struct Named {
    seats: Vec<SaidAnew>,
    chapters: Vec<Place>,
}

impl Engine {
    /// Takes out a vehicle's name, as it left. Nobody may compact meanwhile.
    pub fn erase_vehicle(&mut self, vehicle: &str) -> Result<Taken, StoreError> {
        let member = document::vehicle_member(vehicle);
        let mut named = Named::default();
        self.each_piece(&mut |file, place, kind, _| {
            match kind {
                PieceKind::Seat => named.seats.extend(without_name(file, place, vehicle)?),
                PieceKind::Chapter => match read_chapter(file, place) {
                    Ok(records) => {
                        named.chapters.extend(unnamed(records, &member).1.then_some(*place));
                    }
                    Err(error @ StoreError::Io { .. }) => return Err(error),
                    Err(_) => named.seats.push((*place, None)),
                },
                PieceKind::Block | PieceKind::Catalogue | PieceKind::Commit | PieceKind::Void => {}
            }
            Ok(())
        })?;
        self.db.execute("UPDATE seats SET vehicle = NULL WHERE vehicle = ?", [vehicle])?;
        let records = unname_records(&self.db, &member)?;
        let mut taken = Taken { records, ..Taken::default() };
        for places in named.chapters.chunks(CHAPTERS) {
            self.write_anew(places, &|records| unnamed(records, &member).0)?;
        }
        for (place, other) in &named.seats {
            match other {
                Some(piece) => self.write_over(&[*place], |_| Ok(piece.clone()))?,
                None => self.void(&[*place])?,
            }
        }
        let written = named.chapters.iter().chain(named.seats.iter().map(|(place, _)| place));
        taken.bytes = written.map(|place| place.len as u64).sum();
        self.sweep()?;
        Ok(taken)
    }
}

/// Records without the name, and whether any had it.
fn unnamed(mut records: Vec<Filed>, member: &str) -> (Vec<Filed>, bool) {
    let mut has_any = false;
    for record in &mut records {
        if let Some(document) = document::without_member(&record.document, member) {
            (record.document, has_any) = (document, true);
        }
    }
    (records, has_any)
}

/// Takes the name out of the index's records; how many had it.
fn unname_records(db: &Connection, member: &str) -> rusqlite::Result<u64> {
    let (mut past, mut records) = (i64::MIN, 0);
    loop {
        let tx = db.unchecked_transaction()?;
        let page: Vec<(i64, Option<String>)> = tx
            .prepare_cached(
                "SELECT id, iif(instr(document, ?1) > 0, document, NULL) FROM records
                 WHERE id > ?2 ORDER BY id LIMIT ?3",
            )?
            .query_map(params![member, past, RECORDS], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let Some((last, _)) = page.last() else { return Ok(records) };
        past = *last;
        for (id, named) in &page {
            let named = named.as_deref().and_then(|named| document::without_member(named, member));
            let Some(document) = named else { continue };
            tx.prepare_cached("UPDATE records SET document = ? WHERE id = ?")?
                .execute(params![document, id])?;
            records += 1;
        }
        tx.commit()?;
    }
}

/// What is to stand in the place of a seat's piece, if it has this name or cannot be read.
fn without_name(
    file: &dyn File,
    place: &Place,
    vehicle: &str,
) -> Result<Option<SaidAnew>, StoreError> {
    let mut bytes = vec![0; place.len];
    file.read_at(place.offset, &mut bytes).map_err(StoreError::io("cannot read a seat"))?;
    let read = piece::content(&bytes, PieceKind::Seat).and_then(seat::read);
    let Ok((number, mut seat)) = read else { return Ok(Some((*place, None))) };
    if seat.vehicle.as_deref() != Some(vehicle) {
        return Ok(None);
    }
    seat.vehicle = None;
    let mut other = Vec::new();
    seat::append_padded(&mut other, number, &seat, place.len - piece::HEAD_LEN)?;
    Ok(Some((*place, Some(other))))
}
