//! The agent's stages, in the order in which a frame passes them.

pub mod storage;
pub mod state;
pub mod config;
pub mod registry;
pub mod intake;
pub mod open;
pub mod dedup;
pub mod rings;
pub mod journal;
pub mod accept;
pub mod catalogues;
pub mod privacy;
pub mod document;
pub mod sink;
pub mod store;
pub mod query;
pub mod forward;
pub mod ledger;
pub mod telemetry;
pub mod http;
pub mod admin;
pub mod cli;
pub mod run;
