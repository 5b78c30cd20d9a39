//! Puts the memory's layout where the linker looks for it.

use std::io::{Error, Result};
use std::path::PathBuf;

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=memory.x");
    let out = std::env::var("OUT_DIR").map(PathBuf::from).map_err(Error::other)?;
    std::fs::copy("memory.x", out.join("memory.x"))?;
    println!("cargo::rustc-link-search={}", out.display());
    Ok(())
}
