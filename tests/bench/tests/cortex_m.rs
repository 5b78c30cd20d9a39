//! What a sample may take of a Cortex-M3. An image makes the count, and `cargo xtask ci` builds it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Instructions a sample at most.
const INSTRUCTIONS_MAX: f64 = 1500.0;
/// Of which recordings.
const SETS: [&str; 5] = ["obd_car", "ev_twizy", "box", "imu", "taxi"];

#[test]
fn a_sample_takes_1500_instructions_at_most() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("MILEPOST_DATA").map_or_else(beside, Into::into);
    let (Some(image), true) = (std::env::var_os("MILEPOST_CORTEX_M"), data.is_dir()) else {
        eprintln!("SKIPPED: no image (MILEPOST_CORTEX_M), or no recordings (MILEPOST_DATA)");
        return;
    };
    let mut bench = Command::new(env!("CARGO_BIN_EXE_milepost-bench"));
    bench.arg("--data").arg(data).args(["--ours", "--seconds", "60", "--repeat", "1", "--json"]);
    bench.args(["--set", &SETS.join(","), "--cortex-m"]).arg(image);
    let said = bench.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    let sets = said["sets"].as_array().unwrap();
    assert_eq!(sets.len(), SETS.len());
    for set in sets {
        let (name, counted) = (&set["set"], &set["cortex_m"]);
        assert!(counted["samples"].as_u64().unwrap() > 20_000, "{name}: {counted}");
        let instructions = counted["instructions"].as_f64().unwrap();
        assert!(instructions <= INSTRUCTIONS_MAX, "{name}: {instructions} of {INSTRUCTIONS_MAX}");
    }
}
