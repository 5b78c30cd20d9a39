//! Sparkplug B: a DDATA payload, after a birth message that gave names, aliases and types.
//!
//! Source: Eclipse Sparkplug 3.0.0, chapter 6 "Payloads", its protobuf schema. `Payload`:
//! `timestamp` = 1, `metrics` = 2, `seq` = 3. `Metric`: `alias` = 2, `timestamp` = 3,
//! `float_value` = 12, `double_value` = 13.

use crate::message::Message;
use crate::varint::{field_bytes, field_double, field_float, field_varint};

/// `seq` runs from 0 to 255. Half of its values take two bytes; so does this one.
const SEQ: u64 = 200;

/// One metric a sample, aliases from 1, the payload's time that of the last sample.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    let mut metric = Vec::new();
    field_varint(&mut out, 1, message.unix_ms_unsigned(message.last));
    for (point, signal) in message.samples() {
        metric.clear();
        field_varint(&mut metric, 2, point.signal as u64 + 1);
        field_varint(&mut metric, 3, message.unix_ms_unsigned(point));
        if signal.single {
            field_float(&mut metric, 12, signal.value_single(point.steps));
        } else {
            field_double(&mut metric, 13, signal.value(point.steps));
        }
        field_bytes(&mut out, 2, &metric);
    }
    field_varint(&mut out, 3, SEQ);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{points, stream};
    use crate::reader::{Field, fields};

    #[test]
    fn reads_back() {
        let mut stream = stream(&[("speed", 1), ("lat", 6)], false);
        let points = points(&[(1_500_000_000_123, 0, 415), (1_500_000_000_153, 1, 48_137_154)]);
        stream.note_range(&points);
        let message = Message::new(&stream, &points).unwrap().unwrap();
        let bytes = encode(&message);
        let payload = fields(&bytes);
        assert_eq!(payload[0], (1, Field::Varint(1_500_000_000_153)));
        assert_eq!(payload[3], (3, Field::Varint(200)));
        let metrics: Vec<_> = payload
            .iter()
            .filter_map(|(number, field)| match (number, field) {
                (2, Field::Bytes(bytes)) => Some(fields(bytes)),
                _ => None,
            })
            .collect();
        let speed = [
            (2, Field::Varint(1)),
            (3, Field::Varint(1_500_000_000_123)),
            (12, Field::Fixed32(41.5_f32.to_bits())),
        ];
        let lat = [
            (2, Field::Varint(2)),
            (3, Field::Varint(1_500_000_000_153)),
            (13, Field::Fixed64(48.137_154_f64.to_bits())),
        ];
        assert_eq!(metrics, [speed, lat]);
        assert_eq!(bytes.len(), 7 + (2 + 14) + (2 + 18) + 3);
    }
}
