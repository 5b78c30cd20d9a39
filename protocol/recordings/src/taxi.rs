//! Taxis: `cab,latitude,longitude,occupancy,time`, rows by cab, in a cab by time.
//!
//! One row is one fix, of three samples at one instant. Source: CRAWDAD epfl/mobility
//! (v. 2009-02-24); latitude and longitude WGS 84 with five decimals, time in unix seconds.

use protocol::{Sample, SignalIndex};

use crate::decimal::{Excess, scaled, whole};
use crate::lines::Lines;
use crate::{FileReport, ReadError, Recording, Track};

const PREFIX: &str = "taxi-";

// A fix each minute or so, stamped in seconds.
include!("../signals/taxi.rs");

pub(super) fn is_header(header: &[u8]) -> bool {
    header == b"cab,latitude,longitude,occupancy,time"
}

pub(super) fn read(lines: &mut Lines, report: &mut FileReport) -> Result<Vec<Track>, ReadError> {
    let mut tracks: Vec<Track> = Vec::new();
    while let Some((number, line)) = lines.read_line()? {
        if line.is_empty() {
            continue;
        }
        report.rows += 1;
        let Some(fix) = Fix::parse(line) else {
            report.note_malformed(number, || "no cab,latitude,longitude,occupancy,time".to_owned());
            continue;
        };
        // Rows stand by cab, so the last track is nearly always the one.
        let at = match tracks.last() {
            Some(last) if last.name.as_bytes().strip_prefix(PREFIX.as_bytes()) == Some(fix.cab) => {
                tracks.len() - 1
            }
            _ => {
                let name = format!("{PREFIX}{}", String::from_utf8_lossy(fix.cab));
                place_of(&mut tracks, name)
            }
        };
        let Some(track) = tracks.get_mut(at) else { continue };
        for (signal, raw) in (0..).zip([fix.latitude, fix.longitude, fix.occupancy]) {
            let sample = Sample::new(fix.unix_s, SignalIndex(signal), raw);
            if let Err(unknown) = track.recording.push(sample) {
                report.note_malformed(number, || unknown.to_string());
            }
        }
    }
    Ok(tracks)
}

fn place_of(tracks: &mut Vec<Track>, name: String) -> usize {
    if let Some(at) = tracks.iter().rposition(|track| track.name == name) {
        return at;
    }
    tracks.push(Track { name, recording: Recording::new(&CATALOGUE) });
    tracks.len() - 1
}

struct Fix<'a> {
    cab: &'a [u8],
    latitude: i64,
    longitude: i64,
    occupancy: i64,
    unix_s: i64,
}

impl<'a> Fix<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut cells = line.split(|byte| *byte == b',');
        let fix = Self {
            cab: cells.next().filter(|cab| !cab.is_empty() && cab.len() <= 64)?,
            latitude: scaled(cells.next()?, 5, Excess::Cut)?,
            longitude: scaled(cells.next()?, 5, Excess::Cut)?,
            occupancy: whole(cells.next()?, 9)?,
            unix_s: whole(cells.next()?, 12)?,
        };
        cells.next().is_none().then_some(fix)
    }
}
