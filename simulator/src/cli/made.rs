//! Which fleet: recordings, a scenario, or the small one of vans.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use recordings::{FileReport, ReadOptions};

use super::args::MadeFrom;
use crate::fleet::state::{MadeFleet, Vans};
use crate::scenario::Scenario;
use crate::vehicle::{self, Vehicle};

/// 2026-01-01.
const VANS_START_UNIX_MS: i64 = 1_767_225_600_000;
const VANS_LENGTH: Duration = Duration::from_mins(1);

/// Reads trace files or one scenario; says on standard error what was left out of them.
pub(super) fn vehicles(
    files: &[PathBuf],
    options: &ReadOptions,
    count: Option<usize>,
    rounds: u32,
    from: &MadeFrom,
) -> anyhow::Result<Vec<Vehicle>> {
    if let [only] = files
        && Scenario::is_path(only)
    {
        if count.is_some() || rounds > 1 {
            anyhow::bail!("a scenario says itself how many vehicles there are and how long");
        }
        return Ok(scenario(only, from)?.vehicles()?);
    }
    if let Some(file) = files.iter().find(|file| Scenario::is_path(file)) {
        anyhow::bail!("{} is a scenario: it stands alone", file.display());
    }
    let (vehicles, reports) = vehicle::from_recordings(files, options, count, rounds)?;
    for FileReport { path, malformed, first_malformed, notes, .. } in reports {
        for note in notes {
            eprintln!("milepost-sim: {}: {note}", path.display());
        }
        if let Some((line, reason)) = first_malformed {
            eprintln!(
                "milepost-sim: {malformed} row(s) or values left out, the first at {}:{line}: {reason}",
                path.display()
            );
        }
    }
    Ok(vehicles)
}

/// A scenario file, with what the arguments say instead.
pub(super) fn scenario(path: &Path, from: &MadeFrom) -> anyhow::Result<MadeFleet> {
    let parsed = Scenario::load(path)?;
    let scenario =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(MadeFleet::Scenario {
        scenario,
        seed: from.seed.unwrap_or(parsed.seed),
        start_unix_ms: from.start.unwrap_or(parsed.start_unix_ms),
        length_ms: match from.drive_for {
            Some(length) => i64::try_from(length.as_millis()).unwrap_or(i64::MAX),
            None => parsed.length_ms,
        },
    })
}

/// The small fleet.
pub(super) fn vans(vehicles: usize, from: &MadeFrom) -> MadeFleet {
    let length = from.drive_for.unwrap_or(VANS_LENGTH);
    MadeFleet::Vans(Vans {
        vehicles,
        seed: from.seed.unwrap_or(1),
        start_unix_ms: from.start.unwrap_or(VANS_START_UNIX_MS),
        length_ms: u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
    })
}
