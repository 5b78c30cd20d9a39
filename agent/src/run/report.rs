//! What the agent says about itself: metrics, health, the ledger.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use protocol::{Counts, DeviceId, Lane};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Controls;
use super::intakes;
use super::operation::{BackupPort, Reloader};
use super::rest::{buffered, swept};
use super::sinks::Sinks;
use crate::accept::AcceptCounters;
use crate::accept::driver::{AcceptStatus, Control};
use crate::activity::{self, Activity};
use crate::admin::{Buffered, Hooks};
use crate::backup;
use crate::config::Config;
use crate::document::Rfc3339;
use crate::erasure::{self, SinkErased, Swept};
use crate::forward::Condition;
use crate::http::{Health, HealthReport, JournalStatus, Snapshot, Status, Totals};
use crate::intake::broker::{BrokerConfig, BrokerGauges};
use crate::intake::listen::ListenGauges;
use crate::intake::serial::{SerialConfig, SerialGauges};
use crate::journal::{Ends, Journal, JournalTail, Position, Positions, RecoveryReport};
use crate::ledger::Ledger;
use crate::notify::Pulse;
use crate::registry::Registry;
use crate::reload::ReloadReport;
use crate::telemetry::{self, Counter, Metric};
use crate::tls::ServerTls;
use crate::vehicles::VehicleId;

const LEDGER_FILE: &str = "ledger.json";
const LEDGER_EVERY: Duration = Duration::from_secs(10);

/// Knows whom to ask.
#[derive(Debug)]
pub struct Reporter {
    pub config: Config,
    pub registry: Registry,
    pub tail: JournalTail,
    pub counters: AcceptCounters,
    pub accepting: AcceptStatus,
    pub listening: Arc<ListenGauges>,
    pub tls: Option<Arc<ServerTls>>,
    pub brokers: Vec<(BrokerConfig, Arc<BrokerGauges>)>,
    pub serials: Vec<(SerialConfig, Arc<SerialGauges>)>,
    pub sinks: Arc<Sinks>,
    pub control: Controls,
    pub started_ms: i64,
    pub backups: BackupPort,
    pub reloader: Reloader,
}

impl Reporter {
    /// Whether sessions are had here, of whatever came over TCP or a serial line.
    pub fn has_listener(&self) -> bool {
        self.config.listen.address.is_some() || !self.serials.is_empty()
    }

    fn books(&self, declared: Option<Counts>) -> Ledger {
        let ends = self.tail.ends();
        let reports = self.sinks.each().filter_map(|(_, status)| {
            let mut report = status.ok()?.ledger(&ends);
            report.declared = declared;
            Some(report)
        });
        Ledger::new(unix_ms(), reports.collect())
    }

    /// Keeps the ledger where it can be read while the agent does not run.
    pub fn write_ledger(&self) {
        let path = self.config.agent.data_dir.join(LEDGER_FILE);
        let written = serde_json::to_vec(&self.books(None))
            .map_err(std::io::Error::from)
            .and_then(|text| fs::write(&path, text));
        if let Err(error) = written {
            tracing::debug!(%error, "cannot keep the ledger for later");
        }
    }

    /// The threads that must move.
    pub fn pulses(&self) -> Vec<(String, Pulse)> {
        let mut pulses = vec![("accept".to_owned(), self.accepting.pulse().clone())];
        pulses.extend(self.sinks.pulses());
        pulses
    }

    /// How it is going, in a line.
    pub fn status_line(&self) -> String {
        let ill: Vec<String> = self
            .health()
            .into_iter()
            .filter(|health| !health.ok)
            .map(|health| format!("{}: {}", health.component, health.reason))
            .collect();
        if !ill.is_empty() {
            return ill.join("; ");
        }
        let devices = self.listening.connections.load(std::sync::atomic::Ordering::Relaxed);
        let mib = self.accepting.journal_bytes() / (1024 * 1024);
        format!("{devices} devices connected, journal {mib} MiB")
    }

