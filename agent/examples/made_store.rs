//! Makes a store of a made-up fleet's day, for `cargo xtask bench query`:
//! `made_store DIR SAMPLES VEHICLES`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use agent::query::made::{Maker, Record};
use agent::store::block::{Entry, Run, Samples, Stream};
use agent::value::Amount;
use anyhow::{Context as _, Result};
use protocol::{Catalogue, CatalogueId, Clock, Lane, RingId, Seq, Signal, Step};

/// 2026-11-21T00:00:00Z in seconds.
const DAY_S: i64 = 1_795_219_200;
const DAY_LEN_S: i64 = 86_400;
const SIGNALS: [(&str, &str, Step); 10] = [
    ("Vehicle.Speed", "km/h", Step::new(1, 10)),
    ("Vehicle.Powertrain.CombustionEngine.Speed", "rpm", Step::ONE),
    ("Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature", "celsius", Step::ONE),
    ("Vehicle.OBD.ThrottlePosition", "percent", Step::new(100, 255)),
    ("Vehicle.OBD.EngineLoad", "percent", Step::new(100, 255)),
    ("Vehicle.OBD.FuelLevel", "percent", Step::new(1, 10)),
    ("Vehicle.CurrentLocation.Latitude", "degrees", Step::new(1, 100_000)),
    ("Vehicle.CurrentLocation.Longitude", "degrees", Step::new(1, 100_000)),
    ("Vehicle.LowVoltageBattery.CurrentVoltage", "V", Step::new(1, 1000)),
    ("Vehicle.Exterior.AirTemperature", "celsius", Step::new(1, 2)),
];
/// As compaction cuts: at an hour's end once a block is worth it.
const BLOCK_SAMPLES_MIN: usize = 8192;
const FRAME_INSTANTS: u32 = 60;
const LOGS_PER_VEHICLE: i64 = 100;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().context("made_store DIR SAMPLES VEHICLES")?);
    let samples: u64 = arguments.next().context("how many samples?")?.parse()?;
    let vehicles: u64 = arguments.next().context("how many vehicles?")?.parse()?;
    let mut maker = Maker::create(&dir)?;
    let signals = SIGNALS.map(|(path, unit, step)| Signal {
        path,
        unit,
        step,
        raw_min: -100_000_000,
        raw_max: 100_000_000,
    });
    let catalogue = maker.catalogue(&Catalogue::new(1000, &signals))?;
    let instants = i64::try_from(samples / vehicles / SIGNALS.len() as u64)?;
    for number in 1..=vehicles {
        let vehicle = Vehicle::new(number, catalogue)?;
        vehicle.drive(&mut maker, instants)?;
        vehicle.log(&mut maker)?;
    }
    maker.finish()?;
    Ok(())
}

struct Vehicle {
    stream: Stream,
    number: u64,
}

impl Vehicle {
    fn new(number: u64, catalogue: CatalogueId) -> Result<Self> {
        let mut ring = [0; 16];
        let (head, _) = ring.split_at_mut(8);
        head.copy_from_slice(&number.to_be_bytes());
        let stream = Stream {
            device: format!("truck-{number:04}").parse()?,
            ring: RingId(ring),
            lane: Lane::Bulk,
            catalogue,
            tick_ms: 1000,
            boot: None,
            seat: None,
        };
        Ok(Self { stream, number })
    }

    /// A day of so many instants, each with every signal, each signal on a walk of its own.
    fn drive(&self, maker: &mut Maker, instants: i64) -> Result<()> {
        let mut chance = Chance(self.number);
        let mut values = SIGNALS.map(|_| i64::from(chance.below(2000)));
        let mut samples = Samples::default();
        let (mut seq, mut ordinal, mut hour) = (0, FRAME_INSTANTS, 0);
        for instant in 0..instants {
            let in_day = instant * DAY_LEN_S / instants;
            if in_day / 3600 != hour && samples.entries.len() >= BLOCK_SAMPLES_MIN {
                maker.block(&self.stream, &samples, 1, None)?;
                samples = Samples::default();
                ordinal = FRAME_INSTANTS;
            }
            hour = in_day / 3600;
            if ordinal == FRAME_INSTANTS {
                ordinal = 0;
                seq += 1;
                let received_ms = (DAY_S + in_day) * 1000 + 750;
                let clock = Clock::Reference;
                samples.runs.push(Run { seq: Seq(seq), received_ms, clock, boot: 1, origin: None });
            }
            let run = u16::try_from(samples.runs.len() - 1)?;
            for (column, value) in (0..).zip(&mut values) {
                // Signals differ in how much they move.
                let reach = 1 << (column % 5);
                *value += i64::from(chance.below(2 * reach + 1)) - i64::from(reach);
                let tick = DAY_S + in_day;
                samples.entries.push(Entry {
                    tick,
                    amount: Amount::Steps(*value),
                    ordinal,
                    run,
                    column,
                });
            }
            ordinal += 1;
        }
        if !samples.entries.is_empty() {
            maker.block(&self.stream, &samples, 1, None)?;
        }
        Ok(())
    }

    fn log(&self, maker: &mut Maker) -> Result<()> {
        const MESSAGES: [&str; 5] = [
            "brake pad worn on the front left",
            "fuel level sensor answers late",
            "coolant temperature above the limit",
            "door opened while driving",
            "link lost for a while, back again",
        ];
        let mut chance = Chance(self.number ^ 0x10c);
        for number in 0..LOGS_PER_VEHICLE {
            let at = usize::try_from(chance.below(5))?;
            let message = MESSAGES.get(at).copied().unwrap_or_default();
            let message = format!("{message} ({})", chance.below(100_000));
            let document = format!(
                "{{\"lane\":\"critical\",\"clock\":\"reference\",\"data\":{{\"level\":\"warning\",\
                 \"target\":\"chassis\",\"message\":\"{message}\"}}}}"
            );
            let time_ms = (DAY_S + number * DAY_LEN_S / LOGS_PER_VEHICLE) * 1000;
            maker.record(&Record {
                stream: &self.stream,
                kind: 1,
                seq: 1_000_000 + number.cast_unsigned(),
                ordinal: 0,
                time_ms: Some(time_ms),
                document: &document,
                log: Some(("chassis", &message)),
            })?;
        }
        Ok(())
    }
}

/// xorshift: the same numbers from the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u32) -> u32 {
        let mut state = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0 = state;
        u32::try_from((state >> 32) % u64::from(limit)).unwrap_or_default()
    }
}
