//! What a board's simulated channels came to in a file sink: every reading has a counter, and the channels
//! follow from it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Signals of a row: the counter of readings, and nine channels.
pub const SIGNALS: usize = 10;
/// What the sensor on a board's I2C bus measures, at times of its own.
pub const TEMPERATURE: &str = "Milepost.Board.Temperature";

/// Per boot, the counters of the rows that came.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows(pub BTreeMap<u64, Vec<u64>>);

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
    /// The rows in the bulk lane; each has all its signals, with the very values that the board makes.
    pub fn read(sink: &Path, device: &str) -> Result<Self> {
        let mut rows = Self::default();
        for document in documents(sink, device)? {
            let text = |name: &str| document.get(name).and_then(Value::as_str);
            if text("type") != Some("milepost.samples") || text("lane") != Some("bulk") {
                continue;
            }
            let data = document.get("data").and_then(Value::as_object).context("no data")?;
            if data.len() == 1 && data.contains_key(TEMPERATURE) {
                continue;
            }
            let values = data.iter().filter(|(path, _)| *path != TEMPERATURE).count();
            ensure!(values == SIGNALS, "{document}");
            let value = |path: &str| data.get(path).and_then(Value::as_u64);
            let readings = value("Milepost.Simulated.Readings").context("no readings")?;
            for channel in 1..SIGNALS as u64 {
                let shown = value(&format!("Milepost.Simulated.Channel{channel}"));
                ensure!(shown == Some(raw(channel, readings / 10)), "{document}");
            }
            let boot = document.get("boot").and_then(Value::as_u64).context("no boot")?;
            rows.0.entry(boot).or_default().push(readings);
        }
        Ok(rows)
    }

    /// How many came of a boot.
    pub fn of(&self, boot: u64) -> usize {
        self.0.get(&boot).map_or(0, Vec::len)
    }

    /// Of each boot every row came once, in order, from its first on, and none is missing between two.
    pub fn verify(&self) -> Result<()> {
        for (boot, rows) in &self.0 {
            let wanted = (0..).step_by(SIGNALS);
            let wrong = rows.iter().zip(wanted).find(|(row, wanted)| **row != *wanted);
            ensure!(wrong.is_none(), "boot {boot}: {wrong:?} of {rows:?}");
        }
        Ok(())
    }
}
