use protocol::event::{Attributes, Level, Value};
use serde_json::{Value as Json, json};

use super::*;

struct Plain;

impl Wording for Plain {
    fn mask(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn word<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }
}

fn device() -> DeviceId {
    "cab-7".parse().unwrap()
}

fn envelope(device: &DeviceId) -> Envelope<'_> {
    Envelope {
        device,
        ring: RingId([0xab; 16]),
        seq: Seq(41),
        lane: Lane::Critical,
        received_ms: 1_795_332_600_123,
        origin: None,
        seat: None,
    }
}

const WALL: DeviceTime =
    DeviceTime { boot: 3, uptime_ms: 9000, unix_ms: 1_211_094_008_000, clock: Clock::Reference };
const UPTIME: DeviceTime =
    DeviceTime { boot: 3, uptime_ms: 9000, unix_ms: 5, clock: Clock::Uptime };

fn one(write: impl FnOnce(&mut Writer, &mut Vec<u8>)) -> (String, Json) {
    let mut out = Vec::new();
    write(&mut Writer::default(), &mut out);
    let line = String::from_utf8(out).unwrap();
    assert_eq!(line.matches('\n').count(), 1);
    let parsed = serde_json::from_str(&line).unwrap();
    (line, parsed)
}

#[test]
fn an_instant_has_the_documented_bytes() {
    let device = device();
    let mut envelope = envelope(&device);
    envelope.lane = Lane::Bulk;
    let (line, _) = one(|writer, out| {
        writer.start_samples(&envelope, Clock::Reference, 3);
        writer.begin_instant(out, 7, 1_211_094_008_000, false);
        out.extend_from_slice(&member("Vehicle.Speed")[1..]);
        Decimal::new(protocol::Step::new(1, 10)).write(out, 413);
        out.extend_from_slice(&member("a\"b"));
        Decimal::new(protocol::Step::ONE).write(out, -2);
        writer.end_instant(out);
    });
    assert_eq!(
        line,
        concat!(
            r#"{"specversion":"1.0","id":"cab-7/abababababababababababababababab/41/7","#,
            r#""source":"/devices/cab-7","type":"milepost.samples","time":"2008-05-18T07:00:08.000Z","#,
            r#""lane":"bulk","clock":"reference","boot":3,"received":"2026-11-22T07:30:00.123Z","#,
            r#""data":{"Vehicle.Speed":41.3,"a\"b":-2}}"#,
            "\n"
        )
    );
}

#[test]
fn an_instant_says_what_was_left_out_of_its_signals_and_the_next_one_does_not() {
    let device = device();
    let envelope = envelope(&device);
    let mut two = Vec::new();
    let mut writer = Writer::default();
    writer.start_samples(&envelope, Clock::Reference, 3);
    writer.begin_instant(&mut two, 0, 0, false);
    writer.thinned("Vehicle.Speed;dead_band=0.5");
    writer.thinned("a\"b;interval_ms=5");
    writer.end_instant(&mut two);
    writer.begin_instant(&mut two, 1, 0, false);
    writer.end_instant(&mut two);
    let lines: Vec<serde_json::Value> = String::from_utf8(two)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["thinning"], "Vehicle.Speed;dead_band=0.5, a\"b;interval_ms=5");
    assert_eq!((lines.len(), lines[1].get("thinning")), (2, None));
}

#[test]
fn what_is_left_out_is_said_as_in_the_file() {
    let said = r#"
        [[signal]]
        path = "Vehicle.Speed"
        step = "20/51"
        offset = 7
        range = [0, 100]
        thin = { dead_band = 20, interval_ms = 10, silence_ms = 99 }
        [[signal]]
        path = "Vehicle.Door"
        range = [0, 1]
        thin = { on_change = true }
        [[signal]]
        path = "Vehicle.Speed.Max"
        step = "20/51"
        offset = 7
        range = [0, 100]
        thin = { max_of = "Vehicle.Speed", window_ms = 1000 }
        [[signal]]
        path = "Vehicle.Other"
        range = [0, 1]
    "#;
    let read = signals::read(said).unwrap();
    let said = read
        .with(|catalogue| [0, 1, 2, 3, 4].map(|at| thinning(catalogue, protocol::SignalIndex(at))));
    let texts = |lane| said.each_ref().map(|one| one.as_ref().and_then(|one| one.of(lane)));
    let expected = [
        Some("Vehicle.Speed;dead_band=20;interval_ms=10;silence_ms=99"),
        Some("Vehicle.Door;dead_band=0"),
        Some("Vehicle.Speed.Max;max_of=Vehicle.Speed;window_ms=1000"),
        None,
        None,
    ];
    assert_eq!((texts(Lane::Bulk), texts(Lane::Critical)), (expected, expected));
    let latest = [None, None, expected[2], None, None];
    assert_eq!(texts(Lane::Latest), latest, "of latest values none is left out");
}

#[test]
fn without_a_wall_clock_the_uptime_stands_in_its_place() {
    let device = device();
    let (_, json) = one(|writer, out| {
        writer.start_samples(&envelope(&device), Clock::Uptime, 3);
        writer.begin_instant(out, 0, 9000, true);
        writer.end_instant(out);
    });
    assert_eq!((&json["uptimems"], json.get("time")), (&json!(9000), None));
    assert_eq!(json["clock"], "uptime");
    let (_, json) = one(|writer, out| {
        writer.start_samples(&envelope(&device), Clock::Rtc, 3);
        writer.begin_instant(out, 0, i64::MAX, false);
        writer.end_instant(out);
    });
    assert_eq!((&json["unixms"], json.get("time")), (&json!(i64::MAX), None));
}