    fn sink_health(&self) -> impl Iterator<Item = Health> {
        self.sinks.each().map(|(name, status)| {
            let component = format!("sink {name}");
            let (ok, reason) = match status.map(|status| status.condition()) {
                Ok(Condition::Running) => (true, "forwarding".to_owned()),
                Ok(Condition::Retrying(reason)) | Err(reason) => (false, reason),
                Ok(Condition::Stopped(reason)) => {
                    (false, reason.unwrap_or_else(|| "stopped".to_owned()))
                }
            };
            Health { component, ok, reason }
        })
    }

    fn accept_metrics(&self, metrics: &mut Vec<Metric>) {
        let counters = &self.counters;
        for (lane, frames) in Lane::ALL.into_iter().zip(&counters.frames) {
            metrics.push(telemetry::FRAMES_ACCEPTED.reads(frames).with("lane", lane));
        }
        metrics.push(telemetry::FRAME_BYTES.reads(&counters.frame_bytes));
        metrics.push(telemetry::SAMPLES_ACCEPTED.reads(&counters.samples));
        metrics.push(telemetry::EVENTS_ACCEPTED.reads(&counters.events));
        metrics.push(telemetry::HELLOS.reads(&counters.hellos));
        metrics.push(telemetry::FRAMES_DUPLICATE.reads(&counters.duplicates));
        metrics.push(telemetry::FRAMES_AHEAD.reads(&counters.ahead));
        metrics.push(telemetry::GAPS.reads(&counters.gaps));
        metrics.push(telemetry::CATALOGUES_REFUSED.reads(&counters.catalogues_refused));
        metrics.push(telemetry::JOURNAL_COMMITS.reads(&counters.commits));
        let rejected = [
            ("malformed", &counters.rejected_malformed),
            ("version", &counters.rejected_version),
            ("unauthentic", &counters.rejected_unauthentic),
            ("key", &counters.rejected_key),
            ("before-hello", &counters.rejected_before_hello),
            ("ring", &counters.rejected_ring),
        ];
        for (reason, counter) in rejected {
            metrics.push(telemetry::FRAMES_REJECTED.reads(counter).with("reason", reason));
        }
    }

    fn sink_metrics(&self, metrics: &mut Vec<Metric>) {
        let ends = self.tail.ends();
        for (name, status) in self.sinks.each() {
            let Ok(status) = status else { continue };
            let snapshot = status.snapshot();
            let lag = status.lag(&ends, unix_ms());
            let documents = snapshot.cursor.tallies.documents;
            metrics.push(telemetry::SINK_DELIVERED.reads(documents).with("sink", name));
            metrics.push(telemetry::SINK_FAILED.reads(snapshot.retries).with("sink", name));
            metrics.push(telemetry::SINK_LAG.reads(lag.bytes).with("sink", name));
            metrics.push(telemetry::SINK_LAG_SAMPLES.reads(lag.samples).with("sink", name));
            metrics.push(telemetry::SINK_LAG_AGE.reads(lag.seconds).with("sink", name));
        }
    }
}

