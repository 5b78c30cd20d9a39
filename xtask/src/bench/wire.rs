//! What samples take on the wire: our codec, and what others encode with.

use anyhow::Result;

use super::data;
use crate::test::{cargo, step};

/// Builds the bench and runs it on the recordings there are, unless it is told others.
pub fn run(options: &[String]) -> Result<()> {
    let mut run = cargo();
    run.args(["run", "--release", "--quiet", "--package", "milepost-bench", "--"]);
    let says_data = |option: &String| option == "--data" || option.starts_with("--data=");
    let says_how = |option: &String| matches!(option.as_str(), "-h" | "--help");
    if !options.iter().any(|option| says_data(option) || says_how(option)) {
        run.arg("--data").arg(data(&[])?);
    }
    step("bench wire", run.args(options))
}