#[test]
fn an_event_says_who_did_what_to_what() {
    let device = device();
    let mut attributes = Attributes::new();
    attributes.push(("force", Value::Decimal { number: 125, places: 1 })).unwrap();
    attributes.push(("say \"so\"", Value::Text("ü\n"))).unwrap();
    let mut event = Event {
        time: WALL,
        actor: "driver",
        action: "open",
        object: "door.rear",
        context: "",
        resource: "body",
        attributes,
    };
    let (line, json) = one(|writer, out| writer.event(out, &envelope(&device), 2, &event, &Plain));
    assert_eq!(json["type"], "milepost.event");
    assert_eq!(json["id"], "cab-7/abababababababababababababababab/41/2");
    assert_eq!(json["time"], "2008-05-18T07:00:08.000Z");
    assert_eq!(
        json["data"],
        json!({"actor":"driver","action":"open","object":"door.rear","resource":"body",
               "attributes":{"force":12.5,"say \"so\"":"ü\n"}})
    );
    assert!(!line.contains("context"));
    event.time = UPTIME;
    event.context = "trip";
    event.attributes.clear();
    let (_, json) = one(|writer, out| writer.event(out, &envelope(&device), 2, &event, &Plain));
    assert_eq!((&json["uptimems"], json.get("time")), (&json!(9000), None));
    assert_eq!(json["data"]["context"], "trip");
}

#[test]
fn every_other_record_has_its_shape() {
    let device = device();
    let envelope = envelope(&device);
    let boot = Boot {
        time: WALL,
        reset: ResetReason::Watchdog,
        unsealed_samples_max: [0, 64, 1],
        unsealed_events_max: [4, 0, 0],
        next: [Seq(1), Seq(u64::MAX), Seq(3)],
    };
    let (_, json) = one(|writer, out| writer.boot(out, &envelope, 0, &boot));
    assert_eq!(json["type"], "milepost.boot");
    assert_eq!(
        json["data"],
        json!({"reset":"watchdog","unsealed_samples_max":[0,64,1],"unsealed_events_max":[4,0,0],
               "next":[1,u64::MAX,3]})
    );
    let beat =
        Heartbeat { time: WALL, ring_used: [1, 2, 255], supply_mv: 12_600, ..Heartbeat::default() };
    let (_, json) = one(|writer, out| writer.heartbeat(out, &envelope, 0, &beat));
    assert_eq!(
        json["data"],
        json!({"ring_used":[1,2,255],"link_up":0,"rejected":0,"refused":0,"stack_free":0,"supply_mv":12600})
    );
    let fork = Fork {
        time: WALL,
        lane: Lane::Latest,
        from: RingId([1; 16]),
        to: RingId([2; 16]),
        acknowledged: Seq(9),
        next: Seq(5),
        reason: ForkReason::Ahead,
    };
    let (_, json) = one(|writer, out| writer.fork(out, &envelope, 0, &fork));
    assert_eq!(
        json["data"],
        json!({"lane":"latest","from":"01".repeat(16),"to":"02".repeat(16),"acknowledged":9,"next":5,
               "reason":"ahead"})
    );
    let crash = Crash {
        time: WALL,
        boot: 2,
        image: 7,
        registers: [1, 2, 3],
        reason: "a\tb",
        stack: &[0, 0xfe],
    };
    let (_, json) = one(|writer, out| writer.crash(out, &envelope, 0, &crash, &Plain));
    assert_eq!(
        json["data"],
        json!({"boot":2,"image":7,"registers":[1,2,3],"reason":"a\tb","stack":"00fe"})
    );
    let log = Log { time: WALL, level: Level::Warning, target: "link", message: "\\" };
    let (_, json) = one(|writer, out| writer.log(out, &envelope, 0, &log, &Plain));
    assert_eq!(json["data"], json!({"level":"warning","target":"link","message":"\\"}));
}

#[test]
fn a_loss_names_who_says_it() {
    let device = device();
    let origin = Origin {
        ring: RingId([1; 16]),
        tag: protocol::FrameTag::default(),
        seq: Seq(6),
        kind: protocol::frame::Kind::Loss,
    };
    let mut envelope = envelope(&device);
    envelope.origin = Some(&origin);
    let mut report = LossReport {
        first: Seq(3),
        last: Seq(40),
        lost: Counts { samples: 10, events: 2 },
        reason: "full",
        by: Claimant::Device(WALL),
    };
    let (_, json) = one(|writer, out| writer.loss(out, &envelope, &report));
    assert_eq!(json["id"], "cab-7/abababababababababababababababab/41/0");
    assert_eq!(json["origin"], format!("{}/6", "01".repeat(16)));
    assert_eq!(
        json["data"],
        json!({"first":3,"last":40,"samples":10,"events":2,"reason":"full","by":"device"})
    );
    report.by = Claimant::Agent;
    let (_, json) = one(|writer, out| writer.loss(out, &envelope, &report));
    assert_eq!(json["id"], "cab-7/abababababababababababababababab/41/loss");
    assert_eq!((&json["time"], &json["clock"]), (&json["received"], &json!("agent")));
    assert_eq!((&json["data"]["by"], json.get("boot")), (&json!("agent"), None));
}

#[test]
fn only_a_documents_own_member_is_taken_out() {
    let member = vehicle_member("bus \"7\"");
    let whole =
        r#"{"lane":"bulk","vehicle":"bus \"7\"","tenant":"t","data":{"vehicle":"x","a":1}}"#;
    let rest = r#"{"lane":"bulk","tenant":"t","data":{"vehicle":"x","a":1}}"#;
    assert_eq!(without_member(whole, &member).as_deref(), Some(rest));
    let inside = r#"{"lane":"bulk","data":{"vehicle":"bus \"7\"","a":1}}"#;
    assert_eq!(without_member(inside, &member), None);
    assert_eq!(without_member(rest, &member), None);
}
