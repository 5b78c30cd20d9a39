//! A world to test in: the real binaries as processes, links that can be cut, a seed for chance.
//!
//! Used by the scenarios beside it and by `cargo xtask demo`, `bench`, `replay` and `torture`.
#![forbid(unsafe_code)]

pub mod binaries;
pub mod board;
pub mod rows;
pub mod gdb;
pub mod line;
pub mod process;
pub mod agent;
pub mod fleet;
pub mod mosquitto;
pub mod certificates;
pub mod proxy;
pub mod browser;
pub mod chance;
