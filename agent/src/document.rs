//! What an upstream gets: CloudEvents 1.0 in JSON, one line each, written straight into bytes.
//!
//! One document per instant of a device, or per record. An *instant* is a run of consecutive samples
//! of a frame with the same tick in which no signal repeats. The hot path allocates nothing: what
//! the documents of a frame share is put together once per frame, what those of a catalogue share
//! once per catalogue.
//!
//! ```text
//! {"specversion":"1.0","id":"DEV/RING/SEQ/INDEX","source":"/devices/DEV","type":"milepost.samples",
//!  "time":"2008-05-18T07:00:08.000Z","lane":"bulk","clock":"reference","boot":3,
//!  "received":"2026-11-22T07:30:00.123Z","data":{"Vehicle.Speed":41.3}}
//! ```
//!
//! `time` is the device's. Without a wall clock `"uptimems":N` stands in its place, with a wall
//! clock outside the years 0 to 9999 `"unixms":N`. The id comes from the frame alone, never from a
//! policy or from time, so a replay makes the same ids.
//!
//! Nothing here decides what may leave: only [`crate::privacy`] calls these writers.

use std::borrow::Cow;

use protocol::event::{Event, Log};
use protocol::frame::Origin;
use protocol::health::{Boot, Crash, Fork, ForkReason, Heartbeat, ResetReason};
use protocol::{Clock, Counts, DeviceId, DeviceTime, Lane, RingId, Seq};

use crate::privacy::Seat;
use crate::vehicles::Name;

mod decimal;
pub mod rfc3339;
mod text;
mod thinning;

pub use decimal::Decimal;
pub use rfc3339::Rfc3339;
pub use signals::{OwnedCatalogue, OwnedHints, OwnedSignal};
pub(crate) use text::{hexadecimal, string};
pub use thinning::{SignalThinning, thinning};

/// Who and where a document comes from.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The device, under the name that may leave.
    pub device: &'a DeviceId,
    /// Its ring.
    pub ring: RingId,
    /// The frame in it.
    pub seq: Seq,
    /// The ring's lane.
    pub lane: Lane,
    /// When the agent received the frame, in milliseconds since 1970.
    pub received_ms: i64,
    /// Where the frame was sealed first, if it was sealed anew.
    pub origin: Option<&'a Origin>,
    /// Where the device sat then, under names that may leave.
    pub seat: Option<&'a Seat>,
}

/// What a loss document says.
#[derive(Clone, Copy, Debug)]
pub struct LossReport {
    /// First sequence number gone.
    pub first: Seq,
    /// Last sequence number gone.
    pub last: Seq,
    /// What was in them, beyond what is held or was already accounted for.
    pub lost: Counts,
    /// Why, as [`protocol::loss::LossReason::name`] has it.
    pub reason: &'static str,
    /// Who says so.
    pub by: Claimant,
}

/// Who says that something is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claimant {
    /// The device, then.
    Device(DeviceTime),
    /// This agent.
    Agent,
}

/// The last word on what leaves as text.
pub trait Wording {
    /// What stands in for whatever the field of this name holds, if a rule names it.
    fn mask(&self, field: &str, shown: &str) -> Option<String>;
    /// The text to write for `text`, whatever field it stands in.
    fn word<'a>(&self, text: &'a str) -> Cow<'a, str>;
}

/// Writes documents into a byte buffer, each ended by a line feed.
#[derive(Debug, Default)]
pub struct Writer {
    times: Rfc3339,
    /// Of a frame of samples: up to the document's ordinal.
    head: Vec<u8>,
    /// From the ordinal up to the time.
    middle: Vec<u8>,
    /// From the time into `data`.
    tail: Vec<u8>,
    /// Of the document that is being written: what was left out of its signals.
    thinned: String,
}

impl Writer {
    /// Puts together what the documents of one frame of samples share.
    pub fn start_samples(&mut self, envelope: &Envelope<'_>, clock: Clock, boot: u32) {
        self.head.clear();
        opening(&mut self.head, envelope);
        self.middle.clear();
        source(&mut self.middle, envelope, "samples");
        let mut tail = std::mem::take(&mut self.tail);
        tail.clear();
        self.attributes(&mut tail, envelope, clock, Some(boot));
        self.tail = tail;
    }

