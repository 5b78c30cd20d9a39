//! One secret per device; a key for each purpose from it, by HKDF-SHA256 (RFC 5869).
//!
//! Salt: `milepost/0`. Info: the purpose, then each part behind its length in one byte, so that no
//! two different lists of parts make the same info.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::identity::{DeviceId, Generation, Lane, Registration, RingId};

const SALT: &[u8] = b"milepost/0";

/// A device's secret for one key generation: 32 random bytes, known to it and its agents.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the bytes over.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for wrapping or provisioning; never for a log.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(..)")
    }
}

macro_rules! key_types {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name(pub(crate) [u8; 32]);

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

key_types! {
    /// Seals the frames of one ring.
    FrameKey
    /// Authenticates the acknowledgements of one ring.
    AckKey
    /// Seals a device's hellos.
    HelloKey
    /// Seals what one life of one agent says to a device.
    DownlinkKey
}

/// Seals the frames of one ring; the nonce is the sequence number.
pub fn frame_key(
    secret: &Secret,
    device: &DeviceId,
    ring: &RingId,
    generation: Generation,
) -> FrameKey {
    FrameKey(derive(secret, b"frame", &[device.as_bytes(), &ring.0, &[generation.number()]]))
}

/// Authenticates acknowledgements of one ring.
pub fn ack_key(
    secret: &Secret,
    device: &DeviceId,
    ring: &RingId,
    generation: Generation,
) -> AckKey {
    AckKey(derive(secret, b"ack", &[device.as_bytes(), &ring.0, &[generation.number()]]))
}

/// Seals hellos; the nonce is drawn at random and sent along.
pub fn hello_key(secret: &Secret, device: &DeviceId, generation: Generation) -> HelloKey {
    HelloKey(derive(secret, b"hello", &[device.as_bytes(), &[generation.number()]]))
}

/// Seals the downlink; `salt` is random per start of an agent, the nonce counts its messages.
pub fn downlink_key(
    secret: &Secret,
    device: &DeviceId,
    generation: Generation,
    salt: &[u8; 16],
) -> DownlinkKey {
    DownlinkKey(derive(secret, b"down", &[device.as_bytes(), &[generation.number()], salt]))
}

/// The device's MQTT password: 32 hexadecimal digits. It admits to the port and to nothing else:
/// frames, acknowledgements and commands stand on keys of their own.
pub fn mqtt_password(secret: &Secret, device: &DeviceId) -> [u8; 32] {
    let key = derive(secret, b"mqtt", &[device.as_bytes()]);
    let mut text = [0; 32];
    for (digits, byte) in text.chunks_exact_mut(2).zip(key) {
        for (digit, nibble) in digits.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
    }
    text
}

/// Which registration it is that begins with this secret. No secret: it only tells one from another.
pub fn registration(first: &Secret, device: &DeviceId) -> Registration {
    let [a, b, c, d, ..] = derive(first, b"registration", &[device.as_bytes()]);
    Registration(u32::from_be_bytes([a, b, c, d]))
}

/// The id of a newly formatted ring. The counter makes it new even if the entropy source is stuck,
/// the entropy even if the counter was rolled back together with the flash it is kept in.
pub fn ring_id(
    secret: &Secret,
    device: &DeviceId,
    lane: Lane,
    format_counter: u32,
    entropy: &[u8; 16],
) -> RingId {
    let lane = [lane as u8];
    let parts = [device.as_bytes(), &lane[..], &format_counter.to_be_bytes(), entropy];
    let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = derive(secret, b"ring", &parts);
    RingId(id)
}

fn derive(secret: &Secret, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut info = heapless::Vec::<u8, 128>::new();
    for part in core::iter::once(&purpose).chain(parts) {
        let len = u8::try_from(part.len()).unwrap_or(u8::MAX);
        // 128 bytes hold the longest list there is: 5 + 33 + 17 + 17 + 5.
        let fits = info.push(len).is_ok() && info.extend_from_slice(part).is_ok();
        debug_assert!(fits, "info of a key derivation is bounded");
    }
    let mut key = [0; 32];
    let expanded = Hkdf::<Sha256>::new(Some(SALT), &secret.0).expand(&info, &mut key);
    debug_assert!(expanded.is_ok(), "32 bytes are within HKDF's limit");
    key
}
