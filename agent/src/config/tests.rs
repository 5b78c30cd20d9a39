use super::*;
use crate::intake::broker::{BrokerUrl, Devices, LoginFiles};
use crate::intake::serial::{Place, SerialConfig};
use crate::tls::ClientFiles;

const EXAMPLE: &str = include_str!("../../milepost.example.toml");

fn parse(text: &str) -> Config {
    Config::parse(text, "test.toml").unwrap().0
}

fn report(text: &str) -> Report {
    match Config::parse(text, "test.toml") {
        Err(ConfigError::Invalid(report)) => report,
        other => panic!("expected a report, got {other:?}"),
    }
}

fn setting(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ")?;
    let key = line.split(" = ").next()?;
    let is_key = key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    (line.starts_with('[') || (line.contains(" = ") && is_key)).then_some(line)
}

/// The example with its settings that are commented out for want of a default.
fn uncommented() -> String {
    EXAMPLE.lines().map(|line| setting(line).unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_the_defaults() {
    assert_eq!(parse(EXAMPLE), Config::default());
    assert_eq!(parse(""), Config::default());
}

#[test]
fn the_example_has_every_key() {
    let (config, absent) = Config::parse(&uncommented(), "example").unwrap();
    assert_eq!(absent, Vec::<String>::new());
    assert!(config.listen.tls.is_some() && config.brokers.len() == 1);
    assert!(config.privacy.location.is_some() && config.privacy.pseudonym.is_some());
    let (_, absent) = Config::parse("", "empty").unwrap();
    assert!(absent.contains(&"listen.address".to_owned()), "{absent:?}");
    assert!(absent.contains(&"sink".to_owned()), "{absent:?}");
}

const EVERYTHING: &str = r#"
        agent.data_dir = "/var/lib/milepost"
        registry.key_file = "/etc/k"
        http.address = "off"
        [listen]
        address = "[::]:8883"
        connections_max = 5
        queued_bytes_max = 0x10_0000
        connect_timeout = "1500ms"
        write_timeout = "2m"
        refusal_delay = "0s"
        keep_alive_max = "2h"
        tls = { certificate = "c.pem", key = "k.pem", client_ca = "ca.pem" }
        [[serial]]
        name = "bay-1"
        port = "/dev/ttyUSB0"
        baud = 460_800
        [[broker]]
        name = "plant"
        url = "mqtts://broker.example"
        client_id = "c"
        username = "u"
        password_file = "p"
        ca = "ca.pem"
        certificate = "c.pem"
        key = "k.pem"
        devices = ["a", "b"]
        in_flight_max = 7
        sessions_max = 8
        keep_alive = "9s"
        session_expiry = "0s"
        [journal]
        segment_mib = 8
        size_max_gib = 0.5
        [[sink]]
        name = "a"
        type = "stdout"
        on_full = "lose"
        [[sink]]
        name = "b"
        type = "file"
        rotate_mib = 1
        [privacy]
        drop = ["Vehicle.*", "*.Latitude", "V?.x"]
        vehicle = "drop"
        location.resolution = 9
        pseudonym.key_file = "p"
        pseudonym.key_id = 3
        pseudonym.fields = ["actor"]
        "#;

#[test]
fn every_value_can_be_set() {
    let config = parse(EVERYTHING);
    let file = SinkKind::File { path: "b".into(), rotate_bytes: MIB };
    let fields = vec!["actor".to_owned()];
    let pseudonym = Pseudonym { key_file: "p".into(), key_id: 3, fields };
    assert_eq!(
        config,
        Config {
            agent: Agent { data_dir: "/var/lib/milepost".into() },
            registry: Registry { key_file: Some("/etc/k".into()) },
            listen: Listen {
                address: Some("[::]:8883".parse().unwrap()),
                tls: Some(ServerFiles {
                    certificate: "c.pem".into(),
                    key: "k.pem".into(),
                    client_ca: Some("ca.pem".into()),
                }),
                connections_max: 5,
                connect_timeout: Duration::from_millis(1500),
                write_timeout: Duration::from_mins(2),
                refusal_delay: Duration::ZERO,
                keep_alive_max: Duration::from_hours(2),
                queued_bytes_max: MIB,
            },
            brokers: vec![BrokerConfig {
                name: "plant".into(),
                url: BrokerUrl { is_tls: true, host: "broker.example".into(), port: 8883 },
                client_id: "c".into(),
                login: Some(LoginFiles { username: "u".into(), password_file: Some("p".into()) }),
                tls: Some(ClientFiles {
                    ca: "ca.pem".into(),
                    identity: Some(("c.pem".into(), "k.pem".into())),
                }),
                devices: Devices::Some(vec!["a".parse().unwrap(), "b".parse().unwrap()]),
                in_flight_max: 7,
                sessions_max: 8,
                keep_alive: Duration::from_secs(9),
                session_expiry: Duration::ZERO,
            }],
            serials: vec![SerialConfig {
                name: "bay-1".into(),
                port: Place::Path("/dev/ttyUSB0".into()),
                baud: 460_800,
            }],
            http: Http { address: None },
            journal: Journal { segment_bytes: 8 * MIB, bytes_max: 512 * MIB },
            sinks: Sinks(vec![
                Sink { name: "a".into(), kind: SinkKind::Stdout, on_full: OnFull::Lose },
                Sink { name: "b".into(), kind: file, on_full: OnFull::Lose },
            ]),
            privacy: Privacy {
                drop: ["Vehicle.*", "*.Latitude", "V?.x"].map(str::to_owned).to_vec(),
                location: Some(Location { resolution: 9 }),
                pseudonym: Some(pseudonym),
                drop_vehicle: true,
            },
            log: Log::default(),
        }
    );
    assert_eq!(config.key_file(), Path::new("/etc/k"));
}

#[test]
fn a_serial_line_is_told_what_is_wrong_with_it() {
    let line = |rest: &str| format!("[[serial]]\nname = \"a\"\n{rest}");
    for (text, said) in [
        (line(""), "`port` is missing in [[serial]]"),
        (line("port = \"ttyUSB0\""), "`ttyUSB0` is no serial port"),
        (line("port = \"tcp://host\""), "a path like /dev/ttyUSB0, or tcp://HOST:PORT"),
        (line("port = \"/dev/a\"\nbaud = 1"), "300 to 4000000"),
        (
            line("port = \"/dev/a\"\n") + &line("port = \"/dev/b\""),
            "two serial lines are called `a`",
        ),
        (
            line("port = \"/dev/a\"\n[[serial]]\nname = \"b\"\nport = \"/dev/a\""),
            "`a` has this port already",
        ),
    ] {
        let shown = report(&text).to_string();
        assert!(shown.contains(said), "{shown}");
    }
    let alone = parse("[listen]\naddress = \"off\"\n[[serial]]\nname = \"a\"\nport = \"/dev/a\"");
    assert_eq!((alone.serials.len(), alone.serials[0].baud), (1, 115_200));
}

#[test]
fn the_log_can_be_set() {
    let config = parse("[log]\nlevel = \"warn,agent::forward=trace\"\nformat = \"json\"");
    let level = "warn,agent::forward=trace".to_owned();
    assert_eq!(config.log, Log { level, json: true });
}

#[test]
fn a_report_shows_place_line_caret_and_what_was_meant() {
    let shown = report("[listen]\nadress = \"127.0.0.1:1883\"\n").to_string();
    let expected = "\
test.toml:2:1: unknown key `adress` in [listen]
  |
2 | adress = \"127.0.0.1:1883\"
  | ^^^^^^ did you mean `address`?
1 error";
    assert_eq!(shown, expected);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let report = report(
        r#"[agent]
data_dir = 7
[listn]
[http]
address = "localhost:99"
[journal]
segment_mib = 5000
[listen]
connect_timeout = "10 seconds"
connections_max = 0
[[sink]]
name = "a"
type = "flie"
"#,
    );
    let found: Vec<_> = report
        .problems()
        .map(|(problem, place)| (place.unwrap().0, problem.what.clone()))
        .collect();
    let expected = [
        (2, "`data_dir` must be a string, not an integer"),
        (3, "unknown key `listn` in the top level"),
        (5, "`localhost:99` is no address"),
        (7, "`segment_mib` is out of range"),
        (9, "`10 seconds` is no duration"),
        (10, "`connections_max` is out of range"),
        (13, "`type` can't be `flie`"),
    ];
    assert_eq!(found, expected.map(|(line, what)| (line, what.to_owned())));
    assert!(report.to_string().ends_with("7 errors"));
    assert!(report.to_string().contains("did you mean `file`?"));
    assert!(report.to_string().contains("did you mean `listen`?"));
    assert!(report.to_string().contains("from 1 to 1024"));
}

/// (text, line of the only mistake, part of its message)
const MISTAKES: &[(&str, usize, &str)] = &[
    ("[listen]\naddress = \"127.0.0.1:9464\"", 2, "is also where devices connect to"),
    ("[http]\naddress = \"0.0.0.0:1883\"", 2, "is also where devices connect to"),
    ("[journal]\nsize_max_gib = 0.1", 2, "no room for 6 segments"),
    ("[journal]\nsegment_mib = 1024\nsize_max_gib = 5", 3, "no room for 6 segments"),
    ("sink = []", 1, "there is no sink"),
    ("[[sink]]\ntype = \"stdout\"", 1, "`name` is missing"),
    ("[[sink]]\nname = \"a b\"\ntype = \"stdout\"", 2, "can't be a sink's name"),
    ("[[sink]]\nname = \"a\"\ntype = \"stdout\"\npath = \"x\"", 4, "has no `path`"),
    (
        "[[sink]]\nname = \"a\"\ntype = \"file\"\n[[sink]]\nname = \"a\"\ntype = \"file\"\npath = \"b\"",
        5,
        "two sinks are called `a`",
    ),
    (
        "[[sink]]\nname = \"a\"\ntype = \"file\"\n[[sink]]\nname = \"b\"\ntype = \"file\"\npath = \"a\"",
        7,
        "same place",
    ),
    (
        "[[sink]]\nname = \"a\"\ntype = \"stdout\"\n[[sink]]\nname = \"b\"\ntype = \"stdout\"",
        6,
        "same place",
    ),
    ("[[sink]]\nname = \"a\"\ntype = \"file\"\npath = \"journal\"", 4, "keeps its own files there"),
    ("[[sink]]\nname = \"a\"\ntype = \"file\"\npath = \"x/../cursors/b\"", 4, "keeps its own"),
    ("[[sink]]\nname = \"a\"\ntype = \"file\"\npath = \"..\"", 4, "data directory itself"),
    ("[[sink]]\nname = \"a\"\ntype = \"file\"\npath = \".\"", 4, "data directory itself"),
    ("[[sink]]\nname = \"parked\"\ntype = \"file\"", 2, "keeps its own files there"),
    ("[privacy]\ndrop = [\n\"ok\",\n\"a b\"]", 4, "matches no signal"),
    ("[privacy]\ndrop = \"a\"", 2, "must be an array of strings"),
    ("[privacy]\ndrop = [1]", 2, "expected a string"),
    ("[privacy.location]", 1, "`resolution` is missing in [privacy.location]"),
    ("[privacy.location]\nresolution = 16", 2, "out of range"),
    ("[privacy.pseudonym]\nkey_id = 3", 1, "`key_file` is missing"),
    ("[privacy.pseudonym]\nkey_file = \"k\"\nkey_id = 10000", 3, "out of range"),
    ("[privacy.pseudonym]\nkey_file = \"k\"\nfield = []", 3, "unknown key `field`"),
    ("[log]\nlevel = \"agent=loud\"", 2, "is no level"),
    ("[log]\nformat = \"xml\"", 2, "can't be `xml`"),
    ("agent.data_dir = \"\"", 1, "is empty"),
    ("[listen]\naddress = \"localhost:1\"", 2, "is no address"),
    ("[[sink]]\ntype = \"store\"", 1, "`name` is missing"),
    (
        "[[sink]]\nname = \"a\"\ntype = \"store\"\n[[sink]]\nname = \"b\"\ntype = \"file\"\npath = \"./a/blocks\"",
        7,
        "that is where sink `a` writes",
    ),
    (
        "[[sink]]\nname = \"a\"\ntype = \"file\"\npath = \"/x/y\"\n[[sink]]\nname = \"b\"\ntype = \"file\"\npath = \"/x\"",
        8,
        "sink `a` writes to a folder in there",
    ),
    ("listen = 3", 1, "must be a table"),
    ("[sink]\nname = \"a\"", 1, "array of tables"),
    ("[listen\naddress = 3", 1, "not TOML"),
    ("[listen]\nconnections_max = -3", 2, "out of range"),
    ("[listen]\nconnections_max = 99999999999999999999", 2, "out of range"),
];

#[test]
fn each_mistake_is_told_once_at_its_place() {
    for (text, line, message) in MISTAKES {
        let report = report(text);
        let problems: Vec<_> = report.problems().collect();
        let [(problem, place)] = problems.as_slice() else {
            panic!("{text}\n{report}");
        };
        assert!(problem.what.contains(message), "{text}\n{report}");
        assert_eq!(place.unwrap().0, *line, "{text}\n{report}");
    }
}

#[test]
fn the_caret_stands_under_tabs_and_wide_characters() {
    let shown = report("[listen]\n\t\"é\" = 1\n").to_string();
    assert!(shown.contains("test.toml:2:2: unknown key `é`"), "{shown}");
    assert!(shown.contains("\n  | \t^^^ one of: "), "{shown}");
}

#[test]
fn the_machine_is_checked_when_asked() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(at("file"), "x").unwrap();
    std::fs::write(at("exposed"), "x").unwrap();
    std::fs::set_permissions(at("exposed"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = format!(
        "agent.data_dir = \"{}\"\nregistry.key_file = \"{}\"\n[privacy.pseudonym]\nkey_file = \"{}\"",
        at("file"),
        at("exposed"),
        at("missing")
    );
    let path = dir.path().join("milepost.toml");
    std::fs::write(&path, text).unwrap();
    assert!(Config::load(Some(&path)).is_ok(), "the text itself is fine");
    let shown = Config::load_and_check_here(Some(&path)).unwrap_err().to_string();
    for part in ["toml:1:18: the data directory can't be used", "is not a directory"] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(shown.contains("toml:2:21: ") && shown.contains("chmod 600"), "{shown}");
    assert!(shown.contains("toml:4:12: ") && shown.contains("No such file"), "{shown}");

    std::fs::write(&path, format!("agent.data_dir = \"{}\"", at("to/be/made"))).unwrap();
    Config::load_and_check_here(Some(&path)).unwrap();
    assert!(!dir.path().join("to").exists(), "checking makes nothing");
}

#[test]
fn a_file_that_tls_cannot_use_is_told_at_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(at("c.pem"), made.cert.pem()).unwrap();
    let path = dir.path().join("milepost.toml");
    let shown = |certificate: &str, key: &str, client_ca: &str| {
        let [certificate, key, ca] = [certificate, key, client_ca].map(at);
        let text = format!(
            "agent.data_dir = \"{}\"\n[listen.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n\
             client_ca = \"{ca}\"\n[[broker]]\nname = \"b\"\nurl = \"mqtts://h\"\nca = \"{ca}\"\n",
            at("data")
        );
        std::fs::write(&path, text).unwrap();
        Config::load_and_check_here(Some(&path)).unwrap_err().to_string()
    };
    let both = shown("none", "k.pem", "c.pem");
    assert!(both.contains("toml:3:15: ") && both.contains("none: No such file"), "{both}");
    assert!(shown("c.pem", "none", "c.pem").contains("toml:4:7: "));
    assert!(shown("c.pem", "c.pem", "c.pem").contains("toml:4:7: "), "exposed, or no key in it");
    let no_ca = shown("none", "none", "none");
    assert!(no_ca.contains("toml:9:6: "), "{no_ca}");
}

#[test]
fn a_file_that_is_no_text_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("milepost.toml");
    std::fs::write(&path, b"[agent]\n# \xff\n").unwrap();
    let said = Config::load(Some(&path)).unwrap_err().to_string();
    assert!(said.contains("milepost.toml: line 2 is not UTF-8"), "{said}");
}

#[test]
fn a_named_file_must_be_there() {
    let error = Config::load(Some(Path::new("/nonexistent/milepost.toml"))).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }), "{error}");
}