    /// Begins the document of an instant of that frame; `unix_ms` counts from the boot instead if
    /// `uptime`. Members of `data` follow, then [`Writer::end_instant`].
    pub fn begin_instant(&mut self, out: &mut Vec<u8>, ordinal: u32, at_ms: i64, uptime: bool) {
        out.extend_from_slice(&self.head);
        text::integer(out, ordinal);
        out.extend_from_slice(&self.middle);
        time(&mut self.times, out, at_ms, uptime);
        out.extend_from_slice(&self.tail);
    }

    /// Says of a signal that is in the document what was left out of it ([`thinning`]).
    pub fn thinned(&mut self, thinning: &str) {
        if !self.thinned.is_empty() {
            self.thinned.push_str(", ");
        }
        self.thinned.push_str(thinning);
    }

    /// Ends the document of an instant.
    pub fn end_instant(&mut self, out: &mut Vec<u8>) {
        if self.thinned.is_empty() {
            return Self::end(out);
        }
        out.extend_from_slice(b"},\"thinning\":");
        text::string(out, &self.thinned);
        out.extend_from_slice(b"}\n");
        self.thinned.clear();
    }

    /// Ends the document of a record.
    fn end(out: &mut Vec<u8>) {
        out.extend_from_slice(b"}}\n");
    }

    /// A loss, by the device or by this agent.
    pub fn loss(&mut self, out: &mut Vec<u8>, envelope: &Envelope<'_>, report: &LossReport) {
        opening(out, envelope);
        let by = match report.by {
            Claimant::Device(at) => {
                text::integer(out, 0);
                self.stamp(out, envelope, "loss", &at);
                "device"
            }
            Claimant::Agent => {
                out.extend_from_slice(b"loss");
                source(out, envelope, "loss");
                time(&mut self.times, out, envelope.received_ms, false);
                self.attributes(out, envelope, Clock::Agent, None);
                "agent"
            }
        };
        number(out, b"\"first\":", report.first.0);
        number(out, b",\"last\":", report.last.0);
        number(out, b",\"samples\":", report.lost.samples);
        number(out, b",\"events\":", report.lost.events);
        plain(out, b",\"reason\":\"", report.reason);
        plain(out, b"\",\"by\":\"", by);
        out.push(b'"');
        Self::end(out);
    }

