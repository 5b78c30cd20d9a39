use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::ledger::Ledger;
use crate::registry::{OsEntropy, WrappingKey};
use crate::storage::{Disk, SharedStorage};

#[derive(Default)]
struct Agent {
    shut_out: Mutex<Vec<DeviceId>>,
    buffered: Mutex<Vec<Buffered>>,
    /// Why nothing can be erased, if it cannot.
    stuck: Mutex<Option<String>>,
    cancelled: AtomicBool,
    /// Done in the midst of the next erasure.
    while_erasing: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// What ended, in its order.
    ended: Mutex<Vec<&'static str>>,
}

impl Hooks for Agent {
    fn shut_out(&self, device: DeviceId) {
        self.shut_out.lock().unwrap().push(device);
    }

    fn unsent(&self, device: DeviceId) -> Option<Counts> {
        (device != id("x")).then_some(Counts { samples: 3, events: 1 })
    }

    fn buffered(&self, _: DeviceId) -> Result<Vec<Buffered>, String> {
        Ok(self.buffered.lock().unwrap().clone())
    }

    fn erase(&self, devices: &[DeviceId]) -> Result<Vec<Swept>, String> {
        let meanwhile = self.while_erasing.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        self.ended.lock().unwrap().push("erasure");
        match self.stuck.lock().unwrap().clone() {
            Some(why) => Err(why),
            None => Ok(vec![Swept { rings: Some(2), ..Swept::default() }; devices.len()]),
        }
    }

    fn erase_vehicle(&self, vehicle: &VehicleId) -> Result<Vec<SinkErased>, String> {
        match self.stuck.lock().unwrap().clone() {
            Some(why) => Err(why),
            None => Ok(vec![SinkErased { sink: format!("no {vehicle}"), ..SinkErased::default() }]),
        }
    }

    fn ledger(&self) -> Result<Ledger, String> {
        Ok(Ledger::new(1, Vec::new()))
    }

    fn reload(&self) -> Result<ReloadReport, String> {
        Ok(ReloadReport { applied: vec!["log.level".to_owned()], ..ReloadReport::default() })
    }

    fn backup(
        &self,
        _: &Plan,
        _: i64,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<BackupReport, String> {
        // As slow as it takes for whoever asked to be gone.
        while watch(Progress { done: 1, total: 2 }) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.cancelled.store(true, Ordering::Release);
        self.ended.lock().unwrap().push("backup");
        Err("cancelled".to_owned())
    }
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn admin(dir: &Path, agent: Arc<Agent>) -> Admin {
    let storage: SharedStorage = Arc::new(Disk);
    let database = crate::state::open(&storage, &dir.join("state.redb")).unwrap();
    Admin::new(Registry::open(database, WrappingKey::new([7; 32])).unwrap(), agent)
}

fn ask(admin: &Admin, request: Request) -> Response {
    admin.answer(request, 1234, &mut OsEntropy)
}

fn reason(response: Response) -> String {
    match response {
        Response::Refused { reason } => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn orders_are_done_and_the_agent_is_told_who_is_shut_out() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Arc::new(Agent::default());
    let admin = admin(dir.path(), Arc::clone(&agent));
    let devices = vec![id("a"), id("b")];
    let added = ask(&admin, Request::DevicesAdd { devices: devices.clone() });
    assert!(matches!(added, Response::Credentials { credentials } if credentials.len() == 2));
    assert!(reason(ask(&admin, Request::DevicesAdd { devices })).contains("already registered"));
    let rotated = ask(&admin, Request::DevicesRotate { device: id("b") });
    assert!(matches!(rotated, Response::Credentials { credentials } if credentials.len() == 1));
    assert!(agent.shut_out.lock().unwrap().is_empty());
    assert!(matches!(ask(&admin, Request::DevicesRevoke { device: id("a") }), Response::Done));
    assert!(matches!(
        ask(&admin, Request::DevicesRemove { device: id("b"), force: false }),
        Response::Done
    ));
    assert_eq!(*agent.shut_out.lock().unwrap(), [id("a"), id("b")]);
    assert!(reason(ask(&admin, Request::DevicesShow { device: id("b") })).contains("no device b"));
    let Response::Devices { devices } = ask(&admin, Request::DevicesList { after: None }) else {
        panic!("no list");
    };
    assert_eq!(devices.len(), 1);
    assert_eq!((devices[0].device, devices[0].revoked_ms), (id("a"), Some(1234)));
    let many = vec![id("x"); DEVICES_MAX + 1];
    assert!(reason(ask(&admin, Request::DevicesAdd { devices: many })).contains("at most 10000"));
}

/// An agent with nothing but the socket.
fn serve(dir: &Path) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let server = Server::bind(dir).unwrap();
    let stop = CancellationToken::new();
    let admin = admin(dir, Arc::default());
    (stop.clone(), tokio::spawn(server.serve(admin, stop)))
}

#[tokio::test]
async fn a_client_is_answered_over_the_socket_of_a_directory_with_a_long_name() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("d".repeat(120));
    std::fs::create_dir_all(&dir).unwrap();
    // A dead agent's socket is in the way.
    std::fs::write(dir.join("admin.sock"), "").unwrap();
    let (stop, serving) = serve(&dir);
    let mode = std::fs::metadata(dir.join("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let path = dir.clone();
    tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(&path).unwrap();
        let devices = (0..1000).map(|n| id(&format!("d-{n}"))).collect();
        let added = client.ask(&Request::DevicesAdd { devices }).unwrap();
        assert!(
            matches!(added, Response::Credentials { credentials } if credentials.len() == 1000)
        );
        let listed = client.ask(&Request::DevicesList { after: Some(id("d-998")) }).unwrap();
        assert!(matches!(listed, Response::Devices { devices } if devices.len() == 1));
        let ledger = client.ask(&Request::Ledger).unwrap();
        assert!(matches!(ledger, Response::Ledger { ledger } if ledger.balanced));
    })
    .await
    .unwrap();
    stop.cancel();
    serving.await.unwrap();
    assert!(!dir.join("admin.sock").exists());
    assert!(matches!(Client::connect(&dir), Err(SocketError::Connect { .. })));
}

#[tokio::test]
async fn what_is_not_understood_is_refused_and_the_next_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (stop, serving) = serve(dir.path());
    let path = dir.path().join("admin.sock");
    let silent = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream
            .write_all(b"{\"request\":\"no-such\"}\nnonsense\n{\"request\":\"ledger\"}\n")
            .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        let lines: Vec<_> = answers.lines().collect();
        assert!(
            lines[0].starts_with(r#"{"response":"refused","reason":"not understood"#),
            "{answers}"
        );
        assert!(lines[1].contains("refused"));
        assert!(
            lines[2].starts_with(r#"{"response":"ledger","ledger":{"at_ms":1,"running":true"#),
            "{answers}"
        );
        UnixStream::connect(&path).unwrap()
    })
    .await
    .unwrap();
    // An open connection does not hold up the end.
    stop.cancel();
    serving.await.unwrap();
    drop(silent);
}

