//! A recording of what an agent delivers, to be replayed.
//!
//! It is written from documents as they come: a folder of the file sink that is followed, or a pipe.
//! Lines are known by their ids, so one that stands twice (a sink cut off its tail and wrote it
//! again) is recorded once. Samples and events are kept; what the devices and the agent said of
//! themselves is not, because a replay's devices say their own. The format is in docs/simulator.md;
//! [`recordings::mprec`] reads it.

pub mod follow;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use recordings::mprec::HEADER;
use serde::Serialize;

use crate::oracle::document::{Document, Stamp};

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    out: GzEncoder<W>,
    rings: HashMap<String, (u64, u32)>,
    counts: Recorded,
}

/// What a recording holds, and what it does not.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Recorded {
    /// Devices with at least one sample or event. Counted at the end.
    pub devices: usize,
    /// Documents of samples kept.
    pub instants: u64,
    /// Events kept.
    pub events: u64,
    /// Lines that stood there before.
    pub repeated: u64,
    /// Documents without a wall clock, which a replay has no time for.
    pub without_time: u64,
    /// Lines that are no documents.
    pub malformed: u64,
    /// Documents of other kinds.
    pub others: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Line<'a, T> {
    d: &'a str,
    l: &'a str,
    t: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<T>,
}

impl Recorder<BufWriter<File>> {
    /// Into a new file; an old one is overwritten.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::new(BufWriter::new(File::create(path)?))
    }
}

impl<W: Write> Recorder<W> {
    /// Into anything.
    pub fn new(out: W) -> io::Result<Self> {
        let mut out = GzEncoder::new(out, Compression::default());
        writeln!(out, "{HEADER}")?;
        Ok(Self { out, rings: HashMap::new(), counts: Recorded::default() })
    }

    /// Takes a line of a sink, without its end.
    pub fn take(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(document) = Document::parse(line) else {
            self.counts.malformed += 1;
            return Ok(());
        };
        if !self.is_new(&document) {
            self.counts.repeated += 1;
            return Ok(());
        }
        let is_samples = document.kind == "samples";
        if !is_samples && document.kind != "event" {
            *self.counts.others.entry(document.kind.to_owned()).or_default() += 1;
            return Ok(());
        }
        let Stamp::Unix(unix_ms) = document.stamp else {
            self.counts.without_time += 1;
            return Ok(());
        };
        let Ok(content) = serde_json::from_str::<&serde_json::value::RawValue>(document.data)
        else {
            self.counts.malformed += 1;
            return Ok(());
        };
        let (d, l, t) = (document.device, document.lane.name(), unix_ms);
        let (s, e) = if is_samples { (Some(content), None) } else { (None, Some(content)) };
        serde_json::to_writer(&mut self.out, &Line { d, l, t, s, e })?;
        self.out.write_all(b"\n")?;
        let count = if is_samples { &mut self.counts.instants } else { &mut self.counts.events };
        *count += 1;
        Ok(())
    }

    /// What was taken so far.
    pub fn counts(&self) -> &Recorded {
        &self.counts
    }

    /// Ends the recording.
    pub fn finish(self) -> io::Result<Recorded> {
        let devices: std::collections::HashSet<_> = self
            .rings
            .keys()
            .filter_map(|ring| ring.split_once('/'))
            .map(|(name, _)| name)
            .collect();
        let counts = Recorded { devices: devices.len(), ..self.counts };
        self.out.finish()?.flush()?;
        Ok(counts)
    }

    /// Ids ascend in a ring: a later one than all before?
    fn is_new(&mut self, document: &Document<'_>) -> bool {
        let at = (document.seq, document.index);
        let front = document.id.len() - document.id.splitn(3, '/').nth(2).map_or(0, str::len);
        let ring = document.id.get(..front).unwrap_or_default();
        match self.rings.get_mut(ring) {
            Some(last) if at <= *last => false,
            Some(last) => {
                *last = at;
                true
            }
            None => {
                self.rings.insert(ring.to_owned(), at);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
