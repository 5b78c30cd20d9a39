use std::io::Write as _;

use std::path::{Path, PathBuf};

use protocol::Catalogue;

use super::*;

const OBD_HEADER: &str = "Time,Engine Coolant Temperature [\u{c2}\u{b0}C],Intake Manifold Absolute Pressure [kPa],Engine RPM [RPM],Vehicle Speed Sensor [km/h],Intake Air Temperature [\u{b0}C],Air Flow Rate from Mass Flow Sensor [g/s],Absolute Throttle Position [%],Ambient Air Temperature [\u{b0}C],Accelerator Pedal Position D [%],Accelerator Pedal Position E [%]\r\n";
const EV_HEADER: &str = "Date,Time,Soc,Speed,Mode,LAT,LON,ALT,GpsSpeed,Temperature,Humidity,Weather,WindSpeedAv,Traffic,SpeedLimit\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn samples(recording: &Recording) -> Vec<(i64, u8, i64)> {
    recording::samples(recording)
        .into_iter()
        .map(|sample| (sample.tick, sample.signal.0, sample.steps().unwrap()))
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn read(path: &Path) -> Result<(Vec<Track>, FileReport), ReadError> {
    read_file(path, &ReadOptions::default())
}

const TAXI: &str = "cab,latitude,longitude,occupancy,time\n\
    abboip,37.65273,-122.4,0,1211267046\n\
    abboip,37.66439,-122.39804,1,1211267055\n\
    other,37,-122.00001,0,1211267046\n\
    broken,37.6x,-122.39804,0,1211267055\n\
    short,37.6\n\
    abboip,37.7,-122.5,1,1211267054\n";

#[test]
fn taxis_are_told_apart_and_keep_their_order() {
    let folder = Folder::new();
    let (tracks, report) = read(&folder.file("x.csv", TAXI.as_bytes())).unwrap();
    assert_eq!(report.kind, Kind::Taxi);
    let [abboip, other] = tracks.as_slice() else { panic!("{tracks:?}") };
    assert_eq!((abboip.name.as_str(), other.name.as_str()), ("taxi-abboip", "taxi-other"));
    assert_eq!(
        samples(&abboip.recording),
        [
            (1_211_267_046, 0, 3_765_273),
            (1_211_267_046, 1, -12_240_000),
            (1_211_267_046, 2, 0),
            (1_211_267_055, 0, 3_766_439),
            (1_211_267_055, 1, -12_239_804),
            (1_211_267_055, 2, 1),
            (1_211_267_054, 0, 3_770_000),
            (1_211_267_054, 1, -12_250_000),
            (1_211_267_054, 2, 1),
        ],
        "a clock that steps back is kept"
    );
    assert_eq!((report.rows, report.samples, report.malformed), (6, 12, 2));
    assert_eq!(report.first_malformed.unwrap().0, 5);
}

#[test]
fn packed_files_are_told_by_their_bytes() {
    let folder = Folder::new();
    let plain = read(&folder.file("x.csv", TAXI.as_bytes())).unwrap().1;
    let (one, two) = TAXI.as_bytes().split_at(100);
    let cases = [
        gzip(TAXI.as_bytes()),
        zstd(TAXI.as_bytes()),
        [gzip(one), gzip(two)].concat(),
        [zstd(one), zstd(two)].concat(),
    ];
    for bytes in cases {
        let packed = read(&folder.file("name-says-nothing", &bytes)).unwrap().1;
        assert_eq!((packed.rows, packed.samples), (plain.rows, plain.samples));
    }
}

#[test]
fn a_cut_off_file_is_an_error_with_its_line() {
    let folder = Folder::new();
    let whole = gzip(TAXI.repeat(50).as_bytes());
    let path = folder.file("x.csv.gz", whole.get(..whole.len() / 2).unwrap());
    let error = read(&path).unwrap_err();
    assert!(matches!(error, ReadError::Read { .. }), "{error}");
}

