//! The agent's own metrics: their names, how they are counted, how they are shown.
//!
//! Names are OpenTelemetry's kind: dotted, without unit or `total`; the unit is a field of its own
//! (UCUM: `By`, `s`, `{sample}`). [`render`] turns them into Prometheus' text format, where the unit
//! and `_total` become part of the name: `agent.journal.usage` in `By` is
//! `agent_journal_usage_bytes`.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts up, from any thread. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts `count` more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// The count since the start.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that goes up and down, from any thread. A clone is the same level.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// It is at `level` now.
    pub fn set(&self, level: u64) {
        self.0.store(level, Relaxed);
    }

    /// Where it is.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Whether a metric only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It does, from the start of the agent.
    Counter,
    /// It does not.
    Gauge,
}

/// What a metric is called and means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// Dotted name.
    pub name: &'static str,
    /// UCUM unit.
    pub unit: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole one.
    Whole(u64),
    /// One with a fraction.
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<&Counter> for Number {
    fn from(counter: &Counter) -> Self {
        Self::Whole(counter.get())
    }
}

impl From<&Gauge> for Number {
    fn from(gauge: &Gauge) -> Self {
        Self::Whole(gauge.get())
    }
}

/// One instrument's reading, of one set of attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Of what.
    pub instrument: Instrument,
    /// Attributes: `lane`, `sink`, `reason`.
    pub attributes: Vec<(&'static str, String)>,
    /// The reading.
    pub number: Number,
}

impl Instrument {
    const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, unit, kind: Kind::Counter, help }
    }

    const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, unit, kind: Kind::Gauge, help }
    }

    /// Its reading.
    pub fn reads(self, number: impl Into<Number>) -> Metric {
        Metric { instrument: self, attributes: Vec::new(), number: number.into() }
    }

    fn prometheus_name(&self) -> String {
        let unit = match self.unit {
            "By" => "_bytes",
            "s" => "_seconds",
            _ => "",
        };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }
}

impl Metric {
    /// With one attribute more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.attributes.push((name, value.to_string()));
        self
    }
}

/// Prometheus' text format, version 0.0.4: metrics of the same instrument stand together under one
/// heading, in the order of their first.
pub fn render(metrics: &[Metric]) -> String {
    let mut text = String::new();
    let mut done: Vec<&str> = Vec::new();
    for metric in metrics {
        let instrument = &metric.instrument;
        if done.contains(&instrument.name) {
            continue;
        }
        done.push(instrument.name);
        let same = metrics.iter().filter(|other| other.instrument.name == instrument.name);
        let written = render_family(&mut text, instrument, same);
        debug_assert!(written.is_ok(), "a string takes all that is written");
    }
    text
}

fn render_family<'a>(
    text: &mut String,
    instrument: &Instrument,
    metrics: impl Iterator<Item = &'a Metric>,
) -> fmt::Result {
    let name = instrument.prometheus_name();
    let kind = match instrument.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", instrument.help)?;
    for metric in metrics {
        text.push_str(&name);
        for (index, (key, value)) in metric.attributes.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let opening = if index == 0 { '{' } else { ',' };
            write!(text, "{opening}{}=\"{value}\"", key.replace('.', "_"))?;
        }
        if !metric.attributes.is_empty() {
            text.push('}');
        }
        match metric.number {
            Number::Whole(number) => writeln!(text, " {number}")?,
            Number::Real(number) => writeln!(text, " {number}")?,
        }
    }
    Ok(())
}

/// Panics of this process since [`watch_panics`].
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Logs every panic, in whatever thread or task, and counts it. A task that panicked is gone; who
/// joins it has to act on that, and [`panics`] lets health say so for the ones nobody joins.
pub fn watch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Relaxed);
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%backtrace, "{panic}");
    }));
}

/// How many panics there were.
pub fn panics() -> u64 {
    PANICS.load(Relaxed)
}

/// Panics; a healthy agent has none.
pub const PANICKED: Instrument =
    Instrument::counter("agent.panic.count", "{panic}", "Panics; a healthy agent has none.");
/// Seconds since the agent started.
pub const UPTIME: Instrument =
    Instrument::gauge("agent.uptime", "s", "Time since the agent started.");
/// Resident memory of the process.
pub const MEMORY: Instrument =
    Instrument::gauge("agent.memory.usage", "By", "Resident memory of the agent.");