#[test]
fn who_has_frames_that_a_sink_lacks_is_not_removed_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Arc::new(Agent::default());
    let admin = admin(dir.path(), Arc::clone(&agent));
    ask(&admin, Request::DevicesAdd { devices: vec![id("a")] });
    let counts = Counts { samples: 70, events: 1 };
    *agent.buffered.lock().unwrap() =
        vec![Buffered { sink: "store".to_owned(), frames: 3, counts }];
    let refused = reason(ask(&admin, Request::DevicesRemove { device: id("a"), force: false }));
    assert!(refused.contains("sink store: 3 frames (70 samples, 1 events)"), "{refused}");
    assert!(refused.contains("--force"), "{refused}");
    assert!(agent.shut_out.lock().unwrap().is_empty());
    let unknown = reason(ask(&admin, Request::DevicesRemove { device: id("b"), force: false }));
    assert!(unknown.contains("no device b"), "{unknown}");
    let removed = ask(&admin, Request::DevicesRemove { device: id("a"), force: true });
    assert!(matches!(removed, Response::Done));
}

#[test]
fn a_decommissioned_device_is_shut_out_and_what_it_still_holds_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Arc::new(Agent::default());
    let admin = admin(dir.path(), Arc::clone(&agent));
    ask(&admin, Request::DevicesAdd { devices: vec![id("a")] });
    let (device, vehicle) = (id("a"), "van".parse().unwrap());
    let change = crate::vehicles::Change::default();
    let order = VehicleOrder::Assign { device, vehicle, from_ms: Some(1), to_ms: None, change };
    ask(&admin, Request::Vehicles { order });
    let answer = ask(&admin, Request::DevicesDecommission { device });
    let Response::Decommissioned { vehicle, unsent } = answer else { panic!("{answer:?}") };
    assert_eq!(vehicle.unwrap().as_str(), "van");
    assert_eq!(unsent, Some(Counts { samples: 3, events: 1 }));
    assert_eq!(*agent.shut_out.lock().unwrap(), [device]);
    assert!(matches!(ask(&admin, Request::DevicesRecommission { device }), Response::Done));
}

fn proofs(response: Response) -> (Vec<SignedProof>, Vec<DeviceId>) {
    match response {
        Response::Erased { proofs, kept } => (proofs, kept),
        other => panic!("expected proofs, got {other:?}"),
    }
}

