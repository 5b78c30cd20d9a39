use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::storage::{Disk, SharedStorage};

fn vehicles(dir: &Path) -> Vehicles {
    let storage: SharedStorage = Arc::new(Disk);
    Vehicles::open(state::open(&storage, &dir.join(state::FILE_NAME)).unwrap()).unwrap()
}

fn device(name: &str) -> DeviceId {
    name.parse().unwrap()
}

fn vehicle(name: &str) -> VehicleId {
    name.parse().unwrap()
}

fn said(group: &str) -> Change {
    Change { group: Some(group.parse().unwrap()), ..Change::default() }
}

fn assignment(of: &str, to: &str, from_ms: i64, to_ms: Option<i64>) -> Assignment {
    let belonging = Belonging::default();
    Assignment {
        device: device(of),
        vehicle: vehicle(to),
        from_ms: Some(from_ms),
        to_ms,
        belonging,
    }
}

fn spans(vehicles: &Vehicles, of: &str) -> Vec<(String, i64, i64)> {
    let timeline = vehicles.timeline(device(of)).unwrap();
    let shown = |span: &Assignment| (span.vehicle.to_string(), span.start(), span.end());
    timeline.spans().iter().map(shown).collect()
}

#[test]
fn a_swap_ends_one_and_begins_the_other_at_the_same_instant() {
    let dir = tempfile::tempdir().unwrap();
    let kept = vehicles(dir.path());
    let before = kept.version();
    kept.assign(&assignment("old", "bus 7", 100, None), &said("north"), 1).unwrap();
    assert!(kept.version() > before);
    kept.swap(&vehicle("bus 7"), (device("old"), device("new")), 500).unwrap();
    drop(kept);
    let vehicles = vehicles(dir.path());
    assert_eq!(spans(&vehicles, "old"), [("bus 7".to_owned(), 100, 500)]);
    assert_eq!(spans(&vehicles, "new"), [("bus 7".to_owned(), 500, i64::MAX)]);
    let entry = vehicles.show(&vehicle("bus 7")).unwrap();
    let groups = entry.assignments.iter().map(|span| span.belonging.group.clone().unwrap());
    assert_eq!(groups.map(|group| group.to_string()).collect::<Vec<_>>(), ["north", "north"]);
}

#[test]
fn a_swap_that_cannot_be_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    vehicles.assign(&assignment("a", "v", 100, None), &Change::default(), 1).unwrap();
    vehicles.assign(&assignment("b", "w", 100, None), &Change::default(), 1).unwrap();
    let swap = |out, new, at| {
        vehicles.swap(&vehicle("v"), (device(out), device(new)), at).unwrap_err().to_string()
    };
    let busy = swap("a", "b", 500);
    assert!(busy.contains("device b sits in vehicle w since 1970-01-01T00:00:00.100Z"), "{busy}");
    assert!(swap("c", "d", 500).contains("device c does not sit in vehicle v"));
    assert!(swap("a", "d", 100).contains("does not sit"), "it began at that very instant");
    assert!(swap("a", "a", 500).contains("for itself"));
    assert_eq!(spans(&vehicles, "a"), [("v".to_owned(), 100, i64::MAX)]);
    assert!(spans(&vehicles, "d").is_empty());
}

#[test]
fn a_device_is_in_one_vehicle_at_a_time_and_a_vehicle_may_have_several() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    vehicles.assign(&assignment("a", "v", 100, None), &Change::default(), 1).unwrap();
    vehicles.assign(&assignment("b", "v", 100, None), &Change::default(), 1).unwrap();
    let error = vehicles.assign(&assignment("a", "w", 50, Some(101)), &Change::default(), 1);
    assert!(error.unwrap_err().to_string().contains("one vehicle at a time"));
    assert!(matches!(vehicles.show(&vehicle("w")), Err(VehicleError::Unknown(_))), "not made");
    vehicles.assign(&assignment("a", "w", 50, Some(100)), &Change::default(), 1).unwrap();
    assert_eq!(vehicles.show(&vehicle("v")).unwrap().assignments.len(), 2);
    assert_eq!(vehicles.show(&vehicle("w")).unwrap().assignments.len(), 1);
    vehicles.release(&vehicle("v"), device("a"), 400).unwrap();
    let error = vehicles.release(&vehicle("v"), device("a"), 400).unwrap_err();
    assert!(matches!(error, VehicleError::NotThere { .. }), "{error}");
}

