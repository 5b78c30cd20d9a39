//! Block files, without files.

use super::error::StoreError;
use super::piece::{self, PieceKind};

/// A piece that says it is a block, with this content and the right checksum.
pub fn sealed_block(content: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut piece = Vec::new();
    piece::append(&mut piece, PieceKind::Block, |out| out.extend_from_slice(content))?;
    Ok(piece)
}
