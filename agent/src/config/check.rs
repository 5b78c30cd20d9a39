//! Mistakes that no single value shows: contradictions, and what this machine refuses.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::read::{Notes, Section};
use super::report::{Problem, Report};
use super::{Config, Sink, SinkKind};
use crate::registry::{WrappingKey, is_exposed};
use crate::tls::TlsError;

/// Two segments a lane: one being written, one being forwarded.
const SEGMENTS_MIN: u64 = 6;
/// Longest name of a sink or broker.
const NAME_LEN_MAX: usize = 32;

/// Contradictions within the file.
pub(super) fn consistency(config: &Config, notes: &Notes) {
    if let Some(http) = config.http.address
        && let Some(listen) = config.listen.address
        && overlap(listen, http)
    {
        let what = format!("{http} is also where devices connect to ({listen})");
        let meant = Some("give [listen] and [http] different ports".to_owned());
        let at =
            if notes.span("http.address").is_some() { "http.address" } else { "listen.address" };
        notes.wrong_at(at, what, meant);
    }
    if config.listen.address.is_none() {
        if config.brokers.is_empty() && config.serials.is_empty() {
            let meant = Some("an address, a [[broker]] or a [[serial]]".to_owned());
            notes.wrong_at("listen.address", "there is no way for devices to connect", meant);
        }
        if config.listen.tls.is_some() {
            notes.wrong_at("listen.tls", "TLS for a port that is off", None);
        }
    }
    sink_places(config, notes);
    let journal = &config.journal;
    if journal.bytes_max < journal.segment_bytes.saturating_mul(SEGMENTS_MIN) {
        let given = notes.span("journal.size_max_gib").is_some();
        let at = if given { "journal.size_max_gib" } else { "journal.segment_mib" };
        let what =
            format!("the journal has no room for {SEGMENTS_MIN} segments, two for each lane");
        notes.wrong_at(at, what, Some("raise size_max_gib or lower segment_mib".to_owned()));
    }
}

/// Whether a sink or broker can have this name.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// What the agent itself keeps in its data directory.
const OWN: [&str; 6] = ["journal", "cursors", "dead-letters", "parked", "store", "state.redb"];

/// Sinks that would write among the agent's own files, or around them.
fn sink_places(config: &Config, notes: &Notes) {
    let data_dir = plain(&config.agent.data_dir);
    let mut places: Vec<(&Sink, &Path, PathBuf)> = Vec::new();
    for (index, sink) in config.sinks.0.iter().enumerate() {
        let (path, is_store) = match &sink.kind {
            SinkKind::File { path, .. } => (path, false),
            SinkKind::Store { path, .. } => (path, true),
            SinkKind::Stdout => continue,
        };
        // Without a name there is no place, and that there is no name is said already.
        if sink.name.is_empty() && path.as_os_str().is_empty() {
            continue;
        }
        let place = plain(&data_dir.join(path));
        let is_own =
            |own: &&str| place.starts_with(data_dir.join(own)) && !(is_store && *own == "store");
        let overlaps = |(_, other_path, other): &&(&Sink, &Path, PathBuf)| {
            // The very same path is said by `Distinct`.
            path != other_path && (place.starts_with(other) || other.starts_with(&place))
        };
        let overlapping = places.iter().find(overlaps).map(|(other, _, at)| (&other.name, at));
        let what = if data_dir.starts_with(&place) {
            "the data directory itself lies there".to_owned()
        } else if OWN.iter().any(is_own) {
            "the agent keeps its own files there".to_owned()
        } else if let Some((other, at)) = overlapping {
            if place.starts_with(at) {
                format!("that is where sink `{other}` writes")
            } else {
                format!("sink `{other}` writes to a folder in there")
            }
        } else {
            places.push((sink, path, place));
            continue;
        };
        let keys = [format!("sink[{index}].path"), format!("sink[{index}].name")];
        let at = keys.iter().find(|key| notes.span(key).is_some());
        let what = format!("sink `{}` can't write to {}: {what}", sink.name, path.display());
        let meant = r#"a folder of its own, like path = "documents""#.to_owned();
        notes.wrong_at(at.map_or("sink", String::as_str), what, Some(meant));
    }
}

/// A path without `.` and `..`, as far as its text tells.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// What the sinks seen so far have taken: names and places to write to.
#[derive(Default)]
pub(super) struct Distinct {
    names: BTreeMap<String, usize>,
    places: BTreeMap<Option<PathBuf>, usize>,
}

