//! OpenTelemetry metrics: an `ExportMetricsServiceRequest` with a gauge a signal.
//!
//! Source: open-telemetry/opentelemetry-proto, `metrics/v1`, `resource/v1` and `common/v1`.
//! Request: `resource_metrics` = 1. `ResourceMetrics`: `resource` = 1, `scope_metrics` = 2.
//! `ScopeMetrics`: `scope` = 1, `metrics` = 2. `Metric`: `name` = 1, `unit` = 3, `gauge` = 5.
//! `Gauge`: `data_points` = 1. `NumberDataPoint`: `time_unix_nano` = 3, `as_double` = 4.
//! `Resource`: `attributes` = 1. `KeyValue`: `key` = 1, `value` = 2. `AnyValue`:
//! `string_value` = 1. `InstrumentationScope`: `name` = 1.

use crate::message::{Column, Message};
use crate::varint::{field_bytes, field_double, field_fixed64};

/// The whole request.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut resource = attribute(b"service.name", b"telemetry-agent");
    resource.extend(attribute(b"vehicle.id", message.stream.vehicle.as_bytes()));

    let mut scope_metrics = field(1, &field(1, b"agent"));
    for column in message.columns() {
        field_bytes(&mut scope_metrics, 2, &metric(message, &column));
    }

    let mut resource_metrics = field(1, &resource);
    field_bytes(&mut resource_metrics, 2, &scope_metrics);
    field(1, &resource_metrics)
}

/// All points of one signal.
fn metric(message: &Message, column: &Column) -> Vec<u8> {
    let mut gauge = Vec::new();
    let mut number = Vec::new();
    for point in &column.points {
        number.clear();
        let unix_ns = message.unix_ms_unsigned(*point).wrapping_mul(1_000_000);
        field_fixed64(&mut number, 3, unix_ns);
        field_double(&mut number, 4, column.signal.value(point.steps));
        field_bytes(&mut gauge, 1, &number);
    }
    let mut metric = field(1, column.signal.name.as_bytes());
    // "1" is UCUM's dimensionless unit; a real one would be about as long.
    field_bytes(&mut metric, 3, b"1");
    field_bytes(&mut metric, 5, &gauge);
    metric
}

/// A resource attribute with a string.
fn attribute(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut pair = field(1, key);
    field_bytes(&mut pair, 2, &field(1, value));
    field(1, &pair)
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    field_bytes(&mut out, number, bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{points, stream};
    use crate::reader::{Field, fields, inner};

    #[test]
    fn reads_back() {
        let stream = stream(&[("speed", 1), ("maf", 2)], false);
        let points = points(&[(5, 1, 120), (6, 0, 413), (7, 1, 121)]);
        let message = Message::new(&stream, &points).unwrap().unwrap();
        let bytes = encode(&message);
        let resource_metrics = inner(&bytes, 1);
        let attributes = fields(inner(resource_metrics, 1));
        let [_, (1, Field::Bytes(vehicle))] = &attributes[..] else { panic!("{attributes:?}") };
        assert_eq!(inner(vehicle, 1), b"vehicle.id");
        assert_eq!(inner(inner(vehicle, 2), 1), b"VEH00001234");

        let scope_metrics = fields(inner(resource_metrics, 2));
        let mut seen = Vec::new();
        for (number, field) in &scope_metrics {
            let (2, Field::Bytes(metric)) = (number, field) else { continue };
            for (_, point) in fields(inner(metric, 5)) {
                let Field::Bytes(point) = point else { panic!("{point:?}") };
                let point = fields(point);
                assert_eq!((point[0].0, point[1].0), (3, 4));
                let (_, Field::Fixed64(unix_ns)) = point[0] else { panic!("{point:?}") };
                seen.push((inner(metric, 1), unix_ns, point[1].1.double().to_string()));
            }
        }
        let row = |name: &'static [u8], unix_ns, value: &str| (name, unix_ns, value.to_owned());
        let expected = [
            row(b"maf", 5_000_000, "1.2"),
            row(b"maf", 7_000_000, "1.21"),
            row(b"speed", 6_000_000, "41.3"),
        ];
        assert_eq!(seen, expected);
    }
}
