//! `milepost signals import`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::signals::{OwnedCatalogue, OwnedHints};
use anyhow::bail;
use clap::{Args, Subcommand};
use protocol::CatalogueId;
use recordings::can::import::{Import as Imported, Remark, Said};
use serde_json::json;

use super::{encoded_len, write_toml};
use crate::cli::write_json;

#[derive(Subcommand, Debug)]
pub(in crate::cli) enum Import {
    /// From a DBC: the signals of a CAN bus, as `milepost signals learn` and `milepost-sim` name them
    Dbc(ImportDbc),
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ImportDbc {
    /// The DBC
    #[arg(value_name = "FILE.dbc")]
    file: PathBuf,
    /// Take only signals like this (MESSAGE.SIGNAL, with * and ?); may be given again [default: all,
    /// in the order of the file, as long as there is room]
    #[arg(long, value_name = "PATTERN")]
    signals: Vec<String>,
    /// The signals.toml; overwritten
    #[arg(long, value_name = "FILE.toml", default_value = "signals.toml")]
    out: PathBuf,
    /// Print what was taken, and what was not, as one JSON object
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(super) fn execute(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match self {
            Self::Dbc(dbc) => dbc.execute(out),
        }
    }
}

impl ImportDbc {
    fn execute(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let file = self.file.display();
        let imported = Imported::open(&self.file, &self.signals)?;
        tell(&self.file, &imported);
        if imported.found == 0 {
            bail!("{file}: a DBC without a signal");
        }
        if imported.signals.is_empty() && imported.remarks.is_empty() {
            bail!("{file}: none of {} signals is like {}", imported.found, self.signals.join(", "));
        }
        if imported.signals.is_empty() {
            bail!("{file}: no signal that a catalogue could hold");
        }
        let Imported { signals, found, remarks, idle } = imported;
        let (id, hints) = (CatalogueId::default(), OwnedHints::default());
        let mut catalogue = OwnedCatalogue { id, tick_ms: 1, signals, hints, thinning: Vec::new() };
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let about = format!("From {name}, by `milepost signals import dbc`.");
        catalogue.id = write_toml(&self.out, &catalogue, &about)?;
        let (id, taken) = (catalogue.id, catalogue.signals.len());
        if self.json {
            let of = |is_taken: bool| -> Vec<serde_json::Value> {
                let remarks = remarks.iter().filter(|remark| remark.what.is_taken() == is_taken);
                remarks.map(in_json).collect()
            };
            write_json(
                out,
                &json!({
                    "catalogue": id.to_string(),
                    "found": found,
                    "signals": taken,
                    "bytes": encoded_len(&catalogue),
                    "left_out": of(false),
                    "changed": of(true),
                    "idle_patterns": idle,
                }),
            )?;
        } else {
            let to = self.out.display();
            writeln!(out, "{to}: catalogue {id}: {taken} of {found} signals of {file}")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn in_json(remark: &Remark) -> serde_json::Value {
    let Remark { line, signal, what } = remark;
    json!({ "line": line, "signal": signal, "why": what.to_string() })
}

/// Says what there is to say, a line each; but what finds no room, which is all from one signal on, in
/// one line.
fn tell(file: &Path, imported: &Imported) {
    let file = file.display();
    let (no_room, others): (Vec<&Remark>, Vec<&Remark>) =
        imported.remarks.iter().partition(|remark| remark.what == Said::NoRoom);
    for Remark { line, signal, what } in others {
        let kept = if what.is_taken() { "" } else { "left out: " };
        eprintln!("milepost: {file}:{line}: {signal}: {kept}{what}");
    }
    if let [Remark { line, signal, what }, rest @ ..] = no_room.as_slice() {
        let behind = match rest {
            [] => String::new(),
            [.., last] => format!(" to {}, {} signals,", last.signal, no_room.len()),
        };
        eprintln!(
            "milepost: {file}:{line}: {signal}{behind} left out: {what}; choose others with --signals PATTERN"
        );
    }
    for pattern in &imported.idle {
        eprintln!("milepost: {file}: no signal is like {pattern}");
    }
}
