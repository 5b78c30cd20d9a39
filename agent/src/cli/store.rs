//! `milepost store`.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use protocol::DeviceId;

use super::query::{missing, store_dir};
use crate::config::Config;
use crate::query::{QueryError, Stop, export};
use crate::store::StoreError;

#[derive(Subcommand, Debug)]
pub(super) enum Store {
    /// Write all that the store holds to standard output: the documents of a file sink, device by
    /// device, each ring in its order. Works while the agent runs
    Export(Export),
}

#[derive(Args, Debug)]
pub(super) struct Export {
    /// Only what is of this device
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
}

impl Store {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match self {
            Self::Export(export) => export.execute(config, out),
        }
    }
}

impl Export {
    fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match export::export(&store_dir(config), self.device, Stop::default(), out) {
            Ok(_) => Ok(ExitCode::SUCCESS),
            // As itself, so that a broken pipe is seen to be one.
            Err(QueryError::Output(error)) => Err(error.into()),
            Err(QueryError::Store(error @ StoreError::Missing(_))) => Err(missing(error)),
            Err(error) => Err(error.into()),
        }
    }
}
