//! `milepost-bench`: what samples of recordings take on the wire. Behind `cargo xtask bench wire`.
//!
//! ```text
//! files -> sets of like vehicles -> messages of so many seconds -> ours, and each peer's -> a table
//! ```
#![forbid(unsafe_code)]

mod sets;
mod message;
mod ours;
mod sealed;
mod cortex_m;
mod row;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use peers::Encoding;
use protocol::codec::Encoder;
use recordings::ReadOptions;

use row::{Bench, Measured};
use sets::Set;

/// What samples of recordings take on the wire: our codec, and other encodings.
///
/// Bytes a sample, time stamps included, of one message per vehicle and so many seconds; payload only,
/// but for what is called sealed. Every batch of ours is decoded again and compared.
#[derive(Parser)]
#[command(name = "milepost-bench")]
struct Arguments {
    /// Recordings, or folders of them: OBD car, EV and taxi CSV, CAN logs beside their DBC.
    #[arg(long, num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// DBC for CAN logs, instead of the file beside the log; CHANNEL=FILE for one channel alone. May be
    /// given again: the first that names an id counts.
    #[arg(long, value_name = "[CHANNEL=]FILE")]
    dbc: Vec<PathBuf>,
    /// Lengths of a message in seconds; where a fix comes once a minute, of ten times as many
    /// seconds.
    #[arg(long, value_delimiter = ',', default_value = "1,10,60,600", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Vec<u32>,
    /// Only these sets, by name; default: all that the recordings make.
    #[arg(long, value_delimiter = ',')]
    set: Vec<String>,
    /// All there is, instead of the streams that docs/codec.md measures: every eighth OBD drive, the
    /// first twelve taxis, and parts of a CAN log.
    #[arg(long)]
    all: bool,
    /// Only our codec.
    #[arg(long)]
    ours: bool,
    /// Only this one of the others, by its name in the table; may be said of several.
    #[arg(long, value_name = "NAME", conflicts_with = "ours", value_parser = peer)]
    peer: Vec<Encoding>,
    /// Measure times so often, and say the median.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    repeat: u32,
    /// Count instructions as well: milepost-cortex-m, built for thumbv7m-none-eabi, which
    /// qemu-system-arm runs.
    #[arg(long, value_name = "IMAGE")]
    cortex_m: Option<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

fn peer(name: &str) -> Result<Encoding> {
    let names = || Encoding::ALL.map(Encoding::name).join("; ");
    let found = Encoding::ALL.into_iter().find(|peer| peer.name() == name);
    found.with_context(|| format!("there are {}", names()))
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("milepost-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let options = ReadOptions { dbc: arguments.dbc.clone(), ..ReadOptions::default() };
    let mut sets = sets::read(&arguments.data, &options, arguments.all)?;
    if let Some(unknown) =
        arguments.set.iter().find(|name| !sets.iter().any(|set| set.name == **name))
    {
        let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
        bail!("no set {unknown} in these recordings; there are {}", names.join(", "));
    }
    if !arguments.set.is_empty() {
        sets.retain(|set| arguments.set.contains(&set.name));
    }
    let mut measured = Vec::new();
    for set in &sets {
        if std::io::stderr().is_terminal() {
            eprintln!("== {}: {} samples", set.name, set.samples());
        }
        let one = measure(set, arguments)?;
        if !arguments.json {
            println!("{}", one.table());
        }
        measured.push(one);
    }
    let bench = Bench {
        what: "wire",
        encoder_bytes_10: size_of::<Encoder<'static, 10>>(),
        encoder_bytes_22: size_of::<Encoder<'static, 22>>(),
        sets: measured,
    };
    if arguments.json {
        println!("{}", serde_json::to_string(&bench)?);
    } else {
        let Bench { encoder_bytes_10, encoder_bytes_22, .. } = bench;
        println!(
            "An encoder takes {encoder_bytes_10} bytes for 10 signals and {encoder_bytes_22} for 22."
        );
    }
    Ok(())
}

fn measure(set: &Set, arguments: &Arguments) -> Result<Measured> {
    let peers = if arguments.peer.is_empty() { &Encoding::ALL[..] } else { &arguments.peer };
    let mut measured = Measured::new(set);
    for seconds in &arguments.seconds {
        let seconds = seconds.saturating_mul(set.scale());
        let messages = message::of(set, seconds);
        measured.ours(set, seconds, &messages, arguments.repeat)?;
        if !arguments.ours {
            measured.peers(set, seconds, &messages, peers)?;
        }
    }
    if let Some(image) = &arguments.cortex_m {
        measured.cortex_m = cortex_m::count(image, set)?;
    }
    Ok(measured)
}
