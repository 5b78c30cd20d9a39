//! Vehicles: a name that no other in the fleet has, and what it will report.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::DeviceId;
use recordings::{FileReport, ReadError, ReadOptions};

use crate::source::Source;
use crate::synthetic::Drive;

/// Longest front of a name that a number of four digits is put behind.
pub const DEVICE_NAME_FRONT_MAX: usize = DeviceId::LEN_MAX - 5;

/// One vehicle of the fleet.
#[derive(Clone, Debug)]
pub struct Vehicle {
    /// Its device's name.
    pub device: DeviceId,
    /// What it reports.
    pub source: Source,
}

/// Reads recordings; one vehicle per cab, per drive, per trip. Each does all it did `rounds` times in a
/// row.
pub fn from_recordings(
    paths: &[PathBuf],
    options: &ReadOptions,
    count: Option<usize>,
    rounds: u32,
) -> Result<(Vec<Vehicle>, Vec<FileReport>), ReadError> {
    let (tracks, reports) = recordings::read(paths, options)?;
    let sources = tracks.into_iter().map(|mut track| {
        track.recording.repeat(rounds);
        (track.name, Source::Recorded(Arc::new(track.recording)))
    });
    Ok((replicate(&sources.collect::<Vec<_>>(), count), reports))
}

/// A fleet out of nothing but a seed: vehicle `sim-00000` and so on, each with a drive of its own.
pub fn synthetic(count: usize, seed: u64, start_unix_ms: i64, length_ms: u64) -> Vec<Vehicle> {
    let sources: Vec<_> = (0..count)
        .zip(0_u64..)
        .map(|(number, salt)| {
            let drive = Drive::new(seed, salt, start_unix_ms, length_ms);
            (format!("sim-{number:05}"), Source::Synthetic(drive))
        })
        .collect();
    replicate(&sources, None)
}

/// A fleet of sources, each with its name.
pub fn named(sources: &[(String, Source)]) -> Vec<Vehicle> {
    replicate(sources, None)
}

/// Names the sources; with a count, copies of the whole set are added, or vehicles left out, until
/// there are that many. Copy k of a vehicle has `-k` behind its name.
fn replicate(sources: &[(String, Source)], count: Option<usize>) -> Vec<Vehicle> {
    let count = count.unwrap_or(sources.len());
    let mut taken = HashSet::new();
    let copies = (0..).flat_map(|copy: u64| sources.iter().map(move |source| (copy, source)));
    copies
        .take(if sources.is_empty() { 0 } else { count })
        .filter_map(|(copy, (name, source))| {
            let suffix = if copy == 0 { String::new() } else { format!("-{copy}") };
            let device = unique_id(name, &suffix, &mut taken)?;
            Some(Vehicle { device, source: source.clone() })
        })
        .collect()
}

/// The name as a device id: foreign characters become `_`, what is too long is cut in front of the
/// suffix, and a number tells apart what that made equal.
fn unique_id(name: &str, suffix: &str, taken: &mut HashSet<DeviceId>) -> Option<DeviceId> {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    (1_u32..).find_map(|attempt| {
        let suffix = if attempt == 1 { suffix.to_owned() } else { format!("_{attempt}{suffix}") };
        let room = DeviceId::LEN_MAX.checked_sub(suffix.len())?;
        let kept = name.get(..name.len().min(room))?;
        let device: DeviceId = format!("{kept}{suffix}").parse().ok()?;
        taken.insert(device).then_some(device)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Sample, SignalIndex};
    use recordings::{Recording, taxi};

    fn source() -> Source {
        let mut recording = Recording::new(&taxi::CATALOGUE);
        recording.push(Sample::new(1, SignalIndex(0), 2)).unwrap();
        Source::Recorded(Arc::new(recording))
    }

    fn names(sources: &[&str], count: Option<usize>) -> Vec<String> {
        let sources: Vec<_> = sources.iter().map(|name| ((*name).to_owned(), source())).collect();
        replicate(&sources, count).iter().map(|vehicle| vehicle.device.to_string()).collect()
    }

    #[test]
    fn copies_are_numbered_and_a_smaller_count_cuts() {
        assert_eq!(names(&["a", "b"], None), ["a", "b"]);
        assert_eq!(names(&["a", "b"], Some(5)), ["a", "b", "a-1", "b-1", "a-2"]);
        assert_eq!(names(&["a", "b"], Some(1)), ["a"]);
        assert!(names(&[], Some(3)).is_empty());
    }

    #[test]
    fn names_are_cut_and_stay_unique() {
        let long = "2018-02-23_RT_RT_Frei_Beschleunigung";
        assert_eq!(
            names(&[long, "2018-02-23_RT_RT_Frei_Beschleunig", "x y", "x_y"], Some(6)),
            [
                "2018-02-23_RT_RT_Frei_Beschleuni",
                "2018-02-23_RT_RT_Frei_Beschleu_2",
                "x_y",
                "x_y_2",
                "2018-02-23_RT_RT_Frei_Beschleu-1",
                "2018-02-23_RT_RT_Frei_Besche_2-1"
            ]
            .map(|name| name.replace("Besche_2-1", "Beschl_2-1"))
        );
    }
}
