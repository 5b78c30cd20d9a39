//! `milepost monitor`: what a device at a serial line says of itself, as it says it.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use protocol::serial::stream::{LISTEN_MS, PACKET_LEN_MAX, Packet};
use protocol::serial::{CHECKSUM_LEN, Decoder, encode, encoded_len_max};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::{query, table, write_json};
use crate::intake::serial::Place;

mod line;

use line::Line;

/// How often the device is told that somebody listens: two may be lost.
const ASK_EVERY: Duration = Duration::from_millis(LISTEN_MS / 3);
/// How long until a port that is not there is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// So long a silence is worth a word.
const SILENCE: Duration = Duration::from_secs(5);

/// Show what a device at a serial line says of itself: log, health, values
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  milepost monitor /dev/ttyUSB0                 until Ctrl-C
  milepost monitor /dev/ttyUSB0 --for 10s --json

The line may be the one that the device's frames go over: nothing of these is taken or answered. One
program has a port at a time; an agent with it in [[serial]] has to be stopped first.")]
pub(super) struct Monitor {
    /// A path like /dev/ttyUSB0, or tcp://HOST:PORT of a device server's raw port
    #[arg(value_name = "PORT")]
    port: Place,
    /// Bits a second
    #[arg(long, value_name = "N", default_value_t = 115_200,
          value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    baud: u32,
    /// Stop after this long [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = query::duration)]
    time: Option<Duration>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Monitor {
    /// Exit code 1 if the device said nothing.
    pub fn execute(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let over = async {
                match self.time {
                    Some(time) => sleep(time).await,
                    None => std::future::pending().await,
                }
            };
            let mut heard = 0;
            tokio::select! {
                stopped = tokio::signal::ctrl_c() => stopped.context("cannot wait for Ctrl-C")?,
                () = over => {}
                failed = self.watch(out, &mut heard) => failed?,
            }
            Ok(if heard > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }

    /// Shows what is said, over every plugging in; ends only if nobody reads it any more.
    async fn watch(&self, out: &mut impl Write, heard: &mut u64) -> anyhow::Result<()> {
        let mut told = None;
        loop {
            let failed = match self.port.open(self.baud).await {
                Ok(wire) => {
                    told = None;
                    match self.listen(wire, out, heard).await? {
                        Some(failed) => failed,
                        None => continue,
                    }
                }
                Err(error) => error,
            };
            let failed = self.port.explained(&failed);
            if told.as_ref() != Some(&failed) {
                eprintln!("milepost: {failed} Trying again every second.");
                told = Some(failed);
            }
            sleep(RETRY).await;
        }
    }

    /// Shows what is said until the line fails, and why it did.
    async fn listen(
        &self,
        mut wire: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
        out: &mut impl Write,
        heard: &mut u64,
    ) -> anyhow::Result<Option<std::io::Error>> {
        let mut decoder = Decoder::<{ PACKET_LEN_MAX + CHECKSUM_LEN }>::new();
        let mut ask = interval(ASK_EVERY);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut bytes, mut silent_at) = ([0; 1024], Some(Instant::now() + SILENCE));
        loop {
            let read = tokio::select! {
                _ = ask.tick() => {
                    if let Err(error) = wire.write_all(&asked()).await {
                        return Ok(Some(error));
                    }
                    continue;
                }
                () = at(silent_at) => {
                    eprintln!("milepost: nothing is said: is the device on, its image one that can, \
                               and the baud rate right?");
                    silent_at = None;
                    continue;
                }
                read = wire.read(&mut bytes) => read,
            };
            let mut rest = match read {
                Ok(0) => return Ok(Some(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(len) => bytes.get(..len).unwrap_or_default(),
                Err(error) => return Ok(Some(error)),
            };
            while let Some(payload) = decoder.feed(&mut rest) {
                // Noise, and what is for an agent.
                let Ok(Some(Packet::Log(text))) = payload.map(Packet::read) else { continue };
                silent_at = None;
                *heard += 1;
                self.show(&Line::read(text), out)?;
            }
        }
    }

    fn show(&self, line: &Line<'_>, out: &mut impl Write) -> anyhow::Result<()> {
        let now_ms = unix_ms();
        if self.json {
            let mut object = line.json();
            if let Some(members) = object.as_object_mut() {
                members.insert("time".to_owned(), json!(table::time(now_ms)));
            }
            write_json(out, &object)?;
        } else {
            writeln!(out, "{}  {}", table::time(now_ms), table::printable(&line.to_string()))?;
        }
        // Whoever looks wants it now.
        out.flush()?;
        Ok(())
    }
}

/// The packet that asks for lines.
fn asked() -> Vec<u8> {
    let (mut payload, mut bytes) = ([0; PACKET_LEN_MAX], [0; encoded_len_max(PACKET_LEN_MAX)]);
    // It fits. A delimiter in front parts it from noise.
    let len = Packet::Listen.write(&mut payload).unwrap_or_default();
    let len = encode(payload.get(..len).unwrap_or_default(), &mut bytes).unwrap_or_default();
    [&[protocol::serial::DELIMITER], bytes.get(..len).unwrap_or_default()].concat()
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[allow(clippy::disallowed_methods, reason = "a command: says when it heard")]
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
