//! A sink that gets another name: what was kept and set aside for it goes with it.

use std::path::PathBuf;

use protocol::Lane;

use super::world::{LATE, Ring, World, open_journal, samples};
use crate::storage::faulty::Faulty;

#[test]
fn a_sink_renamed_after_a_restore_takes_nothing_twice() {
    for is_lost in [false, true] {
        let mut world = World::new();
        let mut ring = Ring::new(1, Lane::Bulk);
        for _ in 0..5 {
            world.samples(&mut ring, 10);
        }
        world.commit();
        world.forward();
        let (copy, mut back): (Faulty, Ring) = (world.journal_disk.copy(), ring.clone());
        for _ in 0..5 {
            world.samples(&mut ring, 10);
        }
        world.commit();
        world.forward();
        world.journal_disk = copy;
        world.lives += 10;
        world.journal = open_journal(&world.journal_disk, world.lives);
        // The sink's cursor holds in the copy from here on; the rings' state is under its name alone.
        world.forward();
        if is_lost {
            world.disk.lose("/data/cursors/files.rings".as_ref());
        } else {
            world.config.name = "archive".to_owned();
        }
        world.raw = 50;
        for _ in 0..6 {
            world.samples(&mut back, 10);
        }
        world.commit();
        let report = world.forward();
        assert_eq!(world.delivered(&ring), (0..110).collect::<Vec<i64>>());
        assert!(world.of_type("loss").is_empty());
        assert!(report.balanced());
    }
}

#[test]
fn what_was_set_aside_goes_with_a_sink_that_is_renamed() {
    let mut world = World::new();
    let (mut late, mut bad) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    world.samples_of(&mut late, LATE, 5);
    world.append(&mut bad, samples(1), &[0xff; 40]);
    world.commit();
    let report = world.forward();
    assert_eq!((report.quarantined, report.dead_lettered), (samples(5), samples(1)));
    // Another sink takes the name that this one wants.
    let other = std::mem::replace(&mut world.config.name, "archive".to_owned());
    let mut foreign = Vec::new();
    for dir in ["parked", "dead-letters"] {
        let suffix = if dir == "parked" { "log" } else { "ndjson" };
        let path = PathBuf::from(format!("/data/{dir}/archive-000001.{suffix}"));
        world.storage().open(&path, true).unwrap().write_at(0, b"another's").unwrap();
        foreign.push(path);
    }
    let refused = world.open().unwrap_err();
    assert!(refused.contains("archive-000001") && refused.contains("no sink had"), "{refused}");
    for path in foreign {
        world.disk.lose(&path);
    }
    // Half of it was renamed when that start ended.
    let was = PathBuf::from(format!("/data/parked/{other}-000001.log"));
    world.storage().rename(&was, "/data/parked/archive-000001.log".as_ref()).unwrap();
    let report = world.forward();
    assert_eq!((report.quarantined, report.dead_lettered), (samples(5), samples(1)));
    world.catalogues.learn(LATE);
    world.samples(&mut late, 5);
    world.commit();
    let report = world.forward();
    assert_eq!((report.quarantined, report.delivered), (samples(0), samples(10)));
    assert_eq!(report.dead_lettered, samples(1));
    assert_eq!(world.delivered(&late), (0..10).collect::<Vec<i64>>());
    assert_eq!(world.dead_letters().len(), 1);
}

#[test]
fn a_sink_that_was_renamed_and_then_overrun_says_how_much_it_lost() {
    let mut world = World::new();
    let (mut silent, mut goes_on) = (Ring::new(1, Lane::Bulk), Ring::new(2, Lane::Bulk));
    for _ in 0..5 {
        world.samples(&mut silent, 10);
    }
    for _ in 0..30 {
        world.samples(&mut goes_on, 10);
        world.commit();
    }
    world.forward();
    // Nothing of the silent one is left in the journal when the sink gets another name.
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
    world.config.name = "archive".to_owned();
    drop(world.open().unwrap());
    // That start took nothing to the sink, whose cursor bears the old name still.
    for _ in 0..30 {
        world.samples(&mut silent, 10);
        world.samples(&mut goes_on, 10);
        world.commit();
    }
    let ends = world.journal.ends();
    world.journal.prune(&ends.positions).unwrap();
    for ring in [&mut silent, &mut goes_on] {
        world.samples(ring, 10);
    }
    world.commit();
    let report = world.forward();
    let losses = world.of_type("loss");
    let said = losses.iter().map(|loss| loss["data"]["samples"].as_u64().unwrap()).sum::<u64>();
    assert!(report.balanced() && said > 0, "{}", report.table());
    assert_eq!(said, report.lost.samples);
    let documents = (world.documents().len() - losses.len()) as u64;
    assert_eq!(documents + said, 50 + 300 + 600 + 20);
}
