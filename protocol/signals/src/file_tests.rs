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
fn a_catalogue_has_64_signals_at_most() {
    let signal = |at| format!("[[signal]]\npath = \"Vehicle.S{at}\"\nrange = [0, 1]\n");
    let text: String = (0..65).map(signal).collect();
    let problems = read(&text).unwrap_err();
    assert_eq!(problems[0].line, 64 * 3 + 2);
    assert!(problems[0].what.starts_with("65 signals"), "{problems:?}");
    assert!(read(&text[..text.len() - signal(64).len()]).is_ok());
}
