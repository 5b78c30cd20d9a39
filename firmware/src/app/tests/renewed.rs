//! A device that was removed and added again, or whose secret was rotated while it was off.

use std::string::ToString as _;

use protocol::{Generation, Lane, RingId, Secret};

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
