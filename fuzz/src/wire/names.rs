//! Catalogues and topics: what names things.

use protocol::topic::{Channel, Topic};
use protocol::{Catalogue, Lane, Signal, Step};

use super::world::WORLD;
use crate::bound::bounded;

/// A catalogue that reads is in range, and is the same written and read again.
pub fn catalogue(bytes: &[u8]) {
    let small = bounded(0, || Catalogue::decode::<8>(bytes).is_ok());
    let Ok(decoded) = bounded(0, || Catalogue::decode::<64>(bytes)) else {
        assert!(!small, "read with less room, and not with more");
        return;
    };
    let catalogue = decoded.catalogue();
    assert_eq!(small, catalogue.signals.len() <= 8);
    let mut room = [0; 2 * Catalogue::ENCODED_MAX];
    let len = catalogue.encode(&mut room).unwrap();
    assert_eq!(Catalogue::decode::<64>(&room[..len]).unwrap(), decoded);
    for signal in catalogue.signals {
        assert!(signal.path.len() <= Signal::PATH_MAX && signal.raw_min <= signal.raw_max);
    }
    std::hint::black_box(Catalogue::id_of(&room[..len]));
}

pub fn catalogue_seeds() -> Vec<Vec<u8>> {
    let signal = |path, unit, step| Signal { path, unit, step, raw_min: -5, raw_max: 70_000 };
    let signals = [
        signal("Vehicle.Speed", "km/h", Step::new(1, 10)),
        signal("Vehicle.CurrentLocation.Latitude", "degrees", Step::new(1, 100_000)),
        signal("Vehicle.IsMoving", "", Step { numerator: 1, denominator: 1, offset: -40 }),
    ];
    let encoded = |tick_ms, signals: &[Signal<'_>]| {
        let mut room = [0; Catalogue::ENCODED_MAX];
        let len = Catalogue::new(tick_ms, signals).encode(&mut room).unwrap();
        room[..len].to_vec()
    };
    let many = [signals[0]; 12];
    vec![encoded(1, &signals), encoded(1000, &[]), encoded(60_000, &many)]
}

/// A topic that reads has one name, which is what was read.
pub fn topic(bytes: &[u8]) {
    let Ok(name) = std::str::from_utf8(bytes) else { return };
    let Some(topic) = bounded(0, || Topic::parse(name)) else { return };
    assert_eq!(bounded(0, || topic.name()).as_str(), name, "two names of one topic");
    let uplink = matches!(topic.channel, Channel::Frames(_) | Channel::Hello);
    assert_eq!(topic.channel.is_uplink(), uplink);
}

pub fn topic_seeds() -> Vec<Vec<u8>> {
    let channels = [
        Channel::Frames(Lane::Critical),
        Channel::Frames(Lane::Bulk),
        Channel::Frames(Lane::Latest),
        Channel::Hello,
        Channel::Ack,
        Channel::Downlink,
    ];
    let name = |channel| Topic { device: WORLD.device, channel }.name().as_bytes().to_vec();
    channels.map(name).to_vec()
}