/// Devices in the registry.
pub const DEVICES: Instrument = Instrument::gauge(
    "agent.device.count",
    "{device}",
    "Devices in the registry, revoked included.",
);
/// Live sessions; attribute `intake`.
pub const SESSIONS: Instrument =
    Instrument::gauge("agent.session.count", "{session}", "Devices connected now.");
/// Connections turned away; attribute `reason`.
pub const REFUSED: Instrument =
    Instrument::counter("agent.session.refused", "{session}", "Connections turned away.");
/// Sessions that ended; attribute `reason`.
pub const SESSIONS_ENDED: Instrument =
    Instrument::counter("agent.session.ended", "{session}", "Sessions that ended.");
/// Connections closed because what they sent is not MQTT.
pub const MALFORMED: Instrument = Instrument::counter(
    "agent.session.malformed",
    "{session}",
    "Connections closed because what they sent is not MQTT 5.",
);
/// TLS connections that came to nothing; attribute `reason`.
pub const TLS_REFUSED: Instrument =
    Instrument::counter("agent.tls.refused", "{connection}", "TLS connections turned away.");
/// Time until a certificate of ours expires, negative when it has; attribute `intake`.
pub const CERTIFICATE_LEFT: Instrument = Instrument::gauge(
    "agent.tls.certificate.left",
    "s",
    "Time until the certificate expires; negative when it has.",
);
/// Whether a broker is connected; attribute `broker`, as in all that follow.
pub const BROKER_UP: Instrument =
    Instrument::gauge("agent.broker.up", "1", "Whether the broker is connected: 1 or 0.");
/// Connections to a broker that came up.
pub const BROKER_CONNECTED: Instrument = Instrument::counter(
    "agent.broker.connected",
    "{connection}",
    "Connections to the broker that came up.",
);
/// Connections to a broker that failed or ended.
pub const BROKER_FAILED: Instrument = Instrument::counter(
    "agent.broker.failed",
    "{connection}",
    "Connections to the broker that failed or ended.",
);
/// Times that a broker had forgotten the session.
pub const BROKER_FORGOTTEN: Instrument = Instrument::counter(
    "agent.broker.forgotten",
    "{session}",
    "Times that the broker had forgotten the session.",
);
/// Messages of a broker.
pub const BROKER_MESSAGES: Instrument =
    Instrument::counter("agent.broker.messages", "{message}", "Messages that the broker brought.");
/// Messages of a broker that went no further; attribute `reason`.
pub const BROKER_UNHEARD: Instrument = Instrument::counter(
    "agent.broker.unheard",
    "{message}",
    "Messages of the broker that went no further.",
);
/// Replies that did not reach a broker.
pub const BROKER_UNSENT: Instrument = Instrument::counter(
    "agent.broker.unsent",
    "{message}",
    "Replies to devices that did not reach the broker; the devices ask again.",
);
/// Whether a serial line's port is open; attribute `serial`, as in all that follow.
pub const SERIAL_UP: Instrument =
    Instrument::gauge("agent.serial.up", "1", "Whether the serial port is open: 1 or 0.");
/// Times that a serial port could not be opened, or failed.
pub const SERIAL_FAILED: Instrument = Instrument::counter(
    "agent.serial.failed",
    "{attempt}",
    "Times that the serial port could not be opened, or failed.",
);
/// Streams that the device opened.
pub const SERIAL_STREAMS: Instrument = Instrument::counter(
    "agent.serial.streams",
    "{stream}",
    "Streams that the device opened over the serial line.",
);
/// Packets that noise changed, and noise.
pub const SERIAL_GARBLED: Instrument = Instrument::counter(
    "agent.serial.garbled",
    "{packet}",
    "Packets that noise on the serial line changed.",
);
/// Bytes read from devices; attribute `intake`.
pub const RECEIVED: Instrument =
    Instrument::counter("agent.intake.received", "By", "Bytes read from devices.");
/// Frames journaled; attribute `lane`.
pub const FRAMES_ACCEPTED: Instrument =
    Instrument::counter("agent.frame.accepted", "{frame}", "Frames journaled.");
/// Frames received again.
pub const FRAMES_DUPLICATE: Instrument =
    Instrument::counter("agent.frame.duplicate", "{frame}", "Frames already held and sent again.");
/// Frames not accepted; attribute `reason`.
pub const FRAMES_REJECTED: Instrument =
    Instrument::counter("agent.frame.rejected", "{frame}", "Frames not accepted.");
