//! The oracle for a file sink behind light devices: each sample once, in order, as it was measured.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use milepost_proof::light::{SIGNALS, Shape, number, paths};
use serde_json::{Value, json};

/// What to verify.
#[derive(Args)]
pub struct Verify {
    /// The file sink's directory.
    #[arg(long)]
    sink: PathBuf,
    /// Devices.
    #[arg(long)]
    devices: u32,
    /// Frames that each device measured.
    #[arg(long)]
    frames: u64,
    /// Frames are of 4 KiB rather than of 200 bytes.
    #[arg(long)]
    large: bool,
    /// What is missing at the end of a device's frames has not come yet.
    #[arg(long)]
    so_far: bool,
}

/// A document's place: the number of its frame, and its second in there.
type At = (u64, u64);

struct Seen {
    shape: Shape,
    /// By device, where the next document stands.
    next: Vec<At>,
    documents: u64,
    samples: u64,
}

/// Frames count from here: the first brings the catalogue.
const FIRST_SEQ: u64 = 2;

impl Verify {
    pub fn run(self) -> Result<()> {
        let shape = if self.large { Shape::LARGE } else { Shape::SMALL };
        let next = vec![(FIRST_SEQ, 0); usize::try_from(self.devices)?];
        let mut seen = Seen { shape, next, documents: 0, samples: 0 };
        for path in files(&self.sink)? {
            let file = File::open(&path).with_context(|| path.display().to_string())?;
            for (at, line) in BufReader::new(file).lines().enumerate() {
                let line = line?;
                // The last of a sink that still writes, or whose agent was killed.
                let Ok(document) = serde_json::from_str::<Value>(&line) else { continue };
                let said = seen.take(&document);
                said.with_context(|| format!("{}, line {}: {line}", path.display(), at + 1))?;
            }
        }
        let wanted = FIRST_SEQ + self.frames;
        for (device, (seq, second)) in seen.next.iter().enumerate() {
            let is_whole = *seq == wanted && *second == 0;
            ensure!(
                is_whole || (self.so_far && *seq < wanted),
                "device {device}: the next is second {second} of number {seq}, and {wanted} would be"
            );
        }
        println!(
            "{}",
            json!({ "devices": self.devices, "documents": seen.documents, "samples": seen.samples })
        );
        Ok(())
    }
}

impl Seen {
    fn take(&mut self, document: &Value) -> Result<()> {
        let kind = document.get("type").and_then(Value::as_str).unwrap_or_default();
        ensure!(kind == "milepost.samples", "nothing else was sent");
        let id = document.get("id").and_then(Value::as_str).context("no id")?;
        let mut parts = id.split('/');
        let device = parts.next().and_then(number).context("nobody's")?;
        let (seq, second) = (parts.nth(1), parts.next());
        let at: At = (seq.context("no seq")?.parse()?, second.context("no index")?.parse()?);
        let next = self.next.get_mut(usize::try_from(device)?).context("nobody's")?;
        if at != *next {
            let what = if at < *next { "comes again" } else { "comes too early" };
            bail!("{what}: {next:?} is next");
        }
        let (seq, second) = at;
        *next = if second + 1 == u64::from(self.shape.ticks) {
            (seq + 1, 0)
        } else {
            (seq, second + 1)
        };
        let data = document.get("data").and_then(Value::as_object).context("no data")?;
        ensure!(data.len() == SIGNALS, "{} signals", data.len());
        let measured = self.shape.second(device, seq - FIRST_SEQ, second);
        for (path, measured) in paths().zip(measured) {
            let value = data.get(path).and_then(Value::as_i64);
            ensure!(value == Some(measured), "{path} was {measured}");
        }
        self.documents += 1;
        self.samples += u64::try_from(data.len())?;
        Ok(())
    }
}

/// The sink's files, in the order in which they were written.
fn files(sink: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(sink).with_context(|| sink.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a sink has of two frames of device 3, document by document.
    fn documents() -> Vec<Value> {
        let shape = Shape::SMALL;
        let of = |seq: u64, second: u64| {
            let values = paths().zip(shape.second(3, seq - FIRST_SEQ, second));
            let data: serde_json::Map<String, Value> =
                values.map(|(path, value)| (path.to_owned(), value.into())).collect();
            let id = format!("{}/ring/{seq}/{second}", milepost_proof::light::name(3).unwrap());
            json!({ "id": id, "type": "milepost.samples", "data": data })
        };
        let ticks = u64::from(shape.ticks);
        let frames = FIRST_SEQ..FIRST_SEQ + 2;
        frames
            .flat_map(|seq| (0..ticks).map(move |second| (seq, second)))
            .map(|(seq, second)| of(seq, second))
            .collect()
    }

    fn said(documents: &[Value]) -> Result<()> {
        let mut seen =
            Seen { shape: Shape::SMALL, next: vec![(FIRST_SEQ, 0); 4], documents: 0, samples: 0 };
        documents.iter().try_for_each(|document| seen.take(document))?;
        let next = seen.next.get(3).copied();
        ensure!(next == Some((FIRST_SEQ + 2, 0)), "{next:?} is next");
        Ok(())
    }

    #[test]
    fn what_is_lost_doubled_swapped_or_changed_is_found() {
        type Planted = fn(&mut Vec<Value>);
        said(&documents()).unwrap();
        let planted: [Planted; 6] = [
            |documents| drop(documents.remove(5)),
            |documents| drop(documents.pop()),
            |documents| documents.insert(5, documents[5].clone()),
            |documents| documents.swap(5, 6),
            |documents| documents[5]["data"] = documents[6]["data"].clone(),
            |documents| documents[5]["type"] = "milepost.loss".into(),
        ];
        for (number, plant) in planted.into_iter().enumerate() {
            let mut documents = documents();
            plant(&mut documents);
            assert!(said(&documents).is_err(), "fault {number} is not found");
        }
    }
}
