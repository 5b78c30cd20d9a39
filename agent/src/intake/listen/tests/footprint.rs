//! What an idle device costs; run by hand, since it measures the whole process:
//! `cargo test -p milepost --release -- --ignored --nocapture footprint`.

use std::io::{Read as _, Write as _};

use super::*;

const DEVICES: usize = 4000;

/// Memory of this process that is in use, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
#[ignore = "measures the process"]
async fn bytes_per_idle_connection() {
    let mut listening = Listening::start(config());
    // Warm: the first device pays for what all share.
    let (_first, _, outbound) = listening.device("dev").await;
    let mut held = vec![outbound];
    let before = resident();
    let address = listening.address;
    // The devices' ends are plain sockets in another thread: memory of the system, not ours.
    let (done, wait) = tokio::sync::oneshot::channel();
    let devices = std::thread::spawn(move || {
        let mut sockets = Vec::with_capacity(DEVICES);
        for number in 0..DEVICES {
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            let name = format!("dev{number}");
            socket.write_all(&connect(&name, "secret")).unwrap();
            let filters = [format!("m0/{name}/a"), format!("m0/{name}/d")];
            socket.write_all(&subscribe(1, &[&filters[0], &filters[1]])).unwrap();
            socket.write_all(&publish(QOS_1, &format!("m0/{name}/b"), 1, &[0; 1000])).unwrap();
            let mut answer = [0; 4];
            socket.read_exact(&mut answer).unwrap();
            sockets.push(socket);
        }
        done.send(()).unwrap();
        sockets
    });
    for _ in 0..2 * DEVICES {
        match listening.next().await.message {
            Message::Opened(outbound) => held.push(outbound),
            Message::Published { .. } => {
                held.last().unwrap().try_send(Outbound::PubAck(1)).unwrap();
            }
            Message::Closed => panic!("closed"),
        }
    }
    wait.await.unwrap();
    let after = resident();
    println!("{} bytes per idle connection", after.saturating_sub(before) / DEVICES);
    drop(devices.join());
}
