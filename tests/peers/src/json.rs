//! JSON as most first telemetry clients send it: an array with one object a sample, each naming its
//! signal in full (RFC 8259).

use std::fmt::Write as _;

use crate::message::Message;

/// `[{"ts":1500000000000,"signal":"speed","value":41.3}, ...]` without spaces.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut out = String::from("[");
    for (point, signal) in message.samples() {
        if out.len() > 1 {
            out.push(',');
        }
        let (ts, name) = (message.unix_ms(point), &signal.name);
        let value = decimal(point.steps, signal.decimals);
        // Writing to a string cannot fail.
        write!(out, r#"{{"ts":{ts},"signal":"{name}","value":{value}}}"#).ok();
    }
    out.push(']');
    out.into_bytes()
}

/// The shortest decimal of the value: no zeros at the end, no point before nothing.
fn decimal(steps: i64, decimals: u32) -> String {
    let Some(scale) = 10_u64.checked_pow(decimals).filter(|_| decimals > 0) else {
        return steps.to_string();
    };
    let sign = if steps < 0 { "-" } else { "" };
    let (whole, part) = (steps.unsigned_abs() / scale, steps.unsigned_abs() % scale);
    let width = usize::try_from(decimals).unwrap_or(0);
    let text = format!("{sign}{whole}.{part:0width$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{points, stream};

    #[test]
    fn known_text() {
        let mut stream = stream(&[("lat", 5), ("occupied", 0)], true);
        stream.tick_ms = 1000;
        let points = points(&[(1_211_018_404, 0, 3_775_134), (1_211_018_404, 1, 0)]);
        let message = Message::new(&stream, &points).unwrap().unwrap();
        let expected = concat!(
            r#"[{"ts":1211018404000,"signal":"lat","value":37.75134},"#,
            r#"{"ts":1211018404000,"signal":"occupied","value":0}]"#
        );
        assert_eq!(String::from_utf8(encode(&message)).unwrap(), expected);
    }

    #[test]
    fn shortest_decimals() {
        let cases = [(413, 1, "41.3"), (410, 1, "41"), (-5, 2, "-0.05"), (0, 2, "0")];
        for (steps, decimals, text) in cases {
            assert_eq!(decimal(steps, decimals), text);
        }
        assert_eq!(decimal(-100, 2), "-1");
        assert_eq!(decimal(100, 0), "100");
    }
}
