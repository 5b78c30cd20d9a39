//! What a document claims, reading by reading, against what the source said.

use std::fmt;

use protocol::{Catalogue, SignalIndex, Step};
use recordings::civil::rfc3339_ms;
use recordings::decimal::decimal_of;
use serde_json::{Map, Value};

use super::document::Stamp;
use crate::source::Reading;

/// One reading out of a document.
#[derive(Clone, Copy, Debug)]
pub enum Got<'a> {
    /// A member of `data` of a samples document.
    Sample(GotSample<'a>),
    /// `data` of an event document.
    Event(&'a Map<String, Value>),
}

/// One value of a samples document. What does not fit the source's catalogue is `None`, and equal
/// to nothing.
#[derive(Clone, Copy, Debug)]
pub struct GotSample<'a> {
    /// The device's time, in ticks of the catalogue.
    pub tick: Option<i64>,
    /// The signal.
    pub signal: Option<SignalIndex>,
    /// The value, in steps of the signal.
    pub raw: Option<i64>,
    /// As it stands in the document.
    pub stamp: Stamp,
    /// As it stands in the document.
    pub path: &'a str,
    /// As it stands in the document.
    pub value: &'a str,
}

impl GotSample<'_> {
    /// Whether it is this value, to the last digit or bit.
    fn is_value(&self, value: protocol::Value) -> bool {
        use protocol::Value::{Bytes, Double, Missing, Single, Steps, Text};
        let number = |number: f64, bits: String| match number {
            f64::INFINITY => "{\"float\":\"Infinity\"}".to_owned(),
            f64::NEG_INFINITY => "{\"float\":\"-Infinity\"}".to_owned(),
            number if number.is_nan() => format!("{{\"float\":\"NaN({bits})\"}}"),
            number => Value::from(number).to_string(),
        };
        match value {
            Steps(steps) => self.raw == Some(steps),
            Missing => self.value == "null",
            Single(bits) => {
                self.value == number(f32::from_bits(bits).into(), format!("{bits:08x}"))
            }
            Double(bits) => self.value == number(f64::from_bits(bits), format!("{bits:016x}")),
            // No source of ours has any.
            Bytes(_) | Text(_) => false,
        }
    }
}

impl Got<'_> {
    /// Whether it is this reading, to the last digit.
    pub fn equals(&self, reading: &Reading) -> bool {
        match (self, reading) {
            (Self::Sample(got), Reading::Sample(_, sample)) => {
                got.is_value(sample.value)
                    && got.tick == Some(sample.tick)
                    && got.signal == Some(sample.signal)
            }
            (Self::Event(got), Reading::Event(occurrence)) => {
                let event = occurrence.event(protocol::DeviceTime::default());
                event_members(&event).eq(got)
            }
            _ => false,
        }
    }

    /// Whether it stands where this reading should but says something else: another value of the
    /// same signal at the same time, the same event in other words.
    pub fn resembles(&self, reading: &Reading) -> bool {
        match (self, reading) {
            (Self::Sample(got), Reading::Sample(_, sample)) => {
                got.tick == Some(sample.tick) && got.signal == Some(sample.signal)
            }
            (Self::Event(got), Reading::Event(occurrence)) => {
                let number = got.get("attributes").and_then(|attributes| attributes.get("number"));
                number.and_then(Value::as_u64) == Some(u64::from(occurrence.number))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Got<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sample(got) => {
                write!(f, "{} {} at ", got.path, got.value)?;
                match got.stamp {
                    Stamp::Unix(unix_ms) => f.write_str(&rfc3339_ms(unix_ms)),
                    Stamp::Uptime(uptime_ms) => write!(f, "uptime {uptime_ms} ms"),
                }
            }
            Self::Event(members) => {
                let text = serde_json::to_string(members).unwrap_or_default();
                write!(f, "event {text}")
            }
        }
    }
}

/// A reading as the source gave it, for a person.
pub struct Shown<'a>(pub &'a Reading, pub &'a Catalogue<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(reading, catalogue) = self;
        match reading {
            Reading::Sample(_, sample) => {
                let time = rfc3339_ms(reading.unix_ms(catalogue));
                match catalogue.get(sample.signal) {
                    Some(signal) => {
                        write!(
                            f,
                            "{} {} at {time}",
                            signal.path,
                            sample.steps().map_or_else(
                                || format!("{:?}", sample.value),
                                |steps| decimal_of(steps, signal.step)
                            )
                        )
                    }
                    None => write!(f, "signal {} at {time}", sample.signal.0),
                }
            }
            Reading::Event(occurrence) => {
                let event = occurrence.event(protocol::DeviceTime::default());
                let text = serde_json::to_string(&event_members(&event)).unwrap_or_default();
                write!(f, "event {text}")
            }
            Reading::Link { up, unix_ms } => {
                let what = if *up { "up" } else { "down" };
                write!(f, "link {what} at {}", rfc3339_ms(*unix_ms))
            }
            Reading::Reboot { unix_ms } => write!(f, "reboot at {}", rfc3339_ms(*unix_ms)),
        }
    }
}

