//! What a sample may take of a Cortex-M3. An image makes the count, and `cargo xtask ci` builds it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Instructions a sample of an OBD drive at most.
const INSTRUCTIONS_MAX: f64 = 1500.0;

#[test]
fn a_sample_of_an_obd_drive_takes_1500_instructions_at_most() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("MILEPOST_DATA").map_or_else(beside, Into::into);
    let (Some(image), true) = (std::env::var_os("MILEPOST_CORTEX_M"), data.is_dir()) else {
        eprintln!("SKIPPED: no image (MILEPOST_CORTEX_M), or no recordings (MILEPOST_DATA)");
        return;
    };
    let mut bench = Command::new(env!("CARGO_BIN_EXE_milepost-bench"));
    bench.arg("--data").arg(data.join("obd_car")).args(["--ours", "--seconds", "60"]);
    bench.args(["--repeat", "1", "--json", "--cortex-m"]).arg(image);
    let said = bench.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    let counted = &said["sets"][0]["cortex_m"];
    assert!(counted["samples"].as_u64().unwrap() > 20_000, "{counted}");
    let instructions = counted["instructions"].as_f64().unwrap();
    assert!(instructions <= INSTRUCTIONS_MAX, "{instructions} of {INSTRUCTIONS_MAX}");
}
