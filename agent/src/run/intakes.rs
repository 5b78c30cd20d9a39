//! What the intakes say about themselves: metrics and health.

use std::sync::atomic::Ordering::Relaxed;

use super::report::Reporter;
use crate::http::Health;
use crate::intake::broker::{BrokerHealth, Unheard};
use crate::intake::listen::{End, Refusal, TlsRefusal};
use crate::telemetry::{self, Metric, Number};
use crate::tls::{remaining, unix_s};

/// Sessions of devices, over all intakes.
pub(super) fn sessions(reporter: &Reporter) -> u64 {
    let brokers = reporter.brokers.iter().map(|(_, gauges)| gauges.sessions.load(Relaxed));
    brokers.fold(reporter.listening.connections.load(Relaxed), u64::saturating_add)
}

/// Every intake's metrics.
pub(super) fn metrics(reporter: &Reporter, metrics: &mut Vec<Metric>) {
    if reporter.has_listener() {
        listen_metrics(reporter, metrics);
    }
    for (serial, gauges) in &reporter.serials {
        let received = gauges.bytes_in.load(Relaxed);
        let intake = format!("serial {}", serial.name);
        metrics.push(telemetry::RECEIVED.reads(received).with("intake", intake));
        let readings = [
            telemetry::SERIAL_UP.reads(u64::from(gauges.healthy().is_ok())),
            telemetry::SERIAL_FAILED.reads(gauges.failed.load(Relaxed)),
            telemetry::SERIAL_STREAMS.reads(gauges.streams.load(Relaxed)),
            telemetry::SERIAL_GARBLED.reads(gauges.garbled.load(Relaxed)),
        ];
        metrics.extend(readings.map(|reading| reading.with("serial", &serial.name)));
    }
    for (broker, gauges) in &reporter.brokers {
        let name = &broker.name;
        let intake = format!("broker {name}");
        let sessions = gauges.sessions.load(Relaxed);
        metrics.push(telemetry::SESSIONS.reads(sessions).with("intake", &intake));
        let received = gauges.bytes_in.load(Relaxed);
        metrics.push(telemetry::RECEIVED.reads(received).with("intake", &intake));
        let up = u64::from(gauges.health() == BrokerHealth::Connected);
        let readings = [
            telemetry::BROKER_UP.reads(up),
            telemetry::BROKER_CONNECTED.reads(gauges.connected.load(Relaxed)),
            telemetry::BROKER_FAILED.reads(gauges.failed.load(Relaxed)),
            telemetry::BROKER_FORGOTTEN.reads(gauges.forgotten.load(Relaxed)),
            telemetry::BROKER_MESSAGES.reads(gauges.messages.load(Relaxed)),
            telemetry::BROKER_UNSENT.reads(&gauges.unsent),
        ];
        metrics.extend(readings.map(|reading| reading.with("broker", name)));
        for reason in Unheard::ALL {
            let reading = telemetry::BROKER_UNHEARD.reads(gauges.unheard(reason));
            metrics.push(reading.with("broker", name).with("reason", reason.name()));
        }
        if let Some(left_s) = gauges.certificate_left_s(unix_s()) {
            metrics.push(telemetry::CERTIFICATE_LEFT.reads(seconds(left_s)).with("intake", intake));
        }
    }
}

fn listen_metrics(reporter: &Reporter, metrics: &mut Vec<Metric>) {
    let gauges = &reporter.listening;
    let sessions = gauges.connections.load(Relaxed);
    metrics.push(telemetry::SESSIONS.reads(sessions).with("intake", "listen"));
    let received = gauges.bytes_in.load(Relaxed);
    metrics.push(telemetry::RECEIVED.reads(received).with("intake", "listen"));
    for refusal in Refusal::ALL {
        let count = gauges.refused(refusal);
        metrics.push(telemetry::REFUSED.reads(count).with("reason", refusal.name()));
    }
    let crowded = gauges.turned_away.load(Relaxed);
    metrics.push(telemetry::REFUSED.reads(crowded).with("reason", "crowded"));
    for end in End::ALL {
        let count = gauges.ended(end);
        metrics.push(telemetry::SESSIONS_ENDED.reads(count).with("reason", end.name()));
    }
    metrics.push(telemetry::MALFORMED.reads(gauges.malformed()));
    let Some(tls) = &reporter.tls else { return };
    for refusal in TlsRefusal::ALL {
        let count = gauges.tls_refused(refusal);
        metrics.push(telemetry::TLS_REFUSED.reads(count).with("reason", refusal.name()));
    }
    let left_s = seconds(tls.status(unix_s()).left_s);
    metrics.push(telemetry::CERTIFICATE_LEFT.reads(left_s).with("intake", "listen"));
}

/// Every intake's health, and its certificate's.
pub(super) fn health(reporter: &Reporter, health: &mut Vec<Health>) {
    if reporter.config.listen.address.is_some() {
        health.push(part("intake listen".to_owned(), reporter.listening.healthy(), "listening"));
        if let Some(tls) = &reporter.tls {
            let status = tls.status(unix_s());
            let (ok, reason) = (status.is_ok(), status.to_string());
            health.push(Health { component: "certificate listen".to_owned(), ok, reason });
        }
    }
    for (serial, gauges) in &reporter.serials {
        health.push(part(format!("intake serial {}", serial.name), gauges.healthy(), "open"));
    }
    for (broker, gauges) in &reporter.brokers {
        let component = format!("intake broker {}", broker.name);
        health.push(part(component, gauges.healthy(), "connected"));
        if let Some(left_s) = gauges.certificate_left_s(unix_s()) {
            let component = format!("certificate broker {}", broker.name);
            health.push(Health { component, ok: left_s >= 0, reason: remaining(left_s) });
        }
    }
}

fn part(component: String, healthy: Result<(), String>, well: &str) -> Health {
    let ok = healthy.is_ok();
    let reason = healthy.err().unwrap_or_else(|| well.to_owned());
    Health { component, ok, reason }
}

/// A time that may be negative.
fn seconds(seconds: i64) -> Number {
    #[allow(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
    Number::Real(seconds as f64)
}
