//! A scenario's text to a [`Scenario`]: every key, its unit, range and default.

use toml::de::DeTable;

use super::reader::{Notes, Section, suggestion};
use super::report::Problem;
use super::{
    Class, DeadZone, Faults, Outage, Place, Powertrain, Scenario, Style, Taxi, Trip, When,
};
use crate::vehicle::DEVICE_NAME_FRONT_MAX;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2026-03-02, a Monday.
const START_UNIX_MS: i64 = 1_772_409_600_000;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

pub(super) fn read(text: &str) -> Result<Scenario, Vec<Problem>> {
    let table = DeTable::parse(text).map_err(|error| {
        let meant = "see docs/simulator.md for a whole file".to_owned();
        vec![Problem { span: error.span(), what: error.message().to_owned(), meant }]
    })?;
    let notes = Notes::default();
    let scenario = scenario(Section::root(table.get_ref(), &notes));
    let problems = notes.into_problems();
    if problems.is_empty() { Ok(scenario) } else { Err(problems) }
}

fn scenario(mut root: Section<'_>) -> Scenario {
    let seed = root.whole("seed", 0..=i64::MAX).unwrap_or(1);
    let start = root.instant("start").unwrap_or(START_UNIX_MS);
    let length = root.duration("length", SECOND..=3650 * DAY).unwrap_or(DAY);
    let offset = root.duration("utc_offset", -14 * HOUR..=14 * HOUR).unwrap_or(0);
    let place = match root.section("place") {
        Some(section) => place(section, 100 * 1000).unwrap_or(STUTTGART),
        None => STUTTGART,
    };
    let sections = root.sections("class");
    if sections.is_empty() && !root.has("class") {
        root.missing("class", "at least one [[class]] of vehicles");
    }
    let classes: Vec<Class> = sections.into_iter().map(class).collect();
    for (at, class) in classes.iter().enumerate() {
        if classes.iter().take(at).any(|before| before.name == class.name) {
            root.wrong(
                "class",
                format!("two classes are called `{}`", class.name),
                "their devices would have the same names",
            );
        }
    }
    let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    let zones = root.sections("dead_zone");
    let dead_zones = zones.into_iter().map(|section| dead_zone(section, &names)).collect();
    let outages = root.sections("outage").into_iter().filter_map(outage).collect();
    root.finish();
    Scenario {
        seed: u64::try_from(seed).unwrap_or_default(),
        start_unix_ms: start,
        length_ms: length,
        utc_offset_ms: offset,
        place,
        classes,
        dead_zones,
        outages,
    }
}

const STUTTGART: Place = Place { latitude: 48_780_000, longitude: 9_180_000, radius_m: 15_000 };

fn place(mut section: Section<'_>, radius_m_max: i64) -> Option<Place> {
    // Near a pole a degree of longitude is nothing.
    let latitude = section.decimal("latitude", 6, -80_000_000..=80_000_000);
    let longitude = section.decimal("longitude", 6, -180_000_000..=180_000_000);
    let radius = section.decimal("radius_km", 3, 10..=radius_m_max);
    for (key, value) in [("latitude", latitude), ("longitude", longitude), ("radius_km", radius)] {
        if value.is_none() && !section.has(key) {
            section.missing(key, "a circle has latitude, longitude and radius_km");
        }
    }
    section.finish();
    Some(Place { latitude: latitude?, longitude: longitude?, radius_m: radius? })
}

