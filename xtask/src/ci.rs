//! `cargo xtask ci`: what must hold for a change to land.

use anyhow::Result;

use crate::test::{cargo, run as test, step};
use crate::torture::{Torture, run as torture};

pub fn run() -> Result<()> {
    step("formatting", cargo().args(["fmt", "--all", "--check"]))?;
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
    test(true)?;
    torture(&Torture { kills: 20, seed: 1, data: None, keep: false })
}
