//! `[listen.tls]`, `[[broker]]` and `[[serial]]`: how devices' messages come, and who may be believed on the way.

use std::path::PathBuf;
use std::time::Duration;

use super::check::is_name;
use super::read::{Notes, Section};
use crate::intake::broker::{BrokerConfig, BrokerUrl, Devices, LoginFiles};
use crate::intake::serial::{Place, SerialConfig};
use crate::tls::{ClientFiles, ServerFiles};

/// Most brokers; most serial lines.
const BROKERS_MAX: usize = 64;
const SERIALS_MAX: usize = 64;
/// Bits a second.
const BAUD: std::ops::RangeInclusive<u64> = 300..=4_000_000;

/// `[listen.tls]`; none without it.
pub(super) fn listen_tls(listen: &mut Section<'_>) -> Option<ServerFiles> {
    let mut section = listen.optional_section("tls")?;
    for key in ["certificate", "key"] {
        if !section.has(key) {
            section.missing(key, "a file in PEM, like \"/etc/milepost/listen.pem\"");
        }
    }
    let files = ServerFiles {
        certificate: section.text("certificate").map(PathBuf::from).unwrap_or_default(),
        key: section.text("key").map(PathBuf::from).unwrap_or_default(),
        client_ca: section.text("client_ca").map(PathBuf::from),
    };
    section.finish();
    Some(files)
}

/// Every `[[broker]]`.
pub(super) fn brokers(root: &mut Section<'_>, notes: &Notes) -> Vec<BrokerConfig> {
    let sections = root.sections("broker").unwrap_or_default();
    if sections.len() > BROKERS_MAX {
        root.wrong("broker", "too many brokers", Some(format!("at most {BROKERS_MAX}")));
    }
    let mut brokers: Vec<BrokerConfig> = Vec::new();
    for mut section in sections {
        let Some(broker) = broker(&mut section, notes) else { continue };
        if brokers.iter().any(|other| other.name == broker.name) {
            section.wrong("name", format!("two brokers are called `{}`", broker.name), None);
        }
        let is_same =
            |other: &&BrokerConfig| other.url == broker.url && other.client_id == broker.client_id;
        if let Some(other) = brokers.iter().find(is_same) {
            let what = format!("`{}` has this client id at the same broker", other.name);
            let meant = Some("give each a client_id: they would put each other out".to_owned());
            let at = if section.has("client_id") { "client_id" } else { "name" };
            section.wrong(at, what, meant);
        }
        section.finish();
        brokers.push(broker);
    }
    brokers
}