#[test]
fn an_obd_row_is_one_fresh_sample_and_a_slip_moves_the_turn() {
    let folder = Folder::new();
    let rows = "23:59:59.700,32,,,,,,,,,\n\
        23:59:59.800,32,99.0,,,,,,,,\n\
        23:59:59.900,32,99.0,800.0,,,,,,,\n\
        00:00:00.000,32,99.0,800.0,0.0,,,,,,\n\
        00:00:00.100,32,99.0,800.0,0.0,15.0,,,,,\n\
        00:00:00.200,32,99.0,800.0,0.0,15.0,4.17,,,,\n\
        00:00:00.150,32,99.0,800.0,0.0,15.0,4.17,14.9,,,\n\
        00:00:00.400,32,99.0,800.0,0.0,15.0,4.17,14.9,,17.3,\n\
        00:00:00.500,32,99.0,800.0,0.0,15.0,4.17,14.9,,17.3,\n\
        00:00:00.600,32,99.0,800.0,0.0,15.0,4.17,14.9,,17.3,\n";
    let path = folder
        .file("2017-07-05_Seat_Leon_RT_S_Stau.csv", (OBD_HEADER.to_owned() + rows).as_bytes());
    let (tracks, report) = read(&path).unwrap();
    let [drive] = tracks.as_slice() else { panic!("{tracks:?}") };
    assert_eq!((report.kind, drive.name.as_str()), (Kind::ObdCar, "2017-07-05_RT_S_Stau"));
    let midnight = crate::civil::day_start_ms(2017, 7, 6).unwrap();
    let relative: Vec<_> = samples(&drive.recording)
        .into_iter()
        .map(|(tick, s, raw)| (tick - midnight, s, raw))
        .collect();
    assert_eq!(
        relative,
        [
            (-300, 0, 32),
            (-200, 1, 99),
            (-100, 2, 800),
            (0, 3, 0),
            (100, 4, 15),
            (200, 5, 417),
            (150, 6, 38), // of 255
            (400, 8, 44), // the turn was column 7's; 8 changed
            (600, 0, 32), // row 9 is the turn of column 9, which is still empty
        ]
    );
    assert_eq!((report.rows, report.samples, report.malformed), (10, 9, 0));
}

#[test]
fn a_percentage_that_no_byte_makes_is_left_out_and_said() {
    let folder = Folder::new();
    let row =
        |throttle: &str| format!("10:00:00.000,32,99.0,8.0,0.0,15.0,4.17,{throttle},5,0.0,0.0\n");
    let rows: String = ["14.9", "17.2", "17.3", "100.0"].map(row).concat();
    let path = folder.file("2017-07-05_x.csv", (OBD_HEADER.to_owned() + &rows).as_bytes());
    // The turn begins at the first column, and goes to the one that changes.
    let (tracks, report) = read(&path).unwrap();
    assert_eq!(
        samples(&tracks[0].recording).iter().map(|s| (s.1, s.2)).collect::<Vec<_>>(),
        [(0, 32), (6, 44), (6, 255)]
    );
    assert_eq!((report.malformed, report.first_malformed.unwrap().0), (1, 3));
}

#[test]
fn an_obd_drive_needs_its_date() {
    let folder = Folder::new();
    let path = folder.file("drive.csv", OBD_HEADER.as_bytes());
    assert!(matches!(read(&path), Err(ReadError::NoDate { .. })));
}

#[test]
fn an_ev_row_is_one_instant_and_rows_without_a_date_are_left_out() {
    let folder = Folder::new();
    let rows = "04/22/2021,08:42:50,97.740000,0.000000,N,33.986153,-6.724960,151.000000,0.037040,17,72,Clouds,0.3,0,40\n\
        30/00/2003,08:42:51,97.740000,0.000000,N,33.986153,-6.724960,151.000000,0.037040,17,72,Clouds,0.3,0,40\n\
        4/22/2021,08:42:52,97.740000,12.500000,D,,-6.724960,151.000000,0.037040,17,72,Clouds,0.3,0,40\n\
        04/22/2021,08:42:53,97.740000,3,R,x,-6.724960,-1,0.035,17,72,Clouds,0.3,0,40\n";
    let path = folder.file("T1.csv", (EV_HEADER.to_owned() + rows).as_bytes());
    let (tracks, report) = read(&path).unwrap();
    let [trip] = tracks.as_slice() else { panic!("{tracks:?}") };
    assert_eq!((report.kind, trip.name.as_str()), (Kind::EvTwizy, "T1"));
    let start = crate::civil::parse_rfc3339_ms(b"2021-04-22T08:42:50.000Z").unwrap() / 1000;
    let relative: Vec<_> =
        samples(&trip.recording).into_iter().map(|(tick, s, raw)| (tick - start, s, raw)).collect();
    assert_eq!(
        relative,
        [
            (0, 0, 9774),
            (0, 1, 0),
            (0, 2, 0),
            (0, 3, 33_986_153),
            (0, 4, -6_724_960),
            (0, 5, 151),
            (0, 6, 4),
            (2, 0, 9774),
            (2, 1, 1250),
            (2, 2, 1),
            (2, 4, -6_724_960),
            (2, 5, 151),
            (2, 6, 4),
            (3, 0, 9774),
            (3, 1, 300),
            (3, 2, -1),
            (3, 4, -6_724_960),
            (3, 5, -1),
            (3, 6, 4),
        ]
    );
    assert_eq!((report.rows, report.malformed), (4, 2));
    assert_eq!(report.first_malformed.unwrap().0, 3);
}

