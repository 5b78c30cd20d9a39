//! A device: the firmware's core, its flash, its end of the link.

use agent::registry::Credentials;
use firmware::app::{App, AppConfig, Layout};
use firmware::batch::{BatchConfig, FRAME_OVERHEAD};
use firmware::campaign::{Campaign, Rule, When};
use firmware::ports::{Entropy, Now, Ports};
use firmware::ring::Region;
use firmware::ring::flash_model::FlashModel;
use firmware::session::SessionConfig;
use protocol::ack::Ack;
use protocol::event::{Attributes, Event};
use protocol::health::ResetReason;
use protocol::record::Record;
use protocol::{Clock, DeviceId, Lane, RingId, Seq, SignalIndex};

use super::network::Wire;
use super::plan::FRAME_S;
use super::source::{Drive, Lineage, SIGNALS, catalogue};
use crate::chance::Chance;

const FRAME: usize = 1024 + FRAME_OVERHEAD;
const SECTOR: usize = 4096;
/// Samples that a power cut can take of a lane.
pub(super) const OPEN_MAX: u16 = 700;
/// Sectors of the other rings, and of the system area.
const SECTORS_BESIDES: u32 = 2 + 4 + 4;
/// Polls a second, at most: each does what it can.
const POLLS_MAX: u32 = 64;

pub(super) type Nor = FlashModel<4, 4, SECTOR>;
type Core = App<'static, SIGNALS, FRAME>;

const fn every(signal: u8, lane: Lane) -> Rule {
    Rule { signal: SignalIndex(signal), lane: Some(lane), when: When::Offered }
}

/// All are recorded; the first is kept as latest, too.
static RULES: [Rule; SIGNALS + 1] = [
    every(0, Lane::Bulk),
    every(1, Lane::Bulk),
    every(2, Lane::Bulk),
    every(3, Lane::Bulk),
    every(4, Lane::Bulk),
    every(5, Lane::Bulk),
    every(6, Lane::Bulk),
    every(7, Lane::Bulk),
    every(8, Lane::Bulk),
    every(9, Lane::Bulk),
    every(0, Lane::Latest),
];

/// A copy of a device's flash.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub flash: Nor,
    /// How many samples had been admitted then.
    pub next: u64,
    /// The device was emptied since: the copy is of rings that have ended.
    pub is_ended: bool,
}

/// A device at work, or without power.
#[derive(Debug)]
pub(super) struct Device {
    pub id: DeviceId,
    pub credentials: Credentials,
    /// From its next start on.
    pub given: Option<Credentials>,
    pub flash: Nor,
    pub kept: Option<Kept>,
    /// Once, at any time.
    pub was_rolled_back: bool,
    pub drive: Drive,
    pub wire: Wire,
    /// The session that the wire is, while it is up, and with which agent.
    pub session: Option<(usize, u64)>,
    /// What an agent said that it holds of each lane, and of which ring; forgotten at will.
    pub heard: [Option<(RingId, Seq)>; 3],
    /// Shut out for good: what it holds stays with it.
    pub is_out: bool,
    /// It is given another secret under its old name: its first start with it empties its rings.
    pub is_renewed: bool,
    /// The image that it starts next.
    pub image: u32,
    /// No network until then.
    pub offline_until_s: u64,
    /// Its own wall clock, if it has one: what that says at the world's beginning, in milliseconds since
    /// 1970, and its worth. It runs on without power.
    pub clock: Option<(i64, Clock)>,
    core: Option<Box<Core>>,
    booted_s: u64,
    off_until_s: u64,
    entropy: Dice,
    ring_sectors: u32,
    pub boots: u64,
    pub dropped_frames: u64,
    pub forks: u64,
    pub flash_errors: u64,
}

/// One device in three has no wall clock, one in three a clock that nobody has checked, and the third one that
/// follows a reference; some begin in 1970.
fn clock(chance: &mut Chance) -> Option<(i64, Clock)> {
    let worth = chance.pick(&[None, Some(Clock::Rtc), Some(Clock::Reference)]).flatten()?;
    let at_ms = if chance.one_in(4) { 0 } else { 1_700_000_000_000 };
    Some((at_ms + i64::try_from(chance.below(100_000_000)).unwrap_or(0), worth))
}

