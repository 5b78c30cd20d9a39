//! `milepost query`.

use std::io::{self, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use tokio::sync::oneshot;

use super::upkeep;
use crate::config::{Config, parse_duration};
use crate::query::{self, LeftOut, Limits, Query, QueryError, Stop, Stopped};
use crate::store::StoreError;

/// What the help shows, each under what it is for; a test runs them all.
const EXAMPLES: &[(&str, &str)] = &[
    ("Which devices are there, and when was each heard of?", "SELECT * FROM devices"),
    (
        "One device's speed in an hour",
        "SELECT time, value FROM samples
         WHERE device = 'truck-1' AND signal = 'Vehicle.Speed'
           AND time >= '2026-11-21T07' AND time < '2026-11-21T08' ORDER BY time",
    ),
    (
        "The last value of every signal of a device",
        "SELECT signal, value, unit, max(time_ms) FROM samples
         WHERE device = 'truck-1' GROUP BY signal",
    ),
    (
        "The fleet's mean speed hour by hour, from what is kept ready",
        "SELECT time, sum(sum) / sum(count) AS mean FROM rollup_1h
         WHERE signal = 'Vehicle.Speed' AND time >= '2026-11-21' GROUP BY time",
    ),
    (
        "What each vehicle of a group did, whichever device sat in it",
        "SELECT vehicle, signal, sum(sum) / sum(count) AS mean, max(max) AS most
         FROM rollup_1h WHERE vehiclegroup = 'night' GROUP BY vehicle, signal",
    ),
    (
        "Buckets of any width",
        "SELECT bucket, mean, max FROM
         buckets('Vehicle.Speed', '15m', '2026-11-21', '2026-11-22', 'truck-1')",
    ),
    (
        "What the logs say about brakes",
        "SELECT time, device, message FROM logs WHERE logs MATCH 'brake*'",
    ),
    ("What was lost, and why", "SELECT device, reason, sum(samples) FROM losses GROUP BY 1, 2"),
    (
        "Who was above 120 in the last day",
        "SELECT DISTINCT device FROM samples WHERE signal = 'Vehicle.Speed'
           AND value > 120 AND time > datetime('now', '-1 day')",
    ),
];

const TABLES: &str = "\
Tables:
  samples   one row a sample: device, signal, time, value, unit, raw, time_ms, clock, placed, boot,
            uptime_ms, lane, ring, seq, ordinal, received, vehicle, vehiclegroup, tenant, region,
            and, if they are named, exact: a value that is no whole number of steps, as JSON;
            thinning: what the device leaves out of the signal on purpose
  rollup_1h, rollup_1m
            one row a device (in one vehicle), signal and hour or minute: device, signal, time,
            count, min, max, mean, first, last, unit, sum, time_ms, vehicle, vehiclegroup, tenant,
            region
  buckets(signal, width [, from, to [, device]])
            the same for any width ('15m', '1d'); bucket is when it begins
  events, logs, health, losses, restarts, forks, crashes
            records; all have device, time and the whole document
  devices, signals
            what there is

Times are compared as times: '2026-11-22', '2026-11-22T07:30:00Z', '2026-11-22 07:30' (UTC) and
milliseconds since 1970 all do. Say device or vehicle, signal and time where you can: they decide what
is read.";

/// Ask the local store in SQL
#[derive(Args, Debug)]
#[command(after_long_help = long_help())]
pub(super) struct QueryCommand {
    /// One SELECT; - reads it from standard input
    #[arg(value_name = "SQL")]
    sql: String,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t = Shape::Table)]
    format: Shape,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Stop after this long; 0s for never
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Stop after so many rows; that there are more is a failure [default: all]
    #[arg(long, value_name = "N")]
    max_rows: Option<u64>,
    /// Memory for sorting and grouping, beyond which a query fails
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    max_memory: u64,
    /// Leave out blocks that cannot be read, and say on standard error how many; otherwise one of
    /// them fails the query
    #[arg(long)]
    skip_damaged: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// Columns that line up
    Table,
    /// Comma-separated, with a heading; NULL is empty
    Csv,
    /// One JSON object a line
    Json,
    /// One JSON array
    JsonArray,
}

