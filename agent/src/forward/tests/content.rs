//! What an entry says, and what is made of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::event::{Attributes, Event};
use protocol::frame::Kind;
use protocol::loss::{Loss, LossReason};
use protocol::record::Record;
use protocol::{CatalogueId, Counts, DeviceTime, Lane, Seq};
use serde_json::json;

use super::super::Change;
use super::world::{KNOWN, LATE, Ring, World, samples};
use crate::privacy::Policy;
use crate::storage::{Disk, SharedStorage};
use crate::vehicles::{Assignment, Belonging, Change as Moved, Vehicles};

#[test]
fn records_that_cannot_be_read_are_a_dead_letter_and_the_others_leave() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Critical);
    let event = Record::Event(Event {
        time: DeviceTime::default(),
        actor: "driver",
        action: "open",
        object: "door",
        context: "",
        resource: "",
        attributes: Attributes::new(),
    });
    let mut body = [0; 200];
    let end = event.append(&mut body, 0).unwrap();
    // Two of a kind that is not known, each behind its length.
    let unknown = [0, 1, 0xee];
    let body = [&unknown[..], &body[..end], &unknown[..]].concat();
    let frame = ring.seal(Kind::Records, ring.next, &body);
    let events = |events| Counts { samples: 0, events };
    world.append(&mut ring, events(3), &frame);
    world.commit();
    let report = world.forward();
    assert_eq!((report.delivered, report.dead_lettered), (events(1), events(2)));
    assert_eq!(world.of_type("event").len(), 1);
    let letters = world.dead_letters();
    assert_eq!((letters.len(), &letters[0]["events"]), (1, &json!(2)));
}

#[test]
fn the_views_of_a_bounded_number_of_catalogues_are_kept() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    let mut asked_for = |catalogues: &[CatalogueId]| {
        for id in catalogues {
            world.catalogues.learn(*id);
            world.samples_of(&mut ring, *id, 1);
        }
        world.commit();
        let before = world.catalogues.asked.load(Ordering::Relaxed);
        world.forward();
        world.catalogues.asked.load(Ordering::Relaxed) - before
    };
    assert_eq!(asked_for(&[KNOWN, LATE, KNOWN, LATE, LATE, KNOWN]), 2);
    let many: Vec<CatalogueId> = (1..=40).map(CatalogueId).collect();
    let (newest, oldest) = (many[39], many[0]);
    assert_eq!(asked_for(&[&many[..], &[newest]].concat()), 40);
    assert_eq!(asked_for(&[&many[..], &[oldest]].concat()), 41);
}

#[test]
fn a_hole_is_told_of_under_the_number_of_its_last_frame() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    (ring.next, ring.through) = (5, ring.through + samples(20));
    world.samples(&mut ring, 10);
    world.commit();
    assert_eq!(world.forward().lost, samples(20));
    let losses = world.of_type("loss");
    assert_eq!(losses.len(), 1);
    let (id, data) = (losses[0]["id"].as_str().unwrap(), &losses[0]["data"]);
    assert_eq!((&data["first"], &data["last"]), (&json!(2), &json!(4)));
    assert_eq!(id, format!("{}/{}/4/loss", ring.device, ring.id));
}

#[test]
fn a_loss_that_ends_before_its_own_frame_explains_nothing_up_to_there() {
    let mut world = World::new();
    let mut ring = Ring::new(1, Lane::Bulk);
    world.samples(&mut ring, 10);
    let said = Loss {
        first: Seq(2),
        last: Seq(3),
        through: samples(30),
        reason: LossReason::Full,
        time: DeviceTime::default(),
    };
    let mut body = [0; 128];
    ring.next = 6;
    let frame = ring.seal(Kind::Loss, 6, postcard::to_slice(&said, &mut body).unwrap());
    world.append(&mut ring, samples(20), &frame);
    world.commit();
    assert_eq!(world.forward().lost, samples(20));
    let told: Vec<_> = world
        .of_type("loss")
        .iter()
        .map(|loss| {
            let data = &loss["data"];
            json!([data["by"], data["first"], data["last"], data["samples"]])
        })
        .collect();
    assert_eq!(told, [json!(["agent", 2, 5, 0]), json!(["device", 2, 3, 20])]);
}

#[test]
fn each_document_names_the_vehicle_of_its_own_device() {
    let dir = tempfile::tempdir().unwrap();
    let storage: SharedStorage = Arc::new(Disk);
    let database = crate::state::open(&storage, &dir.path().join("state.redb")).unwrap();
    let vehicles = Vehicles::open(database).unwrap();
    let mut world = World::new();
    world.config.batch_bytes = 1 << 20;
    let mut rings = [1, 2].map(|number| Ring::new(number, Lane::Bulk));
    for ring in &rings {
        let vehicle = format!("in-{}", ring.device).parse().unwrap();
        let (device, belonging) = (ring.device, Belonging::default());
        let seat = Assignment { device, vehicle, from_ms: None, to_ms: None, belonging };
        vehicles.assign(&seat, &Moved::default(), 1).unwrap();
    }
    for ring in &mut rings {
        world.samples(ring, 5);
        world.gap(ring, 1, samples(3));
    }
    world.commit();
    let mut forwarder = world.open().unwrap();
    let policy = Some(Policy::none().with_vehicles(vehicles));
    forwarder.change(Change { policy, rotate_bytes: None });
    assert!(world.drive(&mut forwarder, 4));
    let documents = world.documents();
    assert_eq!(documents.len(), 2 * (5 + 1));
    for document in documents {
        let device = document["source"].as_str().unwrap().replace("/devices/", "");
        assert_eq!(document["vehicle"], format!("in-{device}"));
    }
}