#[derive(Clone, Debug)]
struct Dice(Chance);

impl Entropy for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            for (byte, drawn) in chunk.iter_mut().zip(self.0.draw().to_le_bytes()) {
                *byte = drawn;
            }
        }
    }
}

impl Device {
    pub(super) fn new(credentials: Credentials, of: Lineage, ring_sectors: u32, seed: u64) -> Self {
        let sectors = usize::try_from(SECTORS_BESIDES + ring_sectors).unwrap_or(0);
        Self {
            id: credentials.device,
            credentials,
            given: None,
            flash: Nor::new(sectors, seed),
            kept: None,
            was_rolled_back: false,
            drive: Drive::new(of),
            wire: Wire::default(),
            session: None,
            heard: [None; 3],
            is_out: false,
            is_renewed: false,
            image: 0,
            offline_until_s: 0,
            clock: clock(&mut Chance::new(seed, 2)),
            core: None,
            booted_s: 0,
            off_until_s: 0,
            entropy: Dice(Chance::new(seed, 1)),
            ring_sectors,
            boots: 0,
            dropped_frames: 0,
            forks: 0,
            flash_errors: 0,
        }
    }

    /// A second device with this flash, under the same name.
    pub(super) fn copy_of(original: &Self, flash: Nor, copy: u64, seed: u64) -> Self {
        let of = Lineage { copy, ..original.drive.of };
        let mut device = Self::new(original.credentials.clone(), of, original.ring_sectors, seed);
        device.image = original.image;
        device.flash = flash;
        // Who is let in is a matter of the name.
        device.is_out = original.is_out;
        device
    }

    /// Copies the flash as it is.
    pub(super) fn keep(&mut self) {
        let (flash, next) = (self.flash.clone(), self.drive.next);
        self.kept = Some(Kept { flash, next, is_ended: false });
    }

    fn layout(&self) -> Layout {
        let sector = u32::try_from(SECTOR).unwrap_or(0);
        let region =
            |first: u32, sectors: u32| Region { start: first * sector, len: sectors * sector };
        Layout {
            system: 0..2 * sector,
            rings: [region(2, 4), region(10, self.ring_sectors), region(6, 4)],
        }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.core.is_some()
    }

    /// Loses its power until then.
    pub(super) fn switch_off(&mut self, until_s: u64) {
        self.note();
        self.core = None;
        self.off_until_s = until_s;
        self.wire.clear();
        self.wire.events.clear();
    }

    /// Notes what the core counted, before it is gone.
    pub(super) fn note(&mut self) {
        let Some(core) = &self.core else { return };
        let counters = core.counters();
        self.dropped_frames += counters.dropped_frames.iter().sum::<u64>();
        self.forks += u64::from(counters.forks);
        self.flash_errors += u64::from(counters.flash_errors);
    }

    /// Starts, if it is time; false if the flash takes it no further.
    pub(super) fn start(&mut self, now_s: u64) -> bool {
        if self.core.is_some() || now_s < self.off_until_s {
            return true;
        }
        self.flash.power_on();
        if let Some(given) = self.given.take() {
            self.credentials = given;
        }
        let Credentials { device, generation, registration, secret } = self.credentials.clone();
        let config = AppConfig {
            device,
            secret,
            generation,
            registration,
            catalogue: catalogue(self.image),
            campaign: Campaign { id: 1 + self.image, rules: &RULES },
            image: self.image,
            reset: ResetReason::Power,
            layout: self.layout(),
            batch: BatchConfig {
                frame_len_max: 1024,
                frame_age_ms_max: [1_000, 1000 * u32::try_from(FRAME_S).unwrap_or(60), 60_000],
                open_samples_max: [256, OPEN_MAX, 256],
            },
            session: SessionConfig::default(),
            heartbeat_ms: 600_000,
        };
        self.drive.start(self.image);
        let now = Now { uptime_ms: 0, ..self.now(now_s) };
        match Core::start(config, &now, &mut self.flash, &mut self.entropy) {
            Ok(core) => {
                self.core = Some(Box::new(core));
                self.booted_s = now_s;
                self.boots += 1;
                true
            }
            Err(_) => false,
        }
    }

