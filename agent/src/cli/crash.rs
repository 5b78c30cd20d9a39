//! `milepost crash`: what crashes of devices left, and where in the image they were.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use protocol::DeviceId;
use serde::{Deserialize, Serialize};

use super::table::{Table, printable};
use super::{query, upkeep, write_json};
use crate::config::Config;
use crate::query::{Format, Limits};

mod fault;
mod image;

use image::{Image, Place};

/// Crashes as text from the store are at most so many.
const LISTED_MAX: u64 = 10_000;

#[derive(Subcommand, Debug)]
pub(super) enum CrashCommand {
    /// List the crashes that the local store has, the latest first
    List(List),
    /// Show one crash: why, and with its image, where
    #[command(after_help = "\
Examples:
  milepost crash show van-7 --image emcraft-sf2        the latest crash of van-7
  milepost crash show van-7 --boot 12 --image images/  that of boot 12; the image is looked for
  milepost crash show --document day.ndjson            the last one in what a file sink wrote

Which image a device runs, its hash, is said in each crash: it is the beginning of the ELF file's GNU
build id (readelf -n). Without that very file addresses are shown alone.")]
    Show(Show),
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// Of this device alone
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceId>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct Show {
    /// Whose latest crash
    #[arg(value_name = "DEVICE", required_unless_present = "document")]
    device: Option<DeviceId>,
    /// The crash of this boot instead
    #[arg(long, value_name = "N")]
    boot: Option<u32>,
    /// The image's ELF file, or a directory of such files; may be given again
    #[arg(long, value_name = "PATH")]
    image: Vec<PathBuf>,
    /// Read the crash from a file of documents, one a line, instead of the store; - reads standard
    /// input
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What a document of a crash says.
#[derive(Deserialize, Debug)]
struct Crash {
    source: String,
    time: Option<String>,
    data: Data,
}

impl Crash {
    /// Whose it is; under a pseudonym, that.
    fn device(&self) -> &str {
        self.source.strip_prefix("/devices/").unwrap_or(&self.source)
    }
}

#[derive(Deserialize, Debug)]
struct Data {
    boot: u32,
    image: u32,
    registers: [u32; 3],
    reason: String,
    stack: String,
}

/// A crash with what is known of it.
#[derive(Serialize, Debug)]
struct Shown<'a> {
    device: &'a str,
    time: Option<&'a str>,
    boot: u32,
    image: String,
    reason: &'a str,
    meaning: Vec<&'static str>,
    /// The file that the places are from.
    file: Option<PathBuf>,
    places: Vec<Place>,
}

impl CrashCommand {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(list) => list.execute(config, out),
            Self::Show(show) => show.execute(config, out),
        }
    }
}

