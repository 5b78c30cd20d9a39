//! What the tests need of the machine besides cargo, installed where that is allowed.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use world::binaries::root;
use world::board::{COMPILER, has_debians_compiler, has_target};

/// Programs, and the Debian packages that bring them.
const NEEDS: [(&str, &str); 5] = [
    (QEMU, QEMU),
    ("mosquitto", "mosquitto"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("faketime", "faketime"),
];

/// The compiler's target for a Cortex-M3.
pub const TARGET: &str = "thumbv7m-none-eabi";
/// What builds its `core` from source.
const DEBIANS_COMPILER: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld"];
const QEMU: &str = "qemu-system-arm";
/// What is not measured without these two, and how to get them.
pub const CORTEX_M: &str = "instructions a sample on a Cortex-M3: rustup target add thumbv7m-none-eabi; apt-get install qemu-system-arm";

/// Whether instructions can be counted.
pub fn has_cortex_m() -> bool {
    is_here(QEMU) && has_target()
}

/// Installs what counts instructions, where that is allowed; whether it is here then.
pub fn provide_cortex_m() -> bool {
    if !is_here(QEMU) && is_root() && is_here("apt-get") {
        install(&[QEMU]);
    }
    if !has_target() {
        add_target();
    }
    has_cortex_m()
}

/// Makes sure that there is a compiler for the boards' images: the target, or what Debian has to build
/// its `core` from source.
pub fn provide_boards() -> Result<()> {
    if has_target() || add_target() || has_debians_compiler() {
        return Ok(());
    }
    if is_root() && is_here("apt-get") && install(&DEBIANS_COMPILER) {
        return Ok(());
    }
    bail!("{COMPILER}")
}

fn add_target() -> bool {
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(root());
    let is_there = rustup.status().is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("rustup could not add the target {TARGET}");
    }
    is_there
}

/// Installs what is missing, if this is root on Debian. What cannot be installed is said; if
/// nothing may be skipped, it is an error.
pub fn provide(nothing_skipped: bool) -> Result<()> {
    let missing: Vec<&str> = NEEDS
        .iter()
        .filter(|(program, _)| !is_here(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if is_root() && is_here("apt-get") && install(&missing) {
        return Ok(());
    }
    let what = format!("what needs {packages}: apt-get install --no-install-recommends {packages}");
    if nothing_skipped {
        bail!("nothing may be skipped, and this would be: {what}");
    }
    eprintln!("skipped: {what}");
    Ok(())
}

/// Installs Debian packages; whether that went well.
fn install(packages: &[&str]) -> bool {
    eprintln!("== installing {}", packages.join(" "));
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    let installed = apt(&["update", "-qq"]) && apt(&[&install[..], packages].concat());
    if !installed {
        eprintln!("apt-get could not install {}", packages.join(" "));
    }
    installed
}

fn apt(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether a program is on the path, or where Debian installs what only root runs.
fn is_here(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    found || Path::new("/usr/sbin").join(program).is_file()
}
