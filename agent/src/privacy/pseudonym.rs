//! Pseudonyms: the same name under the same key is always the same, and only the key leads back to
//! it (by trying names).
//!
//! HMAC-SHA256 (RFC 2104) over the domain and the name, each behind its length, so that a device
//! and a driver of the same name stay apart. Shown as `pK-` and 26 characters of base32 (RFC 4648,
//! lower case): K is the key's number, the characters are the first 130 bits. That is itself a
//! device id.

use std::borrow::Cow;
use std::str::FromStr as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use protocol::DeviceId;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::document::Wording;

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const DIGITS: usize = 26;

/// The key of the pseudonyms.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PseudonymKey(Vec<u8>);

impl std::fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PseudonymKey(..)")
    }
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Too short to withstand trying.
    #[error("at least 32 bytes, or 64 hexadecimal digits")]
    Short,
    /// A pseudonym with it would be no device id.
    #[error("a key id is 0 to 9999")]
    Id,
}

impl PseudonymKey {
    const LEN_MIN: usize = 32;

    /// Reads the content of a key file: 64 hexadecimal digits and perhaps a line's end, or else at
    /// least 32 bytes as they are.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim_end();
        let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let key: Vec<u8> = if digits {
            let pairs = (0..64).step_by(2).filter_map(|at| text.get(at..at + 2));
            pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
        } else {
            bytes.to_vec()
        };
        if key.len() < Self::LEN_MIN { Err(KeyError::Short) } else { Ok(Self(key)) }
    }
}

/// Gives names their pseudonyms.
#[derive(Clone)]
pub(super) struct Names {
    mac: Hmac<Sha256>,
    key_id: u16,
    fields: Vec<String>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Names {
    pub fn new(key: &PseudonymKey, key_id: u16, fields: Vec<String>) -> Result<Self, KeyError> {
        if key_id > 9999 {
            return Err(KeyError::Id);
        }
        let mac = Hmac::new_from_slice(&key.0).map_err(|_| KeyError::Short)?;
        Ok(Self { mac, key_id, fields })
    }

    /// A device's pseudonym.
    pub fn device(&self, device: &DeviceId) -> DeviceId {
        let name = self.of("device", device.as_str());
        debug_assert!(name.parse::<DeviceId>().is_ok(), "a pseudonym is a device id");
        // Never the true name: a name that is nobody's stands in for what cannot happen.
        DeviceId::from_str(&name).or_else(|_| DeviceId::from_str("p-unnamed")).unwrap_or(*device)
    }

    /// A vehicle's pseudonym.
    pub fn vehicle(&self, vehicle: &str) -> String {
        self.of("vehicle", vehicle)
    }

    /// The pseudonym of `name` in a domain.
    fn of(&self, domain: &str, name: &str) -> String {
        let mut mac = self.mac.clone();
        for part in ["milepost/pseudonym", domain, name] {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let mut pseudonym = format!("p{}-", self.key_id);
        let (mut bits, mut held) = (0_u32, 0_u32);
        let mut bytes = mac.finalize().into_bytes().into_iter();
        for _ in 0..DIGITS {
            if held < 5 {
                bits = (bits << 8) | u32::from(bytes.next().unwrap_or_default());
                held += 8;
            }
            held -= 5;
            let digit = usize::try_from((bits >> held) & 31).unwrap_or_default();
            pseudonym.extend(BASE32.get(digit).map(|digit| char::from(*digit)));
        }
        pseudonym
    }
}

/// What one device's records may say.
pub(super) struct Words<'a> {
    pub names: Option<&'a Names>,
    pub device: DeviceId,
    pub shown: DeviceId,
}

impl Wording for Words<'_> {
    fn mask(&self, field: &str, shown: &str) -> Option<String> {
        let names = self.names?;
        // An empty field says nothing.
        let is_masked = !shown.is_empty() && names.fields.iter().any(|name| name == field);
        is_masked.then(|| names.of(field, shown))
    }

    fn word<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.names.is_some() && text.contains(self.device.as_str()) {
            Cow::Owned(text.replace(self.device.as_str(), self.shown.as_str()))
        } else {
            Cow::Borrowed(text)
        }
    }
}
