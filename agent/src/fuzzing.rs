//! What the fuzz targets reach of the parsers that are nobody else's business: each stage says in a
//! `fuzzing` module of its own what it runs over bytes from outside, without sockets and files. Part of
//! no interface, and of no program that ships.

pub use crate::backup::fuzzing::{archive, encoded, manifest, members};
pub use crate::cli::fuzzing::import_rows;
pub use crate::http::fuzzing::router;
pub use crate::intake::broker::fuzzing::Office;
pub use crate::intake::listen::fuzzing::{Conversation, Heard};
pub use crate::intake::serial::fuzzing::{Came, Host};
pub use crate::journal::fuzzing::{HEAD_LEN, record, written};
pub use crate::query::fuzzing::Guarded;
pub use crate::store::fuzzing::sealed_block;
