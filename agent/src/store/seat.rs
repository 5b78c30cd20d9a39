//! Seats: in which vehicle a device sat, and what that belonged to, as blocks refer to it.
//!
//! A block is of one seat, by number. The number is drawn by chance when the store first meets the
//! seat, so nothing of a name is in it: a vehicle's name can be taken out without touching a block,
//! and stores of different lives hardly ever mean different seats by one number. What a number
//! stands for is a piece of its own, in every file before the first block that needs it, and a row
//! of the index.

use std::collections::HashMap;
use std::num::NonZeroU64;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::piece::{self, PieceKind};
use crate::privacy::Seat;
use crate::vehicles::{Belonging, Name};

/// Seats that are remembered with their numbers; then all are forgotten.
const KNOWN_MAX: usize = 8192;

/// What blocks call a seat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeatNumber(NonZeroU64);

impl SeatNumber {
    /// A number that no seat has yet.
    pub fn draw() -> Result<Self, StoreError> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|error| {
            StoreError::io("cannot draw a number for a seat")(std::io::Error::other(error))
        })?;
        Ok(Self(NonZeroU64::new(u64::from_le_bytes(bytes)).unwrap_or(NonZeroU64::MIN)))
    }

    /// From a number; 0 is none.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// As a number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// As `seats.number` has it.
    pub const fn in_index(self) -> i64 {
        self.0.get().cast_signed()
    }
}

/// What a seat's piece says behind the number.
#[derive(Serialize, Deserialize)]
struct Content<'a> {
    vehicle: Option<&'a str>,
    group: Option<&'a str>,
    tenant: Option<&'a str>,
    region: Option<&'a str>,
}

/// Appends a seat, as a piece.
pub fn append(out: &mut Vec<u8>, number: SeatNumber, seat: &Seat) -> Result<(), StoreError> {
    append_padded(out, number, seat, 0)
}

/// The same, with content of at least so many bytes: zeros behind what it says.
pub fn append_padded(
    out: &mut Vec<u8>,
    number: SeatNumber,
    seat: &Seat,
    content_len: usize,
) -> Result<(), StoreError> {
    let [vehicle, group, tenant, region] = texts(seat);
    let content = postcard::to_extend(&Content { vehicle, group, tenant, region }, Vec::new())
        .map_err(|error| StoreError::io("cannot encode a seat")(std::io::Error::other(error)))?;
    piece::append(out, PieceKind::Seat, |out| {
        let start = out.len();
        out.extend_from_slice(&number.get().to_be_bytes());
        out.extend_from_slice(&content);
        out.resize(out.len().max(start + content_len), 0);
    })
}

/// Reads the content of a seat's piece.
pub fn read(content: &[u8]) -> Result<(SeatNumber, Seat), StoreError> {
    let damaged = || StoreError::damaged("a seat does not decode");
    let (number, rest) = content.split_first_chunk::<8>().ok_or_else(damaged)?;
    let number = SeatNumber::new(u64::from_be_bytes(*number)).ok_or_else(damaged)?;
    let (said, _): (Content<'_>, _) = postcard::take_from_bytes(rest).map_err(|_| damaged())?;
    let name = |text: Option<&str>| -> Result<Option<Name>, StoreError> {
        text.map(|text| text.parse().map_err(|_| damaged())).transpose()
    };
    let belonging = Belonging {
        group: name(said.group)?,
        tenant: name(said.tenant)?,
        region: name(said.region)?,
    };
    Ok((number, Seat { vehicle: said.vehicle.map(Into::into), belonging }))
}

/// The columns of `seats` that [`read_row`] takes.
pub const COLUMNS: &str = "vehicle, vehiclegroup, tenant, region";

/// Reads a row of a query for [`COLUMNS`].
pub fn read_row(row: &Row<'_>) -> rusqlite::Result<Seat> {
    let name = |at| -> rusqlite::Result<Option<Name>> {
        let text: Option<String> = row.get(at)?;
        Ok(text.and_then(|text| text.parse().ok()))
    };
    let vehicle: Option<String> = row.get(0)?;
    let belonging = Belonging { group: name(1)?, tenant: name(2)?, region: name(3)? };
    Ok(Seat { vehicle: vehicle.map(Into::into), belonging })
}

/// What the index says of a number.
pub fn in_index(db: &Connection, number: SeatNumber) -> rusqlite::Result<Option<Seat>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM seats WHERE number = ?"))?
        .query_row([number.in_index()], read_row)
        .optional()
}

