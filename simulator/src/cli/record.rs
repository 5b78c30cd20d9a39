//! `record`.

use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::args::RecordArgs;
use super::{DONE, say, to_json};
use crate::record::follow::Follower;
use crate::record::{Recorded, Recorder};

/// Between two looks at a folder.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn record(args: &RecordArgs) -> anyhow::Result<u8> {
    let mut recorder = Recorder::create(&args.out)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    if args.from.as_os_str() == "-" {
        take_all(&mut recorder, std::io::stdin().lock()).context("cannot read standard input")?;
    } else if args.from.is_dir() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(follow(&mut recorder, &args.from, args))?;
    } else {
        let file = std::fs::File::open(&args.from);
        let file = file.with_context(|| format!("cannot read {}", args.from.display()))?;
        take_all(&mut recorder, BufReader::new(file))
            .with_context(|| format!("cannot read {}", args.from.display()))?;
    }
    let recorded =
        recorder.finish().with_context(|| format!("cannot write {}", args.out.display()))?;
    if args.json {
        say(&format_args!("{}\n", to_json(&recorded)?))?;
    } else {
        tell(&recorded, &args.out)?;
    }
    Ok(DONE)
}

type FileRecorder = Recorder<std::io::BufWriter<std::fs::File>>;

fn take_all(recorder: &mut FileRecorder, mut from: impl std::io::BufRead) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        recorder.take(line.strip_suffix(b"\n").unwrap_or(&line))?;
    }
}

/// Until a signal, the time that was asked for, or a silence that was.
async fn follow(recorder: &mut FileRecorder, dir: &Path, args: &RecordArgs) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut follower = Follower::new(dir);
    let begun = Instant::now();
    let mut last = begun;
    loop {
        // Asked before the folder is read: what was there at the end is in the recording.
        let is_over = args.record_for.is_some_and(|time| begun.elapsed() >= time);
        let read = follower.read(|line| recorder.take(line));
        if read.with_context(|| format!("cannot follow {}", dir.display()))? {
            last = Instant::now();
        }
        let is_silent = args.until_idle.is_some_and(|time| last.elapsed() >= time);
        if is_over || is_silent {
            return Ok(());
        }
        let stopped = tokio::select! {
            () = sleep(LOOK_EVERY) => false,
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
        };
        if stopped {
            follower.read(|line| recorder.take(line))?;
            return Ok(());
        }
    }
}

fn tell(recorded: &Recorded, out: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::metadata(out)?.len();
    say(&format_args!(
        "{}: {} devices, {} instants, {} events, {bytes} bytes\n",
        out.display(),
        recorded.devices,
        recorded.instants,
        recorded.events
    ))?;
    for (count, what) in [
        (recorded.repeated, "lines that stood twice"),
        (recorded.without_time, "documents without a wall clock"),
        (recorded.malformed, "lines that are no documents"),
    ] {
        if count > 0 {
            say(&format_args!("left out: {count} {what}\n"))?;
        }
    }
    for (kind, count) in &recorded.others {
        say(&format_args!("left out: {count} {kind}\n"))?;
    }
    Ok(())
}
