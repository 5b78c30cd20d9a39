//! The wire against decoders that were written from `docs/wire.md` and `docs/codec.md` alone, in Python:
//! what the pages say is what the code does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test's helpers are not known as such by the lint"
)]

mod batches;
mod chance;
mod frames;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// What a script of `tests/wire` says of a file with this in it.
fn opinion(script: &str, text: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let name = format!("milepost-{script}-{}.json", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    let script = root.join("tests/wire").join(script);
    // Nothing is left beside it.
    let output = Command::new("python3").arg("-B").arg(script).arg(&path).output();
    std::fs::remove_file(&path).unwrap();
    let output = output.expect("python3, of version 3.10 or later, is needed for this test");
    let (said, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{error}");
    said.into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
