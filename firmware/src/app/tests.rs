use std::vec::Vec;

use protocol::loss::LossReason;
use protocol::record::Record;
use protocol::{Clock, Counts, Lane};

use crate::session::Acknowledged;

pub(crate) mod agent;
mod renewed;
mod store;
mod thinned;
pub(crate) mod world;

use crate::ring::flash_model::Left;
use agent::Held;
use world::{Weather, World};

#[test]
fn every_sample_arrives_once_and_in_order() {
    let mut world = World::new(1);
    for _ in 0..400 {
        world.source.ready += 7;
        world.step(100);
    }
    world.settle();
    world.check();
    for lane in [Lane::Critical, Lane::Bulk] {
        let held = world.agent.held(lane);
        assert_eq!(held.through, world.accepted(lane), "nothing is missing");
        assert_eq!(held.unexplained + held.said_lost, Counts::ZERO);
    }
    assert_eq!(world.agent.duplicates, 0);
    assert_eq!(world.agent.catalogue_frames, 1, "sent when asked for, and no more");
    assert!(world.agent.records[0].starts_with("Boot("), "{:?}", world.agent.records);
    assert_eq!(world.app.counters().rejected, 0);
}

#[test]
fn a_bad_network_doubles_and_loses_nothing() {
    for seed in 0..12 {
        let mut world = World::new(seed);
        world.weather =
            Weather { lose: 5, twice: 5, swap: 10, cut: 1, refuse: 20, ..Weather::default() };
        for _ in 0..3_000 {
            world.source.ready += 3;
            world.step(1 + world.random.clone().below(200));
        }
        world.settle();
        world.check();
        assert!(world.agent.duplicates > 0 && world.agent.repeats > 0, "seed {seed}: too kind");
    }
}

#[test]
fn i1_what_is_forged_or_replayed_frees_nothing() {
    for seed in 200..210 {
        let mut world = World::new(seed);
        world.weather = Weather { garble: 10, replay: 30, cut: 1, ..Weather::default() };
        for _ in 0..1_500 {
            world.source.ready += 3;
            world.step(100);
        }
        let rejected = world.app.counters().rejected;
        world.settle();
        world.check();
        assert!(rejected > 10, "seed {seed}: {rejected}");
        assert_eq!(world.app.counters().forks, 0, "seed {seed}");
        for lane in [Lane::Critical, Lane::Bulk] {
            let held = world.agent.held(lane);
            assert_eq!(held.unexplained + held.said_lost, Counts::ZERO, "seed {seed}");
        }
    }
}

#[test]
fn everything_at_once_still_balances() {
    for seed in 300..320 {
        let mut world = World::new(seed);
        for _ in 0..12 {
            let random = &mut world.random;
            let mut some = |most: u64| if random.percent(50) { random.below(most) } else { 0 };
            world.weather = Weather {
                lose: some(10),
                twice: some(10),
                swap: some(10),
                cut: some(5),
                refuse: some(50),
                garble: some(5),
                replay: some(20),
            };
            (world.offline, world.busy) = (some(2) == 1, some(2) == 1);
            let (steps, rate) = (some(400), some(60));
            for _ in 0..steps {
                world.source.ready += rate;
                let passed_ms = 1 + world.random.below(300);
                world.step(passed_ms);
            }
            if world.random.percent(50) {
                let after = world.random.below(40).try_into().unwrap();
                world.power_cut(Some(after));
            }
        }
        world.settle();
        world.check();
    }
}

#[test]
fn power_cuts_at_any_point_cost_no_more_than_what_was_open() {
    for seed in 100..130 {
        let mut world = World::new(seed);
        world.weather =
            Weather { lose: 2, twice: 2, swap: 2, cut: 1, refuse: 10, ..Weather::default() };
        for _ in 0..15 {
            let steps = world.random.below(80);
            for _ in 0..steps {
                world.source.ready += 4;
                world.step(100);
            }
            let after = world.random.below(20).try_into().unwrap();
            world.power_cut(Some(after));
        }
        world.settle();
        world.check();
        assert_eq!(world.app.boot(), 16, "seed {seed}");
        for lane in Lane::ALL {
            let held = world.agent.held(lane);
            assert_eq!(held.gaps, 0, "seed {seed}, {lane:?}: burnt numbers are covered");
        }
    }
}

