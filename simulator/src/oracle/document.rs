//! One line of the sink as the oracle sees it: who, where, what, and the text of `data`.
//!
//! Our own documents have one fixed shape, which is scanned without looking at any byte twice. A
//! line of another shape (members in another order, blanks) is given to a JSON parser instead.

use std::fmt;

use protocol::Lane;
use recordings::civil::parse_rfc3339_ms;
use recordings::numbers::Numbers;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A document, borrowed from its line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Document<'a> {
    /// The whole id, `device/ring/seq/index`.
    pub id: &'a str,
    /// The device's name.
    pub device: &'a str,
    /// The ring's id, 32 hexadecimal digits.
    pub ring: &'a str,
    /// The frame in the ring.
    pub seq: u64,
    /// The document in the frame; an agent's own loss stands behind them all.
    pub index: u32,
    /// `samples`, `event`, `loss` and so on, without `milepost.`.
    pub kind: &'a str,
    /// When, by the device.
    pub stamp: Stamp,
    /// The ring's lane.
    pub lane: Lane,
    /// In which boot; an agent's own loss has none.
    pub boot: Option<u32>,
    /// Ring and sequence number of the frame's first sealing, if it was sealed anew.
    pub origin: Option<&'a str>,
    /// The text of the object `data`, braces included.
    pub data: &'a str,
}

/// Index of a loss that an agent says, whose id ends in `loss`.
pub const AGENT_LOSS: u32 = u32::MAX;

/// The device's time of a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamp {
    /// Milliseconds since 1970 UTC.
    Unix(i64),
    /// Milliseconds since the boot.
    Uptime(i64),
}

impl<'a> Document<'a> {
    /// Reads a line without its end.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        scan(line).or_else(|| parse_any(line))
    }

    /// The members of `data`, in their order: name, and text of the value.
    pub fn values(&self) -> Option<Vec<(&'a str, &'a str)>> {
        // Nearly all are numbers alone, and are scanned.
        let numbers: Result<Vec<_>, _> = Numbers::of(self.data).collect();
        numbers.ok().or_else(|| Some(serde_json::from_str::<Members<'_>>(self.data).ok()?.0))
    }
}

/// An object's members, in their order.
struct Members<'a>(Vec<(&'a str, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Vec<(&'de str, &'de str)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut all = Vec::new();
                while let Some((name, value)) = map.next_entry::<&str, &RawValue>()? {
                    all.push((name, value.get()));
                }
                Ok(all)
            }
        }
        deserializer.deserialize_map(All).map(Members)
    }
}

fn scan(text: &str) -> Option<Document<'_>> {
    let rest = text.strip_prefix("{\"specversion\":\"1.0\",\"id\":\"")?;
    let (id, rest) = rest.split_once('"')?;
    let (source, rest) = rest.strip_prefix(",\"source\":\"")?.split_once('"')?;
    let (kind, rest) = rest.strip_prefix(",\"type\":\"milepost.")?.split_once('"')?;
    let (stamp, rest) = scan_stamp(rest)?;
    let (lane, rest) = rest.strip_prefix("\"lane\":\"")?.split_once('"')?;
    let (_clock, rest) = rest.strip_prefix(",\"clock\":\"")?.split_once('"')?;
    let (boot, rest) = match rest.strip_prefix(",\"boot\":") {
        Some(rest) => {
            let (boot, after) = rest.split_once(',')?;
            (Some(boot.parse().ok()?), after)
        }
        None => (None, rest.strip_prefix(',')?),
    };
    let (_received, rest) = rest.strip_prefix("\"received\":")?.split_once(',')?;
    let (origin, rest) = match rest.strip_prefix("\"origin\":\"") {
        Some(rest) => {
            let (origin, after) = rest.split_once('"')?;
            (Some(origin), after.strip_prefix(',')?)
        }
        None => (None, rest),
    };
    // What else the agent says of the device, its vehicle and whose that is, is not judged. No text
    // has a quotation mark that is not escaped, so this is the member and no part of one.
    let rest = rest.get(rest.find("\"data\":{")?..)?;
    let data =
        rest.strip_prefix("\"data\":")?.strip_suffix('}').filter(|data| data.ends_with('}'))?;
    Shape { id, source, kind, stamp, lane, boot, origin, data }.into_document()
}

