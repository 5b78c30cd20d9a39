use super::*;
use crate::decimal::decimal_of;
use crate::{FileReport, Kind, ReadError, ReadOptions, read_file};

/// A log and its DBC, in a folder of their own.
struct Log(tempfile::TempDir);

impl Log {
    fn new(log: &str, dbc: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.log"), log).unwrap();
        if !dbc.is_empty() {
            std::fs::write(folder.path().join("x.dbc"), dbc).unwrap();
        }
        Self(folder)
    }

    fn read(&self, options: &ReadOptions) -> (Vec<Track>, FileReport) {
        let (tracks, report) = read_file(&self.0.path().join("x.log"), options).unwrap();
        assert_eq!(report.kind, Kind::Candump);
        (tracks, report)
    }

    fn values(&self) -> Vec<(i64, String, String)> {
        values(&self.read(&ReadOptions::default()).0[0].recording)
    }
}

/// Tick, name behind `Vehicle.Private.`, and value.
fn values(recording: &Recording) -> Vec<(i64, String, String)> {
    crate::recording::samples(recording)
        .into_iter()
        .map(|sample| {
            let signal = recording.catalogue().get(sample.signal).unwrap();
            let name = signal.path.strip_prefix("Vehicle.Private.").unwrap();
            (sample.tick, name.to_owned(), decimal_of(sample.steps().unwrap(), signal.step))
        })
        .collect()
}

fn expect(log: &str, dbc: &str, want: &[(i64, &str, &str)]) {
    let got = Log::new(log, dbc).values();
    let got: Vec<_> =
        got.iter().map(|(tick, name, value)| (*tick, name.as_str(), value.as_str())).collect();
    assert_eq!(got, want);
}

const PLAIN: &str = "VERSION \"\"\n\nBU_:\n\n\
    BO_ 9 imu: 8 X\n \
    SG_ Valid : 0|1@1+ (1,0) [0|1] \"\" X\n \
    SG_ X : 1|10@1+ (0.125,-64) [-64|63.875] \"m/s^2\" X\n\n\
    BO_ 37 STEER: 8 X\n \
    SG_ ANGLE : 3|12@0- (1.5,0) [-500|500] \"deg\" X\n \
    SG_ FRACTION : 39|4@0- (-0.1,0) [0|0] \"deg\" X\n";

#[test]
fn both_byte_orders_signs_and_scales() {
    // By cantools: X -15.25, ANGLE -75.0, FRACTION 0.4.
    let log = "(10.016999) can2 009#0D03\n(11.000000) can0 025#0FCE0000C0000000\n";
    expect(
        log,
        PLAIN,
        &[
            (10_016, "imu.Valid", "1"),
            (10_016, "imu.X", "-15.25"),
            (11_000, "STEER.ANGLE", "-75"),
            (11_000, "STEER.FRACTION", "0.4"),
        ],
    );
}

#[test]
fn values_beyond_a_short_frame_are_not_there_and_ids_of_two_lengths_differ() {
    let log = "(10.000) can2 009#03\n(10.001) can2 00000009#0D03\n(10.002) can2 00A#00\n";
    expect(log, PLAIN, &[(10_000, "imu.Valid", "1")]);
    let report = Log::new(log, PLAIN).read(&ReadOptions::default()).1;
    assert_eq!(report.notes, ["2 frames left out that no DBC names"]);
}

const SWITCHED: &str = "VERSION \"\"\n\nBU_:\n\n\
    BO_ 1 m: 8 X\n \
    SG_ S M : 0|8@1+ (1,0) [0|0] \"\" X\n \
    SG_ A m1 : 8|8@1+ (1,0) [0|0] \"\" X\n \
    SG_ T m2M : 8|8@1+ (1,0) [0|0] \"\" X\n \
    SG_ B m7 : 16|8@1+ (1,0) [0|0] \"\" X\n\n\
    SG_MUL_VAL_ 1 B T 7-7, 10-12;\n\
    SG_MUL_VAL_ 1 T S 2-2;\n";

#[test]
fn switched_signals_come_with_their_switch_and_switches_may_be_switched() {
    expect(
        "(1.0) c 001#010203\n(2.0) c 001#020B03\n(3.0) c 001#020803\n(4.0) c 001#030703\n",
        SWITCHED,
        &[
            (1000, "m.S", "1"),
            (1000, "m.A", "2"),
            (2000, "m.S", "2"),
            (2000, "m.T", "11"),
            (2000, "m.B", "3"),
            (3000, "m.S", "2"),
            (3000, "m.T", "8"),
            (4000, "m.S", "3"),
        ],
    );
}