impl Snapshot for Reporter {
    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = vec![
            telemetry::JOURNAL_USAGE.reads(self.accepting.journal_bytes()),
            telemetry::JOURNAL_LIMIT.reads(self.config.journal.bytes_max),
            telemetry::PANICKED.reads(telemetry::panics()),
        ];
        metrics.extend(resident_bytes().map(|bytes| telemetry::MEMORY.reads(bytes)));
        metrics.extend(self.registry.count().map(|count| telemetry::DEVICES.reads(count)));
        intakes::metrics(self, &mut metrics);
        self.accept_metrics(&mut metrics);
        self.sink_metrics(&mut metrics);
        metrics
    }

    fn health(&self) -> Vec<Health> {
        let mut health = Vec::new();
        intakes::health(self, &mut health);
        let blocked = self.accepting.blocked();
        let ok = blocked.is_none();
        let reason = blocked.unwrap_or_else(|| "committing".to_owned());
        health.push(Health { component: "journal".to_owned(), ok, reason });
        health.extend(self.sink_health());
        if let Some(reason) = self.reloader.problem() {
            health.push(Health { component: "configuration".to_owned(), ok: false, reason });
        }
        if telemetry::panics() > 0 {
            let reason = "something panicked; see the log, and restart".to_owned();
            health.push(Health { component: "agent".to_owned(), ok: false, reason });
        }
        health
    }

    fn status(&self) -> Status {
        let counters = &self.counters;
        let accepted = Counts { samples: counters.samples.get(), events: counters.events.get() };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at_ms: unix_ms(),
            started_ms: self.started_ms,
            totals: Totals {
                accepted,
                frames: counters.frames.iter().map(Counter::get).sum(),
                frame_bytes: counters.frame_bytes.get(),
                duplicates: counters.duplicates.get(),
                rejected: self.rejected(),
            },
            connections: intakes::sessions(self),
            devices: self.registry.count().unwrap_or_default(),
            memory_bytes: resident_bytes(),
            journal: JournalStatus {
                bytes: self.accepting.journal_bytes(),
                bytes_max: self.config.journal.bytes_max,
            },
            health: HealthReport::new(self.health()),
            ledger: self.books(None),
        }
    }

    fn activity(&self) -> &Activity {
        &self.counters.activity
    }
}

impl Reporter {
    fn rejected(&self) -> u64 {
        let counters = &self.counters;
        let rejected = [
            &counters.rejected_malformed,
            &counters.rejected_version,
            &counters.rejected_unauthentic,
            &counters.rejected_key,
            &counters.rejected_before_hello,
            &counters.rejected_ring,
        ];
        rejected.iter().map(|counter| counter.get()).sum()
    }
}

impl Hooks for Reporter {
    fn shut_out(&self, device: DeviceId) {
        if self.registry.show(device).is_ok_and(|entry| entry.is_none()) {
            self.counters.activity.forget(&device);
        }
        if self.control.blocking_send(Control::Forget(device)).is_err() {
            tracing::debug!(%device, "nobody accepts any more");
        }
    }

    fn unsent(&self, device: DeviceId) -> Option<Counts> {
        let (reply, sums) = oneshot::channel();
        self.control.blocking_send(Control::SumsOf(device, reply)).ok()?;
        let (declared, held) = sums.blocking_recv().ok()???;
        Some(declared.since(held))
    }

    fn buffered(&self, device: DeviceId) -> Result<Vec<Buffered>, String> {
        let reaches = self.sinks.each().map(|(name, status)| {
            // How far a sink is that does not open is not known: it may need all of it.
            let cursor = status.ok().and_then(|status| status.snapshot().cursor.journal);
            (name.to_owned(), cursor.map(|cursor| cursor.positions).unwrap_or_default())
        });
        buffered(&self.tail, reaches, device)
    }

    fn erase(&self, devices: &[DeviceId]) -> Result<Vec<Swept>, String> {
        let journaled = erasure::journaled(&self.tail, Positions::ZERO, devices)
            .map_err(|error| format!("cannot read the journal: {error}"))?;
        let rings: Vec<Option<usize>> = devices.iter().map(|device| self.disown(*device)).collect();
        let sinks = self.sinks.erase(devices);
        Ok(swept(rings, journaled, sinks))
    }

    fn erase_vehicle(&self, vehicle: &VehicleId) -> Result<Vec<SinkErased>, String> {
        Ok(self.sinks.erase_vehicle(vehicle))
    }

    fn ledger(&self) -> Result<Ledger, String> {
        let (reply, sums) = oneshot::channel();
        let asked = self.control.blocking_send(Control::Sums(reply));
        let declared = asked.ok().and_then(|()| sums.blocking_recv().ok()).flatten();
        Ok(self.books(declared.map(|(declared, _)| declared)))
    }

    fn reload(&self) -> Result<ReloadReport, String> {
        self.reloader.reload()
    }

