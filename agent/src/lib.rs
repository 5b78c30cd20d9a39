//! The agent's stages, in the order in which a frame passes them.

pub mod lock;
pub mod owner;
pub mod state;
pub mod upgrade;
pub mod logging;
pub mod config;
pub mod vehicles;
pub mod reload;
pub mod registry;
pub mod tls;
pub mod intake;
pub mod open;
pub mod dedup;
pub mod rings;
pub mod activity;
pub mod accept;
pub mod catalogues;
pub mod value;
pub mod privacy;
pub mod document;
pub mod sink;
pub mod store;
pub mod query;
pub mod forward;
pub mod ledger;
pub mod erasure;
pub mod telemetry;
pub mod notify;
pub mod http;
pub mod backup;
pub mod admin;
pub mod cli;
pub mod run;
#[doc(hidden)]
#[cfg(feature = "model")]
pub mod fuzzing;

pub use {journal, storage};
