//! `milepost check`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::write_json;
use crate::config::{Config, ConfigError};

#[derive(Args, Debug)]
pub(super) struct Check {
    /// The file [default: the one that `run` would use]
    #[arg(value_name = "FILE")]
    path: Option<PathBuf>,
    /// One JSON object for each mistake
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Mistake<'a> {
    line: Option<usize>,
    column: Option<usize>,
    what: &'a str,
    meant: Option<&'a str>,
}

impl Check {
    pub fn execute(
        self,
        config: Option<PathBuf>,
        out: &mut impl Write,
    ) -> anyhow::Result<ExitCode> {
        let path = self.path.or(config);
        let report = match Config::load_and_check_here(path.as_deref()) {
            Ok(loaded) => {
                if !self.json {
                    let defaulted = loaded.defaulted.len();
                    match &loaded.path {
                        Some(path) => writeln!(
                            out,
                            "ok: {}, {defaulted} settings at their defaults",
                            path.display()
                        )?,
                        None => writeln!(out, "ok: no configuration file, all defaults")?,
                    }
                }
                return Ok(ExitCode::SUCCESS);
            }
            Err(ConfigError::Invalid(report)) => report,
            Err(error @ ConfigError::Read { .. }) => return Err(error.into()),
        };
        if self.json {
            for (problem, place) in report.problems() {
                let (line, column) = place.unzip();
                let (what, meant) = (problem.what.as_str(), problem.meant.as_deref());
                write_json(out, &Mistake { line, column, what, meant })?;
            }
        } else {
            eprintln!("{report}");
        }
        Ok(ExitCode::FAILURE)
    }
}
