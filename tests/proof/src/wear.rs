//! How fast a device wears its flash out: the core with a board's layout, in virtual time, a flash that counts
//! erases, and an agent that acknowledges at once.

use std::collections::VecDeque;
use std::fmt;

use firmware::app::{App, AppConfig, Layout};
use firmware::batch::BatchConfig;
use firmware::campaign::{Campaign, Rule, When};
use firmware::ports::{Entropy, Link, LinkEvent, Now, Ports, Reading, Source, WouldBlock};
use firmware::ring::Region;
use firmware::ring::flash_model::FlashModel;
use firmware::session::SessionConfig;
use protocol::ack::{ACK_LEN_MAX, Ack};
use protocol::frame::{self, Header, compact};
use protocol::health::ResetReason;
use protocol::topic::Channel;
use protocol::{
    Catalogue, CatalogueId, Clock, DeviceId, FrameTag, Generation, JournalInstance, Lane, RingId,
    Sample, Secret, Seq, Signal, SignalIndex, Step, keys,
};
use serde_json::{Value, json};

use crate::chance::Chance;

const SIGNALS: usize = 10;
/// A board's frames (`firmware/boards/src/run.rs`).
const FRAME: usize = 1024;
const KIB: u32 = 1024;
/// A board's sectors (S25FL128S, uniform).
const SECTOR: usize = 64 * 1024;
/// As `firmware/boards/src/layout.rs` has it: provisioning, system, critical, latest, bulk.
const USED_KIB: u32 = 8192;
/// Erases that a sector bears: S25FL128S data sheet 001-98283, "cycling endurance", typical.
pub const ENDURANCE: u32 = 100_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Polls at one time, at most.
const POLLS_MAX: u32 = 1000;

type Nor = FlashModel<1, 1, SECTOR>;
type Core = App<'static, SIGNALS, FRAME>;

/// What was worn, and by what.
#[derive(Clone, PartialEq, Debug)]
pub struct Wear {
    /// Days, each of them one boot.
    pub days: u32,
    /// Samples that were recorded.
    pub samples: u64,
    /// Bytes of their frames on the air.
    pub bytes_sent: u64,
    /// The frames.
    pub frames: u64,
    /// Of each area, its name and the most erases that one of its sectors had, beside those that formatted it.
    pub erases: [(&'static str, u32); 4],
}

impl Wear {
    /// How long the sector lasts that is erased most, in years.
    pub fn life_years(&self) -> f64 {
        let most = self.erases.iter().map(|(_, erases)| *erases).max().unwrap_or(0).max(1);
        f64::from(ENDURANCE) / f64::from(most) * f64::from(self.days) / 365.25
    }

    /// One object.
    pub fn to_json(&self) -> Value {
        let erases: serde_json::Map<String, Value> = self
            .erases
            .iter()
            .map(|(area, erases)| ((*area).to_owned(), (*erases).into()))
            .collect();
        json!({
            "days": self.days,
            "boots": self.days,
            "samples": self.samples,
            "frames": self.frames,
            "bytes_sent": self.bytes_sent,
            "sector_erases_most": erases,
            "endurance_erases": ENDURANCE,
            "life_years": self.life_years(),
        })
    }
}

impl fmt::Display for Wear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { days, samples, frames, bytes_sent, .. } = self;
        writeln!(
            f,
            "flash of a board that measures {SIGNALS} signals a second, {days} days and boots: \
             {samples} samples in {frames} frames, {bytes_sent} bytes"
        )?;
        for (area, erases) in &self.erases {
            writeln!(f, "  {erases:>6} erases of the busiest sector of {area}")?;
        }
        write!(f, "  {:.0} years at {ENDURANCE} erases a sector", self.life_years())
    }
}

