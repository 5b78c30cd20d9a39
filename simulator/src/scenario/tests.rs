use std::collections::BTreeMap;

use protocol::{DeviceTime, Lane, SignalIndex};

use super::signals::{CATALOGUE, COOLANT, DISTANCE, FUEL, OCCUPIED, SPEED, VOLTAGE};
use super::*;
use crate::source::Reading;

const DAY: i64 = 86_400_000;

const SMALL: &str = r#"
seed = 5
start = "2026-03-02T00:00:00Z"
length = "7d"
[[class]]
name = "car"
vehicles = 2
[[class.trip]]
days = "mon-fri"
depart = "07:30"
spread = "5m"
duration = "20m"
duration_spread = "2m"
"#;

fn scenario(text: &str) -> Scenario {
    Scenario::parse(text, "x.toml").unwrap()
}

fn readings(vehicle: &Vehicle) -> Vec<(i64, Reading)> {
    let mut cursor = vehicle.source.cursor();
    let source = &vehicle.source;
    std::iter::from_fn(|| Some((cursor.next(source)?, cursor.true_ms().unwrap())))
        .map(|(reading, at)| (at, reading))
        .collect()
}

fn samples_of(readings: &[(i64, Reading)], wanted: SignalIndex) -> Vec<(i64, i64)> {
    let samples = readings.iter().filter_map(|(at, reading)| match reading {
        Reading::Sample(_, sample) if sample.signal == wanted => Some((*at, sample.steps()?)),
        _ => None,
    });
    samples.collect()
}

fn actions(readings: &[(i64, Reading)]) -> Vec<(i64, &'static str, &'static str)> {
    let events = readings.iter().filter_map(|(at, reading)| match reading {
        Reading::Event(occurrence) => {
            let event = occurrence.event(DeviceTime::default());
            Some((*at, event.action, event.object))
        }
        _ => None,
    });
    events.collect()
}

#[test]
fn a_seed_is_a_fleet_and_vehicles_differ() {
    let fleet = |seed| Scenario { seed, ..scenario(SMALL) }.vehicles();
    let (one, again, other) = (fleet(1), fleet(1), fleet(2));
    assert_eq!(one[0].device.as_str(), "car-0000");
    assert_eq!(readings(&one[0]), readings(&again[0]));
    assert_ne!(readings(&one[0]), readings(&one[1]));
    assert_ne!(readings(&one[0]), readings(&other[0]));
}

#[test]
fn readings_are_the_same_on_every_machine() {
    let text = include_str!("../../scenarios/vans.toml");
    let fleet = Scenario { length_ms: DAY / 2, ..scenario(text) }.vehicles();
    let words = readings(&fleet[3]).into_iter().flat_map(|(at, reading)| match reading {
        Reading::Sample(_, sample) => [at, sample.tick, sample.steps().unwrap_or(i64::MIN)],
        Reading::Event(occurrence) => [at, occurrence.unix_ms, occurrence.number.into()],
        Reading::Link { up, unix_ms } => [at, unix_ms, up.into()],
        Reading::Reboot { unix_ms } => [at, unix_ms, -1],
    });
    let digest = words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
        (hash ^ word.cast_unsigned()).wrapping_mul(0x100_0000_01b3)
    });
    assert_eq!(format!("{digest:016x}"), "563542a08564a8a8");
}

#[test]
fn trips_are_on_their_days_in_their_time_and_the_rest_is_parked() {
    let text = SMALL.replace("length = \"7d\"", "length = \"7d\"\nutc_offset = \"-8h\"");
    let scenario = scenario(&text);
    let start = scenario.start_unix_ms;
    let fleet = scenario.vehicles();
    let readings = readings(&fleet[0]);
    let starts: Vec<_> =
        actions(&readings).into_iter().filter(|(_, action, _)| *action == "start").collect();
    // From Sunday afternoon to Sunday afternoon, by the local clock.
    assert_eq!(starts.len(), 5);
    for ((at, ..), day) in starts.iter().zip(0..) {
        let local = at - start - 8 * 3_600_000 - day * DAY;
        let seven_thirty = 7 * 3_600_000 + 30 * 60_000;
        assert!((local - seven_thirty).abs() <= 5 * 60_000, "{local}");
    }
    // A quarter to half an hour at 1 Hz, five times.
    let speeds = samples_of(&readings, SPEED).len();
    assert!((5 * 18 * 60..5 * 24 * 60).contains(&speeds), "{speeds}");
    let volts = samples_of(&readings, VOLTAGE);
    let parked = volts.iter().filter(|(_, raw)| *raw < 13_000).count();
    assert!((150..=180).contains(&parked), "{parked} of a week by the hour");
}

