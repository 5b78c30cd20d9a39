//! What goes around a payload on its way: our frame's head, seal and MQTT packet; a peer's topic and
//! packet.

use protocol::frame::{TAG_LEN, compact};

/// A device's name of usual length.
const DEVICE: &str = "vehicle-042";

/// MQTT's variable byte integer (OASIS MQTT 5.0, 1.5.5) takes so many bytes.
const fn varint_len(number: usize) -> usize {
    match number {
        ..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

/// A PUBLISH (OASIS MQTT 5.0, 3.3): type and flags, remaining length, topic, packet id for QoS 1,
/// properties in version 5.
fn publish(topic: usize, beside: usize, payload: usize) -> usize {
    let remaining = 2 + topic + beside + payload;
    1 + varint_len(remaining) + remaining
}

/// Bytes of a frame of ours in its packet: QoS 1, MQTT 5, a topic alias (OASIS MQTT 5.0, 3.3.2.3.4).
pub fn ours(columns: usize, count: u16) -> usize {
    let body = varint_len(usize::from(count)) + columns;
    publish(0, 2 + 1 + 3, compact::LEN + body + TAG_LEN)
}

/// Bytes of a Sparkplug DDATA in its packet: QoS 0, MQTT 3.1.1, a topic of one group, edge node and
/// device (Sparkplug 3.0, 4.1).
pub fn sparkplug(payload: usize) -> usize {
    publish("spBv1.0/fleet/DDATA//car".len() + DEVICE.len(), 0, payload)
}

#[cfg(test)]
mod tests {
    use protocol::codec::{Coding, SamplesContext};
    use protocol::frame::{Binding, HEADER_LEN_MAX, Header, seal};
    use protocol::{CatalogueId, Clock, DeviceId, Generation, Lane, RingId, Secret, Seq, keys};

    use super::*;

    #[test]
    fn a_packet_is_as_long_as_the_standard_says() {
        assert_eq!(publish(3, 0, 10), 2 + 2 + 3 + 10);
        assert_eq!(publish(3, 3, 200), 3 + 2 + 3 + 3 + 200);
        assert_eq!(sparkplug(0), 2 + 2 + 35);
        // Head 3, count 2, tag 16; no topic, and 6 beside it.
        assert_eq!(ours(100, 600), 3 + (2 + 6) + 3 + 2 + 100 + 16);
        assert_eq!(ours(100, 600) - 100, 32, "the bar");
    }

    #[test]
    fn a_frame_is_as_long_as_one_that_is_sealed() {
        let device: DeviceId = DEVICE.parse().unwrap();
        let ring = RingId([3; 16]);
        let key = keys::frame_key(&Secret::new([7; 32]), &device, &ring, Generation::FIRST);
        let context = compact::Context { catalogue: CatalogueId(7), boot: 200 };
        let samples = SamplesContext {
            catalogue: context.catalogue,
            clock: Clock::Reference,
            coding: Coding::Learning,
            boot: context.boot,
        };
        let seq = Seq(525_600);
        let header = Header::of_samples(Generation::FIRST, seq, samples);
        let mut buffer = [0; 256];
        let body = HEADER_LEN_MAX..HEADER_LEN_MAX + 2 + 100;
        let binding = Binding { device, ring, lane: Lane::Bulk };
        let (at, _) = seal(&key, &binding, &header, &mut buffer, body).unwrap();
        let message = compact::shorten(&mut buffer[at], context, seq.prev());
        assert_eq!(ours(100, 600), 3 + 2 + 6 + message.len());
    }
}