/// Lets a device measure for so many days.
pub fn wear(days: u32, seed: u64) -> Result<Wear, String> {
    let mut flash = Nor::new(usize::try_from(USED_KIB * KIB).unwrap_or(0) / SECTOR, seed);
    let mut dice = Dice(Chance::new(seed, 0));
    let mut channels = Channels::default();
    let device: DeviceId = "worn".parse().map_err(|error| format!("{error}"))?;
    let mut held = Default::default();
    let mut sent = (0, 0);
    let mut formatted = None;
    for _ in 0..days {
        channels.restart();
        let mut core = Core::start(config(device), &Now::default(), &mut flash, &mut dice)
            .map_err(|error| format!("the device does not start: {error:?}"))?;
        formatted.get_or_insert_with(|| flash.erases.clone());
        let mut link = Wire::new(device, held);
        let mut now = Now::default();
        while now.uptime_ms < DAY_MS {
            for _ in 0..POLLS_MAX {
                link.rings = Lane::ALL.map(|lane| core.ring_id(lane));
                let mut ports = Ports {
                    flash: &mut flash,
                    source: &mut channels,
                    link: &mut link,
                    entropy: &mut dice,
                };
                if core.poll(now, &mut ports).0 > now.uptime_ms && link.events.is_empty() {
                    break;
                }
            }
            now.uptime_ms += 1000;
        }
        core.stop(now, &mut flash);
        sent = (sent.0 + link.frames, sent.1 + link.bytes);
        held = link.held;
    }
    let formatted = formatted.unwrap_or_default();
    let most = |sectors: std::ops::Range<usize>| {
        let each = flash.erases.iter().zip(&formatted).map(|(now, then)| now.saturating_sub(*then));
        each.skip(sectors.start).take(sectors.len()).max().unwrap_or(0)
    };
    Ok(Wear {
        days,
        samples: channels.samples,
        frames: sent.0,
        bytes_sent: sent.1,
        erases: [
            ("system", most(2..4)),
            ("critical", most(4..16)),
            ("latest", most(16..20)),
            ("bulk", most(20..128)),
        ],
    })
}

fn secret() -> Secret {
    Secret::new([7; 32])
}

fn config(device: DeviceId) -> AppConfig<'static> {
    let region =
        |start_kib: u32, len_kib: u32| Region { start: start_kib * KIB, len: len_kib * KIB };
    AppConfig {
        device,
        secret: secret(),
        generation: Generation::FIRST,
        registration: None,
        catalogue: &CATALOGUE,
        campaign: Campaign { id: 1, rules: &RULES },
        image: 1,
        reset: ResetReason::Power,
        layout: Layout {
            system: 128 * KIB..256 * KIB,
            rings: [region(256, 768), region(1280, 6912), region(1024, 256)],
        },
        batch: BatchConfig::default(),
        session: SessionConfig::default(),
        heartbeat_ms: 600_000,
    }
}

const fn channel(path: &'static str) -> Signal<'static> {
    Signal { path, unit: "mV", step: Step::ONE, raw_min: 0, raw_max: 4095 }
}

static CATALOGUE: Catalogue<'static> = Catalogue::new(1, &CHANNELS);
static CHANNELS: [Signal<'static>; SIGNALS] = [
    channel("Milepost.Simulated.Channel0"),
    channel("Milepost.Simulated.Channel1"),
    channel("Milepost.Simulated.Channel2"),
    channel("Milepost.Simulated.Channel3"),
    channel("Milepost.Simulated.Channel4"),
    channel("Milepost.Simulated.Channel5"),
    channel("Milepost.Simulated.Channel6"),
    channel("Milepost.Simulated.Channel7"),
    channel("Milepost.Simulated.Channel8"),
    channel("Milepost.Simulated.Channel9"),
];
static RULES: [Rule; SIGNALS + 1] = {
    const fn every(signal: u8, lane: Lane) -> Rule {
        Rule { signal: SignalIndex(signal), lane: Some(lane), when: When::Offered }
    }
    let bulk = Lane::Bulk;
    [
        every(0, bulk),
        every(1, bulk),
        every(2, bulk),
        every(3, bulk),
        every(4, bulk),
        every(5, bulk),
        every(6, bulk),
        every(7, bulk),
        every(8, bulk),
        every(9, bulk),
        every(0, Lane::Latest),
    ]
};

#[derive(Debug)]
struct Dice(Chance);

impl Entropy for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            [*byte, ..] = self.0.draw().to_le_bytes();
        }
    }
}

/// What a board's simulated channels give: triangles of another length each, with three bits of noise.
#[derive(Debug, Default)]
struct Channels {
    given: u64,
    samples: u64,
}

impl Channels {
    /// Uptime begins anew.
    fn restart(&mut self) {
        self.given = 0;
    }

    const fn due_ms(&self) -> u64 {
        self.given / SIGNALS as u64 * 1000
    }
}

