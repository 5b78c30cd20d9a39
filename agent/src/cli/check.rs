//! `milepost check`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::write_json;
use crate::catalogues::Catalogues;
use crate::config::{Config, ConfigError};
use crate::lock::{DirLock, Owner};
use crate::owner::HandOver;
use crate::storage::{Disk, SharedStorage};
use crate::{privacy, state};

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

/// Drop rules that match nothing in the catalogues that were learnt; none if none were, or if they
/// cannot be read now, because an agent runs.
fn idle_rules(config: &Config) -> Vec<&str> {
    let drop = &config.privacy.drop;
    let database = config.agent.data_dir.join(state::FILE_NAME);
    if drop.is_empty() || !database.exists() {
        return Vec::new();
    }
    let known = || -> anyhow::Result<Vec<String>> {
        let _lock = DirLock::take(&config.agent.data_dir, Owner::Agent)?;
        let _hand_over = HandOver::of([config.agent.data_dir.clone()]);
        let storage: SharedStorage = Arc::new(Disk);
        Ok(Catalogues::open(state::open_existing(&storage, &database)?)?.paths())
    };
    let Ok(known) = known() else { return Vec::new() };
    let is_idle = |glob: &&str| !known.iter().any(|path| privacy::matches(glob, path));
    if known.is_empty() {
        Vec::new()
    } else {
        drop.iter().map(String::as_str).filter(is_idle).collect()
    }
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
                    for glob in idle_rules(&loaded.config) {
                        writeln!(
                            out,
                            "hint: drop rule `{glob}` matches no signal that devices have told of \
                             so far"
                        )?;
                    }
                }
                return Ok(ExitCode::SUCCESS);
            }
            Err(ConfigError::Invalid(report)) => report,
            Err(error @ ConfigError::Read { .. }) if self.json => {
                let what = error.to_string();
                write_json(out, &Mistake { line: None, column: None, what: &what, meant: None })?;
                return Ok(ExitCode::FAILURE);
            }
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
