//! What outlives the process: each vehicle's flash, and how far its source was read.
//!
//! `DEVICE.nor` is the flash; `DEVICE.pos` the number of readings the device was given, 8 bytes,
//! little endian; `scenario.json` what a made-up fleet was made from. Everything is written with
//! single calls straight to the file, so it survives the process being killed, not the machine.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use protocol::DeviceId;
use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, ScenarioError};
use crate::vehicle::{self, Vehicle};

/// The folder; locked while it is open.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    _lock: File,
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another simulator runs in it.
    #[error("{} is in use by another simulator", .0.display())]
    InUse(PathBuf),
    /// A file in it.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A small fleet of vans with a drive each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vans {
    /// How many vehicles.
    pub vehicles: usize,
    /// The seed.
    pub seed: u64,
    /// Begin of the drives, by the vehicles' clocks.
    pub start_unix_ms: i64,
    /// Length of the drives.
    pub length_ms: u64,
}

impl Vans {
    /// The fleet.
    pub fn vehicles(&self) -> Vec<Vehicle> {
        vehicle::synthetic(self.vehicles, self.seed, self.start_unix_ms, self.length_ms)
    }
}

/// What a made-up fleet was made from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MadeFleet {
    /// Nothing but numbers.
    Vans(Vans),
    /// A scenario file.
    Scenario {
        /// Its text.
        scenario: String,
        /// The seed, whatever the text says.
        seed: u64,
        /// The begin, whatever the text says.
        start_unix_ms: i64,
        /// The length, whatever the text says.
        length_ms: i64,
    },
}

impl MadeFleet {
    /// The fleet.
    pub fn vehicles(&self) -> Result<Vec<Vehicle>, ScenarioError> {
        match self {
            Self::Vans(vans) => Ok(vans.vehicles()),
            Self::Scenario { scenario, seed, start_unix_ms, length_ms } => {
                let parsed = Scenario::parse(scenario, "the scenario of the state folder")?;
                let (seed, start_unix_ms, length_ms) = (*seed, *start_unix_ms, *length_ms);
                Ok(Scenario { seed, start_unix_ms, length_ms, ..parsed }.vehicles())
            }
        }
    }

    /// What a state folder was filled by, if it was by a made-up fleet.
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(scenario_path(dir)).ok()?).ok()
    }

    /// Notes it in a state folder, which is made if need be.
    pub fn write(&self, dir: &Path) -> Result<(), StateError> {
        let path = scenario_path(dir);
        let text = serde_json::to_string(self).unwrap_or_default();
        let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, text));
        written.map_err(|source| StateError::Io { path, source })
    }
}

fn scenario_path(dir: &Path) -> PathBuf {
    dir.join("scenario.json")
}

impl StateDir {
    /// Opens the folder, made if need be, and locks it.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(".lock");
        let opened = std::fs::create_dir_all(dir).and_then(|()| File::create(&path));
        let lock = opened.map_err(|source| StateError::Io { path: path.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(StateError::Io { path, source }),
        }
    }

    /// The file of a vehicle's flash, opened to read and write; made if need be.
    pub fn flash_file(&self, device: &DeviceId) -> Result<File, StateError> {
        open(self.dir.join(format!("{device}.nor")))
    }

    /// The file of a vehicle's position, and what stands in it.
    pub fn position_file(&self, device: &DeviceId) -> Result<(PositionFile, u64), StateError> {
        let path = position_path(&self.dir, device);
        let file = open(path.clone())?;
        let position = parse_position(&file).map_err(|source| StateError::Io { path, source })?;
        Ok((PositionFile { file, written: position }, position))
    }
}

/// How many readings a vehicle was given, by a state folder; 0 if it never ran.
pub fn admitted(dir: &Path, device: &DeviceId) -> Result<u64, StateError> {
    let path = position_path(dir, device);
    let read = match File::open(&path) {
        Ok(file) => parse_position(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    };
    read.map_err(|source| StateError::Io { path, source })
}

/// Keeps a position.
#[derive(Debug)]
pub struct PositionFile {
    file: File,
    written: u64,
}

impl PositionFile {
    /// Notes a position, if it is another than last time.
    pub fn note(&mut self, position: u64) -> io::Result<()> {
        if position != self.written {
            self.file.write_all_at(&position.to_le_bytes(), 0)?;
            self.written = position;
        }
        Ok(())
    }
}

fn position_path(dir: &Path, device: &DeviceId) -> PathBuf {
    dir.join(format!("{device}.pos"))
}

fn parse_position(mut file: &File) -> io::Result<u64> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    match <[u8; 8]>::try_from(bytes) {
        Ok(bytes) => Ok(u64::from_le_bytes(bytes)),
        Err(bytes) if bytes.is_empty() => Ok(0),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "not 8 bytes long")),
    }
}

fn open(path: PathBuf) -> Result<File, StateError> {
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    opened.map_err(|source| StateError::Io { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_kept_and_the_folder_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let device: DeviceId = "a".parse().unwrap();
        assert_eq!(admitted(folder.path(), &device).unwrap(), 0);
        let state = StateDir::open(folder.path()).unwrap();
        let (mut file, position) = state.position_file(&device).unwrap();
        assert_eq!(position, 0);
        file.note(7).unwrap();
        file.note(1 << 40).unwrap();
        assert_eq!(admitted(folder.path(), &device).unwrap(), 1 << 40);
        assert!(matches!(StateDir::open(folder.path()), Err(StateError::InUse(_))));
        drop(state);
        let (_, position) = StateDir::open(folder.path()).unwrap().position_file(&device).unwrap();
        assert_eq!(position, 1 << 40);
        std::fs::write(position_path(folder.path(), &device), b"123").unwrap();
        assert!(matches!(admitted(folder.path(), &device), Err(StateError::Io { .. })));
    }

    #[test]
    fn a_scenario_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(MadeFleet::read(folder.path()), None);
        let vans = Vans { vehicles: 2, seed: u64::MAX, start_unix_ms: -1, length_ms: 3 };
        let scenario = "[[class]]\nname = \"a\"\nvehicles = 3\n".to_owned();
        let (seed, start_unix_ms, length_ms) = (5, 1, 2);
        let scenario = MadeFleet::Scenario { scenario, seed, start_unix_ms, length_ms };
        for made in [MadeFleet::Vans(vans), scenario] {
            made.write(folder.path()).unwrap();
            assert_eq!(MadeFleet::read(folder.path()), Some(made));
        }
        assert_eq!(MadeFleet::read(folder.path()).unwrap().vehicles().unwrap().len(), 3);
    }
}