impl List {
    fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let crashes = stored(config, self.device, None, LISTED_MAX)?;
        let mut table = Table::new(["DEVICE", "TIME", "BOOT", "IMAGE", "REASON"]);
        for crash in crashes {
            let device = crash.device().to_owned();
            let Crash { time, data, .. } = crash;
            let image = format!("{:08x}", data.image);
            if self.json {
                let (boot, reason) = (data.boot, data.reason);
                let line = serde_json::json!({
                    "device": device, "time": time, "boot": boot, "image": image, "reason": reason,
                });
                write_json(out, &line)?;
            } else {
                let time = time.unwrap_or_else(|| "-".to_owned());
                let reason = printable(&data.reason);
                table.row([device, time, data.boot.to_string(), image, reason]);
            }
        }
        if !self.json {
            table.write(out)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let crash = self.crash(config)?;
        let Crash { time, data, .. } = &crash;
        let image = Image::find(&self.image, data.image)?;
        let places = image::places(image.as_ref(), data.registers, &bytes(&data.stack)?);
        let shown = Shown {
            device: crash.device(),
            time: time.as_deref(),
            boot: data.boot,
            image: format!("{:08x}", data.image),
            reason: &data.reason,
            meaning: fault::meaning(&data.reason),
            file: image.as_ref().map(|image| image.path.clone()),
            places,
        };
        if self.json {
            write_json(out, &shown)?;
        } else {
            write!(out, "{}", shown.text())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn crash(&self, config: &Config) -> anyhow::Result<Crash> {
        let of = || {
            let device = self.device.map_or_else(String::new, |device| format!(" of {device}"));
            let boot = self.boot.map_or_else(String::new, |boot| format!(" in boot {boot}"));
            format!("{device}{boot}")
        };
        let Some(path) = &self.document else {
            let found = stored(config, self.device, self.boot, 1)?.pop();
            return found.with_context(|| {
                format!("the store has no crash{}; milepost crash list shows what it has", of())
            });
        };
        let name = path.display();
        let found = if path.as_os_str() == "-" {
            self.last_in(io::stdin().lock())
        } else {
            let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
            self.last_in(BufReader::new(file))
        };
        let found = found.with_context(|| format!("cannot read {name}"))?;
        found.with_context(|| format!("{name} has no document of a crash{}", of()))
    }

    /// The last crash that is asked for; lines that are something else are passed over.
    fn last_in(&self, lines: impl BufRead) -> io::Result<Option<Crash>> {
        let mut last = None;
        for line in lines.lines() {
            let crash = serde_json::from_str::<Crash>(&line?).ok();
            last = crash.filter(|crash| self.is_asked_for(crash)).or(last);
        }
        Ok(last)
    }

    fn is_asked_for(&self, crash: &Crash) -> bool {
        self.device.is_none_or(|device| device.as_str() == crash.device())
            && self.boot.is_none_or(|boot| boot == crash.data.boot)
    }
}

impl Shown<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        let time = self.time.unwrap_or("at an unknown time");
        let mut line = |line: std::fmt::Arguments<'_>| {
            // A String takes everything.
            let _written = writeln!(text, "{line}");
        };
        line(format_args!("{}, boot {}, told {time}", self.device, self.boot));
        match &self.file {
            Some(file) => line(format_args!("image {} ({})", self.image, file.display())),
            None => line(format_args!(
                "image {}: name its ELF file with --image to see where it was",
                self.image
            )),
        }
        line(format_args!("{}", printable(self.reason)));
        self.meaning.iter().for_each(|meaning| line(format_args!("  {meaning}")));
        for Place { at, address, calls } in &self.places {
            line(format_args!("  {at:<8} {address:#010x}"));
            for call in calls {
                line(format_args!("           {call}"));
            }
        }
        text
    }
}

/// The latest crashes of the store, the latest first.
fn stored(
    config: &Config,
    device: Option<DeviceId>,
    boot: Option<u32>,
    most: u64,
) -> anyhow::Result<Vec<Crash>> {
    let mut asked = query::open(&upkeep::known(config)?)?;
    let mut wanted = vec!["1".to_owned()];
    // A name of a device has no quotation mark.
    wanted.extend(device.map(|device| format!("device = '{device}'")));
    wanted.extend(boot.map(|boot| format!("crashed_boot = {boot}")));
    let wanted = wanted.join(" AND ");
    let sql = format!(
        "SELECT document FROM crashes WHERE {wanted} ORDER BY received DESC, seq DESC LIMIT {most}"
    );
    let mut rows = Vec::new();
    asked.run(&sql, &Limits::default(), &mut *Format::Json.writer(&mut rows))?;
    let rows = rows.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
    rows.map(|row| {
        let row: serde_json::Value = serde_json::from_slice(row)?;
        let document = row.get("document").and_then(serde_json::Value::as_str);
        let document = document.context("a crash without a document")?;
        serde_json::from_str(document).context("a crash's document is not as it was written")
    })
    .collect()
}

fn bytes(hexadecimal: &str) -> anyhow::Result<Vec<u8>> {
    let digits = hexadecimal.as_bytes().chunks(2);
    let byte =
        |pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let Some(bytes) = digits.map(byte).collect() else { bail!("the stack is no hexadecimal text") };
    Ok(bytes)
}

#[cfg(test)]
mod tests;