#[test]
fn belonging_changes_from_a_time_on_for_all_devices_of_a_vehicle() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    vehicles.assign(&assignment("a", "v", 100, None), &said("north"), 1).unwrap();
    vehicles.assign(&assignment("b", "v", 100, None), &Change::default(), 1).unwrap();
    vehicles.set(&vehicle("v"), &said("south"), 300, 1).unwrap();
    for of in ["a", "b"] {
        let timeline = vehicles.timeline(device(of)).unwrap();
        let group = |at| timeline.at(at).unwrap().belonging.group.clone().unwrap().to_string();
        assert_eq!((group(299), group(300)), ("north".to_owned(), "south".to_owned()));
    }
    vehicles.set(&vehicle("v"), &said(""), 400, 1).unwrap();
    assert_eq!(vehicles.show(&vehicle("v")).unwrap().belonging, Belonging::default());
}

#[test]
fn a_decommissioned_vehicle_takes_nothing_in_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    vehicles.assign(&assignment("a", "v", 100, None), &Change::default(), 1).unwrap();
    vehicles.assign(&assignment("b", "v", 900, None), &Change::default(), 1).unwrap();
    assert_eq!(vehicles.decommission(&vehicle("v"), 500).unwrap(), [device("a")]);
    assert_eq!(spans(&vehicles, "a"), [("v".to_owned(), 100, 500)]);
    assert!(spans(&vehicles, "b").is_empty(), "it would only have begun");
    let error = vehicles.assign(&assignment("b", "v", 100, Some(501)), &Change::default(), 1);
    assert!(matches!(error, Err(VehicleError::Decommissioned { at_ms: 500, .. })));
    vehicles.assign(&assignment("b", "v", 100, Some(500)), &Change::default(), 1).unwrap();
    let error = vehicles.remove(&vehicle("v"), false).unwrap_err();
    assert!(matches!(error, VehicleError::InUse { assignments: 2, .. }), "{error}");
    assert_eq!(vehicles.remove(&vehicle("v"), true).unwrap(), 2);
    assert!(spans(&vehicles, "a").is_empty());
    assert_eq!(vehicles.count().unwrap(), 0);
}

#[test]
fn keys_that_begin_alike_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    for (of, to) in [("a", "v"), ("aa", "v1"), ("a-", "v 1")] {
        vehicles.assign(&assignment(of, to, 100, None), &Change::default(), 1).unwrap();
    }
    for to in ["v", "v1", "v 1"] {
        assert_eq!(vehicles.show(&vehicle(to)).unwrap().assignments.len(), 1, "{to}");
    }
    assert_eq!(spans(&vehicles, "a").len(), 1);
    let page = vehicles.list(None, 2).unwrap();
    assert_eq!(page.len(), 2);
    let rest = vehicles.list(Some(&page[1].vehicle), 2).unwrap();
    assert_eq!(rest.len(), 1);
}

#[expect(clippy::unnecessary_wraps, reason = "as the registry answers")]
fn in_use(_: DeviceId) -> Result<Standing, VehicleError> {
    Ok(Standing::InUse)
}

fn row(line: u64, to: &str, of: &str, from_ms: i64, to_ms: Option<i64>) -> ImportRow {
    ImportRow {
        line,
        vehicle: vehicle(to),
        label: None,
        device: Some(device(of)),
        from_ms: Some(from_ms),
        to_ms,
        belonging: Belonging::default(),
    }
}

#[test]
fn an_import_is_all_or_nothing_and_names_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    vehicles.assign(&assignment("x", "v0", 0, None), &Change::default(), 1).unwrap();
    let version = vehicles.version();
    let bad = [
        row(2, "v1", "a", 100, None),
        row(3, "v2", "a", 200, None),
        row(4, "v2", "b", 200, Some(200)),
        row(5, "v2", "x", 5, None),
        row(6, "v1", "a", 100, None),
    ];
    vehicles.import_part(7, 0, &bad).unwrap();
    let imported = vehicles.import(7, 1, false, 9, &in_use).unwrap();
    let told: Vec<(u64, &str)> =
        imported.faults.iter().map(|fault| (fault.line, fault.column.as_str())).collect();
    assert_eq!(told, [(3, "from"), (4, "to"), (5, "from"), (6, "from")]);
    assert!(imported.faults[0].reason.ends_with("(line 2)"), "{:?}", imported.faults[0]);
    assert!(!imported.faults[2].reason.contains("line"), "known before");
    assert!(!imported.applied);
    assert_eq!((vehicles.count().unwrap(), vehicles.version()), (1, version));
    assert!(
        matches!(vehicles.import(7, 1, false, 9, &in_use), Err(VehicleError::Interleaved)),
        "it is gone"
    );
}

