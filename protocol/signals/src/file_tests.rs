use protocol::SignalIndex;
use protocol::thinning::{Skip, Take, Window};

use super::*;

const WHOLE: &str = r#"
tick_ms = 1
timing = { beats_ms = [30, 27.5] }

[[signal]]
path = "Vehicle.Speed"
unit = "km/h"
step = "1/10"
range = [0, 250]
predictor = "linear"
related = "Vehicle.Cabin.Temperature"
expected_raw = 500
spread = 9
interval_ms = 82
period_ms = 300.5

[[signal]]
path = "Vehicle.Cabin.Temperature"
unit = "celsius"
step = "1/2"
offset = -40
range = [-40, 87.5]
"#;

fn wrong(change: impl Fn(&str) -> String) -> Vec<String> {
    read(&change(WHOLE)).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_says_all_of_a_catalogue() {
    let read = read(WHOLE).unwrap();
    let [speed, cabin] = &read.signals[..] else { panic!() };
    assert_eq!((speed.raw_min, speed.raw_max, speed.step), (0, 2500, Step::new(1, 10)));
    assert_eq!((cabin.raw_min, cabin.raw_max), (0, 255));
    assert_eq!(read.hints.timing, Timing::Beats([480, 440]));
    let hint = SignalHint {
        guess: Guess::Linear,
        related: 1,
        follower: 1,
        expected: 500,
        spread: 9,
        interval: 82,
        period: 4808,
    };
    assert_eq!(read.hints.signals, [hint, usual_hint(1, 2)]);
    assert!(read.hints.levels.is_empty());
    let mut bytes = [0; Catalogue::ENCODED_MAX];
    let len = read.with(|catalogue| catalogue.encode(&mut bytes)).unwrap();
    assert_eq!(read.id, Catalogue::id_of(&bytes[..len]));
}

#[test]
fn what_is_written_reads_as_it_was() {
    let mut first = read(WHOLE).unwrap();
    for levels in [vec![], (0..table_len(2)).map(|at| u8::try_from(at % 251).unwrap()).collect()] {
        first.hints.levels = levels;
        for timing in [Timing::Any, Timing::Sequence, Timing::Beats([440, 0])] {
            first.hints.timing = timing;
            let again = read(&crate::write(&first, "Two signals.\nNot more.")).unwrap();
            assert_eq!(again, OwnedCatalogue { id: again.id, ..first.clone() });
        }
    }
    // A step that has no end in decimals, and a range beyond a double's digits.
    first.signals[0].step = Step::new(100, 255);
    first.signals[1].raw_max = i64::MAX;
    let again = read(&crate::write(&first, "")).unwrap();
    assert_eq!(again.signals, first.signals);
}

const THINNED: &str = r#"
tick_ms = 100

[[signal]]
path = "Vehicle.Speed"
unit = "km/h"
step = "1/10"
range = [0, 250]
thin = { dead_band = 0.5, interval_ms = 1000, silence_ms = 60000 }

[[signal]]
path = "Vehicle.Speed.Mean"
unit = "km/h"
step = "1/100"
range = [0, 250]
thin = { mean_of = "Vehicle.Speed", window_ms = 10000 }

[[signal]]
path = "Vehicle.Cabin.Door"
range = [0, 1]
thin = { on_change = true }

[[signal]]
path = "Vehicle.Cabin.Temperature"
unit = "celsius"
step = "20/51"
range = [0, 100]
thin = { dead_band_raw = 5 }
"#;

#[test]
fn a_file_says_what_is_left_out() {
    let first = read(THINNED).unwrap();
    let skip = |dead_band, interval_ms, silence_ms| {
        Thin::Skip(Skip { dead_band, interval_ms, silence_ms })
    };
    let window = Window { of: SignalIndex(0), take: Take::Mean, length_ms: 10_000 };
    let how: Vec<Thin> = first.thinning.iter().map(|thinning| thinning.how).collect();
    let expected = [
        skip(Some(5), 1000, 60_000),
        Thin::Window(window),
        skip(Some(0), 0, 0),
        skip(Some(5), 0, 0),
    ];
    assert_eq!(how, expected);
    let again = read(&crate::write(&first, "")).unwrap();
    assert_eq!(again, first);
    let thin = |line: &&str| !line.starts_with("thin");
    let plain: Vec<&str> = THINNED.lines().filter(thin).collect();
    assert_ne!(first.id, read(&plain.join("\n")).unwrap().id);
    let source = crate::rust(&first, "");
    assert!(source.contains("dead_band: Some(5),"), "{source}");
    assert!(source.contains("take: protocol::thinning::Take::Mean,"), "{source}");
}

#[test]
fn what_cannot_be_left_out_is_said_with_its_line() {
    let said = |from: &str, to: &str| {
        assert!(THINNED.contains(from), "{from}");
        let all = read(&THINNED.replacen(from, to, 1)).unwrap_err();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].to_string()
    };
    let speed = "dead_band = 0.5, interval_ms = 1000, silence_ms = 60000";
    assert!(said("dead_band = 0.5", "dead_band = 0.55").starts_with("9: the dead_band 0.55 is no"));
    assert!(said("dead_band = 0.5", "dead_band = -1").starts_with("9: the dead_band -1: from 0"));
    assert!(said("dead_band = 0.5", "dead_band = 1e9").contains("from 0 to 4294967295 steps"));
    assert!(said("dead_band = 0.5", "dead_band = nan").starts_with("9: the dead_band NaN: from"));
    assert!(said(speed, "on_change = true, dead_band = 1").starts_with("9: on_change is a dead"));
    assert!(said(speed, "").starts_with("9: thin says on_change, dead_band"));
    assert!(said(speed, "interval_ms = 5, silence_ms = 9").starts_with("9: silence_ms ends"));
    assert!(said("silence_ms = 60000", "silence_ms = 999").starts_with("9: silence_ms is less"));
    assert!(said(speed, "window_ms = 100").starts_with("9: window_ms says of no signal"));
    assert!(said(speed, "often = true").starts_with("9: unknown field"));
    let mean = "mean_of = \"Vehicle.Speed\"";
    assert!(
        said("window_ms = 10000", "window_ms = 150").starts_with("16: mean_of needs window_ms")
    );
    assert!(said(", window_ms = 10000", "").starts_with("16: mean_of needs window_ms"));
    assert!(said(mean, "mean_of = \"Vehicle\"").starts_with("16: no signal \"Vehicle\""));
    assert!(said(mean, "mean_of = \"Vehicle.Cabin.Door\"").starts_with("16: a mean has the unit"));
    assert!(said(mean, "max_of = \"Vehicle.Speed\"").starts_with("16: max_of has the unit, step"));
    let both = "min_of = \"Vehicle.Speed\", max_of = \"Vehicle.Speed\"";
    assert!(said(mean, both).starts_with("16: a signal is one of"));
    let more = "mean_of = \"Vehicle.Speed\", interval_ms = 5";
    assert!(said(mean, more).starts_with("16: a window takes all readings"));
    let own = "mean_of = \"Vehicle.Speed.Mean\"";
    assert!(said(mean, own).starts_with("16: a window of the signal itself"));
    let signal = |name: &str, thin: &str| {
        format!("[[signal]]\npath = \"V.{name}\"\nrange = [0, 1]\n{thin}\n")
    };
    let max = |of: &str| format!("thin = {{ max_of = \"V.{of}\", window_ms = 5 }}");
    let chain = [signal("A", ""), signal("B", &max("A")), signal("C", &max("B"))].concat();
    let all: Vec<String> = read(&chain).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(all, ["12: a window of what is itself a window"]);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let replaced = |from: &'static str, to: &'static str| {
        wrong(move |text| {
            assert!(text.contains(from));
            text.replacen(from, to, 1)
        })
    };
    let said = |from, to| {
        let all = replaced(from, to);
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    };
    assert_eq!(said("tick_ms = 1", "tick_ms = 0"), "2: tick_ms is 0; 1 is a millisecond");
    assert!(said("27.5]", "27.5, 3]").starts_with("3: beats_ms has one period or two"));
    assert!(said("{ beats_ms = [30, 27.5] }", "\"often\"").starts_with("3: the timing \"often\""));
    assert!(said("\"1/10\"", "\"1/0\"").starts_with("8: the step \"1/0\": one is"));
    assert!(
        said("\"linear\"", "\"cubic\"").contains("there are last, linear, half, mean, related")
    );
    assert_eq!(
        said("related = \"Vehicle.Cabin.Temperature\"", "related = \"Vehicle.Cabin\""),
        "11: no signal \"Vehicle.Cabin\" in this file"
    );
    assert!(
        said("range = [0, 250]", "range = [250, 0]").starts_with("6: Vehicle.Speed: its range")
    );
    assert!(said("range = [0, 250]", "").starts_with("6: Vehicle.Speed has no range"));
    assert!(said("expected_raw = 500", "expected_raw = 2501").starts_with("6: Vehicle.Speed: exp"));
    assert!(said("interval_ms = 82", "interval_ms = -1").starts_with("14: from 0 to"));
    assert_eq!(
        replaced("path = \"Vehicle.Cabin.Temperature\"", "path = \"Vehicle.Speed\""),
        [
            "11: no signal \"Vehicle.Cabin.Temperature\" in this file",
            "18: Vehicle.Speed is there twice"
        ]
    );
    assert!(said("Vehicle.Speed", "Vehicle..Speed").starts_with("6: the path"));
    assert!(said("tick_ms = 1", "tick_ms = 1\nstart = \"0g\"").starts_with("3: the start table"));
    assert!(said("tick_ms = 1", "tick_ms = 1\nstart = \"00\"").contains("2 signals need"));
    assert!(said("spread = 9", "spread = 9\ncolour = \"red\"").starts_with("14: unknown field"));
    // All that is wrong, not only the first of it.
    let all = wrong(|text| text.replace("\"1/10\"", "\"0\"").replace("\"linear\"", "\"cubic\""));
    assert_eq!(all.len(), 2, "{all:?}");
}