impl QueryCommand {
    pub fn execute(self, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let sql = if self.sql == "-" {
            let mut sql = String::new();
            io::stdin().read_to_string(&mut sql).context("cannot read standard input")?;
            sql
        } else {
            self.sql
        };
        let mut query = open(&upkeep::known(config)?)?;
        query.limit_memory(self.max_memory)?;
        if self.skip_damaged {
            query.skip_damaged();
        }
        let format = match self.format {
            _ if self.json => query::Format::Json,
            Shape::Table => query::Format::Table,
            Shape::Csv => query::Format::Csv,
            Shape::Json => query::Format::Json,
            Shape::JsonArray => query::Format::JsonArray,
        };
        let watch = Watch::start(query.stop(), self.timeout)?;
        let limits = Limits { rows_max: self.max_rows, ..Limits::default() };
        let answered = query.run(&sql, &limits, &mut *format.writer(out));
        drop(watch);
        if let Some(said) = left_out(&query.left_out()) {
            eprintln!("milepost: {said}");
        }
        match answered {
            Ok(answered) if answered.is_cut => {
                bail!("there are more rows than the {} asked for (--max-rows)", answered.rows)
            }
            Ok(_) => Ok(ExitCode::SUCCESS),
            // As itself, so that a broken pipe is seen to be one.
            Err(QueryError::Output(error)) => Err(error.into()),
            Err(error @ QueryError::Damaged(_)) => {
                Err(anyhow!("{error}. To have an answer without it now, ask with --skip-damaged"))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What was left out of an answer, if anything was.
fn left_out(LeftOut { blocks, samples, first }: &LeftOut) -> Option<String> {
    let first = first.as_ref()?;
    let (noun, the_first) =
        if *blocks == 1 { ("block", "it is") } else { ("blocks", "the first is") };
    Some(format!(
        "left out of the answer: {blocks} {noun} with {samples} samples; {the_first} {first}. See \
         `milepost store check`"
    ))
}

pub(super) fn open(dir: &Path) -> anyhow::Result<Query> {
    match Query::open(dir) {
        Err(QueryError::Store(error @ StoreError::Missing(_))) => Err(missing(error)),
        opened => Ok(opened?),
    }
}

/// What to do where there is no store.
pub(super) fn missing(error: StoreError) -> anyhow::Error {
    anyhow::Error::new(error).context(
        "nothing to ask: add a sink of type \"store\" to the configuration and run the agent, or \
         name another directory with --data-dir",
    )
}

/// Stops a query when it takes too long, or on Ctrl-C.
struct Watch {
    /// Dropped when the query is done.
    _done: oneshot::Sender<()>,
}

impl Watch {
    fn start(stop: Stop, timeout: Duration) -> anyhow::Result<Self> {
        let (sender, done) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Not joined: it ends with the query, or with the process.
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            runtime.block_on(async {
                let never = timeout.is_zero();
                tokio::select! {
                    _ = done => {}
                    Ok(()) = tokio::signal::ctrl_c() => stop.stop(Stopped::Asked),
                    () = tokio::time::sleep(timeout), if !never => stop.stop(Stopped::Timeout),
                }
            });
        })?;
        Ok(Self { _done: sender })
    }
}

fn long_help() -> String {
    let examples = EXAMPLES.iter().map(|(what, sql)| {
        let lines: Vec<&str> = sql.lines().map(str::trim).collect();
        let sql = lines.join("\n      ");
        format!("  {what}:\n    milepost query \"{sql}\"\n\n")
    });
    let examples: String = examples.collect();
    format!("{TABLES}\n\nExamples:\n{examples}More in docs/queries.md.")
}

/// A duration of the command line.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("`{text}` is no duration like 500ms, 60s or 5m"))
}

fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size like 64MiB or 1GiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..) {
        Some("KiB") => 1 << 10,
        Some("MiB") => 1 << 20,
        Some("GiB") => 1 << 30,
        _ => return Err(wrong()),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| *bytes >= 1 << 20).ok_or_else(wrong)
}