/// Puts a seat in, or says what a number stands for that is there already.
pub fn put(db: &Connection, number: SeatNumber, seat: &Seat) -> rusqlite::Result<()> {
    let [vehicle, group, tenant, region] = texts(seat);
    db.prepare_cached(
        "INSERT INTO seats(number, vehicle, vehiclegroup, tenant, region)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT(number) DO UPDATE
         SET vehicle = excluded.vehicle, vehiclegroup = excluded.vehiclegroup,
           tenant = excluded.tenant, region = excluded.region",
    )?
    .execute(params![number.in_index(), vehicle, group, tenant, region])?;
    Ok(())
}

/// The numbers of the seats met last.
#[derive(Debug, Default)]
pub struct Known(HashMap<Seat, SeatNumber>);

impl Known {
    /// A seat's number; one that is new is nowhere yet.
    pub fn number(&mut self, db: &Connection, seat: &Seat) -> Result<SeatNumber, StoreError> {
        if let Some(number) = self.0.get(seat) {
            return Ok(*number);
        }
        let [vehicle, group, tenant, region] = texts(seat);
        let there: Option<i64> = db
            .prepare_cached(
                "SELECT number FROM seats WHERE vehicle IS ?1 AND vehiclegroup IS ?2
                 AND tenant IS ?3 AND region IS ?4 LIMIT 1",
            )?
            .query_row([vehicle, group, tenant, region], |row| row.get(0))
            .optional()?;
        let number = match there.and_then(|number| SeatNumber::new(number.cast_unsigned())) {
            Some(number) => number,
            None => SeatNumber::draw()?,
        };
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        self.0.insert(seat.clone(), number);
        Ok(number)
    }

    /// Forgets them all.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

fn texts(seat: &Seat) -> [Option<&str>; 4] {
    let Belonging { group, tenant, region } = &seat.belonging;
    let [group, tenant, region] = [group, tenant, region].map(|n| n.as_ref().map(Name::as_str));
    [seat.vehicle.as_deref(), group, tenant, region]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat() -> Seat {
        let belonging = Belonging { group: Some("night".parse().unwrap()), ..Belonging::default() };
        Seat { vehicle: Some("bus 7".into()), belonging }
    }

    #[test]
    fn a_seat_reads_back_padded_or_not() {
        let number = SeatNumber::draw().unwrap();
        assert_ne!(number, SeatNumber::draw().unwrap());
        for content_len in [0, 8, 100] {
            let mut bytes = Vec::new();
            append_padded(&mut bytes, number, &seat(), content_len).unwrap();
            assert!(bytes.len() >= piece::HEAD_LEN + content_len);
            let content = piece::content(&bytes, PieceKind::Seat).unwrap();
            assert_eq!(read(content).unwrap(), (number, seat()));
        }
    }

    #[test]
    fn what_is_no_seat_is_said() {
        let mut bytes = Vec::new();
        append(&mut bytes, SeatNumber::new(7).unwrap(), &seat()).unwrap();
        let content = bytes.split_off(piece::HEAD_LEN);
        for len in 0..content.len() {
            read(&content[..len]).unwrap_err();
        }
        read(&[&[0; 8], &content[8..]].concat()).unwrap_err();
    }

    #[test]
    fn a_seat_that_is_there_keeps_its_number() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(crate::store::schema::TABLES).unwrap();
        let first = Known::default().number(&db, &seat()).unwrap();
        put(&db, first, &seat()).unwrap();
        assert_eq!(Known::default().number(&db, &seat()).unwrap(), first);
        assert_eq!(in_index(&db, first).unwrap(), Some(seat()));
        let other = Seat { vehicle: None, ..seat() };
        assert_ne!(Known::default().number(&db, &other).unwrap(), first);
        put(&db, first, &other).unwrap();
        assert_eq!(in_index(&db, first).unwrap(), Some(other));
    }
}
