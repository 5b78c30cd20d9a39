//! The device's store: every flash operation x torn word x second cut in what follows.
//!
//! A history is a handful of operations on the three rings of a device in one small flash, drawn
//! from a seed. Each of its last operations is done again and again, with the power cut at every
//! write unit and every erase, and with what was under way left in several states. Then the device
//! boots, says what is lost and stores a frame, as it does after any boot, and the power goes once
//! more at every unit and erase of that. Whatever is found then has to be what was promised.
//!
//! **What is promised**, and checked after each boot (`truth.rs`):
//!
//! - A frame whose write returned is read back whole under its number, in order, once, until it is
//!   released or dropped. A frame whose write did not return is there whole or not at all, and if
//!   it was once not there, it never comes back. Nothing else is ever read.
//! - A number that was given out, or that was found with or without its frame, is never given out
//!   again. A cut costs at most one number more than were given out.
//! - Releases are kept in RAM only. After a boot a released frame is either gone or offered as the
//!   very same frame. A frame that was not released is dropped only by a ring that is full.
//! - What is gone is said: dropped frames are named by the ring (at once, and after a boot for as
//!   long as it may not have been said), and a loss frame with the exact counts is the next one
//!   after a gap. The cumulative counts of the ring are those of what it took.
//! - A fork takes each frame over once, or counts it as lost.
//! - The store goes on: it takes a frame, a release and another boot.

mod check;
mod course;
mod cuts;
mod faults;
mod flash;
mod history;
mod planted;
mod report;
mod rot;
mod shrink;
mod system;
mod truth;
mod world;

pub use cuts::{Replay, prove, survey};
pub use planted::Planted;
pub(crate) use planted::find_planted;
pub use report::{Found, Report};