fn class(mut section: Section<'_>) -> Class {
    let name = section.text("name").unwrap_or_default().to_owned();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !section.has("name") {
        section.missing("name", "what its devices' names begin with");
    } else if !(1..=DEVICE_NAME_FRONT_MAX).contains(&name.len()) || !name.chars().all(allowed) {
        let meant = format!("1 to {DEVICE_NAME_FRONT_MAX} characters of A-Z a-z 0-9 - _");
        section.wrong("name", format!("`{name}` can't be a class's name"), meant);
    }
    let vehicles = section.whole("vehicles", 1..=10_000).unwrap_or(1);
    let powertrains = [("combustion", Powertrain::Combustion), ("electric", Powertrain::Electric)];
    let styles = [
        ("city", Style::City),
        ("mixed", Style::Mixed),
        ("highway", Style::Highway),
        ("delivery", Style::Delivery),
    ];
    let powertrain = section.choice("powertrain", &powertrains).unwrap_or(Powertrain::Combustion);
    let style = section.choice("style", &styles).unwrap_or(Style::City);
    let sample_every_ms = section.duration("sample_every", 100..=MINUTE).unwrap_or(SECOND);
    let at_least = sample_every_ms;
    let mut multiple = |key, default: i64, most| {
        let value = section.duration(key, at_least..=most).unwrap_or(default.max(at_least));
        if value % at_least != 0 {
            section.wrong(key, format!("`{key}` is no multiple of sample_every"), "make it one");
        }
        value
    };
    let position_every_ms = multiple("position_every", SECOND, HOUR);
    let slow_every_ms = multiple("slow_every", 10 * SECOND, HOUR);
    let parked_every_ms = section.duration("parked_every", 10 * SECOND..=DAY).unwrap_or(HOUR);
    let trips: Vec<Trip> = section.sections("trip").into_iter().map(trip).collect();
    let taxi = section.section("taxi").map(taxi);
    if taxi.is_some() && !trips.is_empty() {
        section.wrong("trip", "a class has trips or [class.taxi], not both", "leave one out");
    }
    let faults = section.section("faults").map(faults).unwrap_or_default();
    section.finish();
    Class {
        name,
        vehicles: usize::try_from(vehicles).unwrap_or(1),
        powertrain,
        style,
        sample_every_ms,
        position_every_ms,
        slow_every_ms,
        parked_every_ms,
        trips,
        taxi,
        faults,
    }
}

