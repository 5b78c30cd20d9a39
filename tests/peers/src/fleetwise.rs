//! What the edge agent of AWS's `FleetWise` uploads: `VehicleData`.
//!
//! Source: aws/aws-iot-fleetwise-edge,
//! `interfaces/protobuf/schemas/edgeToCloud/vehicle_data.proto`. `VehicleData`:
//! `campaign_sync_id` = 1, `decoder_sync_id` = 2, `collection_event_id` = 3,
//! `collection_event_time_ms_epoch` = 4, `captured_signals` = 5. `CapturedSignal`:
//! `relative_time_ms` = 1 (`sint64`), `signal_id` = 2, `double_value` = 3.

use crate::message::Message;
use crate::varint::{field_bytes, field_double, field_varint, zigzag_difference};

/// Stands for the campaign's and the decoder manifest's name, which every upload repeats.
const SYNC_ID: &[u8] = b"arn:aws:iotfleetwise:eu-central-1:123456789012:x/fleet-1/1700000000";
/// A random number that the agent makes for each upload.
const EVENT_ID: u64 = 123_456_789;

/// One captured signal a sample, its time relative to the first.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    let mut captured = Vec::new();
    field_bytes(&mut out, 1, SYNC_ID);
    field_bytes(&mut out, 2, SYNC_ID);
    field_varint(&mut out, 3, EVENT_ID);
    field_varint(&mut out, 4, message.unix_ms_unsigned(message.first));
    let first_ms = message.unix_ms(message.first);
    for (point, signal) in message.samples() {
        captured.clear();
        let later = zigzag_difference(first_ms, message.unix_ms(point));
        // proto3 leaves out a zero.
        if later != 0 {
            field_varint(&mut captured, 1, later);
        }
        field_varint(&mut captured, 2, point.signal as u64 + 1);
        field_double(&mut captured, 3, signal.value(point.steps));
        field_bytes(&mut out, 5, &captured);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{points, stream};
    use crate::reader::{Field, fields, inner, unzigzag};

    #[test]
    fn reads_back() {
        let stream = stream(&[("speed", 1), ("maf", 2)], false);
        let points = points(&[(1_500_000_000_123, 0, 413), (1_500_000_000_153, 1, -7)]);
        let message = Message::new(&stream, &points).unwrap().unwrap();
        let bytes = encode(&message);
        assert_eq!((inner(&bytes, 1), inner(&bytes, 2)), (SYNC_ID, SYNC_ID));
        let all = fields(&bytes);
        assert_eq!(all[3], (4, Field::Varint(1_500_000_000_123)));
        let [.., (5, Field::Bytes(first)), (5, Field::Bytes(second))] = &all[..] else {
            panic!("{all:?}")
        };
        assert_eq!(fields(first)[0], (2, Field::Varint(1)), "no time where it is the first's");
        let second = fields(second);
        let (1, Field::Varint(later)) = second[0] else { panic!("{second:?}") };
        assert_eq!(unzigzag(later), 30);
        assert_eq!(second[1], (2, Field::Varint(2)));
        assert_eq!(second[2], (3, Field::Fixed64((-0.07_f64).to_bits())));
    }
}