/// From the comma in front of the time to behind the comma after it.
fn scan_stamp(text: &str) -> Option<(Stamp, &str)> {
    if let Some(rest) = text.strip_prefix(",\"time\":\"") {
        let (time, rest) = rest.split_once('"')?;
        return Some((Stamp::Unix(parse_rfc3339_ms(time.as_bytes())?), rest.strip_prefix(',')?));
    }
    let (uptime, rest) = match text.strip_prefix(",\"uptimems\":") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix(",\"unixms\":")?),
    };
    let (number, rest) = rest.split_once(',')?;
    let number = number.parse().ok()?;
    Some((if uptime { Stamp::Uptime(number) } else { Stamp::Unix(number) }, rest))
}

fn parse_any(line: &str) -> Option<Document<'_>> {
    #[derive(Deserialize)]
    struct Loose<'a> {
        id: &'a str,
        source: &'a str,
        #[serde(rename = "type")]
        kind: &'a str,
        time: Option<&'a str>,
        uptimems: Option<i64>,
        unixms: Option<i64>,
        lane: &'a str,
        boot: Option<u32>,
        origin: Option<&'a str>,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let loose: Loose<'_> = serde_json::from_str(line).ok()?;
    let stamp = match (loose.time, loose.uptimems, loose.unixms) {
        (Some(time), None, None) => Stamp::Unix(parse_rfc3339_ms(time.as_bytes())?),
        (None, Some(uptime_ms), None) => Stamp::Uptime(uptime_ms),
        (None, None, Some(unix_ms)) => Stamp::Unix(unix_ms),
        _ => return None,
    };
    let shape = Shape {
        id: loose.id,
        source: loose.source,
        kind: loose.kind.strip_prefix("milepost.")?,
        stamp,
        lane: loose.lane,
        boot: loose.boot,
        origin: loose.origin,
        data: loose.data.get(),
    };
    shape.into_document()
}

struct Shape<'a> {
    id: &'a str,
    source: &'a str,
    kind: &'a str,
    stamp: Stamp,
    lane: &'a str,
    boot: Option<u32>,
    origin: Option<&'a str>,
    data: &'a str,
}