#[test]
fn what_is_wrong_with_one_signal_hides_nothing_of_another() {
    let signal = |name: &str, range: &str, thin: &str| {
        format!("[[signal]]\npath = \"V.{name}\"\n{range}\n{thin}\n")
    };
    let right = "range = [0, 1]";
    let text = [
        "tick_ms = 1\n".to_owned(),
        signal("A", "range = [1, 0]", "thin = { on_change = true }"),
        signal("B", right, "thin = { silence_ms = 5 }"),
        signal("C", right, "thin = { max_of = \"V.A\", window_ms = 5 }"),
    ]
    .concat();
    let problems = read(&text).unwrap_err();
    let said: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(said, [3, 9], "{problems:?}");
}

#[test]
fn a_range_beyond_64_bits_is_none() {
    let step = "step = \"1/4294967295\"\nrange = [2147483648.5, 2147483648.5]";
    assert!(read(&format!("[[signal]]\npath = \"V\"\n{step}")).is_err());
}

#[test]
fn a_catalogue_has_64_signals_at_most() {
    let signal = |at| format!("[[signal]]\npath = \"Vehicle.S{at}\"\nrange = [0, 1]\n");
    let text: String = (0..65).map(signal).collect();
    let problems = read(&text).unwrap_err();
    assert_eq!(problems[0].line, 64 * 3 + 2);
    assert!(problems[0].what.starts_with("65 signals"), "{problems:?}");
    assert!(read(&text[..text.len() - signal(64).len()]).is_ok());
    let many: String = (0..300).map(signal).collect();
    assert!(read(&many).unwrap_err()[0].what.starts_with("300 signals"));
}
