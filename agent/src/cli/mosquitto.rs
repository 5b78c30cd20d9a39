//! Mosquitto's files: configuration, ACL, passwords.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use hmac::{Hmac, KeyInit as _, Mac as _};
use protocol::topic::{Channel, Topic};
use protocol::{DeviceId, Lane};
use sha2::Sha512;

use crate::intake::listen::TOPIC_ALIAS_MAXIMUM;
use crate::registry::Entropy;

/// Rounds of PBKDF2, as `mosquitto_passwd` does it. Ours hash 128 random bits: no number of rounds
/// would make them harder to guess.
const ROUNDS: u32 = 101;
const SALT_LEN: usize = 12;

/// A frame of the largest size, and room for topic and properties; the agent takes as much.
const PACKET_LEN_MAX: usize = protocol::frame::FRAME_LEN_MAX + 1024;
/// What a device has on its way and not acknowledged: a window in each lane, and hellos.
const QUEUED_PER_DEVICE: usize = 100;
const QUEUED_MIN: usize = 10_000;
/// Room for a queued message: most frames are a KiB or two.
const QUEUED_LEN: usize = 2048;
const MEMORY_MIN: usize = 64 * 1024 * 1024;

/// What Mosquitto is to be told.
#[derive(Debug)]
pub(super) struct Mosquitto {
    /// Where its files are, absolute.
    pub dir: PathBuf,
    pub listen: SocketAddr,
    pub tls: Option<Tls>,
    /// The agent's user name.
    pub agent: String,
    pub devices: usize,
    pub connections_max: usize,
    /// Shut out here, if not by their password already.
    pub revoked: Vec<DeviceId>,
}

/// Mosquitto's own certificate, and who signs those of its clients.
#[derive(Debug)]
pub(super) struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
}

impl Mosquitto {
    /// Whether clients log in with passwords, rather than with certificates.
    pub fn has_passwords(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none())
    }

    /// `milepost.conf`.
    pub fn config(&self) -> String {
        let dir = self.dir.display();
        let queued = self.devices.saturating_mul(QUEUED_PER_DEVICE).max(QUEUED_MIN);
        let memory = queued.saturating_mul(QUEUED_LEN).saturating_add(MEMORY_MIN);
        let mut text = format!(
            "# Written by `milepost devices acl mosquitto` for {devices} devices.\n\
             per_listener_settings false\n\
             allow_anonymous false\n\
             acl_file {dir}/milepost.acl\n",
            devices = self.devices
        );
        if self.has_passwords() {
            line(&mut text, format_args!("password_file {dir}/milepost.passwd"));
        }
        let agent = &self.agent;
        line(
            &mut text,
            format_args!(
                "\n# Frames, not files: what is longer is none of ours.\n\
                 max_packet_size {PACKET_LEN_MAX}\n\
                 # What `{agent}` has not fetched yet. Beyond it messages are dropped, which costs\n\
                 # devices time and loses nothing.\n\
                 max_queued_messages {queued}\n\
                 max_inflight_messages 256\n\
                 memory_limit {memory}\n\
                 # Nothing here is retained, and nothing depends on the broker's memory; with it a\n\
                 # restart costs less.\n\
                 retain_available false\n\
                 persistence true\n\
                 autosave_interval 60\n\
                 persistent_client_expiration 7d\n\
                 set_tcp_nodelay true\n\
                 \n\
                 listener {} {}\n\
                 max_connections {}\n\
                 max_topic_alias {TOPIC_ALIAS_MAXIMUM}\n\
                 # A client is who it logged in as, whatever it calls itself.\n\
                 use_username_as_clientid true",
                self.listen.port(),
                self.listen.ip(),
                self.connections_max,
            ),
        );
        if let Some(Tls { certificate, key, client_ca }) = &self.tls {
            let (certificate, key) = (certificate.display(), key.display());
            line(&mut text, format_args!("certfile {certificate}\nkeyfile {key}"));
            line(&mut text, format_args!("tls_version tlsv1.2"));
            if let Some(ca) = client_ca {
                let ca = ca.display();
                line(&mut text, format_args!("cafile {ca}"));
                line(&mut text, format_args!("require_certificate true"));
                line(&mut text, format_args!("use_identity_as_username true"));
            }
        }
        text
    }

    /// `milepost.acl`: what is not said here is forbidden.
    pub fn acl(&self) -> String {
        let mut text = "# Written by `milepost devices acl mosquitto`.\n\
                        # A device, known by its user name, has its own topics and no others.\n"
            .to_owned();
        for channel in channels() {
            // What a device writes the agent reads, and the other way round.
            let access = if channel.is_uplink() { "write" } else { "read" };
            let topic = Topic::filter(channel).replace('+', "%u");
            line(&mut text, format_args!("pattern {access} {topic}"));
        }
        line(&mut text, format_args!("\n# The agent.\nuser {}", self.agent));
        for channel in channels() {
            let access = if channel.is_uplink() { "read" } else { "write" };
            line(&mut text, format_args!("topic {access} {}", Topic::filter(channel)));
        }
        for device in &self.revoked {
            line(&mut text, format_args!("\n# Revoked.\nuser {device}\ntopic deny m0/{device}/#"));
        }
        text
    }
}

