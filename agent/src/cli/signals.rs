//! `milepost signals`: catalogues as people write them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::signals::OwnedCatalogue;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use protocol::{CatalogueId, Lane};
use serde_json::json;

use super::write_json;
use crate::document::thinning;

mod import;
mod learn;

#[derive(Subcommand, Debug)]
pub(super) enum Signals {
    /// Look for mistakes in a signals.toml, and say in which line they are
    Check(Check),
    /// Write a signals.toml as Rust source: a `static CATALOGUE` for a device
    Rust(Rust),
    /// Make a signals.toml of recordings, with what the batch codec can be told of their signals
    Learn(learn::Learn),
    /// Make a signals.toml of what another format says of signals
    #[command(subcommand)]
    Import(import::Import),
}

#[derive(Args, Debug)]
pub(super) struct Check {
    /// The signals.toml
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One JSON object for each mistake, or one that says what the catalogue is
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct Rust {
    /// The signals.toml
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to write it; overwritten [default: standard output]
    #[arg(long, value_name = "FILE.rs")]
    out: Option<PathBuf>,
}

impl Signals {
    pub(super) fn execute(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(check) => check.execute(out),
            Self::Rust(rust) => rust.execute(out),
            Self::Learn(learn) => learn.execute(out),
            Self::Import(import) => import.execute(out),
        }
    }
}

/// The catalogue of a file, or what is wrong with it, a line each.
fn read(file: &Path) -> anyhow::Result<Result<OwnedCatalogue, Vec<::signals::Problem>>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(::signals::read(&text))
}

/// Writes a signals.toml, and says which catalogue that is. None is written that could not be read.
fn write_toml(file: &Path, catalogue: &OwnedCatalogue, about: &str) -> anyhow::Result<CatalogueId> {
    let text = ::signals::write(catalogue, about);
    let written = match ::signals::read(&text) {
        Ok(written) => written,
        Err(problems) => {
            let problems: Vec<&str> =
                problems.iter().map(|problem| problem.what.as_str()).collect();
            bail!("{} is not written: {}", file.display(), problems.join("; "));
        }
    };
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(written.id)
}

impl Check {
    fn execute(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let file = self.file.display();
        let catalogue = match read(&self.file)? {
            Ok(catalogue) => catalogue,
            Err(problems) => {
                for problem in &problems {
                    if self.json {
                        write_json(out, &json!({ "line": problem.line, "what": problem.what }))?;
                    } else {
                        writeln!(out, "{file}:{problem}")?;
                    }
                }
                return Ok(ExitCode::FAILURE);
            }
        };
        let (id, count) = (catalogue.id, catalogue.signals.len());
        let (hinted, bytes) = (!catalogue.hints.signals.is_empty(), encoded_len(&catalogue));
        let started = !catalogue.hints.levels.is_empty();
        let thinned = catalogue.with(|catalogue| {
            let each = catalogue.thinning.iter();
            each.filter_map(|one| thinning(catalogue, one.signal)).collect::<Vec<_>>()
        });
        let thinned: Vec<&str> =
            thinned.iter().filter_map(|thinned| thinned.of(Lane::Bulk)).collect();
        if self.json {
            write_json(
                out,
                &json!({
                    "catalogue": id.to_string(),
                    "signals": count,
                    "bytes": bytes,
                    "hints": hinted,
                    "start_table": started,
                    "thinning": thinned,
                }),
            )?;
        } else {
            let learnt = match (hinted, started) {
                (true, true) => "with what was learnt of them",
                (false, false) => "of which nothing was learnt",
                _ => "of which something was learnt",
            };
            writeln!(out, "{file}: catalogue {id}: {count} signals, {learnt}; {bytes} bytes")?;
            for thinned in thinned {
                writeln!(out, "  left out on purpose: {thinned}")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn encoded_len(catalogue: &OwnedCatalogue) -> usize {
    let mut bytes = [0; protocol::Catalogue::ENCODED_MAX];
    catalogue.with(|catalogue| catalogue.encode(&mut bytes)).unwrap_or(0)
}

impl Rust {
    fn execute(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let file = self.file.display();
        let catalogue = match read(&self.file)? {
            Ok(catalogue) => catalogue,
            Err(problems) => {
                let problems: Vec<String> =
                    problems.iter().map(|problem| format!("{file}:{problem}")).collect();
                bail!("{}", problems.join("\n"));
            }
        };
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let about = format!("From {name}, by `milepost signals rust`: change that, not this.");
        let source = ::signals::rust(&catalogue, &about);
        match &self.out {
            Some(path) => std::fs::write(path, source)
                .with_context(|| format!("cannot write {}", path.display()))?,
            None => out.write_all(source.as_bytes())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