#[test]
fn an_erasure_that_is_stuck_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Arc::new(Agent::default());
    let admin = admin(dir.path(), Arc::clone(&agent));
    ask(&admin, Request::DevicesAdd { devices: vec![id("a")] });
    *agent.stuck.lock().unwrap() = Some("the disk is full".to_owned());
    let (stuck, _) = proofs(ask(&admin, Request::DevicesErase { device: id("a") }));
    assert!(!stuck[0].proof.complete && stuck[0].proof.registry.registered);
    assert_eq!(stuck[0].proof.sinks[0].failed.as_deref(), Some("the disk is full"));
    assert_eq!(*agent.shut_out.lock().unwrap(), [id("a")], "the secret is gone at once");
    let Response::Erasures { erasures } = ask(&admin, Request::Erasures { of: None }) else {
        panic!("no erasures");
    };
    assert_eq!(erasures[0].pending, Some(crate::erasure::Name::Device(id("a"))));
    *agent.stuck.lock().unwrap() = None;
    admin.finish_erasures();
    let Response::Erasures { erasures } = ask(&admin, Request::Erasures { of: Some(id("a")) })
    else {
        panic!("no erasures");
    };
    assert_eq!((erasures.len(), erasures[0].pending.as_ref()), (1, None));
    let kept: SignedProof = serde_json::from_str(&erasures[0].proof).unwrap();
    assert!(kept.proof.complete && kept.name.is_none());
    assert_eq!(kept.proof.registry.secrets, stuck[0].proof.registry.secrets, "what was destroyed");
    let none = ask(&admin, Request::Erasures { of: Some(id("b")) });
    assert!(matches!(none, Response::Erasures { erasures } if erasures.is_empty()));
}

#[test]
fn with_a_vehicle_go_the_devices_that_sat_in_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let admin = admin(dir.path(), Arc::default());
    ask(&admin, Request::DevicesAdd { devices: vec![id("own"), id("shared")] });
    for (device, vehicle, from_ms, to_ms) in [
        ("own", "van", 1, Some(5)),
        ("own", "van", 7, None),
        ("shared", "van", 1, Some(5)),
        ("shared", "bus", 5, None),
    ] {
        let (device, vehicle) = (id(device), vehicle.parse().unwrap());
        let change = crate::vehicles::Change::default();
        let from_ms = Some(from_ms);
        let order = VehicleOrder::Assign { device, vehicle, from_ms, to_ms, change };
        ask(&admin, Request::Vehicles { order });
    }
    let vehicle = "van".parse().unwrap();
    let (proofs, kept) = proofs(ask(&admin, Request::VehiclesErase { vehicle }));
    assert_eq!((proofs.len(), kept), (2, vec![id("shared")]));
    assert_eq!(proofs[0].name, Some(crate::erasure::Name::Device(id("own"))));
    assert_eq!(proofs[0].proof.registry.assignments, 2);
    assert_eq!(proofs[1].proof.registry.assignments, 1, "the other device's time in it");
    let Response::Devices { devices } = ask(&admin, Request::DevicesList { after: None }) else {
        panic!("no list");
    };
    assert_eq!(devices.iter().map(|entry| entry.device).collect::<Vec<_>>(), [id("shared")]);
    assert_eq!(proofs[1].proof.sinks[0].sink, "no van", "the sinks were told");
    assert!(proofs[1].proof.complete);
    let vehicle = "van".parse().unwrap();
    assert!(reason(ask(&admin, Request::VehiclesErase { vehicle })).contains("no vehicle van"));
    assert!(reason(ask(&admin, Request::DevicesErase { device: id("x") })).contains("no device x"));
}

#[test]
fn a_vehicle_that_a_sink_could_not_forget_is_forgotten_by_the_same_command() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Arc::new(Agent::default());
    let admin = admin(dir.path(), Arc::clone(&agent));
    for (device, vehicle) in [("a", "van"), ("a", "bus")] {
        let (device, vehicle) = (id(device), vehicle.parse::<VehicleId>().unwrap());
        let (from_ms, to_ms) =
            if vehicle.as_str() == "van" { (Some(1), Some(5)) } else { (Some(5), None) };
        let change = crate::vehicles::Change::default();
        let order = VehicleOrder::Assign { device, vehicle, from_ms, to_ms, change };
        ask(&admin, Request::Vehicles { order });
    }
    let forget = || {
        let vehicle = "van".parse().unwrap();
        proofs(ask(&admin, Request::VehiclesErase { vehicle })).0
    };
    *agent.stuck.lock().unwrap() = Some("no disk".to_owned());
    let stuck = forget();
    assert!(!stuck[0].proof.complete);
    assert_eq!(stuck[0].proof.sinks[0].failed.as_deref(), Some("no disk"));
    *agent.stuck.lock().unwrap() = None;
    let done = forget();
    assert!(done[0].proof.complete, "{:?}", done[0]);
    assert_eq!(done[0].proof.registry.assignments, 1, "what was destroyed before");
    assert_eq!(done[0].proof.at, stuck[0].proof.at);
    let Response::Erasures { erasures } = ask(&admin, Request::Erasures { of: None }) else {
        panic!("no erasures");
    };
    assert_eq!(erasures.len(), 1, "one erasure, not two: {erasures:?}");
    let vehicle = "van".parse().unwrap();
    assert!(reason(ask(&admin, Request::VehiclesErase { vehicle })).contains("no vehicle van"));
}

