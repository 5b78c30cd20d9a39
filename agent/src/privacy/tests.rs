use protocol::codec::{Encoder, Hints, SAMPLE_BYTES_MAX};
use protocol::event::{Attributes, Event, Value};
use protocol::sample::CONTENT_LEN_MAX;
use protocol::thinning::{Take, Thin, Thinning, Window};
use protocol::{CatalogueId, Clock, DeviceTime, Sample, SignalIndex, Step};
use serde_json::{Value as Json, json};

use super::*;

use crate::document::{OwnedHints, OwnedSignal};
use crate::sink::Ndjson;

mod seats;

const PATHS: [&str; 5] = [
    "Vehicle.Speed",
    "Vehicle.Cabin.Door.IsOpen",
    "Vehicle.CurrentLocation.Latitude",
    "Vehicle.CurrentLocation.Longitude",
    "Vehicle.CurrentLocation.H3",
];

fn catalogue() -> OwnedCatalogue {
    let signal = |path: &str| OwnedSignal {
        path: path.to_owned(),
        unit: String::new(),
        step: if path.contains("itude") { Step::new(1, 100_000) } else { Step::new(1, 10) },
        raw_min: 0,
        raw_max: 1,
    };
    let (signals, hints) = (PATHS.map(signal).to_vec(), OwnedHints::default());
    OwnedCatalogue { id: CatalogueId(1), tick_ms: 10, signals, hints, thinning: Vec::new() }
}

fn source<'a>() -> Source<'a> {
    Source {
        device: "cab-7".parse().unwrap(),
        ring: RingId([0xab; 16]),
        seq: Seq(41),
        lane: Lane::Bulk,
        received_ms: 1_795_332_600_123,
        origin: None,
    }
}

fn columns(samples: &[(i64, u8, i64)]) -> (SamplesHeader, Vec<u8>) {
    let mut buffer = vec![0; (samples.len() + 1) * SAMPLE_BYTES_MAX];
    // As a device with more signals than the catalogue has would.
    let mut encoder = Encoder::<64>::new(Hints::NONE, 64);
    for (tick, signal, raw) in samples {
        let sample = Sample::new(*tick, SignalIndex(*signal), *raw);
        encoder.push(&mut buffer, sample).unwrap();
    }
    let header = SamplesHeader {
        context: SamplesContext {
            catalogue: CatalogueId(1),
            clock: Clock::Reference,
            coding: protocol::codec::Coding::Learning,
            boot: 3,
        },
        count: encoder.count(),
    };
    let len = encoder.finish(&mut buffer).unwrap();
    buffer.truncate(len);
    (header, buffer)
}

/// Through a policy: the documents, what passed, what each rule took.
fn through(policy: &mut Policy, samples: &[(i64, u8, i64)]) -> (Vec<Json>, u64, Vec<u64>) {
    let (header, columns) = columns(samples);
    let lens = Arc::new(policy.lens(&Arc::new(catalogue())));
    let mut cleared = Cleared::default();
    let passed = policy.samples(&source(), &header, &columns, &lens, &mut cleared).unwrap();
    let taken = policy.taken().to_vec();
    assert_eq!(passed + taken.iter().sum::<u64>(), samples.len() as u64, "each is accounted for");
    let documents = parsed(&cleared);
    assert_eq!(cleared.documents(), documents.len() as u64);
    (documents, passed, taken)
}

fn lines(cleared: &Cleared) -> String {
    let mut text = Vec::new();
    let take = |part: &[u8]| -> Result<(), ()> {
        text.extend_from_slice(part);
        Ok(())
    };
    Ndjson::default().render(cleared, take).unwrap();
    String::from_utf8(text).unwrap()
}

