//! What the tests need of the machine besides cargo, installed where that is allowed.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Programs, and the Debian packages that bring them.
const NEEDS: [(&str, &str); 4] = [
    ("mosquitto", "mosquitto"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("faketime", "faketime"),
];

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
    if is_root() && is_here("apt-get") {
        eprintln!("== installing {packages}");
        let update = apt(&["update", "-qq"]);
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        if update && apt(&[&install[..], &missing].concat()) {
            return Ok(());
        }
        eprintln!("apt-get could not install {packages}");
    }
    let what = format!("what needs {packages}: apt-get install --no-install-recommends {packages}");
    if nothing_skipped {
        bail!("nothing may be skipped, and this would be: {what}");
    }
    eprintln!("skipped: {what}");
    Ok(())
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
