//! `milepost store`.

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;

use super::export::Export;
use super::upkeep::{Check, Compact, Rebuild};
use crate::config::Config;

#[derive(Subcommand, Debug)]
pub(super) enum Store {
    /// Read everything in the store and hold it against its index; exit code 1 if anything is wrong.
    /// Works while the agent runs
    Check(Check),
    /// Make the index anew from the block files, without what is damaged
    Rebuild(Rebuild),
    /// Make the store as small as it gets, now
    Compact(Compact),
    /// Write all that the store holds to standard output: the documents of a file sink, device by
    /// device, each ring in its order. Works while the agent runs
    Export(Export),
}

impl Store {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(check) => check.execute(config, out),
            Self::Rebuild(rebuild) => rebuild.execute(config, out),
            Self::Compact(compact) => compact.execute(config, out),
            Self::Export(export) => export.execute(config, out),
        }
    }
}
