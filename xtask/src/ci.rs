//! `cargo xtask ci`: what must hold for a change to land.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use world::binaries::root;
use world::board::{self, has_target};

use crate::bench::wire::image;
use crate::demo::{self, Demo};
use crate::firmware::{self, Firmware};
use crate::fuzz::{self, Fuzz, Limit};
use crate::needs;
use crate::test::{cargo, run as test, step};
use crate::torture::{Torture, run as torture};

pub fn run() -> Result<()> {
    step("formatting", cargo().args(["fmt", "--all", "--check"]))?;
    step("formatting of the boards", cargo().args(["fmt", "--check", "--manifest-path", BOARDS]))?;
    step(
        "lints",
        cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    )?;
    step(
        "docs",
        cargo()
            .args(["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    licences()?;
    test(true)?;
    boards()?;
    instructions()?;
    demo()?;
    fuzz()?;
    crate::prove::reduced()?;
    crate::mutants::landing()?;
    torture(&Torture { kills: 20, seed: 1, data: None, keep: false, json: false, planted: true })?;
    crate::load::reduced()
}

/// The boards' own workspace.
const BOARDS: &str = "firmware/boards/Cargo.toml";

/// Holds the images to their budgets; and to the lints, where the target is: Debian's compiler has none.
fn boards() -> Result<()> {
    if has_target() {
        let mut lints = cargo();
        lints.current_dir(root().join("firmware/boards"));
        lints.args(["clippy", "--release", "--locked", "--quiet", "--", "-D", "warnings"]);
        lints.env("CARGO_TARGET_DIR", board::target_dir().join("boards"));
        step("lints of the boards", &mut lints)?;
    } else {
        eprintln!("NOT LINTED: the boards: rustup target add {}", needs::TARGET);
    }
    firmware::run(Firmware::Size { json: false })
}

/// Holds the codec to its bar on a Cortex-M3, if there is what counts instructions.
fn instructions() -> Result<()> {
    if !needs::provide_cortex_m() {
        eprintln!("NOT MEASURED: {}", needs::CORTEX_M);
        return Ok(());
    }
    let lints = ["clippy", "--package", "milepost-cortex-m", "--target", needs::TARGET];
    step("lints of the image", cargo().args(lints).args(["--", "-D", "warnings"]))?;
    let count = ["test", "--workspace", "--test", "cortex_m"];
    step("instructions", cargo().args(count).env("MILEPOST_CORTEX_M", image()?))
}

/// The demo, a real image among the simulated vehicles.
fn demo() -> Result<()> {
    eprintln!("== demo");
    let stop_after = Some(Duration::from_secs(10));
    demo::run(&Demo { stop_after, headless: true, vehicles: 25, seed: 1, qemu: true })
}

/// Ten seconds of every target, and every planted fault.
fn fuzz() -> Result<()> {
    eprintln!("== fuzzing");
    let limit = Limit::Time(Duration::from_secs(10));
    fuzz::fuzz(&Fuzz { targets: Vec::new(), limit, jobs: 2, json: false })?;
    fuzz::planted(false)
}

/// The licences, sources and bans of deny.toml. Advisories need a network that CI does not have.
fn licences() -> Result<()> {
    const DENY: [&str; 3] = ["deny", "--log-level", "error"];
    const CHECKS: [&str; 4] = ["check", "bans", "licenses", "sources"];
    let has_it = cargo().args(["deny", "--version"]).output().is_ok_and(|out| out.status.success());
    let tools = tools();
    if !has_it && !tools.join("bin/cargo-deny").exists() {
        let mut install = cargo();
        install
            .args(["install", "cargo-deny", "--locked", "--debug", "--quiet", "--root"])
            .arg(&tools);
        step("installing cargo-deny", &mut install)?;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(paths)?;
    step("licences", cargo().args(DENY).args(CHECKS).env("PATH", &path))?;
    let of_boards = ["--config", "deny.toml", "--manifest-path", BOARDS];
    step(
        "licences of the boards",
        cargo().args(DENY).args(of_boards).args(CHECKS).env("PATH", &path),
    )
}

/// Where tools are installed: beside what is built.
fn tools() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(|| root().join("target"), PathBuf::from).join("tools")
}
