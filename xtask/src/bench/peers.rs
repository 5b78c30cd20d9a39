//! What others do, for comparison: the same samples as JSON, MQTT client -> broker -> a file.
//!
//! `rumqttc` publishes arrays of [`BATCH`] samples at QoS 1, the real Mosquitto passes them on, a
//! `rumqttc` subscriber appends each message to a file. Nothing is synced, sealed, deduplicated or
//! acknowledged end to end: what a broker in between costs at least.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result};
use recordings::ReadOptions;
use recordings::decimal::decimal_of;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use simulator::source::{Reading, Source};
use simulator::vehicle::{self, Vehicle};
use world::mosquitto::Mosquitto;
use world::process::now;

use super::real;

/// Samples in a message.
const BATCH: usize = 100;
/// Connections that the vehicles share: fewer than they would have, in favour of the others.
const CONNECTIONS: usize = 10;
/// How long the subscriber may take for what is still under way.
const DRAIN_MAX: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
struct Sums {
    published: AtomicU64,
    bytes: AtomicU64,
    received: AtomicU64,
}

/// Loads for so long; a row of figures.
pub fn run(
    dir: &Path,
    files: &[PathBuf],
    vehicles: u32,
    rounds: u32,
    load_for: Duration,
) -> Result<Value> {
    let count = usize::try_from(vehicles)?;
    let (fleet, _) = vehicle::from_recordings(files, &ReadOptions::default(), Some(count), rounds)?;
    let lines = "max_queued_messages 0\nmax_inflight_messages 100\n";
    let broker = Mosquitto::open(&dir.join("peers"), lines)?;
    let process = broker.start()?;
    let sums = Arc::new(Sums::default());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let start = now();
    let seconds = runtime.block_on(async {
        let port = broker.address.port();
        let (subscriber, events) = client("subscriber", port);
        subscriber.subscribe("peers/#", QoS::AtLeastOnce).await?;
        let file = std::fs::File::create(dir.join("peers.json"))?;
        let receiving = tokio::spawn(receive(events, file, Arc::clone(&sums)));
        let share = fleet.len().div_ceil(CONNECTIONS).max(1);
        let publishing: Vec<_> = fleet
            .chunks(share)
            .enumerate()
            .map(|(at, some)| {
                let (client, events) = client(&format!("publisher-{at}"), port);
                let (some, sums) = (some.to_vec(), Arc::clone(&sums));
                let publishing = tokio::spawn(publish(client.clone(), some, sums, load_for));
                // Kept: without its client, an event loop ends before all is sent.
                (tokio::spawn(poll(events)), client, publishing)
            })
            .collect();
        let mut polls = Vec::new();
        for (poll, client, publish) in publishing {
            publish.await??;
            polls.push((poll, client));
        }
        let drained = now();
        while sums.received.load(Relaxed) < sums.published.load(Relaxed)
            && drained.elapsed() < DRAIN_MAX
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        for (poll, _) in &polls {
            poll.abort();
        }
        receiving.abort();
        drop(subscriber);
        anyhow::Ok(seconds)
    })?;
    let broker_cpu_s = process.cpu_seconds()?;
    process.kill()?;
    let (published, received) = (sums.published.load(Relaxed), sums.received.load(Relaxed));
    Ok(json!({
        "bench": "ingest-peers",
        "what": "JSON, rumqttc, Mosquitto, rumqttc, file",
        "vehicles": fleet.len(),
        "samples": received,
        "samples_per_s": real(received) / seconds,
        "bytes_per_sample": real(sums.bytes.load(Relaxed)) / real(published.max(1)),
        "load_s": seconds,
        "undelivered_samples": published.saturating_sub(received),
        "broker_cpu_s": broker_cpu_s,
        "broker_cpu_us_per_sample": broker_cpu_s * 1e6 / real(published.max(1)),
    }))
}

fn client(id: &str, port: u16) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_max_packet_size(1 << 20, 1 << 20).set_inflight(100);
    AsyncClient::new(options, 100)
}

async fn poll(mut events: EventLoop) {
    while events.poll().await.is_ok() {}
}

async fn receive(mut events: EventLoop, file: std::fs::File, sums: Arc<Sums>) -> Result<()> {
    let mut file = std::io::BufWriter::new(file);
    loop {
        let Event::Incoming(Packet::Publish(message)) = events.poll().await? else { continue };
        file.write_all(&message.payload)?;
        file.write_all(b"\n")?;
        let samples: u64 = message.topic.rsplit('/').next().context("no topic")?.parse()?;
        sums.received.fetch_add(samples, Relaxed);
    }
}

/// Publishes what the vehicles report, a batch of each in turn.
async fn publish(
    client: AsyncClient,
    fleet: Vec<Vehicle>,
    sums: Arc<Sums>,
    load_for: Duration,
) -> Result<()> {
    let start = now();
    let mut cursors: Vec<_> = fleet.iter().map(|vehicle| vehicle.source.cursor()).collect();
    let mut text = String::new();
    loop {
        let mut said = false;
        for (vehicle, cursor) in fleet.iter().zip(&mut cursors) {
            if start.elapsed() >= load_for {
                return Ok(());
            }
            text.clear();
            let mut samples = 0;
            while samples < BATCH
                && let Some(reading) = cursor.next(&vehicle.source)
            {
                text.push(if samples == 0 { '[' } else { ',' });
                samples += usize::from(write_sample(&mut text, &vehicle.source, reading)?);
            }
            if samples == 0 {
                continue;
            }
            said = true;
            text.push(']');
            let topic = format!("peers/{}/{samples}", vehicle.device);
            let (samples, bytes) = (u64::try_from(samples)?, u64::try_from(text.len())?);
            client.publish(topic, QoS::AtLeastOnce, false, text.as_bytes()).await?;
            sums.published.fetch_add(samples, Relaxed);
            sums.bytes.fetch_add(bytes, Relaxed);
        }
        if !said {
            return Ok(());
        }
    }
}

/// One sample as others write it.
fn write_sample(text: &mut String, source: &Source, reading: Reading) -> Result<bool> {
    let Reading::Sample(_, sample) = reading else { return Ok(false) };
    let catalogue = source.catalogue();
    let signal = catalogue.get(sample.signal).context("no such signal")?;
    let time = reading.unix_ms(catalogue);
    let value =
        sample.steps().map_or_else(|| "null".to_owned(), |steps| decimal_of(steps, signal.step));
    write!(text, r#"{{"signal":"{}","timestamp":{time},"value":{value}}}"#, signal.path)?;
    Ok(true)
}
