//! MQTT 5 by hand, so that what no decent client sends can be sent.
//!
//! Source: MQTT Version 5.0, OASIS Standard, sections 3.1 to 3.4 and 3.8.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use protocol::keys::mqtt_password;
use protocol::{DeviceId, Secret};

pub struct RawClient {
    pub stream: TcpStream,
}

/// A packet: the first byte and what stands behind the remaining length.
pub type Packet = (u8, Vec<u8>);

impl RawClient {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Connects as a device; the reason code of the CONNACK.
    pub fn connect(address: SocketAddr, device: &DeviceId, secret: &Secret) -> (Self, u8) {
        let password = mqtt_password(secret, device);
        let mut client = Self::open(address);
        client.send_connect(device.as_str(), &password);
        let (kind, body) = client.read().expect("a CONNACK");
        assert_eq!(kind, 0x20);
        (client, body[1])
    }

    pub fn send_connect(&mut self, name: &str, password: &[u8]) {
        // Clean start, user name, password; keep alive 60 s; no properties.
        let mut body = b"\x00\x04MQTT\x05\xc2\x00\x3c\x00".to_vec();
        for text in [name.as_bytes(), name.as_bytes(), password] {
            body.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
            body.extend_from_slice(text);
        }
        self.send(0x10, &body);
    }

    pub fn publish(&mut self, topic: &str, packet_id: u16, payload: &[u8]) {
        let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
        body.extend_from_slice(topic.as_bytes());
        body.extend_from_slice(&packet_id.to_be_bytes());
        body.push(0);
        body.extend_from_slice(payload);
        self.send(0x32, &body);
    }

    pub fn send(&mut self, kind: u8, body: &[u8]) {
        let mut packet = vec![kind];
        let mut len = body.len();
        loop {
            let low = u8::try_from(len & 0x7f).unwrap();
            len >>= 7;
            packet.push(if len > 0 { low | 0x80 } else { low });
            if len == 0 {
                break;
            }
        }
        packet.extend_from_slice(body);
        // The other side may have closed already; the test looks at what it said.
        drop(self.stream.write_all(&packet));
    }

    /// The next packet; none if the connection was closed.
    pub fn read(&mut self) -> Option<Packet> {
        let mut first = [0];
        match self.stream.read(&mut first) {
            Ok(0) => return None,
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
            {
                return None;
            }
            read => read.unwrap(),
        };
        let (mut len, mut shift) = (0_usize, 0);
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            len |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).ok()?;
        Some((first[0], body))
    }

    /// Reads until the PUBACK of this packet id.
    pub fn wait_puback(&mut self, packet_id: u16) {
        loop {
            let (kind, body) = self.read().expect("a PUBACK, not the end");
            if kind == 0x40 && body[..2] == packet_id.to_be_bytes() {
                return;
            }
        }
    }

    /// Whether the other side has closed; reads what is left.
    pub fn is_closed(&mut self) -> bool {
        while self.read().is_some() {}
        true
    }
}