fn trip(mut section: Section<'_>) -> Trip {
    let days = match section.text("days") {
        None => [true; 7],
        Some(text) => days(text).unwrap_or_else(|wrong| {
            let mut words = DAYS.to_vec();
            words.push("daily");
            section.wrong("days", format!("`{wrong}` is no day"), suggestion(wrong, &words));
            [true; 7]
        }),
    };
    let depart = section.time_of_day("depart");
    if depart.is_none() && !section.has("depart") {
        section.missing("depart", r#"the local time of day, like "07:30""#);
    }
    let duration = section.duration("duration", MINUTE..=20 * HOUR).unwrap_or(30 * MINUTE);
    let trip = Trip {
        days,
        depart_ms: depart.unwrap_or_default(),
        spread_ms: section.duration("spread", 0..=6 * HOUR).unwrap_or(0),
        duration_ms: duration,
        duration_spread_ms: section.duration("duration_spread", 0..=duration).unwrap_or(0),
        chance_percent: section.whole("chance_percent", 0..=100).unwrap_or(100),
    };
    section.finish();
    trip
}

/// `daily`, `mon-fri`, `sat,sun`; what is wrong in it, if it is none.
fn days(text: &str) -> Result<[bool; 7], &str> {
    let mut chosen = [false; 7];
    for part in text.split(',').map(str::trim) {
        if part == "daily" {
            return Ok([true; 7]);
        }
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let place = |day: &str| DAYS.iter().position(|name| *name == day);
        let from = place(from.trim()).ok_or(from)?;
        let to = place(to.trim()).ok_or(to)?;
        // Friday to Monday goes over the weekend.
        let length = (to + 7 - from) % 7;
        for step in 0..=length {
            if let Some(day) = chosen.get_mut((from + step) % 7) {
                *day = true;
            }
        }
    }
    Ok(chosen)
}

fn taxi(mut section: Section<'_>) -> Taxi {
    let taxi = Taxi {
        fix_every_ms: section.duration("fix_every", SECOND..=HOUR).unwrap_or(MINUTE),
        fares_per_day: section.whole("fares_per_day", 0..=200).unwrap_or(39),
        fare_ms: section.duration("fare", MINUTE..=3 * HOUR).unwrap_or(9 * MINUTE),
        pauses_per_day: section.whole("pauses_per_day", 0..=100).unwrap_or(8),
    };
    section.finish();
    taxi
}

fn faults(mut section: Section<'_>) -> Faults {
    let mut every = |key| section.duration(key, 10 * SECOND..=365 * DAY).unwrap_or(0);
    let (stuck, spike) = (every("stuck_every"), every("spike_every"));
    let (dropout, clock) = (every("dropout_every"), every("clock_step_every"));
    let (reboot, odd) = (every("reboot_every"), every("odd_every"));
    let faults = Faults {
        stuck_every_ms: stuck,
        stuck_for_ms: section.duration("stuck_for", SECOND..=DAY).unwrap_or(10 * MINUTE),
        spike_every_ms: spike,
        dropout_every_ms: dropout,
        dropout_for_ms: section.duration("dropout_for", SECOND..=DAY).unwrap_or(5 * MINUTE),
        clock_step_every_ms: clock,
        clock_step_max_ms: section.duration("clock_step_max", 1..=DAY).unwrap_or(2 * MINUTE),
        reboot_every_ms: reboot,
        odd_every_ms: odd,
    };
    for (key, needs, given) in [
        ("stuck_for", "stuck_every", stuck),
        ("dropout_for", "dropout_every", dropout),
        ("clock_step_max", "clock_step_every", clock),
    ] {
        if section.has(key) && given == 0 && !section.has(needs) {
            section.wrong(key, format!("`{key}` says nothing without `{needs}`"), "how often");
        }
    }
    section.finish();
    faults
}

fn dead_zone(mut section: Section<'_>, names: &[&str]) -> DeadZone {
    let place = section.section("place").and_then(|section| place(section, 20_000 * 1000));
    let (from, to) = (section.time_of_day("from"), section.time_of_day("to"));
    if section.has("from") != section.has("to") {
        let key = if section.has("from") { "to" } else { "from" };
        section.missing(key, "times of day go from one to another");
    }
    if !section.has("place") && !section.has("from") {
        section.missing("place", "a dead zone is a place, or times of day, or both");
    }
    let mut classes = Vec::new();
    for name in section.texts("classes") {
        if let Some(at) = names.iter().position(|known| *known == name) {
            classes.push(at);
        } else {
            let what = format!("there is no class `{name}`");
            section.wrong("classes", what, suggestion(name, names));
        }
    }
    section.finish();
    DeadZone { place, daily_ms: from.zip(to), classes }
}

fn outage(mut section: Section<'_>) -> Option<Outage> {
    let (at, daily) = (section.instant("at"), section.time_of_day("daily"));
    let when = match (section.has("at"), section.has("daily")) {
        (true, false) => at.map(When::At),
        (false, true) => daily.map(When::Daily),
        (true, true) => {
            section.wrong("daily", "an outage is at a time or daily, not both", "leave one out");
            None
        }
        (false, false) => {
            section.missing("at", r#"or daily: `at = "2026-03-02T07:05:00Z"`, `daily = "00:02"`"#);
            None
        }
    };
    let length = section.duration("length", SECOND..=30 * DAY);
    if length.is_none() && !section.has("length") {
        section.missing("length", r#"how long it lasts, like "4m""#);
    }
    if daily.is_some() && length.is_some_and(|length| length > DAY) {
        section.wrong("length", "a daily outage lasts a day at most", "use `at` for a longer one");
    }
    let most = length.unwrap_or(DAY);
    let length_spread_ms = section.duration("length_spread", 0..=most).unwrap_or(0);
    section.finish();
    Some(Outage { when: when?, length_ms: length?, length_spread_ms })
}
