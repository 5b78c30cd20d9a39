//! The device's core, board-free: what it samples, how a batch becomes a sealed frame in flash, and
//! how frames leave once somebody holds them. No `std`, no heap, no floats, no panic path.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "model"))]
extern crate std;

mod checksum;
pub mod crash;
pub mod ports;
pub mod campaign;
pub mod thinning;
pub mod batch;
pub mod ring;
pub mod session;
pub mod app;
pub mod mqtt;
pub mod provision;

pub use app::{App, AppConfig};