#[test]
fn what_the_hello_said_is_not_said_again_with_each_frame() {
    let mut world = World::new(5);
    world.offline = true;
    run_for(&mut world, 700);
    world.restart();
    assert!(world.app.outstanding(Lane::Bulk) > 0);
    world.settle();
    assert_eq!(world.agent.compact_frames, 0, "what an earlier boot took says all of it");
    run_for(&mut world, 60);
    world.settle();
    let sent = world.agent.compact_frames;
    assert!(sent > 0 && !world.agent.held(Lane::Bulk).samples.is_empty(), "{sent} frames");
}

#[test]
fn a_full_ring_drops_the_oldest_and_says_so() {
    let mut world = World::new(7);
    world.offline = true;
    for _ in 0..3_000 {
        world.source.ready += 10;
        world.step(100);
    }
    assert!(world.app.counters().dropped_frames[Lane::Bulk.index()] > 0);
    world.settle();
    world.check();
    let held = world.agent.held(Lane::Bulk);
    assert!(held.unexplained.samples > 0, "told by the hello's counts");
    let said = held.losses.iter().filter(|loss| loss.reason == LossReason::Full).count();
    assert!((1..400).contains(&said), "gathered: {said}");
    assert_eq!(held.through, world.accepted(Lane::Bulk));
}

#[test]
fn a_ring_that_overflows_while_connected_is_accounted_for() {
    let mut world = World::new(8);
    for _ in 0..3_000 {
        world.source.ready += 200;
        world.step(100);
    }
    assert!(world.app.counters().dropped_frames[Lane::Bulk.index()] > 0);
    let sent = world.agent.held(Lane::Bulk).samples.len();
    assert!(sent > 1_000, "frames still go out: {sent}");
    world.settle();
    world.check();
}

#[test]
fn the_latest_value_never_waits_behind_older_ones() {
    let mut world = World::new(9);
    world.offline = true;
    for _ in 0..2_000 {
        world.source.ready += 2;
        world.step(300);
    }
    assert!(world.app.outstanding(Lane::Latest) <= 2, "one value, one loss");
    world.settle();
    world.check();
    let held = world.agent.held(Lane::Latest);
    assert!(held.samples.len() <= 20, "{} samples", held.samples.len());
    assert_eq!(held.gaps, 0, "superseded is not unexplained");
    assert!(held.said_lost.samples > 500);
    assert!(held.losses.iter().all(|loss| loss.reason == LossReason::Superseded));
    let newest = world.agent.held(Lane::Bulk).samples.iter().rfind(|s| s.signal.0 == 0).unwrap();
    assert_eq!(held.samples.last().unwrap().value, newest.value);
}

#[test]
fn the_latest_value_survives_a_reboot_without_what_it_superseded() {
    let mut world = World::new(10);
    world.offline = true;
    for _ in 0..200 {
        world.source.ready += 2;
        world.step(300);
    }
    world.power_cut(None);
    world.settle();
    world.check();
    let held = world.agent.held(Lane::Latest);
    assert!(held.samples.len() <= 20, "{} samples", held.samples.len());
    assert_eq!(held.unexplained, Counts::ZERO);
}

#[test]
fn what_is_superseded_counts_from_where_the_agent_stands() {
    let mut world = World::new(11);
    for _ in 0..200 {
        world.source.ready += 2;
        world.step(300);
    }
    while world.app.outstanding(Lane::Latest) > 0 {
        world.step(300);
    }
    let held = world.agent.held(Lane::Latest);
    let (durable, through) = (held.durable, held.through);
    world.offline = true;
    world.wire.cut(false);
    for _ in 0..200 {
        world.source.ready += 2;
        world.step(300);
    }
    let said =
        |world: &World| world.app.stores[Lane::Latest.index()].state(Acknowledged::default());
    assert_eq!(said(&world).first_retained, durable.next());
    assert_eq!(said(&world).before_first, through, "no more than what the agent holds");
    world.power_cut(None);
    // What came before is written over, and its count kept.
    assert_eq!(said(&world).first_retained, durable.next());
    assert!(world.app.stores[Lane::Latest.index()].ring.first_retained() > durable.next());
    assert_eq!(said(&world).before_first, through);
    world.offline = false;
    world.settle();
    world.check();
}

