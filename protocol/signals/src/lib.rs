//! Signal catalogues as people write them (`signals.toml`), as programs hold them, and what the batch
//! codec is told of them beforehand: learnt from recordings.
//!
//! ```text
//! signals.toml -> OwnedCatalogue -> its encoding, for an agent; Rust source, for a device
//!      recordings -> hints -------^
//! ```
#![forbid(unsafe_code)]

mod owned;
mod decimal;
mod file;
mod thin;
mod write;
mod source;
mod learn;
mod period;

pub use file::{Problem, read};
pub use learn::{Learnt, Recorded, learn};
pub use owned::{OwnedCatalogue, OwnedHints, OwnedSignal};
pub use source::rust;
pub use thin::distance;
pub use write::write;
