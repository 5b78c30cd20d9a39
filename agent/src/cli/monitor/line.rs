//! A line that a device says of itself.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};

/// Digits behind the point, at most.
const DIGITS: usize = 6;

/// What a line is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line<'a> {
    /// `health` and members `name=value`.
    Health(Vec<(&'a str, &'a str)>),
    /// `value PATH RAW NUMERATOR/DENOMINATOR OFFSET UNIT`, the arithmetic done.
    Value { path: &'a str, value: String, unit: &'a str },
    /// Anything else.
    Log(&'a str),
}

impl<'a> Line<'a> {
    /// Never fails: what is no health and no value is a line of log.
    pub fn read(text: &'a str) -> Self {
        let read = match text.split_once(' ') {
            Some(("health", members)) => members
                .split(' ')
                .map(|member| member.split_once('='))
                .collect::<Option<_>>()
                .map(Self::Health),
            Some(("value", rest)) => Self::value(rest),
            _ => None,
        };
        read.unwrap_or(Self::Log(text))
    }

    fn value(rest: &'a str) -> Option<Self> {
        let mut parts = rest.splitn(5, ' ');
        let (path, raw) = (parts.next()?, parts.next()?.parse::<i64>().ok()?);
        let (numerator, denominator) = parts.next()?.split_once('/')?;
        let numerator: u32 = numerator.parse().ok()?;
        let denominator: u32 = denominator.parse().ok().filter(|denominator| *denominator > 0)?;
        let offset: i32 = parts.next()?.parse().ok()?;
        let unit = parts.next().unwrap_or_default();
        let value = physical(raw, (numerator, denominator), offset);
        Some(Self::Value { path, value, unit })
    }

    /// What it is as JSON, without when it was heard.
    pub fn json(&self) -> Value {
        match self {
            Self::Health(members) => {
                let number =
                    |text: &str| text.parse::<u64>().map_or_else(|_| json!(text), |n| json!(n));
                // An image's hash may look like a number.
                let member = |(name, text): &(&str, &str)| {
                    let value = if *name == "image" { json!(text) } else { number(text) };
                    ((*name).to_owned(), value)
                };
                json!({ "kind": "health", "health": members.iter().map(member).collect::<Map<_, _>>() })
            }
            Self::Value { path, value, unit } => {
                // Digits and a point: JSON as they are.
                let value: Value = serde_json::from_str(value).unwrap_or(Value::Null);
                json!({ "kind": "value", "signal": path, "value": value, "unit": unit })
            }
            Self::Log(text) => json!({ "kind": "log", "text": text }),
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Health(members) => {
                write!(f, "health ")?;
                members.iter().try_for_each(|(name, value)| write!(f, " {name} {value}"))
            }
            Self::Value { path, value, unit } => {
                write!(f, "value   {path} {value} {unit}").map(drop)
            }
            Self::Log(text) => write!(f, "log     {text}"),
        }
    }
}

/// `raw * numerator / denominator + offset`, rounded towards zero behind the last digit.
fn physical(raw: i64, (numerator, denominator): (u32, u32), offset: i32) -> String {
    let denominator = i128::from(denominator);
    let scaled = i128::from(raw) * i128::from(numerator) + i128::from(offset) * denominator;
    let (whole, mut rest) = (scaled.unsigned_abs(), 0);
    let unsigned = denominator.unsigned_abs();
    let mut digits = String::new();
    rest += whole % unsigned;
    for _ in 0..DIGITS {
        rest *= 10;
        // A String takes everything.
        let _written = write!(digits, "{}", rest / unsigned);
        rest %= unsigned;
    }
    let digits = digits.trim_end_matches('0');
    let sign = if scaled < 0 { "-" } else { "" };
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{digits}", whole / unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_its_step_makes_of_it() {
        for (raw, step, offset, shown) in [
            (1234, (1, 1), 0, "1234"),
            (-7, (1, 2), 0, "-3.5"),
            (1, (1, 3), 0, "0.333333"),
            (655, (1, 10), -40, "25.5"),
            (i64::MIN, (u32::MAX, 1), i32::MIN, "-39614081247908796762064683008"),
        ] {
            assert_eq!(physical(raw, step, offset), shown);
        }
    }

    #[test]
    fn a_line_is_health_a_value_or_log() {
        let health = Line::read("health boot=3 image=00000012");
        assert_eq!(health, Line::Health(vec![("boot", "3"), ("image", "00000012")]));
        assert_eq!(health.to_string(), "health  boot 3 image 00000012");
        assert_eq!(
            health.json(),
            json!({"kind": "health", "health": {"boot": 3, "image": "00000012"}})
        );
        let value = Line::read("value Vehicle.Speed 655 1/10 0 km/h");
        assert_eq!(value.to_string(), "value   Vehicle.Speed 65.5 km/h");
        assert_eq!(
            value.json(),
            json!({"kind": "value", "signal": "Vehicle.Speed", "value": 65.5, "unit": "km/h"})
        );
        assert_eq!(
            Line::read("value A 1 1/1 0 "),
            Line::Value { path: "A", value: "1".to_owned(), unit: "" }
        );
        for log in
            ["", "health", "health x", "value A", "value A b 1/1 0 c", "value A 1 1/0 0 c", "boot"]
        {
            assert_eq!(Line::read(log), Line::Log(log), "{log}");
        }
    }
}