impl Source for Channels {
    fn next(&mut self, now: &Now) -> Option<Reading> {
        let due_ms = self.due_ms();
        if now.uptime_ms < due_ms {
            return None;
        }
        let (row, column) = (self.given / SIGNALS as u64, self.given % SIGNALS as u64);
        let half = 50 + 37 * column;
        let phase = row % (2 * half);
        let slope = 3000 / half * phase.min(2 * half - phase);
        let noise = self.given.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61;
        self.given += 1;
        self.samples += 1;
        let value = i64::try_from(500 + slope + noise).ok()?;
        let signal = SignalIndex(u8::try_from(column).ok()?);
        let tick = i64::try_from(due_ms).ok()?;
        Some(Reading { sample: Sample::new(tick, signal, value), clock: Clock::Uptime })
    }

    fn read(&mut self, _signal: SignalIndex, _now: &Now) -> Option<Reading> {
        None
    }

    fn due(&self) -> Option<u64> {
        Some(self.due_ms())
    }
}

/// A link whose other end is the agent.
#[derive(Debug)]
struct Wire {
    device: DeviceId,
    /// What the agent has of each lane.
    held: [(Seq, FrameTag); 3],
    rings: [RingId; 3],
    events: VecDeque<(LinkEvent, Vec<u8>)>,
    is_up: bool,
    frames: u64,
    bytes: u64,
}

impl Wire {
    fn new(device: DeviceId, held: [(Seq, FrameTag); 3]) -> Self {
        let (rings, events) = ([RingId::default(); 3], VecDeque::new());
        Self { device, held, rings, events, is_up: false, frames: 0, bytes: 0 }
    }

    fn acknowledge(&mut self, lane: Lane) {
        let held = self.held.get(lane.index()).copied();
        let ring = self.rings.get(lane.index()).copied();
        let Some(((durable, tag), ring)) = held.zip(ring) else { return };
        let (device, generation) = (self.device, Generation::FIRST);
        let instance = JournalInstance::default();
        let ack = Ack { generation, lane, durable, tag, instance, repeat: false };
        let key = keys::ack_key(&secret(), &device, &ring, generation);
        let mut bytes = [0; ACK_LEN_MAX];
        let len = ack.seal(&key, &device, &ring, &mut bytes);
        let bytes = bytes.get(..len).unwrap_or_default().to_vec();
        self.events.push_back((LinkEvent::Message { channel: Channel::Ack, len }, bytes));
    }
}

impl Link for Wire {
    fn connect(&mut self, _now_ms: u64) {
        self.is_up = true;
        self.events.push_back((LinkEvent::Up, Vec::new()));
    }

    fn disconnect(&mut self, _now_ms: u64) {
        self.is_up = false;
    }

    fn is_ready(&self) -> bool {
        self.is_up
    }

    fn publish(&mut self, channel: Channel, payload: &[u8]) -> Result<(), WouldBlock> {
        self.bytes += payload.len() as u64;
        self.events.push_back((LinkEvent::Published, Vec::new()));
        match channel {
            Channel::Hello => Lane::ALL.into_iter().for_each(|lane| self.acknowledge(lane)),
            Channel::Frames(lane) => {
                let Some(held) = self.held.get_mut(lane.index()) else { return Ok(()) };
                // Of a compact header only the number is looked at.
                let read = if compact::is_compact(payload) {
                    let context = compact::Context { catalogue: CatalogueId(0), boot: 0 };
                    compact::restore(payload, context, held.0.next())
                } else {
                    Header::read(payload)
                };
                if let Ok((header, _)) = read {
                    *held = (header.seq, frame::tag_of(payload));
                    self.frames += 1;
                    self.acknowledge(lane);
                }
            }
            Channel::Ack | Channel::Downlink => {}
        }
        Ok(())
    }

    fn event(&mut self, _now_ms: u64, into: &mut [u8]) -> Option<LinkEvent> {
        let (event, bytes) = self.events.pop_front()?;
        into.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wear_is_spread_over_the_bulk_ring() {
        let worn = wear(2, 1).unwrap();
        assert_eq!(worn.samples, 2 * 86_400 * SIGNALS as u64);
        assert!(worn.frames > 2 * 24 * 60, "{worn}");
        let [_, _, _, (_, bulk)] = worn.erases;
        assert!(bulk <= 1, "two days are no more than the ring holds: {worn}");
        assert!(worn.life_years() > 1.0, "{worn}");
    }
}
