//! What must hold whatever happens, each with the real binaries: a file per promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "scenarios fail by panicking"
)]

mod world_of_one;
mod raw_mqtt;

mod hostile_clients;
mod hostile_frames;
mod device_flash;
mod journal_faults;
mod start_up;
mod round_trip;
mod page;
mod vehicles;
mod simulator;
mod tls;
mod board;
mod broker;
mod broker_acl;
mod operation;
mod store_faults;
mod host_clock;
