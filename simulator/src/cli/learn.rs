//! `learn`.

use std::io::IsTerminal as _;

use anyhow::{Context as _, bail};
use protocol::Sample;
use protocol::codec::Timing;
use serde_json::json;
use signals::{Learnt, OwnedCatalogue, Recorded};

use super::args::LearnArgs;
use super::{DONE, made, say, to_json};
use crate::source::Reading;
use crate::vehicle::Vehicle;

pub(super) fn learn(args: &LearnArgs) -> anyhow::Result<u8> {
    let options = args.traces.options();
    let vehicles =
        made::vehicles(&args.files, &options, None, 1, &super::args::MadeFrom::default())?;
    let first = vehicles.first().context("no vehicle in these files")?;
    let catalogue = first.source.catalogue();
    if let Some(other) =
        vehicles.iter().find(|other| other.source.catalogue().signals != catalogue.signals)
    {
        bail!("{} and {} have other signals: learn of each kind alone", first.device, other.device);
    }
    let mut owned = OwnedCatalogue::new(protocol::CatalogueId::default(), catalogue);
    let recordings: Vec<Vec<Sample>> = vehicles.iter().map(samples).collect();
    let batch_ms = i64::try_from(args.batch.as_millis()).unwrap_or(i64::MAX);
    let batch_ticks = batch_ms / i64::from(catalogue.tick_ms);
    let recorded = Recorded { recordings: &recordings, batch_ticks };
    let shows = std::io::stderr().is_terminal();
    let learnt = signals::learn(&owned, recorded, &mut |answered, questions| {
        if shows {
            eprint!("\r{answered} of {questions} questions");
        }
    });
    if shows {
        eprintln!();
    }
    let learnt = learnt.context("there is no sample in these files")?;
    owned.hints = learnt.hints.clone();
    let files = args.files.len();
    let about = format!(
        "Learnt of {} samples of {} vehicles, in {files} files, by `milepost-sim learn`.",
        learnt.samples,
        vehicles.len()
    );
    std::fs::write(&args.out, signals::write(&owned, &about))
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    if args.json {
        say(&format_args!("{}\n", to_json(&figures(&owned, &learnt))?))?;
    } else {
        say(&format_args!("{}", told(&owned, &learnt)))?;
    }
    Ok(DONE)
}

fn samples(vehicle: &Vehicle) -> Vec<Sample> {
    let mut cursor = vehicle.source.cursor();
    std::iter::from_fn(|| cursor.next(&vehicle.source))
        .filter_map(|reading| match reading {
            Reading::Sample(_, sample) => Some(sample),
            _ => None,
        })
        .collect()
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn each(bytes: u64, samples: u64) -> f64 {
    bytes as f64 / samples.max(1) as f64
}

fn figures(owned: &OwnedCatalogue, learnt: &Learnt) -> serde_json::Value {
    let Learnt { samples, tried, bytes_before, bytes, multiples, .. } = learnt;
    json!({
        "signals": owned.signals.len(),
        "samples": samples,
        "timing": timing(learnt.hints.timing, owned.tick_ms),
        "bytes_per_sample_before": each(*bytes_before, *tried),
        "bytes_per_sample": each(*bytes, *tried),
        "multiples": multiples,
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
    let head = format!(
        "{} samples; {}\n{:.3} bytes a sample, {:.3} with nothing known\n",
        learnt.samples,
        timing(learnt.hints.timing, owned.tick_ms),
        each(learnt.bytes, learnt.tried),
        each(learnt.bytes_before, learnt.tried),
    );
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
    std::iter::once(head).chain(lines).collect()
}
