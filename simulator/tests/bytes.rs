//! The same seed gives the same bytes: vehicles of a scenario run in their own time, without a link,
//! and what stands in their flash is compared.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "scenario code: a failure is the test's result"
)]

use std::cell::Cell;
use std::rc::Rc;

use embedded_storage::nor_flash::ReadNorFlash as _;
use firmware::app::{App, AppConfig, Counters, Layout};
use firmware::batch::BatchConfig;
use firmware::campaign::{Campaign, Rule, When};
use firmware::ports::{Entropy, Link, LinkEvent, Now, Ports, WouldBlock};
use firmware::ring::Region;
use firmware::session::SessionConfig;
use protocol::health::ResetReason;
use protocol::record::Record;
use protocol::topic::Channel;
use protocol::{Clock, Generation, Lane, Secret, SignalIndex};
use simulator::fleet::feed::{Exchange, Feed, Pace};
use simulator::fleet::flash::{Nor, SECTOR_LEN};
use simulator::fleet::{Control, Earlier, Gauges};
use simulator::scenario::Scenario;
use simulator::seed::Seeded;
use simulator::vehicle::Vehicle;

const SECTORS: u32 = 256;

/// A device far from any network.
struct NoLink;

impl Link for NoLink {
    fn connect(&mut self, _now_ms: u64) {}

    fn disconnect(&mut self, _now_ms: u64) {}

    fn is_ready(&self) -> bool {
        false
    }

    fn publish(&mut self, _channel: Channel, _payload: &[u8]) -> Result<(), WouldBlock> {
        Err(WouldBlock)
    }

    fn event(&mut self, _now_ms: u64, _into: &mut [u8]) -> Option<LinkEvent> {
        None
    }
}

struct Drawn(Seeded);

impl Entropy for Drawn {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.draw().to_le_bytes()[0]);
    }
}

fn layout() -> Layout {
    let region =
        |start: u32, sectors: u32| Region { start: start * SECTOR_LEN, len: sectors * SECTOR_LEN };
    let bulk = SECTORS - 2 - 32 - 3;
    Layout {
        system: 0..2 * SECTOR_LEN,
        rings: [region(2, 32), region(34, bulk), region(34 + bulk, 3)],
    }
}

/// Lives through a vehicle's whole scenario by its own clock; its flash, and how often it booted.
fn flash_of(vehicle: &Vehicle, seed: u64) -> (Vec<u8>, u32) {
    let mut entropy = Drawn(Seeded::new(seed, 99));
    let mut secret = [0; 32];
    entropy.fill(&mut secret);
    let exchange = Rc::new(Exchange::default());
    let gauges = Rc::new(Gauges {
        device: vehicle.device,
        admitted: Rc::new(Cell::new(0)),
        resumed_at: 0,
        exhausted: Cell::new(false),
        counters: Cell::new(Counters::default()),
        earlier: Cell::new(Earlier::default()),
        outstanding: Cell::new([0; 3]),
    });
    let source = vehicle.source.clone();
    let signals = u8::try_from(source.catalogue().signals.len()).unwrap();
    let rules: Vec<_> = (0..signals)
        .map(SignalIndex)
        .map(|signal| Rule { signal, lane: Some(source.lane_of(signal)), when: When::Offered })
        .collect();
    let control = Rc::new(Control::default());
    let mut feed = Feed::new(source, Pace::Times(1), exchange.clone(), gauges.clone(), control);
    let mut flash = Nor::in_ram(SECTORS);
    let mut boots = 0;
    loop {
        let mut now = Now { uptime_ms: 0, wall: Some((0, Clock::Reference)) };
        let config = AppConfig {
            device: vehicle.device,
            secret: Secret::new(secret),
            generation: Generation::FIRST,
            registration: None,
            catalogue: vehicle.source.catalogue(),
            campaign: Campaign { id: 1, rules: &rules },
            image: 0,
            reset: ResetReason::Power,
            layout: layout(),
            batch: BatchConfig { frame_len_max: 1024, ..BatchConfig::default() },
            session: SessionConfig::default(),
            heartbeat_ms: 600_000,
        };
        let mut app = App::<16, 2200>::start(config, &now, &mut flash, &mut entropy).unwrap();
        boots += 1;
        while !exchange.browned_out.get() && !gauges.exhausted.get() {
            now.wall = exchange.unix_ms.get().map(|unix_ms| (unix_ms, Clock::Reference));
            let mut ports = Ports {
                flash: &mut flash,
                source: &mut feed,
                link: &mut NoLink,
                entropy: &mut entropy,
            };
            let deadline = app.poll(now, &mut ports);
            for occurrence in exchange.events.borrow_mut().drain(..) {
                app.record(&now, |time| Record::Event(occurrence.event(time))).unwrap();
            }
            now.uptime_ms = deadline.0.max(now.uptime_ms + 1);
        }
        if !exchange.browned_out.get() {
            app.stop(now, &mut flash);
            assert!(app.outstanding(Lane::Bulk) > 0);
            let mut bytes = vec![0; usize::try_from(SECTORS * SECTOR_LEN).unwrap()];
            flash.read(0, &mut bytes).unwrap();
            return (bytes, boots);
        }
        feed.boot();
    }
}

fn flashes(seed: u64) -> Vec<(Vec<u8>, u32)> {
    let text = include_str!("../scenarios/vans.toml");
    let scenario =
        Scenario { seed, length_ms: 8 * 3_600_000, ..Scenario::parse(text, "vans").unwrap() };
    scenario.vehicles().iter().take(3).map(|vehicle| flash_of(vehicle, seed)).collect()
}

#[test]
fn a_seed_gives_the_same_frames_in_the_same_flash() {
    let (one, again, other) = (flashes(3), flashes(3), flashes(4));
    assert!(one == again, "two runs of one seed differ");
    for (one, other) in one.iter().zip(&other) {
        assert!(one.0 != other.0, "two seeds have the same flash");
    }
    assert!(one[0].0 != one[1].0, "two vehicles have the same flash");
    let written = one[0].0.iter().filter(|byte| **byte != 0xff).count();
    assert!(written > 50_000, "{written} bytes of frames");
    assert!(one.iter().any(|(_, boots)| *boots > 1), "no brown-out among them");
}