/// The raw value that a document's decimal stands for; nothing if it is none of the signal's steps.
pub fn raw_of(text: &str, step: Step) -> Option<i64> {
    let (mantissa, places) = decimal_parts(text)?;
    let unit = 10_i128.checked_pow(places)?;
    let scaled = mantissa.checked_sub(i128::from(step.offset).checked_mul(unit)?)?;
    let steps = scaled.checked_mul(i128::from(step.denominator))?;
    let per_step = unit.checked_mul(i128::from(step.numerator))?;
    let raw = div_nearest(steps, per_step)?;
    let off = steps.checked_sub(raw.checked_mul(per_step)?)?.checked_abs()?;
    // A step that is no finite decimal is written rounded, by a thousandth of a step at most.
    let allowed = if is_decimal(step) { 0 } else { per_step.checked_div(500)?.max(1) };
    if off > allowed { None } else { i64::try_from(raw).ok() }
}

fn decimal_parts(text: &str) -> Option<(i128, u32)> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || digits.ends_with('.') || whole.len() + fraction.len() > 30 {
        return None;
    }
    let magnitude = whole.bytes().chain(fraction.bytes()).try_fold(0_i128, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + i128::from(byte - b'0'))
    })?;
    let places = u32::try_from(fraction.len()).ok()?;
    Some((if negative { -magnitude } else { magnitude }, places))
}

fn div_nearest(dividend: i128, divisor: i128) -> Option<i128> {
    let (quotient, rest) = (dividend.checked_div(divisor)?, dividend.checked_rem(divisor)?);
    let away = i128::from(rest.checked_abs()?.checked_mul(2)? >= divisor);
    Some(if dividend < 0 { quotient - away } else { quotient + away })
}

fn is_decimal(step: Step) -> bool {
    let mut rest = step.denominator;
    for factor in [2_u32, 5] {
        while rest > 0 && rest.is_multiple_of(factor) {
            rest /= factor;
        }
    }
    rest == 1
}

/// The members of an event's `data`, as the sink writes them.
pub fn event_members(event: &protocol::event::Event<'_>) -> Map<String, Value> {
    use protocol::event::Value as Attribute;
    let mut members = Map::new();
    let mut text = |name: &str, value: &str| {
        members.insert(name.to_owned(), Value::from(value));
    };
    text("actor", event.actor);
    text("action", event.action);
    text("object", event.object);
    for (name, value) in [("context", event.context), ("resource", event.resource)] {
        if !value.is_empty() {
            text(name, value);
        }
    }
    let attributes = event.attributes.iter().map(|(name, value)| {
        let value = match value {
            Attribute::Text(value) => Value::from(*value),
            Attribute::Int(value) => Value::from(*value),
            Attribute::Bool(value) => Value::from(*value),
            Attribute::Decimal { number, places } => {
                let step = Step::new(1, 10_u32.checked_pow(u32::from(*places)).unwrap_or(1));
                serde_json::from_str(&decimal_of(*number, step)).unwrap_or_default()
            }
        };
        ((*name).to_owned(), value)
    });
    members.insert("attributes".to_owned(), attributes.collect::<Map<_, _>>().into());
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_steps_or_nothing() {
        let tenth = Step::new(1, 10);
        for (text, step, want) in [
            ("14.9", tenth, Some(149)),
            ("-14.90", tenth, Some(-149)),
            ("15", tenth, Some(150)),
            ("14.95", tenth, None),
            ("37.77833", Step::new(1, 100_000), Some(3_777_833)),
            ("0.125", Step::new(1, 8), Some(1)),
            ("-39.5", Step { numerator: 1, denominator: 2, offset: -40 }, Some(1)),
            // k * 100 / 255, rounded to a thousandth of a step.
            ("14.9020", Step::new(100, 255), Some(38)),
            ("14.95", Step::new(100, 255), None),
            ("", tenth, None),
            ("1.", tenth, None),
            (".1", tenth, None),
            ("1e2", tenth, None),
            ("\"x\"", tenth, None),
            ("99999999999999999999999", tenth, None),
        ] {
            assert_eq!(raw_of(text, step), want, "{text} {step:?}");
        }
    }
}
