//! `milepost ledger`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::reach::{Agent, Missing};
use super::write_json;
use crate::admin::{Request, Response};
use crate::config::{Config, parse_duration};

#[derive(Args, Debug)]
pub(super) struct Ledger {
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// First wait until every sink has all that is in the journal, at most this long [default with
    /// no value: 60s]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "60s",
          value_parser = wait)]
    wait: Option<Duration>,
}

/// How often a ledger that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Ledger {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let mut agent = Agent::reach(config, Missing::Refuse)?;
        let mut ledger = ask(&mut agent)?;
        let mut left = self.wait.unwrap_or_default();
        while !ledger.is_delivered() && !left.is_zero() {
            std::thread::sleep(LOOK_EVERY);
            left = left.saturating_sub(LOOK_EVERY);
            ledger = ask(&mut agent)?;
        }
        if self.json {
            write_json(out, &ledger)?;
        } else {
            write!(out, "{}", ledger.table())?;
        }
        if self.wait.is_some() && !ledger.is_delivered() {
            bail!("a sink is still behind the journal; /healthz says how it fares");
        }
        Ok(if ledger.balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn ask(agent: &mut Agent) -> anyhow::Result<crate::ledger::Ledger> {
    match agent.ask(Request::Ledger)? {
        Response::Ledger { ledger } => Ok(ledger),
        _ => bail!("the agent gave another answer than asked for; is it another version?"),
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("`{text}` is no duration like 500ms, 60s or 5m"))
}
