//! A device is not a vehicle: documents say where it sat, and what is forgotten stays forgotten.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::world_of_one::World;

const STORE: &str = "[[sink]]\nname = \"store\"\ntype = \"store\"\n";

/// All lines of the file sink, in its order.
fn lines(world: &World) -> Vec<String> {
    let files = std::fs::read_dir(world.home.sink()).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
    files.sort();
    let texts = files.iter().map(|path| std::fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// All documents of the file sink.
fn documents(world: &World) -> Vec<Value> {
    lines(world).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Lines by their ring, in their order.
fn by_ring(lines: Vec<String>) -> BTreeMap<String, Vec<String>> {
    let mut rings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let document: Value = serde_json::from_str(&line).unwrap();
        let ring = document["id"].as_str().unwrap().split('/').nth(1).unwrap().to_owned();
        rings.entry(ring).or_default().push(line);
    }
    rings
}

/// What the store exports.
fn exported(world: &World) -> Vec<String> {
    call(world, &["store", "export"]).lines().map(str::to_owned).collect()
}

fn device_of(document: &Value) -> &str {
    document["source"].as_str().unwrap().strip_prefix("/devices/").unwrap()
}

/// The middle of the time in which a device took samples.
fn middle(documents: &[Value], device: &str) -> String {
    let of = documents.iter().filter(|document| device_of(document) == device);
    let mut times: Vec<&str> = of.filter_map(|document| document["time"].as_str()).collect();
    times.sort_unstable();
    times[times.len() / 2].to_owned()
}

fn call(world: &World, args: &[&str]) -> String {
    String::from_utf8(world.home.call(args).unwrap().stdout).unwrap()
}

#[test]
fn two_devices_swapped_mid_way_name_the_right_vehicle_before_and_after() {
    // Twice the same fleet: the first tells when it drives, the second is swapped right there.
    let rehearsal = World::synthetic(2, 17, "");
    let agent = rehearsal.home.start().unwrap();
    rehearsal.drive(&[]);
    rehearsal.verify();
    World::stop(agent);
    let told = documents(&rehearsal);
    let names = rehearsal.fleet.names().unwrap();
    let [one, two] = names.lines().collect::<Vec<_>>()[..] else { panic!("{names}") };
    let swap = middle(&told, one);

    let world = World::synthetic(2, 17, STORE);
    // Before it ever ran, and while it runs.
    call(&world, &["vehicles", "assign", "bus 7", one, "--from", "always", "--group", "night"]);
    call(&world, &["vehicles", "assign", "spare", two, "--from", "always", "--to", &swap]);
    let agent = world.home.start().unwrap();
    call(&world, &["vehicles", "swap", "bus 7", "--out", one, "--in", two, "--at", &swap]);
    world.drive(&[]);
    let verdict = world.verify();
    assert_eq!(verdict["samples"]["lost"], 0, "{verdict}");

    let documents = documents(&world);
    let mut seen: BTreeMap<(String, String), u64> = BTreeMap::new();
    for document in &documents {
        let Some(time) = document["time"].as_str() else { continue };
        let vehicle = document["vehicle"].as_str().unwrap_or("-");
        let (before, device) = (time < swap.as_str(), device_of(document));
        let want = match (device == one, before) {
            (true, true) | (false, false) => "bus 7",
            (true, false) => "-",
            (false, true) => "spare",
        };
        assert_eq!(vehicle, want, "{device} at {time}, swapped at {swap}: {document}");
        let group = if vehicle == "bus 7" { Some("night") } else { None };
        assert_eq!(document["vehiclegroup"].as_str(), group, "{document}");
        *seen.entry((device.to_owned(), vehicle.to_owned())).or_default() += 1;
    }
    assert_eq!(seen.len(), 4, "each device before and after: {seen:?}");

    // The store has the very same documents, and can be asked for them.
    let want = by_ring(lines(&world));
    assert_eq!(by_ring(exported(&world)), want, "beside the agent");
    let asked =
        "SELECT coalesce(vehicle, '-') AS v, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1";
    let answer: Value =
        serde_json::from_str(&call(&world, &["query", "--format", "json-array", asked])).unwrap();
    let mut samples: BTreeMap<&str, u64> = BTreeMap::new();
    for document in documents.iter().filter(|one| one["type"] == "milepost.samples") {
        let vehicle = document["vehicle"].as_str().unwrap_or("-");
        *samples.entry(vehicle).or_default() += document["data"].as_object().unwrap().len() as u64;
    }
    let told = answer.as_array().unwrap().iter();
    let told = told.map(|row| (row["v"].as_str().unwrap(), row["n"].as_u64().unwrap())).collect();
    assert_eq!(samples, told);
    World::stop(agent);
    call(&world, &["store", "compact"]);
    assert_eq!(by_ring(exported(&world)), want, "compacted");
    call(&world, &["store", "check"]);
    call(&world, &["store", "rebuild"]);
    assert_eq!(by_ring(exported(&world)), want, "rebuilt");

    // A vehicle that is forgotten is nowhere in the store; the devices sat in the other one too.
    let store = world.home.data.join("store");
    assert!(!holds(&store, b"spare").is_empty() && !holds(&store, b"bus 7").is_empty());
    let agent = world.home.start().unwrap();
    let line = call(&world, &["vehicles", "forget", "bus 7"]);
    let proofs: Vec<Value> = line.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(proofs.len(), 2, "the device that sat in no other, and the vehicle: {line}");
    let of_vehicle = &proofs[1];
    assert_eq!((&of_vehicle["vehicle"], &of_vehicle["complete"]), (&"bus 7".into(), &true.into()));
    let [file, kept] = &of_vehicle["sinks"].as_array().unwrap()[..] else { panic!("{line}") };
    assert!(file["remains"][0]["documents"].as_u64().unwrap() > 0, "the file sink names its file");
    assert!(
        kept["bytes"].as_u64().unwrap() > 0 && kept["remains"] == Value::Array(vec![]),
        "{line}"
    );
    assert_eq!(holds(&store, b"bus 7"), Vec::<String>::new());
    let mut rest: Vec<String> = want.into_values().flatten().collect();
    rest.retain(|line| device_of(&serde_json::from_str(line).unwrap()) == two);
    let rest = rest.iter().map(|line| line.replace("\"vehicle\":\"bus 7\",", "")).collect();
    assert_eq!(by_ring(exported(&world)), by_ring(rest));
    World::stop(agent);
    call(&world, &["store", "check"]);
}

#[test]
fn an_import_with_bad_rows_changes_nothing_under_a_running_agent() {
    let world = World::synthetic(2, 18, "");
    let agent = world.home.start().unwrap();
    let names = world.fleet.names().unwrap();
    let [one, two] = names.lines().collect::<Vec<_>>()[..] else { panic!("{names}") };
    let file = world.path().join("fleet.csv");
    let good = format!("device,vehicle,group\n{one},v1,vans\n{two},v2,vans\n");
    std::fs::write(&file, format!("{good}{one},v3,vans\nno such device,v4,vans\n")).unwrap();
    let path = file.to_str().unwrap();
    let output = world.home.command(&["vehicles", "import", path]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("fleet.csv:4: from: device") && error.contains("(line 2)"), "{error}");
    assert!(error.contains("fleet.csv:5: device: `no such device`"), "{error}");
    assert_eq!(call(&world, &["vehicles", "list"]), "0 vehicles\n");
    std::fs::write(&file, good).unwrap();
    call(&world, &["vehicles", "import", path]);
    world.drive(&[]);
    world.verify();
    for document in documents(&world) {
        let want = if device_of(&document) == one { "v1" } else { "v2" };
        assert_eq!(document["vehicle"], want, "{document}");
    }
    World::stop(agent);
}

/// Whether any file under a directory has these bytes, and which.
fn holds(dir: &Path, wanted: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holds(&path, wanted));
        } else if std::fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_device_forgotten_while_all_runs_cannot_be_given_back_by_the_journal() {
    let world = World::synthetic(3, 19, "");
    let agent = world.home.start().unwrap();
    let names = world.fleet.names().unwrap();
    let gone = names.lines().next().unwrap().to_owned();
    call(&world, &["vehicles", "assign", "bus 7", &gone, "--from", "always"]);
    world.drive(&[]);
    world.verify();
    let before = documents(&world).iter().filter(|one| device_of(one) == gone).count();
    assert!(before > 0);

    let line = call(&world, &["devices", "forget", &gone]);
    let proof: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&proof["device"], &proof["complete"]), (&gone.as_str().into(), &true.into()));
    assert_eq!(proof["registry"]["secrets"].as_array().unwrap().len(), 1);
    assert_eq!(proof["registry"]["assignments"], 1);
    assert!(proof["rings"].as_u64().unwrap() > 0, "{proof}");
    assert!(proof["journal"]["frames"].as_u64().unwrap() > 0, "{proof}");
    let remains = &proof["sinks"][0]["remains"][0];
    assert!(remains["place"].as_str().unwrap().ends_with("milepost-000001.ndjson"), "{proof}");
    assert_eq!(
        remains["documents"].as_u64().unwrap(),
        before as u64,
        "the file sink names its file"
    );

    // It is shut out, nobody else is.
    let mut fleet = world.start_fleet(&["--for", "1s", "--drain-for", "2s"]);
    fleet.wait(Duration::from_mins(1)).unwrap();
    let list = call(&world, &["devices", "list"]);
    assert!(!list.contains(&gone) && list.ends_with("2 devices\n"), "{list}");

    // A sink that begins anew reads the whole journal, and gets nothing of it.
    World::stop(agent);
    std::fs::remove_dir_all(world.home.sink()).unwrap();
    let agent = world.home.start().unwrap();
    world.home.wait_delivered(Duration::from_mins(1)).unwrap();
    let after = documents(&world);
    assert!(after.len() > 10);
    assert!(after.iter().all(|document| device_of(document) != gone));
    let ledger = world.home.ledger().unwrap();
    assert_eq!(ledger["balanced"], true, "{ledger:#}");
    let excluded = ledger["sinks"][0]["excluded_by_rule"].to_string();
    assert!(excluded.contains("\"erased\""), "{ledger:#}");
    assert_eq!(ledger["sinks"][0]["dead_lettered"]["samples"], 0, "{ledger:#}");

    // What is kept of it names nobody.
    let kept = call(&world, &["devices", "erasures", "--json", "--of", &gone]);
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["digest"], proof["digest"]);
    assert_eq!(kept.get("device"), None);
    let output = world.home.command(&["devices", "forget", "never-was"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no device never-was"));
    World::stop(agent);
}

#[test]
fn a_device_forgotten_while_nothing_runs_is_not_in_what_was_set_aside() {
    let world = World::synthetic(2, 20, "");
    let agent = world.home.start().unwrap();
    world.drive(&[]);
    world.verify();
    World::stop(agent);
    let names = world.fleet.names().unwrap();
    let gone = names.lines().next().unwrap().to_owned();
    // With its secret gone, a sink that begins anew has all its frames among the dead letters.
    call(&world, &["devices", "remove", &gone]);
    std::fs::remove_dir_all(world.home.sink()).unwrap();
    let agent = world.home.start().unwrap();
    world.home.wait_delivered(Duration::from_mins(1)).unwrap();
    World::stop(agent);
    let letters = world.home.data.join("dead-letters");
    assert!(!holds(&letters, gone.as_bytes()).is_empty());

    let proof: Value = serde_json::from_str(&call(&world, &["devices", "forget", &gone])).unwrap();
    assert_eq!(proof["complete"], true, "{proof}");
    assert_eq!(proof["registry"]["registered"], false, "it was removed before");
    assert!(proof["sinks"][0]["dead_letters"].as_u64().unwrap() > 0, "{proof}");
    assert_eq!(holds(&letters, gone.as_bytes()), Vec::<String>::new());
    let agent = world.home.start().unwrap();
    let ledger = world.home.ledger().unwrap();
    assert_eq!(ledger["balanced"], true, "{ledger:#}");
    World::stop(agent);
}

#[test]
fn a_device_is_not_removed_while_a_sink_lacks_its_frames_unless_forced() {
    let world = World::synthetic(2, 21, "");
    let agent = world.home.start().unwrap();
    world.drive(&[]);
    world.verify();
    World::stop(agent);
    let names = world.fleet.names().unwrap();
    let [one, two] = names.lines().collect::<Vec<_>>()[..] else { panic!("{names}") };
    // The sink has it all: one may go.
    call(&world, &["devices", "remove", one]);
    // A sink that begins anew has nothing: the other may not.
    std::fs::remove_dir_all(world.home.sink()).unwrap();
    let output = world.home.command(&["devices", "remove", two]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("sink file: ") && error.contains("frames ("), "{error}");
    assert!(call(&world, &["devices", "list"]).contains(two));
    call(&world, &["devices", "remove", two, "--force"]);
}
