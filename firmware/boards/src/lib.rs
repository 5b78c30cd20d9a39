//! What all boards share: the time, the executor, the network, chance, and the main loop. A board
//! brings drivers and pins ([`Parts`]), and the interrupts that feed them.
#![no_std]

pub mod chance;
pub mod console;
pub mod crash;
pub mod executor;
pub mod image;
pub mod interrupt;
pub mod layout;
pub mod link;
pub mod lm3s;
pub mod monitor;
pub mod net;
pub mod nor;
mod register;
pub mod run;
pub mod sd;
pub mod sf2;
pub mod simulated;
pub mod stack;
pub mod start;
pub mod time;
pub mod tmp105;
pub mod uart;
pub mod watchdog;

pub use run::{Parts, run};
