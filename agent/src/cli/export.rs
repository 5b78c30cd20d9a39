//! `milepost store export`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use protocol::DeviceId;

use super::query::missing;
use super::upkeep;
use crate::config::Config;
use crate::query::{QueryError, Stop, export};
use crate::store::StoreError;

#[derive(Args, Debug)]
pub(super) struct Export {
    /// Only what is of this device
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
}

impl Export {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match export::export(&upkeep::known(config)?, self.device, &Stop::default(), out) {
            Ok(_) => Ok(ExitCode::SUCCESS),
            // As itself, so that a broken pipe is seen to be one.
            Err(QueryError::Output(error)) => Err(error.into()),
            Err(QueryError::Store(error @ StoreError::Missing(_))) => Err(missing(error)),
            Err(error) => Err(error.into()),
        }
    }
}