#[tokio::test]
async fn what_takes_its_time_is_told_of_and_ends_when_nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Arc::new(Agent::default());
    let server = Server::bind(dir.path()).unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(admin(dir.path(), Arc::clone(&agent)), stop.clone()));
    let path = dir.path().join("admin.sock");
    tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(&path).unwrap();
        let plan = Plan { to: "/nowhere".into(), with_key: false };
        let mut line = serde_json::to_vec(&Request::Backup { plan }).unwrap();
        line.push(b'\n');
        stream.write_all(&line).unwrap();
        let mut said = [0; 64];
        let read = stream.read(&mut said).unwrap();
        let said = String::from_utf8_lossy(&said[..read]).into_owned();
        assert!(said.starts_with(r#"{"response":"progress""#), "{said}");
    })
    .await
    .unwrap();
    // The connection is gone by now: the work ends by itself, or this never returns.
    while !agent.cancelled.load(Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    serving.await.unwrap();
}

fn backup() -> Request {
    Request::Backup { plan: Plan { to: "/srv/copy".into(), with_key: false } }
}

/// What a backup copied before an erasure, and what it copied behind it, would not go together.
#[test]
fn backups_and_erasures_refuse_while_the_other_runs() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Arc::new(Agent::default());
    let admin = admin(dir.path(), Arc::clone(&agent));
    ask(&admin, Request::DevicesAdd { devices: vec![id("a"), id("b")] });
    let mut watch = |_| {
        let refused = reason(ask(&admin, Request::DevicesErase { device: id("a") }));
        assert!(refused.contains("a backup is being made"), "{refused}");
        assert!(refused.contains("try again"), "{refused}");
        let vehicle = "bus-7".parse().unwrap();
        let refused = reason(ask(&admin, Request::VehiclesErase { vehicle }));
        assert!(refused.contains("a backup is being made"), "{refused}");
        assert!(reason(ask(&admin, backup())).contains("another backup"));
        false
    };
    let ended = admin.answer_slowly(backup(), 1234, &mut OsEntropy, &mut watch);
    assert_eq!(reason(ended), "cancelled");
    let listed = ask(&admin, Request::DevicesList { after: None });
    assert!(matches!(listed, Response::Devices { devices } if devices.len() == 2), "untouched");

    let (other, said) = (admin.clone(), Arc::new(Mutex::new(String::new())));
    let hears = Arc::clone(&said);
    *agent.while_erasing.lock().unwrap() = Some(Box::new(move || {
        *hears.lock().unwrap() = reason(ask(&other, backup()));
        // Erasures do not mind each other.
        let both = ask(&other, Request::DevicesErase { device: id("b") });
        assert!(matches!(both, Response::Erased { .. }), "{both:?}");
    }));
    let erased = ask(&admin, Request::DevicesErase { device: id("a") });
    assert!(matches!(erased, Response::Erased { .. }), "{erased:?}");
    let said = said.lock().unwrap().clone();
    assert!(said.contains("being forgotten") && said.contains("try again"), "{said}");
    let after = admin.answer_slowly(backup(), 1234, &mut OsEntropy, &mut |_| false);
    assert_eq!(reason(after), "cancelled", "begun");
}

#[test]
fn what_was_left_of_an_erasure_waits_for_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Arc::new(Agent::default());
    let admin = admin(dir.path(), Arc::clone(&agent));
    ask(&admin, Request::DevicesAdd { devices: vec![id("a")] });
    *agent.stuck.lock().unwrap() = Some("locked".to_owned());
    ask(&admin, Request::DevicesErase { device: id("a") });
    *agent.stuck.lock().unwrap() = None;
    agent.ended.lock().unwrap().clear();
    let mut finishing = None;
    let mut turns = 0;
    let mut watch = |_| {
        let going_on = admin.clone();
        finishing.get_or_insert_with(|| std::thread::spawn(move || going_on.finish_erasures()));
        turns += 1;
        turns < 50
    };
    admin.answer_slowly(backup(), 1234, &mut OsEntropy, &mut watch);
    finishing.unwrap().join().unwrap();
    assert_eq!(*agent.ended.lock().unwrap(), ["backup", "erasure"]);
}