#[test]
fn values_go_together_and_stay_in_range() {
    let fleet = scenario(SMALL).vehicles();
    let readings = readings(&fleet[0]);
    for (_, reading) in &readings {
        if let Reading::Sample(lane, sample) = reading {
            let signal = CATALOGUE.get(sample.signal).unwrap();
            assert!(
                (signal.raw_min..=signal.raw_max).contains(&sample.steps().unwrap()),
                "{sample:?}"
            );
            assert_eq!(*lane == Lane::Latest, sample.signal == DISTANCE);
        }
    }
    let fuel = samples_of(&readings, FUEL);
    let falls = fuel.windows(2).filter(|pair| pair[1].1 <= pair[0].1).count();
    assert!(falls + 2 >= fuel.len() - 1, "fuel falls but when it is filled");
    assert!(fuel[0].1 > fuel.last().unwrap().1 || falls < fuel.len() - 1);
    let distance = samples_of(&readings, DISTANCE);
    assert!(distance.is_sorted_by_key(|(_, metres)| *metres), "an odometer never turns back");
    let coolant: Vec<i64> = samples_of(&readings, COOLANT).iter().map(|(_, raw)| *raw).collect();
    assert!(coolant[0] < 150 && *coolant.iter().max().unwrap() > 800, "cold, then warm");
}

#[test]
fn taxis_have_the_character_of_the_real_ones() {
    let text = include_str!("../../scenarios/taxis.toml");
    let scenario = Scenario { length_ms: 10 * DAY, ..scenario(text) };
    let fleet = scenario.vehicles();
    let mut all = 0;
    let (mut minute, mut near, mut long, mut fares) = (0, 0, 0, 0);
    for vehicle in fleet.iter().take(8) {
        let readings = readings(vehicle);
        let fixes = samples_of(&readings, OCCUPIED);
        for pair in fixes.windows(2) {
            let apart = pair[1].0 - pair[0].0;
            all += 1;
            minute += usize::from(apart == 60_000);
            near += usize::from((55_000..=65_000).contains(&apart));
            long += usize::from(apart > 5 * 60_000);
            fares += usize::from(pair[0].1 == 0 && pair[1].1 == 1);
        }
    }
    let percent = |count: usize| count * 100 / all;
    assert!((17..=27).contains(&percent(minute)), "{} % exactly a minute", percent(minute));
    assert!((45..=65).contains(&percent(near)), "{} % about a minute", percent(near));
    assert!((5..=9).contains(&(long / 80)), "{} gaps a day", long / 80);
    assert!((30..=48).contains(&(fares / 80)), "{} fares a day", fares / 80);
}

#[test]
fn an_outage_is_at_the_same_time_for_all_and_zones_are_where_they_are() {
    let text = include_str!("../../scenarios/taxis.toml");
    let fleet = scenario(text).vehicles();
    let links = |vehicle: &Vehicle| -> Vec<(i64, bool)> {
        let links = readings(vehicle).into_iter().filter_map(|(at, reading)| match reading {
            Reading::Link { up, .. } => Some((at, up)),
            _ => None,
        });
        links.collect()
    };
    let first = links(&fleet[0]);
    assert_eq!(first.len(), 8, "three midnights and a morning: {first:?}");
    assert!(fleet.iter().take(9).all(|vehicle| links(vehicle) == first));
    let long = first.chunks_exact(2).map(|pair| pair[1].0 - pair[0].0).max();
    assert_eq!(long, Some(93 * 60_000));

    let vans = scenario(include_str!("../../scenarios/vans.toml"));
    let noon = vans.start_unix_ms + 7 * 3_600_000 + 30 * 60_000;
    let (lunch, silent) = (links(&vans.clone().vehicles()[0]), |at| vans.is_silent(0, at));
    assert!(silent(noon - 30 * 60_000) && !silent(noon + 15 * 60_000));
    assert!(lunch.len() >= 4, "valleys too: {lunch:?}");
    for pair in lunch.windows(2) {
        assert_ne!(pair[0].1, pair[1].1, "up and down in turn");
    }
}

#[test]
fn faults_come_as_often_as_they_should() {
    let text = format!(
        "{SMALL}\n[class.faults]\nstuck_every = \"1h\"\nstuck_for = \"5m\"\nspike_every = \"5m\"\n\
         dropout_every = \"1h\"\ndropout_for = \"2m\"\nclock_step_every = \"6h\"\n\
         clock_step_max = \"10m\"\nreboot_every = \"12h\"\nodd_every = \"10m\"\n"
    );
    let broken = readings(&scenario(&text).vehicles()[0]);
    let reboots =
        broken.iter().filter(|(_, reading)| matches!(reading, Reading::Reboot { .. })).count();
    assert!((10..=20).contains(&reboots), "{reboots} in a week, each 12 h");
    let mut offsets = BTreeMap::new();
    for (at, reading) in &broken {
        if let Reading::Sample(_, sample) = reading {
            *offsets.entry(sample.tick - at).or_insert(0_u32) += 1;
        }
    }
    assert!(offsets.len() > 8 && offsets[&0] > 100, "{offsets:?}");
    assert!(offsets.keys().all(|offset| offset.abs() <= 600_000), "{offsets:?}");
    let odd = broken.iter().filter_map(|(_, reading)| match reading {
        Reading::Sample(_, sample) if sample.steps().is_none() => Some(sample.value),
        _ => None,
    });
    let odd: Vec<_> = odd.collect();
    assert!(odd.len() > 20 && odd.contains(&protocol::Value::Missing), "{}", odd.len());
    let speeds = samples_of(&broken, SPEED);
    let extremes = speeds.iter().filter(|(_, raw)| *raw == 25_000).count();
    assert!(extremes > 0, "no spike of the speed in a week");
    let whole = samples_of(&readings(&scenario(SMALL).vehicles()[0]), SPEED).len();
    assert!(speeds.len() < whole + whole / 4);
}

