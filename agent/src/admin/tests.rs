use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::ledger::Ledger;
use crate::registry::{OsEntropy, WrappingKey};
use crate::storage::{Disk, SharedStorage};

#[derive(Default)]
struct Agent {
    shut_out: Mutex<Vec<DeviceId>>,
}

impl Hooks for Agent {
    fn shut_out(&self, device: DeviceId) {
        self.shut_out.lock().unwrap().push(device);
    }

    fn unsent(&self, _: DeviceId) -> Option<Counts> {
        Some(Counts { samples: 3, events: 1 })
    }

    fn ledger(&self) -> Result<Ledger, String> {
        Ok(Ledger::new(1, Vec::new()))
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
    assert!(matches!(ask(&admin, Request::DevicesRemove { device: id("b") }), Response::Done));
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
