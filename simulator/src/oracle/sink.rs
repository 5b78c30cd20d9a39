//! The sink's documents: its files, what a command or a pipe says, and their lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    read_lines(oracle, number, &path.display().to_string(), File::open(path)?)
}

/// Gives every line that comes to the oracle, which calls it by this name; how many bytes it had.
pub fn read_lines(
    oracle: &mut Oracle,
    number: usize,
    name: &str,
    from: impl Read,
) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(1024 * 1024, from);
    let mut line = Vec::new();
    let mut bytes = 0;
    for number_of_line in 1.. {
        line.clear();
        let len = reader.read_until(b'\n', &mut line)?;
        if len == 0 {
            break;
        }
        bytes += u64::try_from(len).unwrap_or(u64::MAX);
        oracle.read(number, name, number_of_line, line.strip_suffix(b"\n").unwrap_or(&line));
    }
    Ok(bytes)
}

/// How to reach an agent's own store.
#[derive(Clone, Debug, Default)]
pub struct StoreExport {
    /// The agent's program; none: the one beside this program, else the one in `PATH`.
    pub milepost: Option<PathBuf>,
    /// Its configuration file.
    pub config: Option<PathBuf>,
    /// Its data directory.
    pub data_dir: Option<PathBuf>,
}

/// Why a store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Resource: the program does not start.
    #[error("cannot run {}: {source}; name it with --milepost PATH", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its output cannot be read.
    #[error("cannot read what `milepost store export` says: {0}")]
    Read(#[from] io::Error),
    /// It said on standard error what is wrong.
    #[error("`milepost store export` ended with {0}")]
    Failed(std::process::ExitStatus),
}

impl StoreExport {
    /// Gives every document of the store to the oracle, in the order of the export.
    pub fn read(&self, oracle: &mut Oracle) -> Result<u64, ExportError> {
        let program = self.program();
        let mut command = Command::new(&program);
        for (name, value) in [("--config", &self.config), ("--data-dir", &self.data_dir)] {
            if let Some(value) = value {
                command.arg(name).arg(value);
            }
        }
        command.args(["store", "export"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|source| ExportError::Start { program, source })?;
        let read = match child.stdout.take() {
            Some(stdout) => read_lines(oracle, 0, "milepost store export", stdout),
            None => Ok(0),
        };
        let status = child.wait()?;
        let bytes = read?;
        if status.success() { Ok(bytes) } else { Err(ExportError::Failed(status)) }
    }

    fn program(&self) -> PathBuf {
        if let Some(program) = &self.milepost {
            return program.clone();
        }
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name("milepost"));
        beside.filter(|beside| beside.exists()).unwrap_or_else(|| PathBuf::from("milepost"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A stand-in for the agent's program.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("milepost");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn oracle() -> Oracle {
        Oracle::new(Vec::new(), |_| None)
    }

    #[test]
    fn a_store_is_read_through_the_agents_program() {
        let folder = tempfile::tempdir().unwrap();
        let milepost = program(folder.path(), "echo \"$@\"; echo second");
        let data_dir = Some(PathBuf::from("/data"));
        let export = StoreExport { milepost: Some(milepost), config: None, data_dir };
        let mut oracle = oracle();
        let said = "--data-dir /data store export\nsecond\n".len();
        assert_eq!(export.read(&mut oracle).unwrap(), u64::try_from(said).unwrap());
        let verdict = oracle.finish();
        assert_eq!(verdict.malformed, 2);
        let first = verdict.first_difference.unwrap();
        assert_eq!(first.place, "milepost store export:1");
        assert!(first.text.contains("--data-dir /data store export"), "{first}");
    }

    #[test]
    fn an_export_that_fails_is_an_error_whatever_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let milepost = program(folder.path(), "exit 3");
        let export = StoreExport { milepost: Some(milepost), ..StoreExport::default() };
        assert!(matches!(export.read(&mut oracle()), Err(ExportError::Failed(_))));
        let milepost = Some(folder.path().join("not-there"));
        let export = StoreExport { milepost, ..StoreExport::default() };
        assert!(matches!(export.read(&mut oracle()), Err(ExportError::Start { .. })));
    }
}