    /// An event.
    pub fn event(
        &mut self,
        out: &mut Vec<u8>,
        envelope: &Envelope<'_>,
        ordinal: u32,
        event: &Event<'_>,
        wording: &impl Wording,
    ) {
        self.record(out, envelope, ordinal, "event", &event.time);
        worded(out, b"\"actor\":", "actor", event.actor, wording);
        worded(out, b",\"action\":", "action", event.action, wording);
        worded(out, b",\"object\":", "object", event.object, wording);
        if !event.context.is_empty() {
            worded(out, b",\"context\":", "context", event.context, wording);
        }
        if !event.resource.is_empty() {
            worded(out, b",\"resource\":", "resource", event.resource, wording);
        }
        out.extend_from_slice(b",\"attributes\":{");
        for (at, (name, value)) in event.attributes.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            text::string(out, &wording.word(name));
            out.push(b':');
            attribute(out, name, value, wording);
        }
        out.push(b'}');
        Self::end(out);
    }

    /// A line of log.
    pub fn log(
        &mut self,
        out: &mut Vec<u8>,
        envelope: &Envelope<'_>,
        ordinal: u32,
        log: &Log<'_>,
        wording: &impl Wording,
    ) {
        use protocol::event::Level;
        let level = match log.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        self.record(out, envelope, ordinal, "log", &log.time);
        plain(out, b"\"level\":\"", level);
        worded(out, b"\",\"target\":", "target", log.target, wording);
        worded(out, b",\"message\":", "message", log.message, wording);
        Self::end(out);
    }

    /// A heartbeat.
    pub fn heartbeat(
        &mut self,
        out: &mut Vec<u8>,
        envelope: &Envelope<'_>,
        ordinal: u32,
        beat: &Heartbeat,
    ) {
        self.record(out, envelope, ordinal, "health", &beat.time);
        list(out, b"\"ring_used\":", beat.ring_used);
        number(out, b",\"link_up\":", beat.link_up);
        number(out, b",\"rejected\":", beat.rejected);
        number(out, b",\"refused\":", beat.refused);
        number(out, b",\"stack_free\":", beat.stack_free);
        number(out, b",\"supply_mv\":", beat.supply_mv);
        Self::end(out);
    }

    /// A boot.
    pub fn boot(&mut self, out: &mut Vec<u8>, envelope: &Envelope<'_>, ordinal: u32, boot: &Boot) {
        let reset = match boot.reset {
            ResetReason::Unknown => "unknown",
            ResetReason::Power => "power",
            ResetReason::Software => "software",
            ResetReason::Watchdog => "watchdog",
            ResetReason::Crash => "crash",
            ResetReason::Pin => "pin",
        };
        self.record(out, envelope, ordinal, "boot", &boot.time);
        plain(out, b"\"reset\":\"", reset);
        list(out, b"\",\"unsealed_samples_max\":", boot.unsealed_samples_max);
        list(out, b",\"unsealed_events_max\":", boot.unsealed_events_max);
        list(out, b",\"next\":", boot.next.map(|seq| seq.0));
        Self::end(out);
    }

    /// A fork.
    pub fn fork(&mut self, out: &mut Vec<u8>, envelope: &Envelope<'_>, ordinal: u32, fork: &Fork) {
        let reason = match fork.reason {
            ForkReason::Ahead => "ahead",
            ForkReason::Mismatch => "mismatch",
        };
        self.record(out, envelope, ordinal, "fork", &fork.time);
        plain(out, b"\"lane\":\"", fork.lane.name());
        plain(out, b"\",\"from\":\"", fork.from);
        plain(out, b"\",\"to\":\"", fork.to);
        number(out, b"\",\"acknowledged\":", fork.acknowledged.0);
        number(out, b",\"next\":", fork.next.0);
        plain(out, b",\"reason\":\"", reason);
        out.push(b'"');
        Self::end(out);
    }

    /// A crash's remains.
    pub fn crash(
        &mut self,
        out: &mut Vec<u8>,
        envelope: &Envelope<'_>,
        ordinal: u32,
        crash: &Crash<'_>,
        wording: &impl Wording,
    ) {
        self.record(out, envelope, ordinal, "crash", &crash.time);
        number(out, b"\"boot\":", crash.boot);
        number(out, b",\"image\":", crash.image);
        list(out, b",\"registers\":", crash.registers);
        worded(out, b",\"reason\":", "reason", crash.reason, wording);
        out.extend_from_slice(b",\"stack\":\"");
        text::hexadecimal(out, crash.stack);
        out.push(b'"');
        Self::end(out);
    }

    /// Everything of a record's document up to the members of `data`.
    fn record(
        &mut self,
        out: &mut Vec<u8>,
        envelope: &Envelope<'_>,
        ordinal: u32,
        kind: &str,
        at: &DeviceTime,
    ) {
        opening(out, envelope);
        text::integer(out, ordinal);
        self.stamp(out, envelope, kind, at);
    }

    fn stamp(&mut self, out: &mut Vec<u8>, envelope: &Envelope<'_>, kind: &str, at: &DeviceTime) {
        source(out, envelope, kind);
        let uptime_ms = i64::try_from(at.uptime_ms).unwrap_or(i64::MAX);
        let wall_ms = at.wall_ms();
        time(&mut self.times, out, wall_ms.unwrap_or(uptime_ms), wall_ms.is_none());
        self.attributes(out, envelope, at.clock, Some(at.boot));
    }

    /// From behind the time into `data`.
    fn attributes(
        &mut self,
        out: &mut Vec<u8>,
        envelope: &Envelope<'_>,
        clock: Clock,
        boot: Option<u32>,
    ) {
        plain(out, b"\"lane\":\"", envelope.lane.name());
        plain(out, b"\",\"clock\":\"", clock.name());
        out.extend_from_slice(b"\",");
        if let Some(boot) = boot {
            number(out, b"\"boot\":", boot);
            out.push(b',');
        }
        out.extend_from_slice(b"\"received\":\"");
        if !self.times.write(out, envelope.received_ms) {
            text::integer(out, envelope.received_ms);
        }
        out.extend_from_slice(b"\",");
        if let Some(origin) = envelope.origin {
            plain(out, b"\"origin\":\"", origin.ring);
            number(out, b"/", origin.seq.0);
            out.extend_from_slice(b"\",");
        }
        if let Some(seat) = envelope.seat {
            let belonging = &seat.belonging;
            text_attribute(out, b"\"vehicle\":", seat.vehicle.as_deref());
            text_attribute(out, b"\"vehiclegroup\":", belonging.group.as_ref().map(Name::as_str));
            text_attribute(out, b"\"tenant\":", belonging.tenant.as_ref().map(Name::as_str));
            text_attribute(out, b"\"region\":", belonging.region.as_ref().map(Name::as_str));
        }
        out.extend_from_slice(b"\"data\":{");
    }
}

