//! A device that was removed and added again, or whose secret was rotated while it was off.

use std::string::ToString as _;

use protocol::{Generation, Lane, Registration, RingId, Secret};

use super::world::{World, config};
use crate::app::AppConfig;

fn generation(number: u8) -> Generation {
    Generation::new(number).unwrap()
}

/// A device that has stored frames under a secret and its generation, and met nobody.
fn with_frames(number: u8) -> World {
    let secret = Secret::new([9; 32]);
    let old = AppConfig { secret, generation: generation(number), ..config() };
    let mut world = World::with_config(u64::from(number), old);
    world.offline = true;
    for _ in 0..60 {
        world.source.ready += 6;
        world.step(100);
    }
    world.app.flush(world.now, &mut world.flash);
    world
}

/// The same, and it knew in which registration.
fn registered(number: u8) -> World {
    let secret = Secret::new([9; 32]);
    let registration = Some(Registration(1));
    let config = AppConfig { secret, generation: generation(number), registration, ..config() };
    let mut world = with_frames(number);
    world.config = config;
    // The first start since it is known keeps what there is.
    let before = rings(&world);
    world.restart();
    assert_eq!(rings(&world), before);
    world
}

fn rings(world: &World) -> [RingId; 3] {
    Lane::ALL.map(|lane| world.app.ring_id(lane))
}

#[test]
fn what_a_flash_holds_under_another_secret_is_said_to_be_gone() {
    // It had the first secret of before, or the second one.
    for number in [0, 1] {
        let mut world = with_frames(number);
        let (before, stored) = (rings(&world), world.accepted(Lane::Bulk));
        world.config = config();
        world.restart();
        assert!(rings(&world).iter().zip(&before).all(|(now, then)| now != then), "{number}");
        world.settle();
        // In its boot's record: all that was stored, and what may have been open.
        let open = u64::from(config().batch.open_samples_max[Lane::Bulk.index()]);
        let most = stored.samples + open;
        let boot = world.agent.records.iter().find(|record| record.starts_with("Boot(")).unwrap();
        let said = boot.split_once("unsealed_samples_max: [").unwrap().1;
        assert_eq!(said.split(", ").nth(1), Some(&*most.to_string()), "{number}: {boot}");
        assert!(stored.samples > 100, "{stored:?}");
    }
}

#[test]
fn what_it_holds_from_before_a_rotation_is_kept() {
    for (number, now) in [(0, 1), (0, 2), (1, 2), (2, 3), (3, 0)] {
        let mut world = with_frames(number);
        let before = rings(&world);
        world.config = AppConfig { generation: generation(now), ..config() };
        world.restart();
        assert_eq!(rings(&world), before, "from {number} to {now}");
    }
}

#[test]
fn what_it_holds_of_another_registration_is_given_up_whatever_the_generations() {
    for (number, now) in [(0, 0), (0, 1), (0, 2), (0, 3), (2, 1), (3, 1)] {
        let mut world = registered(number);
        let before = rings(&world);
        let registration = Some(Registration(2));
        world.config = AppConfig { generation: generation(now), registration, ..config() };
        world.restart();
        let given_up = rings(&world);
        assert!(given_up.iter().zip(&before).all(|(now, then)| now != then), "{number} to {now}");
        world.restart();
        assert_eq!(rings(&world), given_up, "once");
    }
}

#[test]
fn what_it_holds_of_its_registration_is_kept_whatever_the_generations() {
    for (number, now) in [(0, 1), (0, 2), (0, 3), (1, 0), (3, 2)] {
        let mut world = registered(number);
        let before = rings(&world);
        let registration = Some(Registration(1));
        world.config = AppConfig { generation: generation(now), registration, ..config() };
        world.restart();
        assert_eq!(rings(&world), before, "from {number} to {now}");
    }
}

#[test]
fn a_registration_that_is_no_longer_said_is_forgotten() {
    let mut world = registered(0);
    let before = rings(&world);
    for registration in [None, Some(Registration(2))] {
        let (secret, generation) = (Secret::new([9; 32]), generation(1));
        world.config = AppConfig { secret, generation, registration, ..config() };
        world.restart();
        assert_eq!(rings(&world), before, "{registration:?}");
    }
}
