//! What people and programs of this machine write: the configuration, and requests at the admin socket.

use agent::admin::{DEVICES_MAX, Request};
use agent::config::Config;

use crate::bound::bounded;
use crate::input::text;

/// A kilobyte of TOML, its tree, and a report of everything that is wrong with it: each key is named,
/// with its line and what may have been meant.
pub const MEMORY_MAX: usize = 2 * 1024 * 1024;
/// A kilobyte of JSON, kept as a tree until its kind is known.
pub const ADMIN_MEMORY_MAX: usize = 256 * 1024;

/// A configuration that reads, reads twice as the same; one that does not is told why.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match bounded(MEMORY_MAX, || Config::parse(text, "milepost.toml")) {
        Ok((config, absent)) => {
            let again = Config::parse(text, "milepost.toml").expect("it read a moment ago");
            assert_eq!((config, absent), again);
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("milepost.toml"), "an error without its place: {said}");
        }
    }
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    let example = include_str!("../../../agent/milepost.example.toml");
    let mut sections = vec![String::new()];
    // Commented keys are examples: taken at their word.
    for line in example.lines() {
        let line =
            line.strip_prefix("# ").filter(|rest| rest.contains(" = ") || rest.starts_with('['));
        let line = line.map_or(String::new(), |line| format!("{line}\n"));
        if line.starts_with('[') {
            sections.push(String::new());
        }
        sections.last_mut().unwrap().push_str(&line);
    }
    let plain = example.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let plain = text(plain);
    let wrong = "[listen]\naddres = \"127.0.0.1\"\nconnections_max = -1\n[[sink]]\nname = 3\n";
    let parts = plain.split_inclusive("\n[").map(str::to_owned);
    let seeds = sections.into_iter().chain(parts).chain([wrong.to_owned()]);
    seeds.filter(|seed| !seed.is_empty() && seed.len() <= 1024).map(String::into_bytes).collect()
}

pub const CONFIG_WORDS: &[&[u8]] = &[
    b"[agent]\n",
    b"[listen]\n",
    b"[listen.tls]\n",
    b"[[broker]]\n",
    b"[broker.tls]\n",
    b"[journal]\n",
    b"[registry]\n",
    b"[http]\n",
    b"[log]\n",
    b"[privacy]\n",
    b"[[privacy.rule]]\n",
    b"[[sink]]\n",
    b"type = \"store\"\n",
    b"type = \"file\"\n",
    b"type = \"stdout\"\n",
    b"name = \"a\"\n",
    b"url = \"mqtts://h:1\"\n",
    b"address = \"off\"\n",
    b"= \"5s\"\n",
    b"= true\n",
    b"= 1\n",
    b"= []\n",
    b"\"\"\"",
    b"\\u0000",
];

/// A request that reads, is the same written and read again.
pub fn admin(bytes: &[u8]) {
    let Ok(request) = bounded(ADMIN_MEMORY_MAX, || serde_json::from_slice::<Request>(bytes)) else {
        return;
    };
    let written = serde_json::to_vec(&request).expect("a request can be written");
    let again: Request = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(again, request);
    if let Request::DevicesAdd { devices } = request {
        assert!(devices.len() < DEVICES_MAX);
    }
}

pub fn admin_seeds() -> Vec<Vec<u8>> {
    let device = "van-7".parse().unwrap();
    let requests = [
        Request::DevicesAdd { devices: vec![device, device] },
        Request::DevicesList { after: None },
        Request::DevicesRemove { device, force: true },
        Request::Erasures { of: Some(device) },
        Request::Ledger,
    ];
    let written = requests.iter().map(|request| serde_json::to_vec(request).unwrap());
    let vehicles = r#"{"request":"vehicles","order":{"order":"list","after":null,"group":null}}"#;
    written.chain([vehicles.into()]).collect()
}

pub const ADMIN_WORDS: &[&[u8]] = &[
    b"\"request\":",
    b"\"devices-add\"",
    b"\"devices-destroy-key\"",
    b"\"generation\":",
    b"\"vehicles\"",
    b"\"order\":",
    b"\"import-part\"",
    b"\"assign\"",
    b"\"backup\"",
    b"\"plan\":",
    b"\"device\":\"van-7\"",
    b"null",
    b"true",
    b"\\ud800",
];
