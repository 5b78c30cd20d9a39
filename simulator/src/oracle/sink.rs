//! The sink's files: which, in what order, and their lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::Oracle;

/// The files of a sink: those named, and of folders all `*.ndjson` in name order.
pub fn files(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "ndjson") {
                inside.push(file);
            }
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

/// Gives every line of a file to the oracle; how many bytes it had.
pub fn read_file(oracle: &mut Oracle, number: usize, path: &Path) -> io::Result<u64> {
    let name = path.display().to_string();
    let mut reader = BufReader::with_capacity(1024 * 1024, File::open(path)?);
    let mut line = Vec::new();
    let mut bytes = 0;
    for number_of_line in 1.. {
        line.clear();
        let len = reader.read_until(b'\n', &mut line)?;
        if len == 0 {
            break;
        }
        bytes += u64::try_from(len).unwrap_or(u64::MAX);
        oracle.read(number, &name, number_of_line, line.strip_suffix(b"\n").unwrap_or(&line));
    }
    Ok(bytes)
}