#[test]
fn stdout_is_added_once() {
    let mut sinks = Sinks::default();
    sinks.add_stdout();
    sinks.add_stdout();
    assert_eq!(sinks.0.len(), 2);
}

#[test]
fn a_store_keeps_what_it_is_told_and_nothing_else_has_its_keys() {
    let config = parse(
        r#"
        [[sink]]
        name = "s"
        type = "store"
        file_mib = 8
        samples_days = 1
        rollups_days = 2
        events_days = 3
        logs_days = 4
        health_days = 5
        size_max_gib = 0.5
        "#,
    );
    let keep = Keep {
        samples_days: Some(1),
        rollups_days: Some(2),
        events_days: Some(3),
        logs_days: Some(4),
        health_days: Some(5),
        bytes_max: Some(512 * MIB),
    };
    let kind = SinkKind::Store { path: "s".into(), file_bytes: 8 * MIB, keep };
    assert_eq!(config.sinks.0[0].kind, kind);
    let of_a_file = report("[[sink]]\nname = \"f\"\ntype = \"file\"\nlogs_days = 3");
    assert!(of_a_file.to_string().contains("a file sink has no `logs_days`"), "{of_a_file}");
    let of_a_store = report("[[sink]]\nname = \"s\"\ntype = \"store\"\nrotate_mib = 3");
    assert!(of_a_store.to_string().contains("a store sink has no `rotate_mib`"), "{of_a_store}");
}