fn parsed(cleared: &Cleared) -> Vec<Json> {
    lines(cleared).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn policy(drop: &[&str], resolution: Option<u8>) -> Policy {
    Policy::from_config(&PrivacyConfig {
        drop: drop.iter().map(|glob| (*glob).to_owned()).collect(),
        location: resolution.map(|resolution| LocationConfig { resolution }),
        ..PrivacyConfig::default()
    })
    .unwrap()
}

/// A batch of values that may be no number of steps, each at a tick of its own.
fn exact_columns(values: &[(u8, protocol::Value, &[u8])]) -> (SamplesHeader, Vec<u8>) {
    let mut buffer = vec![0; (values.len() + 1) * (SAMPLE_BYTES_MAX + CONTENT_LEN_MAX)];
    let mut encoder = Encoder::<64>::new(Hints::NONE, 64);
    for (tick, (signal, value, content)) in (0..).zip(values) {
        let sample = Sample { tick, signal: SignalIndex(*signal), value: *value };
        encoder.push_with(&mut buffer, sample, content).unwrap();
    }
    let (header, _) = columns(&[]);
    let header = SamplesHeader { count: encoder.count(), ..header };
    let len = encoder.finish(&mut buffer).unwrap();
    buffer.truncate(len);
    (header, buffer)
}

/// [`catalogue`], in which the door and the cell's signal are windows of others.
fn with_windows(door_of: u8, cell_of: u8) -> Arc<OwnedCatalogue> {
    let thinning = [(1, door_of), (4, cell_of)].map(|(signal, of)| {
        let window = Window { of: SignalIndex(of), take: Take::Max, length_ms: 100 };
        Thinning { signal: SignalIndex(signal), how: Thin::Window(window) }
    });
    let mut catalogue = catalogue();
    catalogue.signals[4].path = "Vehicle.Cabin.Most".to_owned();
    Arc::new(OwnedCatalogue { thinning: thinning.to_vec(), ..catalogue })
}

#[test]
fn what_readings_come_to_leaves_only_where_they_do() {
    let (header, columns) = columns(&[(0, 0, 1), (0, 1, 2), (0, 4, 3)]);
    let left = |mut policy: Policy, catalogue: &Arc<OwnedCatalogue>| {
        let lens = Arc::new(policy.lens(catalogue));
        let mut cleared = Cleared::default();
        policy.samples(&source(), &header, &columns, &lens, &mut cleared).unwrap();
        let documents = parsed(&cleared);
        let Some(document) = documents.first() else { return (Vec::new(), Json::Null) };
        let keys: Vec<String> = document["data"].as_object().unwrap().keys().cloned().collect();
        (keys, document["thinning"].clone())
    };
    let speed_and_latitude = with_windows(0, 2);
    let (keys, thinning) = left(Policy::none(), &speed_and_latitude);
    assert_eq!(keys.len(), 3);
    let door = "Vehicle.Cabin.Door.IsOpen;max_of=Vehicle.Speed;window_ms=100";
    let most = "Vehicle.Cabin.Most;max_of=Vehicle.CurrentLocation.Latitude;window_ms=100";
    assert_eq!(thinning, json!(format!("{door}, {most}")));
    // Places are made coarse: of a latitude nothing finer leaves under another name.
    let (keys, thinning) = left(policy(&[], Some(5)), &speed_and_latitude);
    assert_eq!(keys, [PATHS[1], PATHS[0]]);
    assert_eq!(thinning, json!(door));
    // Nor of what is dropped.
    let (keys, thinning) = left(policy(&["Vehicle.Speed"], None), &with_windows(0, 0));
    assert_eq!((keys.len(), thinning), (0, Json::Null));
}

#[test]
fn what_is_no_number_of_steps_leaves_as_it_is() {
    use protocol::Value::{Bytes, Double, Missing, Single, Steps, Text};
    let (header, columns) = exact_columns(&[
        (0, Steps(415), &[]),
        (0, Missing, &[]),
        (0, Single(f32::to_bits(0.5)), &[]),
        (0, Double(f64::NAN.to_bits()), &[]),
        (1, Bytes(3), &[0x0a, 0, 0xff]),
        (1, Text(4), "VIN\"".as_bytes()),
        (0, Steps(416), &[]),
    ]);
    let mut policy = Policy::none();
    let lens = Arc::new(policy.lens(&Arc::new(catalogue())));
    let mut cleared = Cleared::default();
    let empty = cleared.mark();
    assert_eq!(policy.samples(&source(), &header, &columns, &lens, &mut cleared), Ok(7));
    let data: Vec<Json> = parsed(&cleared).iter().map(|one| one["data"].clone()).collect();
    let (speed, door) = (|value| json!({ PATHS[0]: value }), |value| json!({ PATHS[1]: value }));
    assert_eq!(data[..3], [speed(json!(41.5)), speed(Json::Null), speed(json!(0.5))]);
    assert_eq!(data[3], speed(json!({ "float": "NaN(7ff8000000000000)" })));
    assert_eq!(
        data[4..],
        [door(json!({"hex": "0a00ff"})), door(json!("VIN\"")), speed(json!(41.6))]
    );
    assert!(cleared.bytes() > 7 + 2 * size_of::<ClearedSample>());
    cleared.cut_back(empty);
    assert!(cleared.exacts().is_empty());
}

#[test]
fn a_place_that_is_no_number_does_not_leave() {
    use protocol::Value::{Double, Missing, Steps, Text};
    let (header, columns) =
        exact_columns(&[(2, Text(4), b"home"), (3, Missing, &[]), (2, Steps(5_250_000), &[])]);
    let mut policy = policy(&[], Some(7));
    let lens = Arc::new(policy.lens(&Arc::new(catalogue())));
    let mut cleared = Cleared::default();
    assert_eq!(policy.samples(&source(), &header, &columns, &lens, &mut cleared), Ok(0));
    assert_eq!((policy.taken().iter().sum::<u64>(), lines(&cleared)), (3, String::new()));
    // One that is a number of degrees is a place like any other.
    let mut buffer = [0; 512];
    let mut encoder = Encoder::<64>::new(Hints::NONE, 64);
    for (signal, degrees) in [(2, 52.5_f64), (3, 13.4)] {
        let value = Double(degrees.to_bits());
        let sample = Sample { tick: 1, signal: SignalIndex(signal), value };
        encoder.push(&mut buffer, sample).unwrap();
    }
    let header = SamplesHeader { count: 2, ..header };
    let len = encoder.finish(&mut buffer).unwrap();
    assert_eq!(policy.samples(&source(), &header, &buffer[..len], &lens, &mut cleared), Ok(2));
    assert!(
        lines(&cleared).contains("\"Vehicle.CurrentLocation.H3\":\"871f"),
        "{}",
        lines(&cleared)
    );
}

#[test]
fn a_run_of_one_tick_is_one_document_until_a_signal_repeats() {
    let (documents, passed, _) = through(
        &mut Policy::none(),
        &[(5, 0, 1), (5, 1, 2), (5, 0, 3), (6, 0, 4), (5, 1, 5), (5, 2, 6)],
    );
    assert_eq!(passed, 6);
    let data: Vec<&Json> = documents.iter().map(|document| &document["data"]).collect();
    assert_eq!(data[0], &json!({"Vehicle.Speed":0.1,"Vehicle.Cabin.Door.IsOpen":0.2}));
    assert_eq!(data[1], &json!({"Vehicle.Speed":0.3}));
    assert_eq!(data[2], &json!({"Vehicle.Speed":0.4}));
    assert_eq!(data.len(), 4);
    assert_eq!(documents[2]["time"], "1970-01-01T00:00:00.060Z");
    assert!(documents[3]["id"].as_str().unwrap().ends_with("/41/3"));
}

#[test]
fn two_signals_of_one_path_never_meet_in_a_document() {
    let mut twice = catalogue();
    twice.signals[1].path = PATHS[0].to_owned();
    let mut policy = Policy::none();
    let (header, columns) = columns(&[(5, 0, 1), (5, 1, 2)]);
    let lens = Arc::new(policy.lens(&Arc::new(twice)));
    let mut cleared = Cleared::default();
    policy.samples(&source(), &header, &columns, &lens, &mut cleared).unwrap();
    assert_eq!(cleared.documents(), 2);
}

#[test]
fn dropped_signals_leave_no_trace_and_change_no_id() {
    let samples = [(5, 1, 1), (6, 0, 2), (6, 1, 3), (7, 1, 4), (8, 0, 5)];
    let (documents, passed, taken) = through(&mut policy(&["Vehicle.Cabin.*"], None), &samples);
    assert_eq!((passed, taken), (2, vec![3, 0]));
    let ids: Vec<&str> =
        documents.iter().map(|document| document["id"].as_str().unwrap()).collect();
    let (all, ..) = through(&mut Policy::none(), &samples);
    assert_eq!(ids, [all[1]["id"].as_str().unwrap(), all[3]["id"].as_str().unwrap()]);
    assert_eq!(documents[0]["data"], json!({"Vehicle.Speed":0.2}));
}

#[test]
fn a_place_leaves_as_a_cell() {
    let (documents, passed, taken) = through(
        &mut policy(&[], Some(9)),
        &[
            (5, 0, 1),
            (5, 2, 3_777_833),
            (5, 3, -12_241_942),
            (6, 2, 3_777_833),
            (7, 4, 1),
            (8, 0, 1),
        ],
    );
    assert_eq!(
        (passed, taken),
        (4, vec![2]),
        "a lone half and a cell of the device's own stay here"
    );
    let cell = h3o::LatLng::new(37.77833, -122.41942).unwrap().to_cell(h3o::Resolution::Nine);
    assert_eq!(
        documents[0]["data"],
        json!({"Vehicle.Speed":0.1,"Vehicle.CurrentLocation.H3":cell.to_string()})
    );
    assert_eq!(documents.len(), 2);
}

#[test]
fn no_place_on_earth_is_excluded() {
    let (documents, passed, taken) =
        through(&mut policy(&[], Some(9)), &[(5, 2, 9_100_000), (5, 3, 0)]);
    assert_eq!((documents.len(), passed, taken), (0, 0, vec![2]));
}

#[test]
fn a_broken_batch_leaves_nothing_behind() {
    let mut policy = policy(&["Vehicle.Speed"], None);
    let (header, columns) = columns(&[(5, 1, 1), (6, 0, 2), (6, 60, 3)]);
    let lens = Arc::new(policy.lens(&Arc::new(catalogue())));
    let mut cleared = Cleared::default();
    let error = policy.samples(&source(), &header, &columns, &lens, &mut cleared).unwrap_err();
    assert_eq!(error, CodecError::UnknownSignal);
    assert_eq!((cleared.bytes(), cleared.documents()), (0, 0));
    assert_eq!(policy.taken(), [0, 0]);
}

fn with_pseudonyms(key: u8, key_id: u16) -> Policy {
    let key_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key_file.path(), format!("{key:02x}").repeat(32)).unwrap();
    Policy::from_config(&PrivacyConfig {
        pseudonym: Some(PseudonymConfig {
            key_file: key_file.path().to_owned(),
            key_id,
            fields: vec!["actor".to_owned(), "badge".to_owned()],
        }),
        ..PrivacyConfig::default()
    })
    .unwrap()
}

