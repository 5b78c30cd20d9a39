//! `milepost-cortex-m`: codes the bench's work on a Cortex-M3 and says how many instructions that
//! took. Behind `cargo xtask bench wire`.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
mod image;
#[cfg(target_os = "none")]
mod stopwatch;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("an image for thumbv7m-none-eabi, not for this host: see cargo xtask bench wire");
    std::process::ExitCode::FAILURE
}
