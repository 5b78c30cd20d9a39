//! What samples take on the wire: our codec, and what others encode with.

use std::path::PathBuf;

use anyhow::Result;
use world::binaries::built;

use super::data;
use crate::needs::{self, TARGET};
use crate::test::{cargo, step};

/// Builds the bench and runs it on the recordings there are, unless it is told others; instructions on
/// a Cortex-M3 are counted where that can be done.
pub fn run(options: &[String]) -> Result<()> {
    let says = |name: &str| {
        let with_value = format!("{name}=");
        options.iter().any(|option| option == name || option.starts_with(&with_value))
    };
    let asks_how = says("-h") || says("--help");
    let mut run = cargo();
    run.args(["run", "--release", "--quiet", "--package", "milepost-bench", "--"]);
    if !says("--data") && !asks_how {
        run.arg("--data").arg(data(&[])?);
    }
    if !says("--cortex-m") && !asks_how {
        if needs::has_cortex_m() {
            run.arg("--cortex-m").arg(image()?);
        } else {
            eprintln!("not measured: {}", needs::CORTEX_M);
        }
    }
    step("bench wire", run.args(options))
}

/// Builds the image whose instructions are counted; where it is.
pub fn image() -> Result<PathBuf> {
    let what = ["--profile", "cortex-m", "--target", TARGET, "--package", "milepost-cortex-m"];
    built(&what, "milepost-cortex-m")
}
