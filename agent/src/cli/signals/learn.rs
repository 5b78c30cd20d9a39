//! `milepost signals learn`.

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::signals::{Learnt, OwnedCatalogue, Recorded};
use anyhow::{Context as _, bail};
use clap::Args;
use protocol::codec::Timing;
use protocol::{CatalogueId, Sample};
use recordings::{FileReport, ReadOptions, Track};
use serde_json::json;

use super::write_toml;
use crate::cli::write_json;
use crate::config::parse_duration;

#[derive(Args, Debug)]
pub(in crate::cli) struct Learn {
    /// Recordings of one kind, or folders of them, with the same signals: taxi, OBD car or EV CSV, CAN
    /// logs of `candump -L` (plain, .gz or .zst), or what `milepost-sim record` wrote
    #[arg(value_name = "RECORDING", required = true)]
    files: Vec<PathBuf>,
    /// DBC for CAN logs, instead of the file beside the log; CHANNEL=FILE for one channel alone.
    /// May be given again: the first that names an id counts
    #[arg(long, value_name = "[CHANNEL=]FILE")]
    dbc: Vec<PathBuf>,
    /// Take only signals like this (MESSAGE.SIGNAL, with * and ?) from CAN logs; may be given again
    #[arg(long, value_name = "GLOB")]
    signals: Vec<String>,
    /// Keep the frames of CAN logs as they are, without a DBC
    #[arg(long, conflicts_with_all = ["dbc", "signals"])]
    raw_can: bool,
    /// The signals.toml; overwritten
    #[arg(long, value_name = "FILE.toml", default_value = "signals.toml")]
    out: PathBuf,
    /// How long the device's batches last: 500ms, 60s, 10m
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s")]
    batch: Duration,
    /// Print what was found as one JSON object
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration like 500ms, 60s or 10m");
    parse_duration(text).filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

impl Learn {
    pub(super) fn execute(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let tracks = self.read()?;
        let catalogue = tracks.first().context("no vehicle in these files")?.recording.catalogue();
        let recordings: Vec<Vec<Sample>> =
            tracks.iter().map(|track| track.recording.samples().collect()).collect();
        let batch_ms = i64::try_from(self.batch.as_millis()).unwrap_or(i64::MAX);
        let batch_ticks = (batch_ms / i64::from(catalogue.tick_ms)).max(1);
        let mut owned = OwnedCatalogue::new(CatalogueId::default(), catalogue);
        let recorded = Recorded { recordings: &recordings, batch_ticks };
        let learnt = ask(&owned, recorded).context("there is no sample in these files")?;
        owned.hints = learnt.hints.clone();
        let about = format!(
            "Learnt of {} samples of {} vehicles, in {} files, by `milepost signals learn`.",
            learnt.samples,
            tracks.len(),
            self.files.len(),
        );
        owned.id = write_toml(&self.out, &owned, &about)?;
        if self.json {
            write_json(out, &figures(&owned, &learnt))?;
        } else {
            out.write_all(told(&owned, &learnt).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The recordings, which must be alike: what is learnt is one catalogue's.
    fn read(&self) -> anyhow::Result<Vec<Track>> {
        let Self { dbc, signals, raw_can, .. } = self;
        let options = ReadOptions { dbc: dbc.clone(), signals: signals.clone(), raw_can: *raw_can };
        let (tracks, reports) = recordings::read(&self.files, &options)?;
        for report in &reports {
            tell(report);
        }
        let (first, others) = reports.split_first().context("no files")?;
        if let Some(other) = others.iter().find(|other| other.kind != first.kind) {
            bail!(
                "{} is a {}, {} a {}: learn of each kind alone",
                first.path.display(),
                first.kind,
                other.path.display(),
                other.kind
            );
        }
        let (first, others) = tracks.split_first().context("no vehicle in these files")?;
        let signals = first.recording.catalogue().signals;
        if let Some(other) =
            others.iter().find(|other| other.recording.catalogue().signals != signals)
        {
            bail!(
                "{} and {} have other signals: learn of each alone, or choose what both have",
                first.name,
                other.name
            );
        }
        Ok(tracks)
    }
}

/// Says what was left out of a file.
fn tell(report: &FileReport) {
    let FileReport { path, malformed, first_malformed, notes, .. } = report;
    for note in notes {
        eprintln!("milepost: {}: {note}", path.display());
    }
    if let Some((line, reason)) = first_malformed {
        eprintln!(
            "milepost: {malformed} row(s) or values left out, the first at {}:{line}: {reason}",
            path.display()
        );
    }
}

/// Learns, and shows a person how far it is.
fn ask(catalogue: &OwnedCatalogue, recorded: Recorded<'_>) -> Option<Learnt> {
    let shows = std::io::stderr().is_terminal();
    let learnt = ::signals::learn(catalogue, recorded, &mut |answered, questions| {
        if shows {
            eprint!("\r{answered} of {questions} questions");
        }
    });
    if shows {
        eprintln!();
    }
    learnt
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn each(bytes: u64, samples: u64) -> f64 {
    bytes as f64 / samples.max(1) as f64
}

fn figures(owned: &OwnedCatalogue, learnt: &Learnt) -> serde_json::Value {
    let Learnt { samples, tried, bytes_before, bytes, multiples, hints } = learnt;
    json!({
        "catalogue": owned.id.to_string(),
        "signals": owned.signals.len(),
        "samples": samples,
        "timing": timing(hints.timing, owned.tick_ms),
        "bytes_per_sample_before": each(*bytes_before, *tried),
        "bytes_per_sample": each(*bytes, *tried),
        "multiples": multiples,
        "start_table": !hints.levels.is_empty(),
    })
}

fn timing(timing: Timing, tick_ms: u32) -> String {
    let ms = |fine: u16| f64::from(fine) * f64::from(tick_ms) / 16.0;
    match timing {
        Timing::Any => "any: signals have periods of their own".to_owned(),
        Timing::Sequence => "sequence: one sample after the other".to_owned(),
        Timing::Beats([one, 0]) => format!("beats of {} ms", ms(one)),
        Timing::Beats([one, other]) => format!("beats of {} or {} ms", ms(one), ms(other)),
    }
}

fn told(owned: &OwnedCatalogue, learnt: &Learnt) -> String {
    let mut text = format!(
        "{} samples; {}\n{:.3} bytes a sample, {:.3} with nothing known\n",
        learnt.samples,
        timing(learnt.hints.timing, owned.tick_ms),
        each(learnt.bytes, learnt.tried),
        each(learnt.bytes_before, learnt.tried),
    );
    if learnt.hints.levels.is_empty() {
        text += "no start table: a catalogue has no room for that of so many signals\n";
    }
    if learnt.hints.signals.is_empty() {
        text += "nothing of single signals: a catalogue has no room for that of so many\n";
    }
    let signals = owned.signals.iter().zip(&learnt.hints.signals).zip(&learnt.multiples);
    let lines = signals.map(|((signal, hint), multiple)| {
        let related = owned.signals.get(usize::from(hint.related)).map_or("", |other| &other.path);
        let guess = format!("{:?}", hint.guess).to_lowercase();
        let note = match multiple {
            0 => "; it never changes".to_owned(),
            1 => String::new(),
            _ => format!("; all its changes are multiples of {multiple} steps"),
        };
        format!("  {}: {guess}, related to {related}{note}\n", signal.path)
    });
    text.extend(lines);
    text
}
