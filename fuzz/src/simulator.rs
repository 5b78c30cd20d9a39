//! What the simulator reads: scenarios, and of recordings DBC files, lines of CAN logs, decimals.

use protocol::Catalogue;
use recordings::can::database::{Database, Value};
use recordings::can::frame::{CanFrame, Form};
use recordings::can::import::Import;
use recordings::decimal::{Excess, scaled, whole};
use simulator::scenario::Scenario;

use crate::Target;
use crate::bound::bounded;
use crate::input::{Input, text};

/// Two kilobytes of TOML or DBC, their trees, and what is made of them.
const FILE_MEMORY_MAX: usize = 4 * 1024 * 1024;

/// The targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "scenario",
        len_max: 2048,
        alloc_max: FILE_MEMORY_MAX,
        run: scenario,
        seeds: scenario_seeds,
        words: &[
            b"[place]\n",
            b"[[class]]\n",
            b"[[class.trip]]\n",
            b"[[outage]]\n",
            b"[faults]\n",
            b"= \"08:30\"\n",
            b"= \"5m\"\n",
            b"= 3\n",
            b"vehicles = 2\n",
            b"seed = 1\n",
        ],
    },
    Target {
        name: "dbc",
        len_max: 2048,
        alloc_max: FILE_MEMORY_MAX,
        run: dbc,
        seeds: dbc_seeds,
        words: &[
            b"VERSION \"\"\n",
            b"BU_: A\n",
            b"BO_ 2364539904 M: 8 A\n",
            b"BO_ 291 M: 8 A\n",
            b" SG_ S : 0|8@1+ (0.5,-40) [0|100] \"km/h\" A\n",
            b" SG_ S M : 7|16@0- (1,0) [0|0] \"\" A\n",
            b" SG_ S m1M : ",
            b"SG_MUL_VAL_ 291 S M 1-2, 5-9;\n",
            b"SIG_VALTYPE_ 291 S : 1;\n",
            b"BA_DEF_ BO_ \"VFrameFormat\" ENUM \"J1939PG\";\n",
            b"BA_ \"VFrameFormat\" BO_ 291 3;\n",
            b"VAL_ 291 S 1 \"on\" 0 \"off\";\n",
            b"CM_ \"x\";\n",
        ],
    },
    Target {
        name: "can-log",
        len_max: 256,
        alloc_max: 1024,
        run: can_log,
        seeds: can_log_seeds,
        words: &[b"(1627275155.016000) can0 ", b"##", b"#R8", b"_F", b" T", b"7FF#", b"1FFFFFFF#"],
    },
];

/// A scenario that reads is as large as it says, and describes itself.
fn scenario(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match bounded(FILE_MEMORY_MAX, || Scenario::parse(text, "a.toml")) {
        Ok(scenario) => {
            let described = bounded(FILE_MEMORY_MAX, || scenario.describe());
            assert!(!described.is_empty());
        }
        Err(error) => assert!(error.to_string().contains("a.toml"), "{error}"),
    }
}

fn scenario_seeds() -> Vec<Vec<u8>> {
    let compact = |file: &str| {
        let lines = file.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        text(lines).into_bytes()
    };
    [
        include_str!("../../simulator/scenarios/taxis.toml"),
        include_str!("../../simulator/scenarios/vans.toml"),
        include_str!("../../simulator/scenarios/commuters.toml"),
    ]
    .map(compact)
    .to_vec()
}

/// A DBC file, and a frame decoded by it: the first byte says how much of the input is the frame.
fn dbc(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (frame, id) = (input.byte() & 63, input.short());
    let data = input.bytes(frame.into());
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    bounded(FILE_MEMORY_MAX, || {
        let Ok(database) = Database::parse(text) else { return };
        let import = Import::of(text, &[]).expect("it reads as a DBC");
        assert!(import.signals.len() <= import.found.min(Catalogue::SIGNALS_MAX));
        let extended = id & 0x8000 != 0;
        let id = u32::from(id & 0x7fff);
        let Some((_, message)) = database.find("can0", extended, id) else { return };
        let Some(frame) = CanFrame::new(0, "can0", id, Form::default(), data) else { return };
        for (at, signal) in message.signals.iter().enumerate() {
            if let Value::Raw(_) = message.value(at, &frame) {
                assert!(signal.scale.is_ok(), "a value without a step");
            }
        }
    });
}

fn dbc_seeds() -> Vec<Vec<u8>> {
    let obd2 = include_str!("../../protocol/recordings/dbc/obd2.dbc");
    let head = text(obd2.lines().take(14));
    let own = "VERSION \"\"\nBU_: A\nBO_ 291 Motor: 8 A\n SG_ Kind M : 0|4@1+ (1,0) [0|15] \"\" A\n \
               SG_ Speed m1 : 8|16@1+ (0.01,0) [0|655] \"km/h\" A\n \
               SG_ Temp m2 : 15|8@0- (1,-40) [0|0] \"degC\" A\n";
    vec![
        [&[8, 0x23, 1, 1, 2, 3, 4, 5, 6, 7, 8][..], own.as_bytes()].concat(),
        [&[4, 0xe8, 7, 4, 0x41, 0x0c, 9][..], head.as_bytes()].concat(),
    ]
}

/// A line that reads as a frame, is written and read again as the same; and a number as itself.
fn can_log(bytes: &[u8]) {
    if let Some(frame) = bounded(1024, || CanFrame::parse(bytes)) {
        let line = frame.line();
        assert_eq!(CanFrame::parse(line.as_bytes()), Some(frame), "written as {line}");
    }
    if let Some(rounded) = bounded(0, || scaled(bytes, 6, Excess::Round)) {
        let cut = scaled(bytes, 6, Excess::Cut).expect("it can be rounded");
        assert!(rounded.abs_diff(cut) <= 1);
    }
    if let Some(number) = bounded(0, || whole(bytes, 12)) {
        assert!(number.abs() < 1_000_000_000_000);
    }
}

fn can_log_seeds() -> Vec<Vec<u8>> {
    [
        "(1627275155.016000) can2 009#993410C100069080",
        "(1627274455.012500) can1 17F00010#2010000000000000 R",
        "(0.000001) vcan0 123##3001122334455667788",
        "(1.5) can0 123#R8",
        "(1.5) can0 7FF#1122334455667788_F T",
        "-9223372036854.775808",
        "413.25",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