/// Frames that came before one that is missing.
pub const FRAMES_AHEAD: Instrument = Instrument::counter(
    "agent.frame.ahead",
    "{frame}",
    "Frames that came before one that is missing; their device goes back.",
);
/// Sealed bytes journaled.
pub const FRAME_BYTES: Instrument =
    Instrument::counter("agent.frame.size", "By", "Sealed bytes of the frames journaled.");
/// Hellos answered.
pub const HELLOS: Instrument =
    Instrument::counter("agent.hello.count", "{hello}", "Hellos answered.");
/// Gaps written down.
pub const GAPS: Instrument = Instrument::counter(
    "agent.gap.count",
    "{gap}",
    "Gaps that a hello showed, written down as lost or acknowledged elsewhere.",
);
/// Catalogues not taken.
pub const CATALOGUES_REFUSED: Instrument = Instrument::counter(
    "agent.catalogue.refused",
    "{catalogue}",
    "Signal catalogues that were malformed or too many.",
);
/// Samples in journaled frames.
pub const SAMPLES_ACCEPTED: Instrument =
    Instrument::counter("agent.sample.accepted", "{sample}", "Samples in journaled frames.");
/// Events in journaled frames.
pub const EVENTS_ACCEPTED: Instrument =
    Instrument::counter("agent.event.accepted", "{event}", "Events in journaled frames.");
/// Bytes of the journal on disk.
pub const JOURNAL_USAGE: Instrument =
    Instrument::gauge("agent.journal.usage", "By", "Disk space that the journal takes.");
/// Most bytes of the journal on disk.
pub const JOURNAL_LIMIT: Instrument =
    Instrument::gauge("agent.journal.limit", "By", "Disk space that the journal may take.");
/// Group commits.
pub const JOURNAL_COMMITS: Instrument =
    Instrument::counter("agent.journal.commit", "{commit}", "Group commits, each one sync a lane.");
/// Documents that a sink acknowledged; attribute `sink`.
pub const SINK_DELIVERED: Instrument =
    Instrument::counter("agent.sink.delivered", "{document}", "Documents that a sink holds.");
/// Attempts that a sink failed; attribute `sink`.
pub const SINK_FAILED: Instrument =
    Instrument::counter("agent.sink.failed", "{attempt}", "Attempts to deliver that failed.");
/// Journal bytes that a sink has not got yet; attribute `sink`.
pub const SINK_LAG: Instrument =
    Instrument::gauge("agent.sink.lag", "By", "Journal that a sink has not got yet.");
/// Samples that a sink has not got yet; attribute `sink`.
pub const SINK_LAG_SAMPLES: Instrument = Instrument::gauge(
    "agent.sink.lag.samples",
    "{sample}",
    "Samples in the journal that a sink has not got yet.",
);
/// Age of the latest entry that a sink has, while it is behind; attribute `sink`.
pub const SINK_LAG_AGE: Instrument = Instrument::gauge(
    "agent.sink.lag.age",
    "s",
    "Age of the latest entry that a sink has, while it is behind.",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_prometheus_text() {
        let frames = Counter::default();
        frames.add(3);
        frames.clone().add(4);
        let metrics = [
            FRAMES_ACCEPTED.reads(&frames).with("lane", "bulk"),
            JOURNAL_USAGE.reads(u64::MAX),
            FRAMES_ACCEPTED.reads(1).with("lane", "critical").with("a.b", "x\"\\\n"),
            UPTIME.reads(1.5),
        ];
        let expected = "\
# HELP agent_frame_accepted_total Frames journaled.
# TYPE agent_frame_accepted_total counter
agent_frame_accepted_total{lane=\"bulk\"} 7
agent_frame_accepted_total{lane=\"critical\",a_b=\"x\\\"\\\\\\n\"} 1
# HELP agent_journal_usage_bytes Disk space that the journal takes.
# TYPE agent_journal_usage_bytes gauge
agent_journal_usage_bytes 18446744073709551615
# HELP agent_uptime_seconds Time since the agent started.
# TYPE agent_uptime_seconds gauge
agent_uptime_seconds 1.5
";
        assert_eq!(render(&metrics), expected);
    }

    #[test]
    fn a_gauge_is_where_it_was_set() {
        let level = Gauge::default();
        level.set(9);
        level.set(2);
        assert_eq!(SESSIONS.reads(&level).number, Number::Whole(2));
    }
}