impl<'a> Shape<'a> {
    fn into_document(self) -> Option<Document<'a>> {
        let mut parts = self.id.split('/');
        let (device, ring, seq, index) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some()
            || ring.len() != 32
            || self.source.strip_prefix("/devices/")? != device
        {
            return None;
        }
        let lane = Lane::ALL.into_iter().find(|lane| lane.name() == self.lane)?;
        Some(Document {
            id: self.id,
            device,
            ring,
            seq: seq.parse().ok()?,
            index: if index == "loss" { AGENT_LOSS } else { index.parse().ok()? },
            kind: self.kind,
            stamp: self.stamp,
            lane,
            boot: self.boot,
            origin: self.origin,
            data: self.data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"specversion":"1.0","id":"van-1/000102030405060708090a0b0c0d0e0f/17/2","source":"/devices/van-1","type":"milepost.samples","time":"2008-05-18T07:00:08.000Z","lane":"bulk","clock":"reference","boot":3,"received":"2026-11-22T07:30:00.123Z","data":{"Vehicle.Speed":41.3,"Vehicle.CurrentLocation.Latitude":37.77833}}"#;

    fn values(line: &str) -> Option<Vec<(&str, &str)>> {
        Document::parse(line.as_bytes()).unwrap().values()
    }

    #[test]
    fn our_own_shape_is_scanned() {
        let document = scan(LINE).unwrap();
        assert_eq!(
            document,
            Document {
                id: "van-1/000102030405060708090a0b0c0d0e0f/17/2",
                device: "van-1",
                ring: "000102030405060708090a0b0c0d0e0f",
                seq: 17,
                index: 2,
                kind: "samples",
                stamp: Stamp::Unix(1_211_094_008_000),
                lane: Lane::Bulk,
                boot: Some(3),
                origin: None,
                data: r#"{"Vehicle.Speed":41.3,"Vehicle.CurrentLocation.Latitude":37.77833}"#,
            }
        );
        assert_eq!(
            values(LINE).unwrap(),
            [("Vehicle.Speed", "41.3"), ("Vehicle.CurrentLocation.Latitude", "37.77833")]
        );
    }

    #[test]
    fn variants_of_our_shape_are_scanned_too() {
        let uptime = LINE.replace(r#""time":"2008-05-18T07:00:08.000Z""#, r#""uptimems":12"#);
        assert_eq!(scan(&uptime).unwrap().stamp, Stamp::Uptime(12));
        let far =
            LINE.replace(r#""time":"2008-05-18T07:00:08.000Z""#, r#""unixms":-99999999999999999"#);
        assert_eq!(scan(&far).unwrap().stamp, Stamp::Unix(-99_999_999_999_999_999));
        let resealed = LINE.replace(r#","data""#, r#","origin":"0f/3","data""#);
        assert_eq!(scan(&resealed).unwrap().origin, Some("0f/3"));
        let seated = r#","vehicle":"a \"data\":{ b","vehiclegroup":"g","tenant":"t","data""#;
        let seated = LINE.replace(r#","data""#, seated);
        assert_eq!(scan(&seated), scan(LINE), "a vehicle changes nothing");
        let loss = LINE.replace("17/2", "17/loss").replace(r#","boot":3"#, "");
        let document = scan(&loss).unwrap();
        assert_eq!((document.index, document.boot), (AGENT_LOSS, None));
    }

    #[test]
    fn another_shape_of_the_same_document_is_parsed() {
        let spaced = LINE
            .replace(r#""specversion":"1.0","#, "")
            .replace("\":", "\" : ")
            .replace("41.3,", "41.3 ,\t")
            .replace("}}", r#" },"specversion":"1.0"}"#);
        assert_eq!(scan(&spaced), None);
        let (one, two) = (Document::parse(spaced.as_bytes()).unwrap(), scan(LINE).unwrap());
        assert_eq!(Document { data: "", ..one }, Document { data: "", ..two });
        assert_eq!(values(&spaced), values(LINE));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let cut = LINE.get(..LINE.len() - 1).unwrap();
        let cases = [
            "",
            "{}",
            cut,
            &LINE.replace("/devices/van-1", "/devices/van-2"),
            &LINE.replace("17/2", "17/x"),
            &LINE.replace("17/2", "17/2/1"),
            &LINE.replace("0e0f", "0e"),
            &LINE.replace("bulk", "slow"),
            &LINE.replace("07:00:08", "07:00:68"),
        ];
        for line in cases {
            assert_eq!(Document::parse(line.as_bytes()), None, "{line}");
        }
        for value in ["\"x\"", "null", "{\"float\":\"NaN(7fc00000)\"}", "{\"hex\":\"00\"}"] {
            let line = LINE.replace("41.3", value);
            assert_eq!(values(&line).unwrap()[0], ("Vehicle.Speed", value));
            assert_eq!(values(&line).unwrap()[1], values(LINE).unwrap()[1]);
        }
        assert_eq!(values(&LINE.replace(":41.3", "")), None);
        assert_eq!(
            values(&LINE.replace(
                r#"{"Vehicle.Speed":41.3,"Vehicle.CurrentLocation.Latitude":37.77833}"#,
                "{}"
            ))
            .unwrap(),
            []
        );
    }
}
