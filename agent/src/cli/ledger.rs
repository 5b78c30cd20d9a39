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
    /// One JSON object for each sink
    #[arg(long)]
    json: bool,
}

impl Ledger {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let mut agent = Agent::reach(config, Missing::Refuse)?;
        let Response::Ledger { report } = agent.ask(Request::Ledger)? else {
            bail!("the agent gave another answer than asked for; is it another version?");
        };
        write_json(out, &report)?;
        Ok(ExitCode::SUCCESS)
    }
}