fn broker(section: &mut Section<'_>, notes: &Notes) -> Option<BrokerConfig> {
    for key in ["name", "url"] {
        if !section.has(key) {
            section.missing(key, r#"like name = "plant", url = "mqtt://127.0.0.1:1883""#);
        }
    }
    let name = section.text("name").unwrap_or_default().to_owned();
    if section.has("name") && !is_name(&name) {
        let meant = Some("1 to 32 characters of A-Z a-z 0-9 - _".to_owned());
        section.wrong("name", format!("`{name}` can't be a broker's name"), meant);
    }
    let url = section.text("url").and_then(|text| {
        let url = BrokerUrl::parse(text);
        if url.is_none() {
            let meant = "mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS (there a name or an IPv4)";
            section.wrong("url", format!("`{text}` is no broker's address"), Some(meant.into()));
        }
        url
    });
    let client_id = section.text("client_id").map(str::to_owned);
    let login = login(section);
    let tls = tls(section, url.as_ref());
    let devices = devices(section, notes);
    let s = Duration::from_secs;
    let in_flight = section.whole("in_flight_max", 1..=1024);
    let sessions = section.whole("sessions_max", 1..=1_000_000);
    let keep_alive = section.duration("keep_alive", s(5)..=s(65_535));
    let expiry = section.duration("session_expiry", s(0)..=s(365 * 24 * 3600));
    let mut broker = BrokerConfig::new(name, url?);
    if let Some(client_id) = client_id {
        broker.client_id = client_id;
    }
    (broker.login, broker.tls, broker.devices) = (login, tls, devices);
    broker.in_flight_max =
        in_flight.and_then(|n| u16::try_from(n).ok()).unwrap_or(broker.in_flight_max);
    broker.sessions_max =
        sessions.and_then(|n| usize::try_from(n).ok()).unwrap_or(broker.sessions_max);
    broker.keep_alive = keep_alive.unwrap_or(broker.keep_alive);
    broker.session_expiry = expiry.unwrap_or(broker.session_expiry);
    Some(broker)
}

/// Every `[[serial]]`.
pub(super) fn serials(root: &mut Section<'_>) -> Vec<SerialConfig> {
    let sections = root.sections("serial").unwrap_or_default();
    if sections.len() > SERIALS_MAX {
        root.wrong("serial", "too many serial lines", Some(format!("at most {SERIALS_MAX}")));
    }
    let mut serials: Vec<SerialConfig> = Vec::new();
    for mut section in sections {
        let Some(serial) = serial(&mut section) else { continue };
        if serials.iter().any(|other| other.name == serial.name) {
            section.wrong("name", format!("two serial lines are called `{}`", serial.name), None);
        }
        if let Some(other) = serials.iter().find(|other| other.port == serial.port) {
            section.wrong("port", format!("`{}` has this port already", other.name), None);
        }
        section.finish();
        serials.push(serial);
    }
    serials
}

fn serial(section: &mut Section<'_>) -> Option<SerialConfig> {
    for key in ["name", "port"] {
        if !section.has(key) {
            section.missing(key, r#"like name = "bay-1", port = "/dev/ttyUSB0""#);
        }
    }
    let name = section.text("name").unwrap_or_default().to_owned();
    if section.has("name") && !is_name(&name) {
        let meant = Some("1 to 32 characters of A-Z a-z 0-9 - _".to_owned());
        section.wrong("name", format!("`{name}` can't be a serial line's name"), meant);
    }
    let port = section.text("port").and_then(|text| {
        let port = text.parse::<Place>();
        if let Err(error) = &port {
            section.wrong("port", format!("`{text}` is no serial port"), Some(error.to_string()));
        }
        port.ok()
    });
    let baud = section.whole("baud", BAUD).and_then(|baud| u32::try_from(baud).ok());
    let default = SerialConfig::new(name, port?);
    Some(SerialConfig { baud: baud.unwrap_or(default.baud), ..default })
}

fn login(section: &mut Section<'_>) -> Option<LoginFiles> {
    let username = section.text("username").map(str::to_owned);
    let password_file = section.text("password_file").map(PathBuf::from);
    if password_file.is_some() && username.is_none() {
        section.wrong("password_file", "a password without a `username`", None);
    }
    Some(LoginFiles { username: username?, password_file })
}

fn tls(section: &mut Section<'_>, url: Option<&BrokerUrl>) -> Option<ClientFiles> {
    let ca = section.text("ca").map(PathBuf::from);
    let certificate = section.text("certificate").map(PathBuf::from);
    let key = section.text("key").map(PathBuf::from);
    if certificate.is_some() != key.is_some() {
        let at = if key.is_some() { "key" } else { "certificate" };
        section.wrong(at, "`certificate` and `key` go together", None);
    }
    let is_tls = url?.is_tls;
    let given = ["ca", "certificate", "key"].into_iter().find(|key| section.has(key));
    match (is_tls, given) {
        (false, Some(key)) => {
            let meant = Some("a url that begins with mqtts://".to_owned());
            section.wrong(key, format!("`{key}` needs TLS"), meant);
        }
        (true, _) if ca.is_none() => {
            section.missing("ca", "the certificate (PEM) of whoever signed the broker's");
        }
        _ => {}
    }
    Some(ClientFiles { ca: ca.filter(|_| is_tls)?, identity: certificate.zip(key) })
}

fn devices(section: &mut Section<'_>, notes: &Notes) -> Devices {
    let mut some = Vec::new();
    let mut all = false;
    let given = section.texts("devices");
    for (path, text) in &given {
        match text.parse() {
            _ if *text == "+" => all = true,
            Ok(device) => some.push(device),
            Err(_) => {
                let meant = Some(r#""+" for all, or device ids"#.to_owned());
                notes.wrong_at(path, format!("`{text}` is no device id"), meant);
            }
        }
    }
    if section.has("devices") && given.is_empty() {
        section.wrong("devices", "no devices at all", Some(r#"["+"] for all"#.to_owned()));
    }
    if all || some.is_empty() { Devices::All } else { Devices::Some(some) }
}