impl Distinct {
    /// Notes what is wrong with the name of this sink, the `index`th, and whether it has anything
    /// in common with one before.
    pub fn check(&mut self, section: &Section<'_>, index: usize, sink: &Sink) {
        let name = &sink.name;
        if section.has("name") && !is_name(name) {
            let meant = format!("1 to {NAME_LEN_MAX} characters of A-Z a-z 0-9 - _");
            section.wrong("name", format!("`{name}` can't be a sink's name"), Some(meant));
        }
        if let Some(first) = self.names.insert(name.clone(), index) {
            let meant = format!("[[sink]] number {} is the other one", first + 1);
            section.wrong("name", format!("two sinks are called `{name}`"), Some(meant));
        }
        let (place, key) = match &sink.kind {
            SinkKind::File { path, .. } | SinkKind::Store { path, .. } => {
                (Some(path.clone()), "path")
            }
            SinkKind::Stdout => (None, "type"),
        };
        // A file sink without a path has its name's, and then the names say it already.
        if let Some(first) = self.places.insert(place, index)
            && section.has(key)
        {
            let meant = format!("[[sink]] number {} has it", first + 1);
            section.wrong(key, "two sinks would write to the same place", Some(meant));
        }
    }
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (everywhere || one.ip() == other.ip())
}

/// What this machine refuses: looks, and changes nothing.
pub(super) fn environment(config: &Config, notes: &Notes, report: &mut Report) {
    let mut wrong = |path: &str, what: String, meant: Option<String>| {
        report.push(Problem { span: notes.span(path), what, meant });
    };
    let data_dir = &config.agent.data_dir;
    if let Err(why) = writable(data_dir) {
        wrong("agent.data_dir", format!("the data directory can't be used: {why}"), None);
    }
    for (index, sink) in config.sinks.0.iter().enumerate() {
        if let SinkKind::File { path, .. } | SinkKind::Store { path, .. } = &sink.kind
            && path.is_absolute()
            && let Err(why) = writable(path)
        {
            let what = format!("sink `{}` can't write: {why}", sink.name);
            wrong(&format!("sink[{index}].path"), what, None);
        }
    }
    if let Err(error) = WrappingKey::load(&config.key_file()) {
        wrong("registry.key_file", error.to_string(), None);
    }
    links(config, &mut wrong);
    if let Some(pseudonym) = &config.privacy.pseudonym
        && let Err(why) = readable_key(&pseudonym.key_file)
    {
        let meant = Some("umask 077; openssl rand -hex 32 > FILE".to_owned());
        wrong("privacy.pseudonym.key_file", why, meant);
    }
}

/// Certificates and passwords: there, readable, a pair, and not expired.
fn links(config: &Config, wrong: &mut dyn FnMut(&str, String, Option<String>)) {
    let now_s = crate::tls::unix_s();
    if let Some(files) = &config.listen.tls
        && let Err(error) = crate::tls::check_server(files, now_s)
    {
        let key = tls_key(
            &error,
            &files.key,
            [("certificate", Some(&files.certificate)), ("client_ca", files.client_ca.as_ref())],
        );
        wrong(&format!("listen.tls.{key}"), error.to_string(), None);
    }
    for (index, broker) in config.brokers.iter().enumerate() {
        if let Some(files) = &broker.tls
            && let Err(error) = crate::tls::check_client(files, now_s)
        {
            let own = files.identity.as_ref();
            let others = [("ca", Some(&files.ca)), ("certificate", own.map(|own| &own.0))];
            let key = tls_key(&error, own.map_or(&files.ca, |own| &own.1), others);
            wrong(&format!("broker[{index}].{key}"), error.to_string(), None);
        }
        if let Some(login) = &broker.login
            && let Err(error) = login.password()
        {
            wrong(&format!("broker[{index}].password_file"), error, None);
        }
    }
}

/// Which key of a section names the file that is wrong.
fn tls_key(
    error: &TlsError,
    private: &Path,
    others: [(&'static str, Option<&PathBuf>); 2],
) -> &'static str {
    // Certificate and key may be one file.
    if error.is_about_key() {
        return "key";
    }
    let named = others.into_iter().find(|(_, path)| path.is_some_and(|path| path == error.path()));
    match named {
        Some((key, _)) => key,
        None if private == error.path() => "key",
        None => "certificate",
    }
}

/// Whether a file holds a key of at least 32 bytes that nobody else can read.
fn readable_key(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let found = fs::File::open(path).and_then(|file| file.metadata());
    match found {
        Err(error) => Err(format!("{shown}: {error}")),
        Ok(found) if is_exposed(&found) => {
            Err(format!("{shown} can be read or written by others: chmod 600 {shown}"))
        }
        Ok(found) if found.len() < 32 => Err(format!("{shown} is too short for a key")),
        Ok(_) => Ok(()),
    }
}

/// Whether a directory is there and can be written, or can be made.
fn writable(dir: &Path) -> Result<(), String> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => Err(format!("{} is not a directory", dir.display())),
        Ok(_) => {
            let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            let allowed = rustix::fs::access(dir, access);
            allowed.map_err(|error| format!("{}: {error}", dir.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let absolute = std::path::absolute(dir).map_err(|error| error.to_string())?;
            let parent = absolute.parent().map(PathBuf::from);
            parent.map_or(Err("there is no such directory".to_owned()), |parent| writable(&parent))
        }
        Err(error) => Err(format!("{}: {error}", dir.display())),
    }
}