#[test]
fn the_examples_are_scenarios_and_can_be_described() {
    for (name, text) in [
        ("commuters", include_str!("../../scenarios/commuters.toml")),
        ("taxis", include_str!("../../scenarios/taxis.toml")),
        ("vans", include_str!("../../scenarios/vans.toml")),
    ] {
        let scenario = Scenario { length_ms: DAY, ..scenario(text) };
        let described = scenario.describe();
        for class in &scenario.classes {
            assert!(described.contains(&class.name), "{name}: {described}");
        }
        assert!(!described.contains("  samples                        0"), "{name}: {described}");
    }
}

fn mistakes(text: &str) -> String {
    match Scenario::parse(text, "x.toml").unwrap_err() {
        ScenarioError::Invalid(report) => report.to_string(),
        other @ ScenarioError::Read { .. } => panic!("{other}"),
    }
}

#[test]
fn mistakes_are_shown_with_their_place_and_what_was_meant() {
    let shown = mistakes(&SMALL.replace("vehicles", "vehicels"));
    let want = "x.toml:7:1: unknown key `vehicels` in [[class]]\n  |\n7 | vehicels = 2\n  | \
                ^^^^^^^^ did you mean `vehicles`?\n1 error";
    assert_eq!(shown, want);
    for (from, to, want) in [
        ("\"7d\"", "\"7 days\"", "x.toml:4:10: `7 days` is no duration"),
        ("\"07:30\"", "\"25:30\"", "x.toml:10:10: `25:30` is no time of day"),
        ("mon-fri", "mon-fry", "did you mean `fri`?"),
        ("mon-fri", "weekdays", "`weekdays` is no day"),
        ("\"2026-03-02T00:00:00Z\"", "\"2026-03-02\"", "x.toml:3:9: `2026-03-02` is no time"),
        ("vehicles = 2", "vehicles = 0", "from 1 to 10000"),
        ("vehicles = 2", "vehicles = \"2\"", "`vehicles` must be a whole number"),
        ("vehicles = 2", "powertrain = \"petrol\"", "one of: combustion, electric"),
        ("vehicles = 2", "style = \"citty\"", "did you mean `city`?"),
        ("name = \"car\"", "", "`name` is missing in [[class]]"),
        ("name = \"car\"", "name = \"a b\"", "can't be a class's name"),
        ("vehicles = 2", "sample_every = \"300ms\"\nslow_every = \"1s\"", "no multiple"),
        ("depart = \"07:30\"", "", "`depart` is missing in [[trip]]"),
        ("seed = 5", "seed = 5\nseed = 6", "duplicate key"),
        ("seed = 5", "seed 5", "x.toml:2:"),
        (
            "\"2m\"\n",
            "\"2m\"\n[[outage]]\ndaily = \"01:00\"\nlength = \"2d\"\n",
            "a daily outage lasts a day at most",
        ),
        ("\"2m\"\n", "\"2m\"\n[[outage]]\nlength = \"5m\"\n", "`at` is missing in [[outage]]"),
        (
            "seed = 5",
            "[[dead_zone]]\nclasses = [\"cra\"]\nfrom = \"01:00\"\n",
            "did you mean `car`?",
        ),
        (
            "\"2m\"\n",
            "\"2m\"\n[[dead_zone]]\nfrom = \"01:00\"\n",
            "`to` is missing in [[dead_zone]]",
        ),
        (
            "\"2m\"\n",
            "\"2m\"\n[place]\nlatitude = 95\nlongitude = 0\nradius_km = 1\n",
            "from -80 to 80",
        ),
    ] {
        let shown = mistakes(&SMALL.replacen(from, to, 1));
        assert!(shown.contains(want), "{to}: {shown}");
    }
    assert!(mistakes("seed = 1").contains("`class` is missing"));
    let twice = format!("{SMALL}\n[[class]]\nname = \"car\"\n");
    assert!(mistakes(&twice).contains("two classes are called `car`"));
    let many = mistakes(&SMALL.replace("vehicles = 2", "vehicels = 2\nstile = 3"));
    assert!(many.ends_with("2 errors"), "{many}");
}