/// The member name of a signal: escaped, with the comma that parts it from the one before.
pub fn member(path: &str) -> Box<[u8]> {
    let mut name = vec![b','];
    text::string(&mut name, path);
    name.push(b':');
    name.into_boxed_slice()
}

/// The member of a document that names a vehicle, with the comma behind it.
pub fn vehicle_member(vehicle: &str) -> String {
    let mut member = b"\"vehicle\":".to_vec();
    text_attribute(&mut member, b"", Some(vehicle));
    String::from_utf8_lossy(&member).into_owned()
}

/// A document without this member of its own; none if it has none. What its data says is the
/// device's word.
pub fn without_member(document: &str, member: &str) -> Option<String> {
    let (before, after) = document.split_once(member)?;
    (!before.contains("\"data\":{")).then(|| [before, after].concat())
}

/// Appends an H3 cell index as a JSON string.
pub fn cell(out: &mut Vec<u8>, index: u64) {
    out.push(b'"');
    match h3o::CellIndex::try_from(index) {
        Ok(cell) => text::plain(out, cell),
        Err(_) => text::plain(out, format_args!("{index:x}")),
    }
    out.push(b'"');
}

/// Up to the ordinal in the id.
fn opening(out: &mut Vec<u8>, envelope: &Envelope<'_>) {
    out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
    out.extend_from_slice(envelope.device.as_bytes());
    out.push(b'/');
    text::hexadecimal(out, &envelope.ring.0);
    out.push(b'/');
    text::integer(out, envelope.seq.0);
    out.push(b'/');
}

/// From the end of the id up to the time.
fn source(out: &mut Vec<u8>, envelope: &Envelope<'_>, kind: &str) {
    out.extend_from_slice(b"\",\"source\":\"/devices/");
    out.extend_from_slice(envelope.device.as_bytes());
    out.extend_from_slice(b"\",\"type\":\"milepost.");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",");
}

fn time(times: &mut Rfc3339, out: &mut Vec<u8>, at_ms: i64, uptime: bool) {
    if uptime {
        number(out, b"\"uptimems\":", at_ms);
        out.push(b',');
        return;
    }
    let before = out.len();
    out.extend_from_slice(b"\"time\":\"");
    if times.write(out, at_ms) {
        out.extend_from_slice(b"\",");
    } else {
        out.truncate(before);
        number(out, b"\"unixms\":", at_ms);
        out.push(b',');
    }
}

fn attribute(
    out: &mut Vec<u8>,
    name: &str,
    value: &protocol::event::Value<'_>,
    wording: &impl Wording,
) {
    if let protocol::event::Value::Text(value) = value {
        worded(out, b"", name, value, wording);
        return;
    }
    let before = out.len();
    decimal::attribute(out, value);
    // A rule on the name holds for a number as well: what it becomes is text.
    let shown = out.get(before..).and_then(|shown| std::str::from_utf8(shown).ok()).unwrap_or("");
    if let Some(other) = wording.mask(name, shown) {
        out.truncate(before);
        text::string(out, &other);
    }
}

fn worded(out: &mut Vec<u8>, member: &[u8], field: &str, value: &str, wording: &impl Wording) {
    out.extend_from_slice(member);
    match wording.mask(field, value) {
        Some(other) => text::string(out, &other),
        None => text::string(out, &wording.word(value)),
    }
}

fn text_attribute(out: &mut Vec<u8>, member: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        out.extend_from_slice(member);
        text::string(out, value);
        out.push(b',');
    }
}

fn plain(out: &mut Vec<u8>, member: &[u8], value: impl std::fmt::Display) {
    out.extend_from_slice(member);
    text::plain(out, value);
}

fn number<N: itoa::Integer>(out: &mut Vec<u8>, member: &[u8], value: N) {
    out.extend_from_slice(member);
    text::integer(out, value);
}

fn list<N: itoa::Integer, const LEN: usize>(out: &mut Vec<u8>, member: &[u8], values: [N; LEN]) {
    out.extend_from_slice(member);
    out.push(b'[');
    for (at, value) in values.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text::integer(out, value);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests;
