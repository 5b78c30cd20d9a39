//! The file's sections, key by key: names, limits, defaults.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::read::{Notes, Section};
use super::report::{Problem, Report};
use super::{
    Agent, Config, Http, Journal, Keep, Listen, MIB, OnFull, Registry, Sink, SinkKind, Sinks,
    loopback,
};
use super::{check, links, log, privacy};

/// Reads all there is; what is wrong goes into the report, and has its default here.
pub(super) fn read(text: &str, report: &mut Report) -> (Config, Notes) {
    let notes = Notes::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // After a syntax error the rest may mean anything: only the syntax is reported.
        let mut last_line = None;
        for error in errors {
            let start = error.span().map(|span| span.start);
            let line = start.map(|at| text.get(..at).unwrap_or_default().matches('\n').count());
            if line.is_none() || line != last_line {
                let what = format!("not TOML: {}", error.message());
                report.push(Problem { span: error.span(), what, meant: None });
            }
            last_line = line;
        }
        return (Config::default(), notes);
    }
    let mut root = Section::root(table.get_ref(), &notes);
    let config = Config {
        agent: agent(root.section("agent")),
        registry: registry(root.section("registry")),
        listen: listen(root.section("listen")),
        brokers: links::brokers(&mut root, &notes),
        serials: links::serials(&mut root),
        http: http(root.section("http")),
        journal: journal(root.section("journal")),
        sinks: sinks(&mut root),
        privacy: privacy::read(root.section("privacy"), &notes),
        log: log::read(root.section("log")),
    };
    root.finish();
    check::consistency(&config, &notes);
    notes.take_problems().into_iter().for_each(|problem| report.push(problem));
    (config, notes)
}

fn agent(mut section: Section<'_>) -> Agent {
    let default = Agent::default();
    let given = section.text("data_dir");
    if given == Some("") {
        // A path that is empty stands for wherever the agent is started.
        let meant = r#"a directory, like "/var/lib/milepost""#.to_owned();
        section.wrong("data_dir", "`data_dir` is empty", Some(meant));
    }
    let data_dir = given.filter(|given| !given.is_empty());
    section.finish();
    Agent { data_dir: data_dir.map_or(default.data_dir, PathBuf::from) }
}

fn registry(mut section: Section<'_>) -> Registry {
    let registry = Registry { key_file: section.text("key_file").map(PathBuf::from) };
    section.finish();
    registry
}

fn listen(mut section: Section<'_>) -> Listen {
    let default = Listen::default();
    let s = Duration::from_secs;
    let address = match section.text("address") {
        None => default.address,
        Some("off") => None,
        // One that is none is no port that is off.
        Some(text) => Some(section.parse_address("address", text).unwrap_or(loopback(0))),
    };
    let tls = links::listen_tls(&mut section);
    let connections_max = section.whole("connections_max", 1..=1_000_000);
    let queued_bytes_max = section.whole("queued_bytes_max", 64 * 1024..=1024 * MIB);
    let connect_timeout = section.duration("connect_timeout", s(1)..=s(300));
    let write_timeout = section.duration("write_timeout", s(1)..=s(300));
    let refusal_delay = section.duration("refusal_delay", s(0)..=s(10));
    let keep_alive_max = section.duration("keep_alive_max", s(10)..=s(65_535));
    let listen = Listen {
        address,
        tls,
        connections_max: connections_max
            .and_then(|connections| u32::try_from(connections).ok())
            .unwrap_or(default.connections_max),
        connect_timeout: connect_timeout.unwrap_or(default.connect_timeout),
        write_timeout: write_timeout.unwrap_or(default.write_timeout),
        refusal_delay: refusal_delay.unwrap_or(default.refusal_delay),
        keep_alive_max: keep_alive_max.unwrap_or(default.keep_alive_max),
        queued_bytes_max: queued_bytes_max.unwrap_or(default.queued_bytes_max),
    };
    section.finish();
    listen
}

fn http(mut section: Section<'_>) -> Http {
    let default = Http::default();
    let address = match section.text("address") {
        None => default.address,
        Some("off") => None,
        Some(text) => section.parse_address("address", text),
    };
    section.finish();
    Http { address }
}

fn journal(mut section: Section<'_>) -> Journal {
    let default = Journal::default();
    let segment = section.whole("segment_mib", 1..=1024);
    let size = section.number("size_max_gib", 0.01..=1024.0 * 1024.0);
    section.finish();
    Journal {
        segment_bytes: segment.map_or(default.segment_bytes, |mib| mib * MIB),
        bytes_max: size.map_or(default.bytes_max, gib),
    }
}