#[test]
fn a_restored_backup_opens_new_rings_and_everything_arrives() {
    for seed in 20..26 {
        let mut world = World::new(seed);
        run_for(&mut world, 100);
        world.settle();
        let backup = world.flash.clone();
        run_for(&mut world, 200);
        world.settle();
        let old = world.app.ring_id(Lane::Bulk);
        let before = world.agent.held(Lane::Bulk).samples.len();

        world.flash = backup;
        world.restart();
        run_for(&mut world, 100);
        world.settle();
        assert!(world.app.counters().forks >= 1, "seed {seed}");
        let new = world.app.ring_id(Lane::Bulk);
        assert_ne!(new, old);
        assert_eq!(world.agent.rings[&old].samples.len(), before, "the old ring is left alone");
        let held = world.agent.held(Lane::Bulk);
        assert!(held.origins.iter().all(|origin| origin.ring == old));
        assert!(!held.origins.is_empty());
        let lost = (held.unexplained + held.said_lost).samples;
        let delivered = u64::try_from(held.samples.len()).unwrap();
        assert_eq!(delivered + lost, held.through.samples);
        assert_eq!(lost, 0, "seed {seed}");
        let fork = world.agent.records.iter().find(|record| record.starts_with("Fork("));
        assert!(fork.is_some(), "seed {seed}: {:?}", world.agent.records);
    }
}

#[test]
fn what_is_gone_under_numbers_that_the_agent_knows_is_said_in_the_new_ring() {
    for (seed, reboots) in [(26, false), (27, true)] {
        let mut world = World::new(seed);
        run_for(&mut world, 100);
        world.settle();
        let backup = world.flash.clone();
        run_for(&mut world, 400);
        world.settle();
        let known = Lane::ALL.map(|lane| world.app.next_seq(lane));

        world.flash = backup;
        world.restart();
        world.offline = true;
        let first_raw = world.source.next_raw;
        let before = Lane::ALL.map(|lane| world.accepted(lane));
        // Until all that the agent does not have of those numbers is gone.
        let is_gone = |world: &World, lane: Lane| {
            world.app.stores[lane.index()].ring.first_retained() >= known[lane.index()]
        };
        while !is_gone(&world, Lane::Bulk) || !is_gone(&world, Lane::Latest) {
            world.source.ready += 10;
            world.step(100);
        }
        // What is gone is known after a boot, too.
        let mut most_open = [0; 3];
        if reboots {
            most_open = world::config().batch.open_samples_max.map(|most| u64::from(most) + 1);
            world.power_cut(None);
            world.offline = true;
        }
        let old = Lane::ALL.map(|lane| world.app.ring_id(lane));
        // The agent has to see another history of the same numbers, and not one that is ahead.
        for lane in [Lane::Bulk, Lane::Latest] {
            let held = world.agent.rings.get_mut(&old[lane.index()]).unwrap();
            held.durable = world.app.next_seq(lane).next();
        }
        world.settle();
        for lane in [Lane::Bulk, Lane::Latest] {
            let at = lane.index();
            assert_ne!(world.app.ring_id(lane), old[at], "{lane:?} was left");
            let accepted = world.accepted(lane).since(before[at]).samples;
            let held = world.agent.held(lane);
            let came =
                held.samples.iter().filter(|sample| sample.steps() >= Some(first_raw)).count();
            let told = held.said_lost.samples + held.unexplained.samples;
            let accounted = u64::try_from(came).unwrap() + told;
            assert!(accounted + most_open[at] >= accepted, "{lane:?}: {accounted} of {accepted}");
            let reason =
                if lane == Lane::Bulk { LossReason::Forked } else { LossReason::Superseded };
            assert!(held.losses.iter().any(|loss| loss.reason == reason), "{:?}", held.losses);
        }
    }
}

