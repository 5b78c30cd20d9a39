//! The programs that fuzz, built, and what targets they have.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use world::binaries::{cargo, root};

use super::rustc;

/// The programs; each has some of the targets.
const NAMES: [&str; 3] = ["fuzz-wire", "fuzz-agent", "fuzz-simulator"];
/// The program that has the planted faults.
const WITH_PLANTED: &str = "fuzz-wire";
/// The planted faults, as `fuzz/src/planted.rs` has them.
const PLANTED: [&str; 5] = [
    "planted-off-by-one",
    "planted-count-believed",
    "planted-two-forms",
    "planted-tag-cut",
    "planted-signal-unknown",
];

/// Where everything is.
pub struct Programs {
    /// Below the target directory: programs, corpora, findings.
    pub dir: PathBuf,
    targets: Vec<Target>,
}

/// A target, as its program lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The longest input worth trying.
    pub len_max: usize,
    /// The most bytes it may have allocated at once.
    pub alloc_max: usize,
    /// Its program.
    #[serde(skip)]
    pub program: PathBuf,
}

impl Programs {
    /// Builds them, and unpacks what is committed for them to begin with.
    pub fn build() -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR");
        let target = target.map_or_else(|| root().join("target"), PathBuf::from);
        let dir = root().join(target).join("fuzzing");
        eprintln!("== building what fuzzes");
        let mut build = cargo();
        build.args(["build", "--quiet", "--profile", "fuzz", "--package", "milepost-fuzz"]);
        build.args(["--features", "libfuzzer"]).arg("--target-dir").arg(&dir);
        build.args(NAMES.iter().flat_map(|name| ["--bin", name]));
        build.env("RUSTC_WRAPPER", std::env::current_exe()?).env(rustc::WRAPS, "1");
        ensure!(build.status().context("running cargo")?.success(), "building what fuzzes failed");
        let mut programs = Self { dir, targets: Vec::new() };
        for name in NAMES {
            let program = programs.dir.join("fuzz").join(name);
            let listed = asked(&program, "list", programs.dir.as_os_str())?;
            for line in listed.lines() {
                let target = serde_json::from_str(line).with_context(|| line.to_owned())?;
                programs.targets.push(Target { program: program.clone(), ..target });
            }
            asked(&program, "unpack", programs.committed().as_os_str())?;
        }
        Ok(programs)
    }

    /// The targets with these names, all if there are none.
    pub fn chosen(&self, names: &[String]) -> Result<Vec<Target>> {
        if names.is_empty() {
            return Ok(self.targets.clone());
        }
        names.iter().map(|name| self.one(name)).collect()
    }

    /// The target with this name, planted or not.
    pub fn one(&self, name: &str) -> Result<Target> {
        let planted = self.planted()?;
        let found = self.targets.iter().chain(&planted).find(|target| target.name == name);
        let names = || self.targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>();
        found
            .cloned()
            .with_context(|| format!("no target {name}; there are {}", names().join(", ")))
    }

    /// The planted faults.
    pub fn planted(&self) -> Result<Vec<Target>> {
        let program = self.dir.join("fuzz").join(WITH_PLANTED);
        let Some(any) = self.targets.first() else { bail!("no targets") };
        let target = |name: &str| Target {
            name: name.to_owned(),
            len_max: 256,
            program: program.clone(),
            ..any.clone()
        };
        Ok(PLANTED.map(target).to_vec())
    }

    /// Seeds and committed corpora, unpacked.
    pub fn committed(&self) -> PathBuf {
        self.dir.join("committed")
    }

    /// Commits what these directories hold, as far as it is small.
    pub fn pack(&self, targets: &[Target], merged: &Path) -> Result<()> {
        for name in NAMES {
            let program = self.dir.join("fuzz").join(name);
            for target in targets.iter().filter(|target| target.program == program) {
                let mut pack = asking(&program, "pack", merged.as_os_str());
                pack.env("MILEPOST_FUZZ_TARGET", &target.name);
                ensure!(pack.status()?.success(), "{} could not be packed", target.name);
            }
        }
        Ok(())
    }
}

fn asking(program: &Path, what: &str, dir: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.env("MILEPOST_FUZZ_DO", what).env("MILEPOST_FUZZ_DIR", dir);
    // As if cargo ran it.
    command.env("CARGO_MANIFEST_DIR", root().join("fuzz"));
    command
}

/// What a program says when it is asked for something else than fuzzing.
fn asked(program: &Path, what: &str, dir: &OsStr) -> Result<String> {
    let output = asking(program, what, dir).output();
    let output = output.with_context(|| format!("starting {}", program.display()))?;
    ensure!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
