//! What a scenario comes to, for a person: each class over a first week of one of its vehicles.

use std::fmt::Write as _;

use recordings::civil::rfc3339_ms;

use super::reader::show_ms;
use super::{Class, Scenario, When};
use crate::source::{Reading, Source};
use crate::synthetic::What;

/// Longest part of a scenario that is counted.
const WEEK_MS: i64 = 7 * 86_400_000;

/// What one vehicle does.
#[derive(Default)]
struct Count {
    samples: u64,
    events: u64,
    trips: u64,
    metres: i64,
    silences: u64,
    silent_ms: i64,
    reboots: u64,
}

impl Scenario {
    /// A summary in some lines.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let vehicles: usize = self.classes.iter().map(|class| class.vehicles).sum();
        let start = rfc3339_ms(self.start_unix_ms);
        line(
            &mut text,
            format_args!(
                "{vehicles} vehicles, {} from {start}, seed {}",
                show_ms(self.length_ms),
                self.seed
            ),
        );
        for outage in &self.outages {
            let when = match outage.when {
                When::At(at) => format!("at {}", rfc3339_ms(at)),
                When::Daily(time) => {
                    let minutes = time / 60_000;
                    format!("daily at {:02}:{:02}", minutes / 60, minutes % 60)
                }
            };
            let length = show_ms(outage.length_ms);
            line(&mut text, format_args!("no agent {when} for {length}"));
        }
        line(&mut text, format_args!("{} dead zone(s)", self.dead_zones.len()));
        let counted_ms = self.length_ms.min(WEEK_MS);
        let counted = Self { length_ms: counted_ms, ..self.clone() };
        let firsts = self.classes.iter().scan(0, |next, class| {
            let first = *next;
            *next += class.vehicles;
            Some((class, first))
        });
        let firsts: Vec<_> = firsts.collect();
        let fleet = counted.vehicles();
        for (class, first) in firsts {
            let Some(vehicle) = fleet.get(first) else { continue };
            let count = Count::of(&vehicle.source, counted_ms);
            describe_class(&mut text, class, vehicle.device.as_str(), &count, counted_ms);
        }
        text
    }
}

fn describe_class(text: &mut String, class: &Class, device: &str, count: &Count, over_ms: i64) {
    line(text, format_args!(""));
    line(
        text,
        format_args!(
            "{} x {}; {device} in its first {}:",
            class.vehicles,
            class.name,
            show_ms(over_ms)
        ),
    );
    let silent = count.silent_ms * 1000 / over_ms.max(1);
    for (name, value) in [
        ("samples", count.samples.to_string()),
        ("events", count.events.to_string()),
        ("trips", count.trips.to_string()),
        ("km on trips", (count.metres / 1000).to_string()),
        ("times without link", count.silences.to_string()),
        ("without link", format!("{}.{} %", silent / 10, silent % 10)),
        ("reboots", count.reboots.to_string()),
    ] {
        line(text, format_args!("  {name:<20}{value:>12}"));
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let written = writeln!(text, "{what}");
    debug_assert!(written.is_ok(), "a String takes everything");
}

impl Count {
    fn of(source: &Source, over_ms: i64) -> Self {
        let mut count = Self::default();
        let mut cursor = source.cursor();
        let mut down_since = None;
        let mut last_ms = 0;
        while let Some(reading) = cursor.next(source) {
            match reading {
                Reading::Sample(..) => count.samples += 1,
                Reading::Event(occurrence) => {
                    count.events += 1;
                    match occurrence.what {
                        What::TripStarted => count.trips += 1,
                        What::TripEnded { metres } => count.metres += metres,
                        _ => {}
                    }
                }
                Reading::Link { up: false, unix_ms } => {
                    count.silences += 1;
                    down_since = Some(unix_ms);
                }
                Reading::Link { up: true, unix_ms } => {
                    count.silent_ms += unix_ms - down_since.take().unwrap_or(unix_ms);
                }
                Reading::Reboot { .. } => count.reboots += 1,
            }
            last_ms = cursor.true_ms().unwrap_or(last_ms);
        }
        count.silent_ms += last_ms - down_since.unwrap_or(last_ms);
        count.silent_ms = count.silent_ms.min(over_ms);
        count
    }
}
