//! The agent's journal: every state that a crash can leave, every call that can fail, every bit.
//!
//! A history is a handful of acts, drawn from a seed: entries taken and committed on three lanes,
//! segments so small that they turn over all the time, a sink that reads and keeps its cursor, prunes,
//! kills, power cuts, calls that fail, disks and journals that are full, old copies that come back.
//! After each of its disk calls the power goes, and leaves any subset of what was not synced: sectors,
//! one of them torn, lengths, names. What is left is opened by the product's own recovery; of some
//! recoveries the power goes again at each call, and some go on. What comes of it is compared.
//!
//! **What is promised**, and checked each time (`truth.rs`, `sink.rs`):
//!
//! - What was committed is read back once, in order, unaltered, with the exact totals, at the position
//!   where it stood before. What was not is there up to some entry, or not; nothing else is ever read,
//!   and what was once not there never comes back.
//! - Only what stands before a durable cursor and was pruned may be gone, and that is said.
//! - A life's number rises. A cursor that was taken holds for ever, unless the journal was restored from
//!   an older copy that does not know it: then it does not, and the sink goes on by identity.
//! - The sink gets each ring without a hole and nothing twice. Its cursor never goes back.
//! - Nothing needs a hand but a full disk, and that only room. The journal goes on: it takes entries,
//!   commits them, delivers them and is opened again.

mod content;
mod holding;
mod disk;
mod crash;
mod history;
mod planted;
mod truth;
mod sink;
mod bench;
mod entries;
mod world;
mod torn;
mod states;
mod shrink;
mod report;
mod calls;
mod flips;
mod flipped;
mod seen;
mod forwarded;

pub use calls::{CallsReport, prove_calls};
pub use disk::{CallKind, Failing};
pub use flips::{Flips, FlipsReport, prove_flips};
pub use planted::Planted;
pub(crate) use planted::find_planted;
pub use report::{Found, Report};
pub use states::{Replay, prove};