/// Bytes of so many GiB, to the nearest MiB.
fn gib(gib: f64) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "limited to 0.01 ..= 1024 * 1024 where it was read"
    )]
    let mib = (gib * 1024.0).round() as u64;
    mib * MIB
}

#[derive(Clone, Copy)]
enum Kind {
    File,
    Stdout,
    Store,
}

const KINDS: [(&str, Kind); 3] =
    [("file", Kind::File), ("stdout", Kind::Stdout), ("store", Kind::Store)];

fn sinks(root: &mut Section<'_>) -> Sinks {
    let Some(sections) = root.sections("sink") else { return Sinks::default() };
    if sections.is_empty() {
        root.wrong("sink", "there is no sink", Some("add a [[sink]]".to_owned()));
    }
    let mut sinks = Vec::new();
    let mut distinct = check::Distinct::default();
    for (index, mut section) in sections.into_iter().enumerate() {
        for key in ["name", "type"] {
            if !section.has(key) {
                section.missing(key, r#"like name = "documents", type = "file""#);
            }
        }
        let name = section.text("name").unwrap_or_default().to_owned();
        let kind = section.choice("type", &KINDS);
        let on_full =
            section.choice("on_full", &[("block", OnFull::Block), ("lose", OnFull::Lose)]);
        // The first sink is the primary one: what it has not got must not be lost.
        let default = if index == 0 { OnFull::Block } else { OnFull::Lose };
        let kind = match kind {
            Some(Kind::File) => file_sink(&mut section, &name),
            Some(Kind::Stdout) => stdout_sink(&mut section),
            Some(Kind::Store) => store_sink(&mut section, &name),
            // Which keys such a sink may have is unknown; its type is reported.
            None => continue,
        };
        let sink = Sink { name, kind, on_full: on_full.unwrap_or(default) };
        distinct.check(&section, index, &sink);
        section.finish();
        sinks.push(sink);
    }
    Sinks(sinks)
}

/// What only some kinds of sink have.
const FILE_KEYS: [&str; 1] = ["rotate_mib"];
const STORE_KEYS: [&str; 7] = [
    "file_mib",
    "samples_days",
    "rollups_days",
    "events_days",
    "logs_days",
    "health_days",
    "size_max_gib",
];

/// Refuses keys that this kind of sink does not have.
fn refuse(section: &mut Section<'_>, kind: &str, keys: &[&'static str], meant: &str) {
    for key in keys {
        if section.has(key) {
            section.skip(key);
            let meant = Some(format!(r#"remove it, or set type = "{meant}""#));
            section.wrong(key, format!("a {kind} sink has no `{key}`"), meant);
        }
    }
}

fn stdout_sink(section: &mut Section<'_>) -> SinkKind {
    refuse(section, "stdout", &["path"], "file");
    refuse(section, "stdout", &FILE_KEYS, "file");
    refuse(section, "stdout", &STORE_KEYS, "store");
    SinkKind::Stdout
}

fn file_sink(section: &mut Section<'_>, name: &str) -> SinkKind {
    let path = section.text("path").unwrap_or(name);
    let rotate_bytes =
        section.whole("rotate_mib", 1..=1024 * 1024).map_or(64 * MIB, |mib| mib * MIB);
    refuse(section, "file", &STORE_KEYS, "store");
    SinkKind::File { path: PathBuf::from(path), rotate_bytes }
}

fn store_sink(section: &mut Section<'_>, name: &str) -> SinkKind {
    let path = section.text("path").unwrap_or(name);
    let file_bytes = section.whole("file_mib", 1..=1024).map_or(16 * MIB, |mib| mib * MIB);
    let mut days = |key| section.whole(key, 1..=100_000);
    let mut keep = Keep {
        samples_days: days("samples_days"),
        rollups_days: days("rollups_days"),
        events_days: days("events_days"),
        logs_days: days("logs_days"),
        health_days: days("health_days"),
        bytes_max: None,
    };
    keep.bytes_max = section.number("size_max_gib", 0.01..=1024.0 * 1024.0).map(gib);
    refuse(section, "store", &FILE_KEYS, "file");
    SinkKind::Store { path: PathBuf::from(path), file_bytes, keep }
}