#[test]
fn an_import_in_parts_says_what_it_comes_to_and_repeats_without_effect() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    let parts = [[row(2, "v1", "a", 100, Some(200))], [row(3, "v1", "a", 200, None)]];
    let import = |dry_run| {
        for (number, part) in (0..).zip(&parts) {
            vehicles.import_part(7, number, part).unwrap();
        }
        vehicles.import(7, 2, dry_run, 9, &in_use).unwrap()
    };
    let dry = import(true);
    assert_eq!((dry.rows, dry.vehicles, dry.added, dry.applied), (2, 1, 2, false));
    assert_eq!(vehicles.count().unwrap(), 0);
    let first = import(false);
    assert_eq!((first.added, first.applied), (2, true));
    let again = import(false);
    assert_eq!((again.vehicles, again.added, again.changed, again.unchanged), (0, 0, 0, 2));
    vehicles.import_part(7, 0, &[row(2, "v1", "a", 200, Some(300))]).unwrap();
    let told_better = vehicles.import(7, 1, false, 9, &in_use).unwrap();
    assert_eq!((told_better.added, told_better.changed), (0, 1));
    assert_eq!(spans(&vehicles, "a")[1], ("v1".to_owned(), 200, 300));
}

#[test]
fn parts_out_of_order_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    vehicles.import_part(7, 0, &[row(2, "v", "a", 1, None)]).unwrap();
    assert!(matches!(vehicles.import_part(7, 2, &[]), Err(VehicleError::Interleaved)));
    // Another import begins: neither takes the other's rows for its own.
    vehicles.import_part(8, 0, &[row(2, "w", "b", 1, None)]).unwrap();
    assert!(matches!(vehicles.import_part(7, 1, &[]), Err(VehicleError::Interleaved)));
    assert!(matches!(vehicles.import(7, 1, false, 1, &in_use), Err(VehicleError::Interleaved)));
    assert!(matches!(vehicles.import(8, 2, false, 1, &in_use), Err(VehicleError::Interleaved)));
    assert!(vehicles.import(8, 1, false, 1, &in_use).unwrap().applied);
}

#[test]
fn what_is_kept_reads_back_in_this_version_and_no_other() {
    let entry = VehicleRecord {
        label: Some("Bus".parse().unwrap()),
        belonging: Belonging { group: Some("g".parse().unwrap()), ..Belonging::default() },
        added_ms: 7,
        decommissioned_ms: Some(9),
    };
    let mut bytes = record::encode(&entry);
    // Written once and for ever: a change of these bytes is a new version.
    assert_eq!(bytes, [1, 1, 3, b'B', b'u', b's', 1, 1, b'g', 0, 0, 14, 1, 18]);
    assert_eq!(record::decode::<VehicleRecord>(&bytes), Some(entry));
    bytes[0] = 2;
    assert_eq!(record::decode::<VehicleRecord>(&bytes), None);
}

#[test]
fn who_is_out_of_use_sits_nowhere_new_and_who_is_unknown_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let vehicles = vehicles(dir.path());
    let devices = |device: DeviceId| -> Result<Standing, VehicleError> {
        let is_out = device.as_str() == "out";
        Ok(if is_out { Standing::Decommissioned(500) } else { Standing::Unknown })
    };
    let rows = [row(2, "v", "out", 1, Some(500)), row(3, "v", "new", 1, None)];
    vehicles.import_part(7, 0, &rows).unwrap();
    let imported = vehicles.import(7, 1, false, 9, &devices).unwrap();
    assert!(imported.applied, "it sat there while it was in use");
    assert_eq!((imported.unregistered, imported.first_unregistered), (1, Some(device("new"))));
    vehicles.import_part(7, 0, &[row(2, "w", "out", 600, None)]).unwrap();
    let imported = vehicles.import(7, 1, false, 9, &devices).unwrap();
    assert_eq!((imported.faults.len(), imported.faults[0].column.as_str()), (1, "device"));
    let (device, vehicle) = (device("out"), vehicle("w"));
    let change = Change::default();
    let order = VehicleOrder::Assign { device, vehicle, from_ms: None, to_ms: None, change };
    let answer = vehicles.obey(order, 900, &devices);
    let VehicleAnswer::Refused { reason } = answer else { panic!("{answer:?}") };
    assert!(reason.contains("recommission out"), "{reason}");
}
