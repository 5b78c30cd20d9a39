//! A device that leaves out what its catalogue says.

use std::vec::Vec;

use protocol::thinning::{Skip, Take, Thin, Thinning, Window};
use protocol::{Catalogue, Counts, Lane, SignalIndex};

use super::world::{CATALOGUE, SIGNALS, World, config, every};
use crate::app::AppConfig;
use crate::campaign::{Campaign, Rule, When};

const SPEED: SignalIndex = SignalIndex(0);
const ODOMETER: SignalIndex = SignalIndex(1);
const FARTHEST: SignalIndex = SignalIndex(3);
const WINDOW_MS: i64 = 1_000;

static THINNING: [Thinning; 2] = [
    Thinning {
        signal: SPEED,
        how: Thin::Skip(Skip { dead_band: Some(7), interval_ms: 0, silence_ms: 0 }),
    },
    Thinning {
        signal: FARTHEST,
        how: Thin::Window(Window { of: ODOMETER, take: Take::Max, length_ms: 1_000 }),
    },
];

static THINNED: Catalogue<'static> = Catalogue { thinning: &THINNING, ..CATALOGUE };

/// The odometer goes nowhere itself.
static RULES: [Rule; 4] = [
    every(0, Lane::Bulk),
    every(0, Lane::Latest),
    Rule { signal: ODOMETER, lane: None, when: When::Offered },
    every(3, Lane::Critical),
];

fn thinned() -> AppConfig<'static> {
    assert_eq!(SIGNALS.len(), 4);
    AppConfig { catalogue: &THINNED, campaign: Campaign { id: 2, rules: &RULES }, ..config() }
}

/// Some steps of a tenth of a second, with four readings each: what the source said, and when.
fn run(world: &mut World, steps: u32) -> Vec<(i64, i64)> {
    let mut said = Vec::new();
    for _ in 0..steps {
        let first = world.source.next_raw;
        world.source.ready += 4;
        world.step(100);
        let tick = i64::try_from(world.now.uptime_ms).unwrap();
        said.extend((first..world.source.next_raw).map(|raw| (tick, raw)));
    }
    said
}

#[test]
fn what_is_left_out_is_in_no_ledger_and_the_rest_arrives() {
    let mut world = World::with_config(1, thinned());
    let said = run(&mut world, 400);
    world.settle();
    world.check();
    let of = |signal: SignalIndex| {
        said.iter().filter(move |(_, raw)| raw % 3 == i64::from(signal.0)).copied()
    };
    let mut speeds: Vec<i64> = Vec::new();
    for (_, raw) in of(SPEED) {
        if speeds.last().is_none_or(|last| raw - last > 7) {
            speeds.push(raw);
        }
    }
    let odometer: Vec<(i64, i64)> = of(ODOMETER).collect();
    let windows = odometer.chunk_by(|one, next| one.0 / WINDOW_MS == next.0 / WINDOW_MS);
    let farthest: Vec<(i64, i64)> =
        windows.map(|run| ((run[0].0 / WINDOW_MS + 1) * WINDOW_MS, run[run.len() - 1].1)).collect();
    assert!(speeds.len() > 150 && farthest.len() == 41, "{} {}", speeds.len(), farthest.len());

    let bulk = world.agent.held(Lane::Bulk);
    let arrived: Vec<i64> = bulk.samples.iter().filter_map(protocol::Sample::steps).collect();
    assert_eq!(arrived, speeds);
    assert_eq!(bulk.through, world.accepted(Lane::Bulk));
    let latest = world.agent.held(Lane::Latest).samples.last().and_then(protocol::Sample::steps);
    assert_eq!(latest, of(SPEED).last().map(|(_, raw)| raw), "of latest values none is left out");
    let critical = world.agent.held(Lane::Critical);
    let arrived: Vec<(i64, i64)> =
        critical.samples.iter().map(|sample| (sample.tick, sample.steps().unwrap())).collect();
    assert_eq!(arrived, farthest);
    assert_eq!(critical.unexplained + critical.said_lost, Counts::ZERO);

    let counters = world.app.counters();
    let left_out = of(SPEED).count() - speeds.len();
    assert_eq!(usize::try_from(counters.thinned).unwrap(), left_out);
    let unruled = said.iter().filter(|(_, raw)| raw % 3 == 2).count();
    assert_eq!(usize::try_from(counters.refused).unwrap(), unruled, "only what no rule takes");
}

#[test]
fn what_is_read_for_two_lanes_is_read_once_and_left_out_of_one() {
    static EACH: [Rule; 3] = {
        let when = When::Periodic { period_ms: 200 };
        let speed = Rule { signal: SPEED, lane: Some(Lane::Bulk), when };
        [
            speed,
            Rule { lane: Some(Lane::Latest), ..speed },
            Rule { signal: ODOMETER, lane: None, when },
        ]
    };
    let config = AppConfig { campaign: Campaign { id: 3, rules: &EACH }, ..thinned() };
    let mut world = World::with_config(2, config);
    for _ in 0..40 {
        world.step(100);
    }
    // Speed and odometer in turn, each once every 200 ms: a speed is 2 more than the one before.
    let read = u64::try_from(world.source.next_raw - 1).unwrap();
    let accepted = Lane::ALL.map(|lane| world.accepted(lane).samples);
    assert_eq!(read, 42);
    assert_eq!(accepted, [0, 6, 21], "more than 7 from the last; all of the latest");
    assert_eq!(world.app.counters().thinned, 15);
}

#[test]
fn power_cuts_take_no_more_of_a_thinned_device() {
    for seed in 0..6 {
        let mut world = World::with_config(seed, thinned());
        for _ in 0..12 {
            let _said = run(&mut world, 30);
            assert!(world.app.counters().thinned > 10, "seed {seed}");
            let after = u32::try_from(world.random.below(8)).unwrap();
            world.power_cut(Some(after));
        }
        world.settle();
        world.check();
    }
}