const J1939: &str = "VERSION \"\"\n\nBU_:\n\n\
    BO_ 2364540158 EEC1: 8 X\n \
    SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|8031.875] \"rpm\" X\n \
    SG_ Mode : 0|4@1+ (1,0) [0|15] \"\" X\n\n\
    BO_ 2565865726 ACK: 8 X\n \
    SG_ Control : 0|8@1+ (1,0) [0|255] \"\" X\n\n\
    BA_DEF_ BO_ \"VFrameFormat\" ENUM \"StandardCAN\",\"ExtendedCAN\",\"reserved\",\"J1939PG\";\n\
    BA_DEF_DEF_ \"VFrameFormat\" \"J1939PG\";\n";

#[test]
fn j1939_is_found_by_its_group_and_says_when_it_has_nothing() {
    expect(
        "(1.0) c 0CF00400#607D84481400F084\n\
         (2.0) c 0CF00403#617D84481400F084\n\
         (3.0) c 18F00400#6F7D8400FEFFF084\n\
         (4.0) c 0CF00500#607D84481400F084\n",
        J1939,
        &[
            (1000, "EEC1.EngineSpeed", "649"),
            (1000, "EEC1.Mode", "0"),
            (2000, "EEC1_CF00403.EngineSpeed", "649"),
            (2000, "EEC1_CF00403.Mode", "1"),
        ],
    );
    let ack = database::pgn(0x18e8_ff00);
    assert_eq!(ack, database::pgn(0x0ce8_2103), "the destination does not count below 240");
    assert_ne!(database::pgn(0x18fe_f100), database::pgn(0x18fe_f200));
}

#[test]
fn obd_replies_need_no_dbc_of_their_own() {
    expect(
        "(1.0) can1 7E8#03412F8C00000000\n(1.1) can1 7E8#04410C0E9E000000\n\
         (1.2) can1 7E9#0341054000000000\n(1.3) can1 7E8#037F011200000000\n",
        PLAIN,
        &[
            (1000, "Obd.FuelLevel", "2800/51"),
            (1100, "Obd.EngineSpeed", "935.5"),
            (1200, "Obd_7E9.EngineCoolantTemperature", "24"),
        ],
    );
}

#[test]
fn a_channel_may_have_a_dbc_of_its_own() {
    let log = Log::new("(1.0) can0 009#0D03\n(2.0) can1 009#0D03\n", "");
    let dbc = log.0.path().join("other.dbc");
    std::fs::write(&dbc, PLAIN).unwrap();
    let of = |argument: String| {
        let options = ReadOptions { dbc: vec![argument.into()], ..ReadOptions::default() };
        let (tracks, _) = log.read(&options);
        values(&tracks[0].recording).into_iter().map(|(_, name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(of(format!("can1={}", dbc.display())), ["imu.Valid", "imu.X"]);
    let both = ["imu.Valid", "imu.X", "imu_can1.Valid", "imu_can1.X"];
    assert_eq!(of(dbc.display().to_string()), both);
}

#[test]
fn signals_are_chosen_in_order_or_by_pattern() {
    let signals = |count: usize| -> String {
        let lines =
            (0..count).map(|at| format!(" SG_ S{at:02} : {}|1@1+ (1,0) [0|1] \"\" X", at % 64));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    let dbc = format!("VERSION \"\"\n\nBU_:\n\nBO_ 1 m: 8 X\n{}", signals(70));
    let log = Log::new("(1.0) c 001#0000000000000000\n", &dbc);
    let (tracks, report) = log.read(&ReadOptions::default());
    assert_eq!(tracks[0].recording.len(), 64);
    assert!(report.notes[0].starts_with("64 of 70 signals taken"), "{:?}", report.notes);
    let signals = vec!["m.S6?".to_owned(), "Vehicle.Private.*.S01".to_owned()];
    let (tracks, report) = log.read(&ReadOptions { signals, ..ReadOptions::default() });
    assert_eq!(tracks[0].recording.len(), 11);
    assert!(report.notes.is_empty());
    let mut bytes = [0; Catalogue::ENCODED_MAX];
    tracks[0].recording.catalogue().encode(&mut bytes).unwrap();
}

#[test]
fn a_log_without_a_dbc_or_with_a_broken_one_is_refused_by_name() {
    let log = Log::new("(1.0) c 001#00\n", "");
    let path = log.0.path().join("x.log");
    let error = read_file(&path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("x.dbc") && error.contains("--raw-can"), "{error}");
    std::fs::write(log.0.path().join("x.dbc"), "BO_ nonsense").unwrap();
    let error = read_file(&path, &ReadOptions::default()).unwrap_err();
    assert!(matches!(error, ReadError::Dbc { .. }), "{error}");
    assert!(
        error.to_string().ends_with("x.dbc:1: no DBC: \"BO_ nonsense\" cannot be read"),
        "{error}"
    );
}
