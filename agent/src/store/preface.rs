//! What every block file says for itself before the blocks that refer to it.

use protocol::signal::CatalogueError;
use protocol::{Catalogue, CatalogueId};
use rusqlite::Connection;

use super::block::Stream;
use super::error::StoreError;
use super::piece::{self, PieceKind};
use super::seat::{self, SeatNumber};
use crate::document::OwnedCatalogue;

/// One thing that blocks refer to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Preface {
    /// What the columns mean.
    Catalogue(CatalogueId),
    /// Where the device sat.
    Seat(SeatNumber),
}

impl Preface {
    /// All that a block of this stream refers to.
    pub fn of(stream: &Stream) -> impl Iterator<Item = Self> + use<> {
        [Some(Self::Catalogue(stream.catalogue)), stream.seat.map(Self::Seat)].into_iter().flatten()
    }

    /// Appends it, as a piece, as the index has it.
    pub fn append(self, db: &Connection, out: &mut Vec<u8>) -> Result<(), StoreError> {
        match self {
            Self::Catalogue(id) => {
                let encoded: Vec<u8> = db
                    .prepare_cached("SELECT encoded FROM catalogues WHERE id = ?")?
                    .query_row([id.0], |row| row.get(0))?;
                append_catalogue(out, id, &encoded)
            }
            Self::Seat(number) => match seat::in_index(db, number)? {
                Some(seat) => seat::append(out, number, &seat),
                // The index lost it; its blocks say no vehicle.
                None => Ok(()),
            },
        }
    }
}

/// Appends a catalogue, as a piece.
pub fn append_catalogue(
    out: &mut Vec<u8>,
    id: CatalogueId,
    encoded: &[u8],
) -> Result<(), StoreError> {
    piece::append(out, PieceKind::Catalogue, |out| {
        out.extend_from_slice(&id.0.to_be_bytes());
        out.extend_from_slice(encoded);
    })
}

/// Reads the content of a catalogue's piece; with its encoding.
pub fn read_catalogue(content: &[u8]) -> Option<(OwnedCatalogue, Vec<u8>)> {
    let (id, encoded) = content.split_first_chunk::<4>()?;
    let id = CatalogueId(u32::from_be_bytes(*id));
    let decoded: Result<_, CatalogueError> =
        Catalogue::decode::<{ Catalogue::SIGNALS_MAX }>(encoded);
    let catalogue = OwnedCatalogue::new(id, &decoded.ok()?.catalogue());
    Some((catalogue, encoded.to_vec()))
}