fn event_through(policy: &mut Policy) -> (String, Json) {
    let mut attributes = Attributes::new();
    attributes.push(("badge", Value::Int(4711))).unwrap();
    attributes.push(("note", Value::Text("seen by cab-7"))).unwrap();
    let event = Event {
        time: DeviceTime::default(),
        actor: "Ada",
        action: "open",
        object: "door",
        context: "cab-7/trip/3",
        resource: "Ada",
        attributes,
    };
    let mut cleared = Cleared::default();
    let counts = policy.record(&source(), 0, &Record::Event(event), &mut cleared);
    assert_eq!(counts, Counts { samples: 0, events: 1 });
    (lines(&cleared), parsed(&cleared).remove(0))
}

#[test]
fn a_pseudonym_hides_the_device_everywhere_and_stays() {
    let (line, json) = event_through(&mut with_pseudonyms(1, 1));
    assert!(!line.contains("cab-7") && !line.contains("4711"), "{line}");
    let name = json["source"].as_str().unwrap().strip_prefix("/devices/").unwrap();
    assert!(name.starts_with("p1-") && name.len() == 29, "{name}");
    assert!(name.parse::<DeviceId>().is_ok());
    assert!(json["id"].as_str().unwrap().starts_with(&format!("{name}/")));
    assert_eq!(json["data"]["context"], format!("{name}/trip/3"));
    assert_eq!(json["data"]["attributes"]["note"], format!("seen by {name}"));
    assert_eq!(json["data"]["resource"], "Ada", "only the fields named");
    assert!(json["data"]["actor"].as_str().unwrap().starts_with("p1-"));
    assert!(json["data"]["attributes"]["badge"].as_str().unwrap().starts_with("p1-"));
    assert_eq!(event_through(&mut with_pseudonyms(1, 1)).0, line, "the same in every life");
    let other = event_through(&mut with_pseudonyms(2, 1)).1;
    assert_ne!(other["source"], json["source"], "another key, another name");
    assert!(
        event_through(&mut with_pseudonyms(2, 9999)).1["source"].to_string().contains("p9999-")
    );
}