    fn backup(
        &self,
        plan: &backup::Plan,
        now_ms: i64,
        watch: &mut dyn FnMut(backup::Progress) -> bool,
    ) -> Result<backup::Report, String> {
        self.backups.take(plan, now_ms, watch).map_err(|error| error.to_string())
    }
}

impl Reporter {
    /// Takes a device's name off its rings.
    fn disown(&self, device: DeviceId) -> Option<usize> {
        let (reply, rings) = oneshot::channel();
        self.control.blocking_send(Control::Erase(device, reply)).ok()?;
        rings.blocking_recv().ok()?
    }
}

/// What was known of the devices before this start.
pub fn remember_devices(registry: &Registry, activity: &Activity) -> anyhow::Result<()> {
    for entry in registry.list(None, activity::DEVICES_MAX)? {
        activity.remember(entry.device, entry.last_seen_ms);
    }
    Ok(())
}

/// Keeps the ledger for later, now and then, until the stop.
pub async fn keep_ledger(reporter: Arc<Reporter>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LEDGER_EVERY);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        reporter.write_ledger();
    }
}

/// The ledger of an agent that does not run, as it was last kept.
pub fn ledger_at_rest(config: &Config) -> anyhow::Result<Ledger> {
    let path = config.agent.data_dir.join(LEDGER_FILE);
    let text = fs::read(&path)
        .with_context(|| format!("no ledger yet: {} cannot be read", path.display()))?;
    let mut ledger: Ledger = serde_json::from_slice(&text).with_context(|| {
        format!("{} is damaged; start the agent to have it anew", path.display())
    })?;
    ledger.running = false;
    Ok(ledger)
}

/// Says what the journal's open found.
pub fn journal_opened(report: &RecoveryReport, is_old_copy: bool) {
    if report.created {
        tracing::info!("a new journal");
    }
    if is_old_copy {
        tracing::warn!(
            "the journal is an old copy, or another one: the ring table knew later entries and is \
             made anew from it; devices send again what they have, the rest will be named"
        );
    }
    // What begins at zero may have been pruned: not damage, and if it is, the sinks will say so.
    let damages = report.damages.iter().filter(|(_, damage)| damage.from != Position::ZERO);
    for (lane, damage) in damages {
        tracing::warn!(%lane, ?damage, "the journal is damaged; what is lost will be named");
    }
    let torn: u64 = report.torn_bytes.iter().sum();
    if torn > 0 {
        tracing::info!(bytes = torn, "cut off what a crash left of a group that was not committed");
    }
}

/// Says so if nothing of the journal can be read.
pub fn registry_opened(registry: &Registry, journal: &Journal) -> anyhow::Result<()> {
    if registry.count()? == 0 && journal.ends() != Ends::default() {
        tracing::error!(
            "the journal has frames and the registry no devices: without the devices' secrets \
             nothing of this can be read; if state.redb is another one, bring the right one back"
        );
    }
    Ok(())
}

/// Says, at the first start on a restored directory, what that means.
pub fn restored(data_dir: &Path, registry: &Registry) -> anyhow::Result<()> {
    let restored = backup::not_started(data_dir).context("cannot read what was restored")?;
    if let Some(restored) = restored {
        let again = registry.reapply_erasures(&restored.erasures)?;
        if !again.is_empty() {
            tracing::warn!(count = again.len(), "erasing again what the backup brought back");
        }
        backup::mark_started(data_dir, unix_ms()).context("cannot note the start")?;
        let mut made = Vec::new();
        Rfc3339::default().write(&mut made, restored.made_ms);
        let backup = String::from_utf8_lossy(&made);
        tracing::warn!(
            %backup,
            "restored from a backup: devices send again what they still have; what they were \
             acknowledged since the backup and no longer have is named, device by device, and sinks \
             that hold it keep it"
        );
    }
    Ok(())
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

#[allow(clippy::disallowed_methods, reason = "driver: stamps reports")]
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
