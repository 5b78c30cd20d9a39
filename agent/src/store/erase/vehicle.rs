//! Taking a vehicle's name out: seats stay, and say no vehicle; so do records' documents.
//!
//! Devices that sat in other vehicles too stay, with what they recorded; only in which vehicle that
//! was is forgotten. What the vehicle belonged to stays, as it does where a rule leaves vehicles out.

use rusqlite::{Connection, TransactionBehavior, params};

use super::{Taken, move_chapters, read_chapter};
use crate::document;
use crate::storage::File;
use crate::store::chapter::{self, Filed};
use crate::store::engine::Engine;
use crate::store::error::StoreError;
use crate::store::index::Place;
use crate::store::piece::{self, PieceKind};
use crate::store::seat;

/// Where a vehicle's name stands in block files.
#[derive(Debug, Default)]
struct Named {
    /// Pieces about seats, and what is to stand in their place; none if they cannot be read.
    seats: Vec<(Place, Option<Vec<u8>>)>,
    /// Chapters, with their records as they are to be.
    chapters: Vec<(Place, Vec<Filed>)>,
}

impl Engine {
    /// Takes out a vehicle's name, as it left. Nobody may compact meanwhile.
    pub fn erase_vehicle(&mut self, vehicle: &str) -> Result<Taken, StoreError> {
        let member = document::vehicle_member(vehicle);
        let mut named = Named::default();
        self.each_piece(&mut |file, place, kind, _| {
            match kind {
                PieceKind::Seat => named.seats.extend(without_name(file, place, vehicle)?),
                PieceKind::Chapter => {
                    let mut records = read_chapter(file, place)?;
                    let mut has_any = false;
                    for record in &mut records {
                        if let Some(document) = document::without_member(&record.document, &member)
                        {
                            (record.document, has_any) = (document, true);
                        }
                    }
                    if has_any {
                        named.chapters.push((*place, records));
                    }
                }
                PieceKind::Block | PieceKind::Catalogue | PieceKind::Commit | PieceKind::Void => {}
            }
            Ok(())
        })?;
        let records = self.unname_index((vehicle, &member), &named.chapters)?;
        let mut taken = Taken { records, ..Taken::default() };
        for (place, other) in &named.seats {
            match other {
                Some(piece) => self.write_over(place, piece)?,
                None => self.void(place)?,
            }
            taken.bytes += place.len as u64;
        }
        for (place, _) in &named.chapters {
            self.void(place)?;
            taken.bytes += place.len as u64;
        }
        self.sweep()?;
        Ok(taken)
    }

    /// Takes the name out of the index; how many records had it.
    fn unname_index(
        &mut self,
        (vehicle, member): (&str, &str),
        chapters: &[(Place, Vec<Filed>)],
    ) -> Result<u64, StoreError> {
        let (mut pieces, mut moved) = (Vec::new(), Vec::new());
        for (place, records) in chapters {
            let start = pieces.len();
            chapter::append(&mut pieces, records)?;
            moved.push((place, start, pieces.len() - start));
        }
        let appended = if pieces.is_empty() { None } else { Some(self.appender.append(&pieces)?) };
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute("UPDATE seats SET vehicle = NULL WHERE vehicle = ?", [vehicle])?;
        let records = unname_records(&tx, member)?;
        if let Some(appended) = &appended {
            move_chapters(&tx, appended, &moved)?;
        }
        tx.commit()?;
        if let Some(appended) = &appended {
            self.appender.commit(appended, &[]);
        }
        Ok(records)
    }
}

fn unname_records(db: &Connection, member: &str) -> rusqlite::Result<u64> {
    let mut query = db.prepare("SELECT id, document FROM records WHERE instr(document, ?) > 0")?;
    let mut change = db.prepare("UPDATE records SET document = ? WHERE id = ?")?;
    let mut rows = query.query([member])?;
    let mut changed = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(document) = document::without_member(&row.get::<_, String>(1)?, member) {
            changed.push((row.get::<_, i64>(0)?, document));
        }
    }
    for (id, document) in &changed {
        change.execute(params![document, id])?;
    }
    Ok(changed.len() as u64)
}

/// What is to stand in the place of a seat's piece, if it has this name or cannot be read.
fn without_name(
    file: &dyn File,
    place: &Place,
    vehicle: &str,
) -> Result<Option<(Place, Option<Vec<u8>>)>, StoreError> {
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
