//! The codec on a Cortex-M3 as QEMU models it: how many instructions a sample takes.
//!
//! An image (`tests/cortex-m`) codes what is coded here. QEMU counts instructions, not time, so the
//! figure is the same on every machine.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use workload::{CATALOGUE_MAX, FILE, Piece, SAMPLES_MAX};

use crate::message;
use crate::ours::{self, Batch, Mode, real};
use crate::sets::Set;

/// Seconds of a batch.
const SECONDS: u32 = 60;
const QEMU: &str = "qemu-system-arm";
/// The board that the image's memory.x and its stopwatch are for. A nanosecond an instruction.
const MACHINE: [&str; 4] = ["-machine", "mps2-an385", "-icount", "shift=0"];
/// What the image says goes to standard output, and it may read files.
const HOST: [&str; 10] = [
    "-display",
    "none",
    "-monitor",
    "none",
    "-serial",
    "none",
    "-chardev",
    "stdio,id=said",
    "-semihosting-config",
    "enable=on,target=native,chardev=said",
];
/// How often QEMU is asked whether it is done, and how many times: a minute, for a second of work.
const ASKED: (Duration, u32) = (Duration::from_millis(20), 3000);

/// What the image made of a set's first samples.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Counted {
    /// Seconds of a batch.
    pub seconds: u32,
    /// How many samples they were.
    samples: usize,
    /// Bytes of their columns.
    bytes: usize,
    /// Instructions a sample.
    pub instructions: f64,
}

/// The image's answer.
#[derive(Deserialize)]
struct Answer {
    samples: usize,
    bytes: usize,
    instructions: usize,
}

/// Has the image code the first batches of a set's first vehicle; none if a device does not code such.
pub fn count(image: &Path, set: &Set) -> Result<Option<Counted>> {
    let seconds = SECONDS * set.scale();
    let messages = message::of(set, seconds);
    let Some((vehicle, lens)) = messages.vehicles.first() else { return Ok(None) };
    let hints = set.catalogue.hints.borrowed();
    let batches = ours::encode(&vehicle.samples, lens, hints, messages.signals()?, Mode::Alone)?;
    let (mut samples, mut bytes) = (0, 0);
    let mut pieces = Vec::new();
    for batch in &batches {
        let Some(of_batch) = self::pieces(batch) else { break };
        if samples + batch.samples.len() > SAMPLES_MAX {
            break;
        }
        samples += batch.samples.len();
        bytes += batch.columns.len();
        pieces.extend(of_batch);
    }
    if samples == 0 {
        return Ok(None);
    }
    let answer = ask(image, &file(set, &pieces)?)?;
    ensure!(
        (answer.samples, answer.bytes) == (samples, bytes),
        "{}: a Cortex-M3 makes {} bytes of {} samples, and this host {bytes} of {samples}",
        set.name,
        answer.bytes,
        answer.samples,
    );
    let instructions = real(answer.instructions) / real(samples);
    Ok(Some(Counted { seconds, samples, bytes, instructions }))
}

/// A batch as the image reads it; none if there is a value in it that is no number of steps.
fn pieces(batch: &Batch<'_>) -> Option<Vec<u8>> {
    let last = batch.samples.len().checked_sub(1)?;
    let samples = batch.samples.iter().enumerate();
    let pieces = samples.map(|(at, sample)| Piece { sample: *sample, is_last: at == last }.bytes());
    pieces.collect::<Option<Vec<_>>>().map(|pieces| pieces.concat())
}

/// The file that the image reads.
fn file(set: &Set, pieces: &[u8]) -> Result<Vec<u8>> {
    let mut buffer = [0; CATALOGUE_MAX];
    let len = set.catalogue.with(|catalogue| catalogue.encode(&mut buffer))?;
    let mut file = u32::try_from(len)?.to_le_bytes().to_vec();
    file.extend(buffer.get(..len).unwrap_or_default());
    file.extend(pieces);
    Ok(file)
}

fn ask(image: &Path, file: &[u8]) -> Result<Answer> {
    let dir = tempfile::tempdir().context("a directory for the image's work")?;
    std::fs::write(dir.path().join(FILE.to_str()?), file)?;
    let image = std::path::absolute(image)?;
    let mut qemu = Command::new(QEMU);
    qemu.args(MACHINE).args(HOST).arg("-kernel").arg(&image).current_dir(dir.path());
    let Output { status, stdout, stderr } = bounded(&mut qemu)?;
    let said = String::from_utf8_lossy(&stdout);
    match serde_json::from_str(&said) {
        Ok(answer) if status.success() => Ok(answer),
        _ => bail!(
            "{} came to no count ({status}): {said}{}",
            image.display(),
            String::from_utf8_lossy(&stderr)
        ),
    }
}

/// Runs a program that says little; ends it if it does not end.
fn bounded(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {QEMU}"))?;
    let (pause, times) = ASKED;
    for _ in 0..times {
        if child.try_wait()?.is_some() {
            return Ok(child.wait_with_output()?);
        }
        sleep(pause);
    }
    child.kill()?;
    let Output { stdout, stderr, .. } = child.wait_with_output()?;
    let said = [stdout, stderr].concat();
    bail!("{QEMU} did not come to an end: {}", String::from_utf8_lossy(&said))
}