#[test]
fn a_pseudonym_is_a_known_answer() {
    // HMAC-SHA256 computed apart, over the lengths and parts as the module says.
    let key = PseudonymKey::parse(&[0x0b; 32]).unwrap();
    let names = Names::new(&key, 1, Vec::new()).unwrap();
    assert_eq!(names.device(&"cab-7".parse().unwrap()).as_str(), KNOWN);
}

const KNOWN: &str = "p1-djqqil762jr77pquzlbk73lg4m";

#[test]
fn samples_go_by_the_pseudonym_too() {
    let (documents, ..) = through(&mut with_pseudonyms(1, 1), &[(5, 0, 1)]);
    assert!(!documents[0].to_string().contains("cab-7"));
}

#[test]
fn a_bad_policy_is_refused_at_the_start() {
    let location = Some(LocationConfig { resolution: 16 });
    let config = PrivacyConfig { location, ..PrivacyConfig::default() };
    assert!(matches!(Policy::from_config(&config), Err(PolicyError::Resolution(16))));
    let config = PrivacyConfig { drop: vec!["x".repeat(97)], ..PrivacyConfig::default() };
    assert!(matches!(Policy::from_config(&config), Err(PolicyError::Rules)));
    assert_eq!(PseudonymKey::parse(b"short").unwrap_err(), KeyError::Short);
    let key = PseudonymKey::parse(&[7; 32]).unwrap();
    assert!(matches!(Names::new(&key, 10_000, Vec::new()), Err(KeyError::Id)));
}