/// What it sealed under numbers of another history is gone again before it meets the agent, which has
/// those numbers: there is no tag left to compare, and taken for the agent's own they would be lost
/// without a word.
#[test]
fn what_was_dropped_under_numbers_that_the_agent_has_from_before_a_rollback_is_said() {
    for boots in 0..3 {
        let mut world = World::new(60 + boots);
        run_for(&mut world, 100);
        world.settle();
        let backup = world.flash.clone();
        run_for(&mut world, 1_300);
        world.settle();
        let had = world.agent.held(Lane::Bulk).samples.len();
        world.flash = backup;
        world.restart();
        world.offline = true;
        // Full twice over.
        for _ in 0..=boots {
            while world.app.counters().dropped_frames[Lane::Bulk.index()] < 200 {
                world.source.ready += 10;
                world.step(100);
            }
            world.app.flush(world.now, &mut world.flash);
            world.restart();
        }
        world.settle();
        assert_eq!(world.app.counters().forks, 3, "{boots} boots: each lane is of another history");
        let rings: Vec<_> = world.agent.of_lane(Lane::Bulk).map(|(_, held)| held).collect();
        let (old, new) = rings.iter().partition::<Vec<&Held>, _>(|held| held.samples.len() == had);
        assert_eq!((old.len(), new.len()), (1, 1), "the old ring gets nothing more");
        assert_eq!(old[0].unexplained + old[0].said_lost, Counts::ZERO);
        assert!(new[0].losses.iter().any(|loss| loss.reason == LossReason::Forked));
        let delivered = u64::try_from(new[0].samples.len()).unwrap();
        let lost = new[0].unexplained + new[0].said_lost;
        assert_eq!(delivered + lost.samples, new[0].through.samples, "{boots} boots");
    }
}

#[test]
fn no_ring_id_comes_twice_however_often_a_backup_is_restored() {
    let mut world = World::new(26);
    run_for(&mut world, 100);
    world.settle();
    let backup = world.flash.clone();
    run_for(&mut world, 100);
    world.settle();
    for times in 1..4 {
        world.flash = backup.clone();
        world.restart();
        run_for(&mut world, 100);
        world.settle();
        for lane in [Lane::Critical, Lane::Bulk] {
            let rings = world.agent.of_lane(lane).count();
            assert_eq!(rings, times + 1, "{lane:?}");
        }
        // A ring under an old id would be left at once for another.
        assert!(world.app.counters().forks <= 3, "one a lane");
    }
}

#[test]
fn a_clone_leaves_its_rings_to_the_original() {
    let mut original = World::new(30);
    run_for(&mut original, 50);
    original.settle();
    let mut clone = World::with_flash(31, original.flash.clone());
    clone.agent = original.agent.clone();
    run_for(&mut original, 100);
    original.settle();
    original.check();
    // The clone goes on for itself and then meets what the original delivered.
    clone.offline = true;
    run_for(&mut clone, 100);
    clone.agent = original.agent.clone();
    clone.settle();
    for lane in [Lane::Critical, Lane::Bulk] {
        assert_ne!(clone.app.ring_id(lane), original.app.ring_id(lane), "{lane:?}");
        let rings: Vec<_> = clone.agent.of_lane(lane).collect();
        assert_eq!(rings.len(), 2, "{lane:?}");
    }
}