    /// Its wall clock leaps.
    pub(super) fn leap(&mut self, by_s: i64) {
        if let Some((at_ms, _)) = &mut self.clock {
            *at_ms = at_ms.saturating_add(by_s.saturating_mul(1000));
        }
    }

    fn now(&self, now_s: u64) -> Now {
        let since_ms = i64::try_from(1000 * now_s).unwrap_or(0);
        let wall = self.clock.map(|(at_ms, worth)| (at_ms.saturating_add(since_ms), worth));
        Now { uptime_ms: 1000 * now_s.saturating_sub(self.booted_s), wall }
    }

    /// Does all that there is to do in this second; false if the power went meanwhile.
    pub(super) fn poll(&mut self, now_s: u64) -> bool {
        let now = self.now(now_s);
        let Self { core: Some(core), flash, drive, wire, entropy, .. } = self else { return true };
        for _ in 0..POLLS_MAX {
            let deadline = core.poll(now, &mut Ports { flash, source: drive, link: wire, entropy });
            if !flash.is_powered() {
                return false;
            }
            if deadline.0 > now.uptime_ms {
                break;
            }
        }
        true
    }

    /// Says that a door opened, or the like.
    pub(super) fn say(&mut self, now_s: u64) {
        let now = self.now(now_s);
        let Some(core) = &mut self.core else { return };
        // Full until the next poll: then it was not said.
        core.record(&now, |time| {
            Record::Event(Event {
                time,
                actor: "driver",
                action: "open",
                object: "door",
                context: "",
                resource: "",
                attributes: Attributes::new(),
            })
        })
        .unwrap_or_default();
    }

    /// Closes what is open.
    pub(super) fn flush(&mut self, now_s: u64) {
        let now = self.now(now_s);
        if let Some(core) = &mut self.core {
            core.flush(now, &mut self.flash);
        }
    }

    /// Whether all is sent and acknowledged.
    pub(super) fn is_idle(&self) -> bool {
        self.core.as_ref().is_some_and(|core| core.idle())
    }

    /// An agent says what it holds.
    pub(super) fn hears(&mut self, ack: &[u8]) {
        let Ok(claim) = Ack::peek(ack) else { return };
        let Some(ring) = self.ring(claim.lane) else { return };
        if let Some(heard) = self.heard.get_mut(claim.lane.index()) {
            *heard = Some((ring, claim.durable));
        }
    }

    /// Whether it was said of every lane that all of it is held.
    pub(super) fn has_heard_all(&self) -> bool {
        Lane::ALL.into_iter().zip(self.heard).all(|(lane, heard)| {
            let all = self.ring(lane).map(|ring| (ring, self.last(lane)));
            heard.zip(all).is_some_and(|((of, held), (ring, last))| of == ring && held >= last)
        })
    }

    /// The id of a lane's ring, while it runs.
    pub(super) fn ring(&self, lane: Lane) -> Option<RingId> {
        self.core.as_ref().map(|core| core.ring_id(lane))
    }

    /// The last number that a lane's ring has given out.
    pub(super) fn last(&self, lane: Lane) -> Seq {
        self.core.as_ref().map_or(Seq::ZERO, |core| core.next_seq(lane).prev())
    }

    /// Events that the critical lane's ring has taken, while it runs.
    pub(super) fn events(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| core.taken(Lane::Critical).events)
    }

    /// How it fares, for whoever finds it not at rest.
    pub(super) fn condition(&self) -> String {
        let id = self.id;
        let Some(core) = &self.core else { return format!("{id} has no power") };
        let outstanding = Lane::ALL.map(|lane| core.outstanding(lane));
        let rings = Lane::ALL.map(|lane| core.ring_id(lane).to_string());
        let (counters, is_up) = (core.counters(), self.wire.is_up);
        let held = self.heard.map(|heard| heard.map(|(_, held)| held.0));
        let last = Lane::ALL.map(|lane| self.last(lane).0);
        format!(
            "{id}: outstanding {outstanding:?} of {rings:?}, {held:?} held of {last:?}, up {is_up}, \
             {counters:?}"
        )
    }

    /// Whether each sector of the bulk ring was erased at least once.
    pub(super) fn has_wrapped(&self) -> bool {
        self.flash.erases.iter().skip(10).all(|erases| *erases > 0)
    }
}
