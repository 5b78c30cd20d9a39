//! The key file that `milepost devices add` prints: a line of JSON per device.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use protocol::{DeviceId, Generation, Registration, Secret};
use serde::Deserialize;

/// A device's secret and which of its secrets that is.
#[derive(Clone, Debug)]
pub struct DeviceKey {
    /// The secret.
    pub secret: Secret,
    /// Its generation.
    pub generation: Generation,
    /// In which registration, if the file says so.
    pub registration: Option<Registration>,
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no key. The line is not shown: it may hold most of a secret.
    #[error(
        "{}:{line}: no key; a line is {{\"device\":\"...\",\"generation\":0,\"secret\":\"<64 hex digits>\"}}",
        path.display()
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
    },
}

/// Reads a key file. Of a device that is there twice, the later line counts.
pub fn read(path: &Path) -> Result<BTreeMap<DeviceId, DeviceKey>, KeysError> {
    let failed = |source| KeysError::Read { path: path.to_owned(), source };
    let reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut keys = BTreeMap::new();
    for (line, number) in reader.lines().zip(1..) {
        let line = line.map_err(failed)?;
        if line.trim().is_empty() {
            continue;
        }
        let (device, key) =
            parse(&line).ok_or_else(|| KeysError::Line { path: path.to_owned(), line: number })?;
        keys.insert(device, key);
    }
    Ok(keys)
}

fn parse(line: &str) -> Option<(DeviceId, DeviceKey)> {
    #[derive(Deserialize)]
    struct Line<'a> {
        device: DeviceId,
        generation: Generation,
        registration: Option<Registration>,
        secret: &'a str,
    }
    let Line { device, generation, registration, secret } = serde_json::from_str(line).ok()?;
    if secret.len() != 64 || !secret.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(secret.get(at..at + 2)?, 16).ok()?;
    }
    Some((device, DeviceKey { secret: Secret::new(bytes), generation, registration }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_lines_count_and_bad_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.ndjson");
        let (zeros, ones) = ("00".repeat(32), "0F".repeat(32));
        let text = format!(
            "{{\"device\":\"a\",\"generation\":0,\"secret\":\"{zeros}\"}}\n\n\
             {{\"device\":\"a\",\"generation\":1,\"registration\":4000000000,\"secret\":\"{ones}\"}}\n"
        );
        std::fs::write(&path, &text).unwrap();
        let keys = read(&path).unwrap();
        let key = &keys[&"a".parse().unwrap()];
        assert_eq!((keys.len(), key.generation.number()), (1, 1));
        assert_eq!(key.registration, Some(Registration(4_000_000_000)));
        assert_eq!(key.secret.expose(), &[15; 32]);
        for wrong in
            [text.replace("\"a\"", "\"a b\""), text.replace("0F", "+F"), text.replace(":1", ":4")]
        {
            std::fs::write(&path, wrong).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, KeysError::Line { .. }), "{error}");
            assert!(!error.to_string().contains("0F0F"));
        }
        assert!(matches!(read(Path::new("/no/such/file")), Err(KeysError::Read { .. })));
    }
}