#[test]
fn a_power_cut_during_a_fork_loses_nothing() {
    for seed in 40..60 {
        let mut world = World::new(seed);
        world.offline = true;
        run_for(&mut world, 150);
        let backup = world.flash.clone();
        world.offline = false;
        run_for(&mut world, 150);
        world.settle();
        world.flash = backup;
        world.restart();
        world.offline = false;
        for _ in 0..3 {
            world.flash.cut_after(20 + u32::try_from(world.random.below(60)).unwrap());
            for _ in 0..60 {
                world.step(100);
            }
            world.restart();
        }
        world.settle();
        let held = world.agent.held(Lane::Bulk);
        let lost = (held.unexplained + held.said_lost).samples;
        let delivered = u64::try_from(held.samples.len()).unwrap();
        assert_eq!(delivered + lost, held.through.samples, "seed {seed}");
        let mut raws: Vec<i64> =
            held.samples.iter().map(|sample| sample.steps().unwrap()).collect();
        raws.sort_unstable();
        raws.dedup();
        assert_eq!(raws.len(), held.samples.len(), "seed {seed}: copied twice");
    }
}

#[test]
fn a_damaged_frame_costs_itself_and_no_other() {
    let mut world = World::new(50);
    world.offline = true;
    run_for(&mut world, 60);
    // Somewhere in the middle of the bulk ring's first sector.
    let at = 10 * world::ERASE + 160;
    world.flash.bytes_mut()[at] &= 0x5a;
    world.flash.bytes_mut()[at + 1] &= 0x5a;
    world.settle();
    world.check();
    let held = world.agent.held(Lane::Bulk);
    let lost = held.unexplained + held.said_lost;
    assert!((1..=60).contains(&lost.samples), "{lost:?}");
    assert!(held.losses.iter().any(|loss| loss.reason == LossReason::Damaged));
    assert_eq!(world.agent.repeats, 0, "waits instead of sending what nobody can take");
}

#[test]
fn a_loss_that_the_flash_refuses_is_said_later() {
    let mut world = World::new(50);
    world.offline = true;
    run_for(&mut world, 60);
    // The body of the first frame of the bulk ring.
    world.flash.bytes_mut()[10 * world::ERASE + 88 + 40 + 30] ^= 1;
    world.offline = false;
    // Until the frame is passed; then every write fails for a while.
    while world.app.stores[Lane::Bulk.index()].losses_due_ms().is_none() {
        world.step(100);
    }
    for _ in 0..40 {
        world.flash.fail_at(0, Left::Untouched);
        world.step(100);
    }
    world.flash.power_on();
    assert!(world.app.counters().flash_errors > 0);
    let is_due = world.app.stores[Lane::Bulk.index()].losses_due_ms().is_some();
    assert!(is_due, "it is still to be said");
    world.settle();
    let losses = &world.agent.held(Lane::Bulk).losses;
    assert!(losses.iter().any(|loss| loss.reason == LossReason::Damaged));
}

#[test]
fn damage_anywhere_in_the_rings_never_stops_the_link() {
    for seed in 400..430 {
        let mut world = World::new(seed);
        for _ in 0..6 {
            world.offline = world.random.percent(50);
            run_for(&mut world, 60);
            let rings = 2 * world::ERASE..world.flash.bytes_mut().len();
            let len = u64::try_from(rings.len()).unwrap();
            for _ in 0..world.random.clone().below(3) {
                let at = rings.start + usize::try_from(world.random.below(len)).unwrap();
                world.flash.bytes_mut()[at] &= world.random.next().to_be_bytes()[0];
            }
            if world.random.percent(30) {
                world.power_cut(None);
            }
        }
        world.settle();
        for lane in Lane::ALL {
            let held = world.agent.held(lane);
            let lost = held.unexplained + held.said_lost;
            let delivered = u64::try_from(held.samples.len()).unwrap();
            assert_eq!(delivered + lost.samples, held.through.samples, "seed {seed}, {lane:?}");
        }
    }
}

#[test]
fn a_full_agent_is_left_alone_for_a_while() {
    let mut world = World::new(60);
    world.busy = true;
    for _ in 0..600 {
        world.step(100);
    }
    assert!((2..=7).contains(&world.wire.connects), "{} in a minute", world.wire.connects);
    world.settle();
    world.check();
}

