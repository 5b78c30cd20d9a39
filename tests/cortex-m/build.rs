//! Links the image for the board that QEMU models; a host's program is linked as any other.

use std::io::Result;
use std::path::PathBuf;

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=memory.x");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let out = std::env::var("OUT_DIR").map(PathBuf::from).map_err(std::io::Error::other)?;
        std::fs::copy("memory.x", out.join("memory.x"))?;
        println!("cargo::rustc-link-search={}", out.display());
        println!("cargo::rustc-link-arg-bins=-Tlink.x");
    }
    Ok(())
}
