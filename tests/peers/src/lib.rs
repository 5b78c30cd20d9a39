//! What other telemetry encodings take for the same samples, to print beside our own codec.
//!
//! Each encoding gets the same [`Point`]s, cut into the same messages by [`split`], and answers
//! with payload bytes: topic, MQTT, TLS and TCP are not in them. Where a format sends some things
//! once (Sparkplug's names are in its birth message), the messages here are those that come after.
//! The figures follow the Python reference in `wire-reference` (`run.py`, `wirecodecs.py`), field
//! for field, so a row may be compared with its `results.md`.
//!
//! Some rows favour the peer, as the reference does: Gorilla, the columns, Pco and Rice leave out
//! which points share a row's time stamp, and the columns (not Pco) the message's first time.
//!
//! ```
//! use peers::{Encoder, Encoding, Point, Signal, Stream, split};
//!
//! let mut stream = Stream {
//!     signals: vec![Signal::new("speed", 1)],
//!     vehicle: "VEH00001234".into(),
//!     tick_ms: 1000,
//!     rows: true,
//!     rice_time: None,
//! };
//! let drive = [Point { tick: 1_500_000_000, signal: 0, steps: 413 }];
//! stream.note_range(&drive);
//! let mut encoder = Encoder::new(&stream)?;
//! for message in split(&drive, 60, stream.tick_ms) {
//!     let bytes = encoder.bytes(Encoding::JsonSamples, message)?;
//!     assert_eq!(bytes, r#"[{"ts":1500000000000,"signal":"speed","value":41.3}]"#.len());
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

mod stream;
mod encoding;
mod message;
mod varint;
mod bits;
mod json;
mod sparkplug;
mod fleetwise;
mod otlp;
mod gorilla;
mod columns;
mod rice;
mod squeeze;
#[cfg(test)]
mod reader;

pub use encoding::{Encoder, Encoding};
pub use stream::{Lattice, Point, RiceStart, Signal, Stream, split};