#[test]
fn the_agents_clock_is_used_until_there_is_a_better_one() {
    let mut world = World::new(70);
    world.source.clock = Clock::Uptime;
    run_for(&mut world, 50);
    let mut source = Latched(None);
    let mut poll = |world: &mut World, wall| {
        world.now.uptime_ms += 10;
        world.now.wall = wall;
        let (flash, link, entropy) = (&mut world.flash, &mut world.wire, &mut world.random);
        world.app.poll(
            world.now,
            &mut crate::ports::Ports { flash, source: &mut source, link, entropy },
        );
        source.0.expect("was asked").wall
    };
    let (unix_ms, clock) = poll(&mut world, None).expect("set by the welcome");
    assert_eq!(clock, Clock::Agent);
    assert!((unix_ms - world.agent.unix_ms).abs() < 2_000, "{unix_ms}");
    assert_eq!(poll(&mut world, Some((5, Clock::Rtc))).unwrap().1, Clock::Agent);
    assert_eq!(poll(&mut world, Some((5, Clock::Reference))), Some((5, Clock::Reference)));
}

#[test]
fn an_orderly_stop_is_remembered_once() {
    let mut world = World::new(80);
    run_for(&mut world, 20);
    world.app.stop(world.now, &mut world.flash);
    world.restart();
    run_for(&mut world, 1);
    world.power_cut(None);
    world.settle();
    let boots: Vec<_> =
        world.agent.records.iter().filter(|record| record.starts_with("Boot(")).collect();
    let clean = |record: &str| record.contains("unsealed_samples_max: [0, 0, 0]");
    let found: Vec<bool> = boots.iter().map(|record| clean(record)).collect();
    assert_eq!(found, [true, true, false], "first boot, after a stop, after a cut");
}

#[test]
fn events_are_stored_with_the_next_poll() {
    let mut world = World::new(90);
    let log = |time| {
        Record::Log(protocol::event::Log {
            time,
            level: protocol::event::Level::Info,
            target: "test",
            message: "hello",
        })
    };
    let mut taken = 0;
    while world.app.record(&world.now, log).is_ok() {
        taken += 1;
    }
    assert!((5..=32).contains(&taken), "bounded: {taken}");
    world.step(1);
    world.app.record(&world.now, log).expect("room again");
    world.settle();
    world.check();
    let logs = world.agent.records.iter().filter(|record| record.starts_with("Log(")).count();
    assert_eq!(logs, taken + 1);
}

#[test]
fn a_heartbeat_says_what_the_board_measured_of_itself_last() {
    let mut world = World::new(91);
    world.settle();
    for stack_free in [9_000, 8_000] {
        world.app.note(crate::ports::Vitals { stack_free, supply_mv: 12_400 });
        world.step(60_000);
        world.settle();
    }
    let of = |record: &&std::string::String| record.starts_with("Heartbeat(");
    let beats: Vec<_> = world.agent.records.iter().filter(of).collect();
    let said = |stack: u32, supply: u32| {
        beats
            .iter()
            .any(|beat| beat.contains(&std::format!("stack_free: {stack}, supply_mv: {supply}")))
    };
    assert!(said(0, 0) && said(9_000, 12_400) && said(8_000, 12_400), "{beats:?}");
}

#[test]
fn the_core_fits_its_memory() {
    let len = size_of::<super::App<'_, 10, 1024>>();
    assert!(len <= 12 * 1024, "{len} bytes");
}

fn run_for(world: &mut World, steps: u32) {
    for _ in 0..steps {
        world.source.ready += 4;
        world.step(100);
    }
}

/// Gives nothing and remembers when it was asked.
struct Latched(Option<crate::ports::Now>);

impl crate::ports::Source for Latched {
    fn next(&mut self, now: &crate::ports::Now) -> Option<crate::ports::Reading> {
        self.0 = Some(*now);
        None
    }

    fn read(
        &mut self,
        _signal: protocol::SignalIndex,
        _now: &crate::ports::Now,
    ) -> Option<crate::ports::Reading> {
        None
    }

    fn due(&self) -> Option<u64> {
        None
    }
}
