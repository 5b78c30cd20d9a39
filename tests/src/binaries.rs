//! The binaries under test, built as the caller wants them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Where the two binaries are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `milepost`.
    pub agent: PathBuf,
    /// `milepost-sim`.
    pub simulator: PathBuf,
}

/// The checkout's root: that of the package which cargo runs, since checkouts that share a target
/// directory share what is compiled too, paths included.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = package.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = package.ancestors().find(|dir| dir.join("Cargo.lock").exists());
    root.unwrap_or(&package).to_owned()
}

/// `cargo` in the checkout's root, as if from a shell: what an outer cargo says about the package that
/// it runs would let build scripts that look at it run again, and all that depends on them.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// The recorded traffic: `MILEPOST_DATA`, or `shared/data` beside the checkout. None if it is not
/// there.
pub fn recordings() -> Option<PathBuf> {
    let data = std::env::var_os("MILEPOST_DATA")
        .map_or_else(|| root().join("../shared/data"), PathBuf::from);
    data.is_dir().then_some(data)
}

/// Recordings below `data`: the CSV files in these folders, sorted.
pub fn csv_files(data: &Path, folders: &[&str]) -> Result<Vec<PathBuf>> {
    files_in(data, folders, &[".csv"])
}

/// Recordings below `data`: the files in these folders with one of these in their names, sorted.
pub fn files_in(data: &Path, folders: &[&str], kinds: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in folders {
        let dir = data.join(folder);
        let entries =
            std::fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if kinds.iter().any(|kind| name.contains(kind)) {
                files.push(path);
            }
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("no recordings in {} under {}", folders.join(", "), data.display());
    }
    Ok(files)
}

impl Binaries {
    /// Builds both and says where they are.
    pub fn build(release: bool) -> Result<Self> {
        Ok(Self::beside(&[], release)?.0)
    }

    /// Builds both beside the packages `others`, at once, and gives the programs of all of them:
    /// apart, what they need of each other's crates differs and would be built again for each.
    pub fn beside(others: &[&str], release: bool) -> Result<(Self, Programs)> {
        let mut what = vec!["--bins"];
        for package in ["milepost", "milepost-sim"].iter().chain(others) {
            what.extend(["-p", package]);
        }
        if release {
            what.push("--release");
        }
        let programs = Programs(build(&what)?);
        let both =
            Self { agent: programs.find("milepost")?, simulator: programs.find("milepost-sim")? };
        Ok((both, programs))
    }
}

/// What cargo said that it built.
#[derive(Debug)]
pub struct Programs(String);

impl Programs {
    /// Where the program of this name is.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        executable(&self.0, name)
    }
}

/// Builds what these arguments of cargo's name, and says where the program `name` of it is.
pub fn built(what: &[&str], name: &str) -> Result<PathBuf> {
    executable(&build(what)?, name)
}

/// Runs cargo; gives its messages.
fn build(what: &[&str]) -> Result<String> {
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--message-format=json"]).args(what);
    let output = cargo.stderr(std::process::Stdio::inherit()).output().context("running cargo")?;
    if !output.status.success() {
        bail!("building the binaries failed");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message.pointer("/target/name").is_some_and(|target| target == name))
        .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .next_back()
        .with_context(|| format!("cargo built no {name}"))
}