#[test]
fn other_files_are_refused_by_name() {
    let folder = Folder::new();
    let log = folder.file("x.log", b"(1627275155.016000) can2 009#993410C100069080\n");
    assert!(matches!(read(&log), Err(ReadError::NoDbc { .. })));
    let text = folder.file("x.csv", b"a,b\n1,2\n");
    let error = read(&text).unwrap_err().to_string();
    assert!(error.contains("taxi CSV") && error.contains("a,b"), "{error}");
    let empty = folder.file("empty.csv", b"");
    assert!(matches!(read(&empty), Err(ReadError::EmptyFile { .. })));
    assert!(matches!(read(Path::new("/no/such/file")), Err(ReadError::Open { .. })));
}

#[test]
fn a_folder_stands_for_the_recordings_in_it_and_below() {
    let folder = Folder::new();
    std::fs::create_dir(folder.0.path().join("below")).unwrap();
    for name in ["b.csv", "a.log.zst", "a.dbc", "README.md", "below/c.mprec"] {
        folder.file(name, b"");
    }
    let (dir, other) = (folder.0.path().to_owned(), PathBuf::from("/no/such/file"));
    let found = files(&[dir.clone(), other.clone()]).unwrap();
    let within = ["a.log.zst", "b.csv", "below/c.mprec"].map(|name| dir.join(name));
    assert_eq!(found, [&within[..], &[other]].concat());
}

#[test]
fn catalogues_can_be_encoded() {
    for catalogue in [&taxi::CATALOGUE, &obd_car::CATALOGUE, &ev_twizy::CATALOGUE] {
        let mut bytes = [0; Catalogue::ENCODED_MAX];
        catalogue.encode(&mut bytes).unwrap();
    }
}

/// FNV-1a over words of tick, signal, raw; the same was computed from the recordings by the
/// reference reader that came with them, which has an EV's ticks in milliseconds, and percentages in
/// tenths, as they are printed.
fn digest(kind: Kind, tracks: &[Track]) -> u64 {
    let words = tracks.iter().flat_map(|track| samples(&track.recording)).flat_map(
        |(tick, signal, raw)| {
            let (tick, raw) = match (kind, signal) {
                (Kind::EvTwizy, _) => (1000 * tick, raw),
                (Kind::ObdCar, 6 | 8 | 9) => (tick, (2 * raw * 1000 + 255) / 510),
                _ => (tick, raw),
            };
            [tick.cast_unsigned(), u64::from(signal), raw.cast_unsigned()]
        },
    );
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn the_real_recordings_read_as_the_reference_reads_them() {
    let Some(data) = crate::recordings_dir() else {
        eprintln!("SKIPPED: no recordings (set MILEPOST_DATA to the folder that has small/)");
        return;
    };
    for (name, samples, want) in [
        ("small/taxi_small.csv.gz", 101_004, 0x73cc_dc5f_20a1_81d6),
        ("small/2017-07-13_Seat_Leon_KA_KA_Normal.csv.gz", 11_216, 0xe4d0_d024_586b_ac0c),
        ("small/2018-02-17_Seat_Leon_BB_RT_Normal_Glatteis.csv.gz", 41_611, 0x5aa9_ae65_29fc_1ed8),
        ("small/T3_04_22_2021_1.csv.gz", 7343, 0x8d10_8584_c58b_c096),
        // The turn slips 127 and 97 times.
        ("obd_car/2017-07-11_Seat_Leon_KA_KA_Stau.csv.zst", 17_934, 0xc92d_89d4_ff64_9512),
        (
            "obd_car/2017-07-13_Seat_Leon_RT_KA_Stau_Messfehler.csv.zst",
            59_634,
            0xe8b7_8bb1_15cb_8faa,
        ),
    ] {
        let path = data.join(name);
        if !path.exists() {
            eprintln!("SKIPPED: {} is not there", path.display());
            continue;
        }
        let (tracks, report) = read(&path).unwrap();
        assert_eq!((report.samples, report.malformed), (samples, 0), "{name}");
        assert_eq!(digest(report.kind, &tracks), want, "{name}");
    }
}

/// `milepost signals rust` made them.
#[test]
fn catalogues_are_what_their_files_say() {
    for (name, catalogue) in [
        ("obd_car", &obd_car::CATALOGUE),
        ("ev_twizy", &ev_twizy::CATALOGUE),
        ("taxi", &taxi::CATALOGUE),
    ] {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("signals");
        let text = std::fs::read_to_string(dir.join(format!("{name}.toml"))).unwrap();
        let read = signals::read(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        read.with(|read| assert_eq!(read, catalogue, "{name}"));
        let about = format!("From {name}.toml, by `milepost signals rust`: change that, not this.");
        let source = std::fs::read_to_string(dir.join(format!("{name}.rs"))).unwrap();
        assert_eq!(source, signals::rust(&read, &about), "{name}");
    }
}
