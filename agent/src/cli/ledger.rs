//! `milepost ledger`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::reach::{Agent, Missing};
use super::write_json;
use crate::admin::{Request, Response};
use crate::config::Config;

#[derive(Args, Debug)]
pub(super) struct Ledger {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Ledger {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let mut agent = Agent::reach(config, Missing::Refuse)?;
        let Response::Ledger { ledger } = agent.ask(Request::Ledger)? else {
            bail!("the agent gave another answer than asked for; is it another version?");
        };
        if self.json {
            write_json(out, &ledger)?;
        } else {
            write!(out, "{}", ledger.table())?;
        }
        Ok(if ledger.balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
