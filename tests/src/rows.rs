//! What a board's simulated channels came to in a file sink: one counts the readings, and the others follow
//! from that.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Signals of a row: the counter of readings, and nine channels.
pub const SIGNALS: u64 = 10;
/// What the sensor on a board's I2C bus measures, at times of its own.
pub const TEMPERATURE: &str = "Milepost.Board.Temperature";

/// Per boot, how many readings came: each of them, from the first on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows(pub BTreeMap<u64, u64>);

/// The documents of a device that a file sink has written so far.
pub fn documents(sink: &Path, device: &str) -> Result<Vec<Value>> {
    let Ok(dir) = std::fs::read_dir(sink) else { return Ok(Vec::new()) };
    let mut files = dir.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ndjson"));
    files.sort();
    let (mut found, source) = (Vec::new(), format!("/devices/{device}"));
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        // The last line may be half written.
        let documents = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        found.extend(documents.filter(|document| {
            document.get("source").and_then(Value::as_str) == Some(source.as_str())
        }));
    }
    Ok(found)
}

/// What a channel shows in a row: as `firmware/boards/src/simulated.rs` has it.
pub fn raw(channel: u64, row: u64) -> u64 {
    let half = 50 + 37 * channel;
    let phase = row % (2 * half);
    let noise = (row * 10 + channel).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61;
    500 + 3000 / half * phase.min(2 * half - phase) + noise
}

impl Rows {
    /// The readings in the bulk lane; fails unless of each boot every one came once, in order, with the very
    /// value that the board makes, and none is missing between two.
    pub fn read(sink: &Path, device: &str) -> Result<Self> {
        let mut rows = Self::default();
        for document in documents(sink, device)? {
            let text = |name: &str| document.get(name).and_then(Value::as_str);
            if text("type") == Some("milepost.samples") && text("lane") == Some("bulk") {
                rows.take(&document)?;
            }
        }
        Ok(rows)
    }

    /// A row, or as much of it as had room in a frame.
    fn take(&mut self, document: &Value) -> Result<()> {
        let data = document.get("data").and_then(Value::as_object).context("no data")?;
        let boot = document.get("boot").and_then(Value::as_u64).context("no boot")?;
        let next = self.0.entry(boot).or_default();
        let mut known = usize::from(data.contains_key(TEMPERATURE));
        for channel in 0..SIGNALS {
            let Some(value) = data.get(&path(channel)) else { continue };
            let (row, wanted) = (*next / SIGNALS, *next % SIGNALS);
            let made = if channel == 0 { *next } else { raw(channel, row) };
            let is_next = wanted == channel && value.as_u64() == Some(made);
            ensure!(is_next, "reading {next} of boot {boot} would be next: {document}");
            *next += 1;
            known += 1;
        }
        ensure!(known == data.len(), "what is this? {document}");
        Ok(())
    }

    /// How many rows came of a boot.
    pub fn of(&self, boot: u64) -> u64 {
        self.0.get(&boot).map_or(0, |readings| readings / SIGNALS)
    }
}

/// What a signal is called.
pub fn path(channel: u64) -> String {
    match channel {
        0 => "Milepost.Simulated.Readings".to_owned(),
        channel => format!("Milepost.Simulated.Channel{channel}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// Documents of three rows, the second in two frames.
    fn documents() -> Vec<Value> {
        let of = |readings: std::ops::Range<u64>| {
            let data: Map<String, Value> = readings
                .map(|at| (at % SIGNALS, at))
                .map(|(channel, at)| {
                    let made = if channel == 0 { at } else { raw(channel, at / SIGNALS) };
                    (path(channel), made.into())
                })
                .collect();
            json!({ "boot": 2, "data": data })
        };
        vec![of(0..10), of(10..14), of(14..20), of(20..30)]
    }

    fn rows(documents: &[Value]) -> Result<Rows> {
        let mut rows = Rows::default();
        documents.iter().try_for_each(|document| rows.take(document))?;
        Ok(rows)
    }

    #[test]
    fn what_is_missing_doubled_swapped_or_another_is_found() {
        type Planted = fn(&mut Vec<Value>);
        assert_eq!(rows(&documents()).unwrap().of(2), 3);
        let planted: [Planted; 5] = [
            |documents| drop(documents.remove(1)),
            |documents| documents.insert(1, documents[1].clone()),
            |documents| documents.swap(1, 2),
            |documents| documents[3]["data"]["Milepost.Simulated.Channel3"] = 1.into(),
            |documents| documents[3]["data"]["Milepost.Other"] = 1.into(),
        ];
        for (number, plant) in planted.into_iter().enumerate() {
            let mut documents = documents();
            plant(&mut documents);
            assert!(rows(&documents).is_err(), "fault {number} is not found");
        }
    }
}
