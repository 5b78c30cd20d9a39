//! The listener over real sockets on the loopback interface, with bytes made by hand.
//!
//! Time is paused only where waiting is what is tested, and only once the handshake is done:
//! paused time runs ahead whenever all wait, also for bytes still on their way.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use protocol::DeviceId;
use protocol::identity::Lane;
use protocol::topic::Channel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{ListenConfig, ListenGauges, Listener};
use crate::intake::outbox::OutboxSender;
use crate::intake::{Admission, Admit, Inbound, Message, Outbound, Replies, SessionId};

mod abuse;
mod conversation;
mod limits;
mod refusals;

/// Long enough for any machine: only a failing test waits for it.
const PATIENCE: Duration = Duration::from_mins(5);

/// Admits `dev...` with "secret", knows `revoked` and `broken`, and nobody else.
#[derive(Clone)]
struct Guests;

impl Admit for Guests {
    fn admit(&self, device: &DeviceId, password: &[u8]) -> Admission {
        match device.as_str() {
            "revoked" => Admission::Revoked,
            "broken" => Admission::Unavailable,
            name if !name.starts_with("dev") => Admission::Unknown,
            _ if password != b"secret" => Admission::WrongPassword,
            _ => Admission::Admitted,
        }
    }

    fn recognise(&self, _: &DeviceId) -> Admission {
        Admission::Unknown
    }
}

fn opened(inbound: Inbound) -> OutboxSender {
    match inbound.message {
        Message::Opened(Replies::Own(outbound)) => outbound,
        other => panic!("{other:?}"),
    }
}

fn config() -> ListenConfig {
    let mut config = ListenConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.refusal_delay = Duration::from_millis(1);
    config
}

/// A listener, and the acceptor's end of it.
struct Listening {
    address: SocketAddr,
    inbound: mpsc::Receiver<Inbound>,
    gauges: Arc<ListenGauges>,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Listening {
    fn start(config: ListenConfig) -> Self {
        Self::with_queue(config, 1024)
    }

    fn with_queue(config: ListenConfig, messages_max: usize) -> Self {
        let listener = Listener::bind(config).unwrap();
        let address = listener.local_addr().unwrap();
        let (to_acceptor, inbound) = mpsc::channel(messages_max);
        let gauges = Arc::new(ListenGauges::default());
        let stop = CancellationToken::new();
        let serving = listener.serve(Guests, to_acceptor, Arc::clone(&gauges), stop.clone());
        Self { address, inbound, gauges, stop, server: tokio::spawn(serving) }
    }

    /// A socket that has said nothing yet.
    async fn socket(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap() }
    }

    /// A device, connected and admitted, and its session at the acceptor.
    async fn device(&mut self, name: &str) -> (Client, SessionId, OutboxSender) {
        let mut client = self.socket().await;
        client.send(&connect(name, "secret")).await;
        let (first, connack) = client.packet().await;
        assert_eq!((first, &connack[..2]), (0x20, &[0, 0][..]), "{connack:02x?}");
        let inbound = self.next().await;
        assert_eq!(inbound.device.as_str(), name);
        let session = inbound.session;
        (client, session, opened(inbound))
    }

    async fn next(&mut self) -> Inbound {
        timeout(PATIENCE, self.inbound.recv()).await.expect("a message").expect("a listener")
    }

    async fn closed(&mut self, session: SessionId) {
        let inbound = self.next().await;
        assert!(matches!(inbound.message, Message::Closed), "{inbound:?}");
        assert_eq!(inbound.session, session);
    }

    async fn published(&mut self) -> (Channel, Vec<u8>, Option<u16>) {
        let inbound = self.next().await;
        let Message::Published { channel, payload, packet_id } = inbound.message else {
            panic!("{inbound:?}")
        };
        (channel, payload, packet_id)
    }
}

/// The device's end of a connection.
struct Client {
    stream: TcpStream,
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("taken").unwrap();
    }

    /// The next packet: its first byte and its body.
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        timeout(PATIENCE, async {
            let first = self.stream.read_u8().await.unwrap();
            let mut len = 0;
            for shift in [0, 7, 14, 21] {
                let byte = self.stream.read_u8().await.unwrap();
                len |= usize::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; len];
            self.stream.read_exact(&mut body).await.unwrap();
            (first, body)
        })
        .await
        .expect("a packet")
    }

    /// All that comes until the connection ends, one way or the other.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("an end") {
            Ok(_) => rest,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                rest
            }
        }
    }

    /// The end of the connection, and nothing before it.
    async fn ended(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{rest:02x?}");
    }

    /// A DISCONNECT with this reason and the end of the connection.
    async fn disconnected(&mut self, reason: u8) {
        let (first, body) = self.packet().await;
        assert_eq!((first, body.first()), (0xe0, Some(&reason)), "{body:02x?}");
        self.ended().await;
    }

    /// A CONNACK with this reason and the end of the connection.
    async fn refused(&mut self, reason: u8) {
        let (first, body) = self.packet().await;
        assert_eq!((first, &body[..]), (0x20, &[0, reason, 0][..]));
        self.ended().await;
    }

    async fn subscribe(&mut self, name: &str) {
        self.send(&subscribe(1, &[&format!("m0/{name}/a"), &format!("m0/{name}/d")])).await;
        assert_eq!(self.packet().await, (0x90, vec![0, 1, 0, 0, 0]));
    }

    /// Returns once all that was sent before was handled.
    async fn ping(&mut self) {
        self.send(&[0xc0, 0]).await;
        assert_eq!(self.packet().await, (0xd0, vec![]));
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut len = body.len();
    while len > 0x7f {
        bytes.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    bytes.push(u8::try_from(len).unwrap());
    bytes.extend_from_slice(body);
    bytes
}

fn connect(name: &str, password: &str) -> Vec<u8> {
    connect_as(name, name, password, 60)
}

fn connect_as(client_id: &str, user: &str, password: &str, keep_alive_s: u16) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([5, 0b1100_0010]);
    body.extend(keep_alive_s.to_be_bytes());
    body.push(0);
    body.extend([text(client_id), text(user), text(password)].concat());
    packet(0x10, &body)
}

fn subscribe(packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.push(0);
    for filter in filters {
        body.extend(text(filter));
        body.push(1);
    }
    packet(0x82, &body)
}

/// `flags`: bit 0 retain, bits 1 and 2 QoS.
fn publish(flags: u8, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 0b110 != 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.push(0);
    body.extend_from_slice(payload);
    packet(0x30 | flags, &body)
}

const QOS_0: u8 = 0;
const QOS_1: u8 = 0b010;
const QOS_2: u8 = 0b100;
const RETAIN: u8 = 1;

const BULK: Channel = Channel::Frames(Lane::Bulk);
