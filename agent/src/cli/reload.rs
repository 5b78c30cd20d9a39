//! `milepost reload`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::reach::{Missing, Place, own_or_connect};
use super::write_json;
use crate::admin::{Request, Response};

#[derive(Args, Debug)]
pub(super) struct Reload {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Reload {
    pub fn execute(self, data_dir: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let Place::Running(mut client) = own_or_connect(data_dir, Missing::Refuse)? else {
            bail!(
                "no agent runs on {}: it reads its configuration when it starts",
                data_dir.display()
            );
        };
        let report = match client.ask(&Request::Reload)? {
            Response::Reloaded { report } => report,
            Response::Refused { reason } => bail!("nothing was changed:\n{reason}"),
            _ => bail!("the agent gave another answer than asked for; is it another version?"),
        };
        if self.json {
            write_json(out, &report)?;
            return Ok(ExitCode::SUCCESS);
        }
        let path = report.path.as_deref().unwrap_or("no configuration file: the defaults");
        writeln!(out, "read again: {path}")?;
        for key in &report.applied {
            writeln!(out, "applied: {key}")?;
        }
        for key in &report.restart {
            writeln!(out, "needs a restart: {key}")?;
        }
        for what in &report.reread {
            writeln!(out, "read again: {what}")?;
        }
        if report.applied.is_empty() && report.restart.is_empty() {
            writeln!(out, "nothing has changed")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
