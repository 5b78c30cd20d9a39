//! Builds the tests of a copy, and says what does not compile.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A package's unit tests, built.
#[derive(Clone, Debug)]
pub struct Binary {
    /// The package.
    pub package: String,
    /// Its folder in the copy, where tests run.
    pub dir: PathBuf,
    /// The program.
    pub path: PathBuf,
}

/// What does not compile.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its number in the compiler's list.
    pub code: String,
    /// What the compiler says.
    pub message: String,
    /// Where: files and bytes.
    pub places: Vec<(String, Range<usize>)>,
}

/// What came of a build.
#[derive(Debug)]
pub enum Built {
    /// The tests.
    Tests(Vec<Binary>),
    /// They do not compile.
    Faults(Vec<Fault>),
}

#[derive(Deserialize)]
struct Line {
    reason: String,
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    manifest_path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    #[serde(rename = "message")]
    text: String,
    code: Option<Code>,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

/// Builds the unit tests of these packages in a copy, with the profile of the checkout: what both need of
/// other crates is built once.
pub fn tests(tree: &Path, target: &Path, packages: &[&str]) -> Result<Built> {
    let mut cargo = world::binaries::cargo();
    cargo.current_dir(tree).env("CARGO_TARGET_DIR", target);
    cargo.args(["test", "--no-run", "--lib", "--quiet", "--message-format", "json"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    // It has no library, so nothing of it is built; but other crates get the features that they have
    // when all of the checkout is built, and need not be built again.
    cargo.args(["--package", "xtask"]);
    let output = cargo.stderr(Stdio::piped()).output().context("starting cargo")?;
    let mut binaries = Vec::new();
    let mut faults = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
        let line: Line = serde_json::from_slice(line)?;
        match (line.reason.as_str(), line.message, line.executable, line.manifest_path) {
            ("compiler-message", Some(message), ..) if message.level.starts_with("error") => {
                faults.extend(fault(message));
            }
            ("compiler-artifact", _, Some(path), Some(manifest)) => {
                let dir = manifest.parent().unwrap_or(&manifest).to_owned();
                binaries.push(Binary { package: package_of(&manifest)?, dir, path });
            }
            _ => {}
        }
    }
    if output.status.success() {
        return Ok(Built::Tests(binaries));
    }
    if faults.is_empty() {
        bail!("cargo test --no-run: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(Built::Faults(faults))
}

/// An error with a place; "aborting due to 3 errors" has none.
fn fault(message: Message) -> Option<Fault> {
    let places: Vec<_> = message
        .spans
        .into_iter()
        .filter(|span| span.is_primary)
        .map(|span| (span.file_name, span.byte_start..span.byte_end))
        .collect();
    let code = message.code.map(|code| code.code).unwrap_or_default();
    (!places.is_empty()).then_some(Fault { code, message: message.text, places })
}

fn package_of(manifest: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let manifest: Manifest = toml::from_str(&std::fs::read_to_string(manifest)?)?;
    Ok(manifest.package.name)
}

/// cargo-mutants: on the path, or beside what is built, where it is installed if need be.
pub fn cargo_mutants(target: &Path) -> Result<PathBuf> {
    let tools = target.join("tools");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs = std::env::split_paths(&path).chain([tools.join("bin")]);
    let installed = dirs.find(|dir| dir.join("cargo-mutants").is_file());
    if let Some(dir) = installed {
        return Ok(dir.join("cargo-mutants"));
    }
    eprintln!("== installing cargo-mutants");
    let mut install: Command = world::binaries::cargo();
    install.args(["install", "cargo-mutants", "--locked", "--debug", "--quiet", "--root"]);
    if !install.arg(&tools).status()?.success() {
        bail!("cargo install cargo-mutants failed");
    }
    Ok(tools.join("bin/cargo-mutants"))
}
