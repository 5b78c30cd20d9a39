//! The wire types and what the device's core reads: no heap, so nothing may be allocated.

mod body;
mod codec;
mod frame;
mod messages;
mod mqtt;
mod names;
mod serial;
mod world;

use crate::Target;
use protocol::frame::FRAME_LEN_MAX;

const fn target(
    name: &'static str,
    len_max: usize,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target { name, len_max, alloc_max: 0, run, seeds, words: &[] }
}

/// The targets.
pub const TARGETS: &[Target] = &[
    target("frame", 512, frame::run, frame::seeds),
    target("body", 1024, body::run, body::seeds),
    target("codec", 1024, codec::run, codec::seeds),
    target("records", 1024, body::records, body::records_seeds),
    target("hello", 512, messages::hello, messages::hello_seeds),
    target("ack", 64, messages::ack, messages::ack_seeds),
    target("downlink", 256, messages::downlink, messages::downlink_seeds),
    target("catalogue", FRAME_LEN_MAX / 2, names::catalogue, names::catalogue_seeds),
    target("topic", 64, names::topic, names::topic_seeds),
    target("serial", 1024, serial::run, serial::seeds),
    target("mqtt-device", 1024, mqtt::run, mqtt::seeds),
];
