//! rustc, as cargo calls it for the programs that fuzz: what libFuzzer is to watch is compiled with
//! counters, and everything else as it is.
//!
//! With flags for all crates alike the fuzzer would spend its time counting in ciphers and in SQLite.
//! A wrapper around rustc can tell crates apart, which cargo's settings cannot.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// Set for cargo's calls: this program is rustc's wrapper.
pub const WRAPS: &str = "MILEPOST_FUZZ_RUSTC";

/// The parsers, ours and those we use; the targets themselves, so that their choices are seen too.
const WATCHED: [&str; 17] = [
    "milepost_protocol",
    "milepost_firmware",
    "agent",
    "simulator",
    "recordings",
    "milepost_fuzz",
    "can_dbc",
    "csv",
    "csv_core",
    "httparse",
    "hyper",
    "matchit",
    "mqtt_protocol_core",
    "postcard",
    "serde_json",
    "toml",
    "toml_datetime",
];

/// Edges counted in eight bits each, as libFuzzer reads them.
const COUNTERS: [&str; 4] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
];

/// Compiles, if cargo called this program to; none if it is to be itself.
pub fn wrapped() -> Option<ExitCode> {
    std::env::var_os(WRAPS)?;
    let mut arguments = std::env::args_os().skip(1);
    let mut rustc = Command::new(arguments.next()?);
    let arguments: Vec<OsString> = arguments.collect();
    let name = arguments.iter().skip_while(|argument| *argument != "--crate-name").nth(1);
    let is_watched =
        name.and_then(|name| name.to_str()).is_some_and(|name| WATCHED.contains(&name));
    // What procedural macros and build scripts link runs in rustc, where nobody counts. Cargo compiles
    // it apart, and optimises what is fuzzed alone: but not where the workspace says how, which is why
    // `toml_parser` is not watched.
    let is_fuzzed =
        arguments.iter().any(|argument| argument.to_string_lossy().starts_with("opt-level="));
    rustc.args(&arguments);
    if is_watched && is_fuzzed {
        rustc.args(COUNTERS);
    }
    let status = rustc.status().ok()?;
    Some(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, Into::into),
    )
}