fn channels() -> impl Iterator<Item = Channel> {
    let frames = Lane::ALL.map(Channel::Frames);
    frames.into_iter().chain([Channel::Hello, Channel::Ack, Channel::Downlink])
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String never fails.
    writeln!(text, "{line}").unwrap_or_default();
}

/// A user of Mosquitto's.
pub(super) struct Login;

impl Login {
    /// `milepost.passwd`: a line for each user and password.
    pub fn hash_all(
        logins: &[(String, String)],
        entropy: &mut dyn Entropy,
    ) -> anyhow::Result<String> {
        let mut text = String::new();
        for (user, password) in logins {
            let mut salt = [0; SALT_LEN];
            entropy.fill(&mut salt)?;
            let hash = pbkdf2(password.as_bytes(), &salt, ROUNDS)?;
            let (salt, hash) = (base64(&salt), base64(&hash));
            line(&mut text, format_args!("{user}:$7${ROUNDS}${salt}${hash}"));
        }
        Ok(text)
    }
}

/// The first block of PBKDF2-HMAC-SHA512 (RFC 8018, 5.2), which is all that is wanted.
fn pbkdf2(password: &[u8], salt: &[u8], rounds: u32) -> anyhow::Result<[u8; 64]> {
    let mac = Hmac::<Sha512>::new_from_slice(password)?;
    let mut first = mac.clone();
    first.update(salt);
    first.update(&1_u32.to_be_bytes());
    let mut last: [u8; 64] = first.finalize().into_bytes().into();
    let mut sum = last;
    for _ in 1..rounds {
        let mut next = mac.clone();
        next.update(&last);
        last = next.finalize().into_bytes().into();
        sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
    }
    Ok(sum)
}

/// RFC 4648, 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, at| {
            bits << 8 | usize::from(chunk.get(at).copied().unwrap_or_default())
        });
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS.get(bits >> shift & 63).copied().unwrap_or_default();
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_like_the_standard() {
        // The test vectors of RFC 6070, for SHA-512.
        let one = pbkdf2(b"password", b"salt", 1).unwrap();
        assert_eq!(one[..8], [0x86, 0x7f, 0x70, 0xcf, 0x1a, 0xde, 0x02, 0xcf]);
        let two = pbkdf2(b"password", b"salt", 2).unwrap();
        assert_eq!(two[..8], [0xe1, 0xd9, 0xc1, 0x6a, 0xa6, 0x81, 0x70, 0x8a]);
    }

    #[test]
    fn base64_is_the_standards() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }

    #[test]
    fn the_acl_gives_a_device_its_own_and_the_agent_all() {
        let mosquitto = Mosquitto {
            dir: "/etc/m".into(),
            listen: "127.0.0.1:1884".parse().unwrap(),
            tls: None,
            agent: "milepost".to_owned(),
            devices: 2,
            connections_max: 68,
            revoked: vec!["thief".parse().unwrap()],
        };
        let acl = mosquitto.acl();
        for line in [
            "pattern write m0/%u/c",
            "pattern write m0/%u/h",
            "pattern read m0/%u/a",
            "topic read m0/+/b",
            "topic write m0/+/d",
            "user thief\ntopic deny m0/thief/#",
        ] {
            assert!(acl.contains(line), "{line}: {acl}");
        }
        assert!(!acl.contains("readwrite") && !acl.contains("%c"), "{acl}");
        let config = mosquitto.config();
        assert!(config.contains("listener 1884 127.0.0.1\nmax_connections 68\n"), "{config}");
        assert!(config.contains("password_file /etc/m/milepost.passwd\n"), "{config}");
    }
}
