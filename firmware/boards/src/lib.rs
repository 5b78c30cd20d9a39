//! What all boards share: the time, the executor, the network, chance, and the main loop. A board
//! brings drivers and pins ([`Parts`]), and the interrupts that feed them.
#![no_std]

pub mod chance;
pub mod console;
pub mod crash;
pub mod executor;
pub mod image;
pub mod layout;
pub mod link;
pub mod monitor;
pub mod net;
pub mod nor;
pub mod run;
pub mod sf2;
pub mod simulated;
pub mod stack;
pub mod time;
pub mod uart;

pub use run::{Parts, run};
