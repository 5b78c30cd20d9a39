//! Wrapping: how a device's secret is kept on disk.
//!
//! ChaCha20-Poly1305 (RFC 8439) under one wrapping key per registry, with a random nonce of 96
//! bits, which is good for far more than the 2^32 secrets after which a repeated nonce becomes
//! conceivable. Associated data: `"w"`, the device id, the generation, so that a wrapped secret
//! moved to another device or generation does not open.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Tag};
use hmac::{Hmac, Mac as _};
use protocol::{DeviceId, Generation, Secret};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Entropy, EntropyError};

/// The key under which all secrets of one registry are wrapped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct WrappingKey([u8; 32]);

/// A secret as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wrapped {
    pub generation: Generation,
    nonce: [u8; 12],
    ciphertext: [u8; 32],
    tag: [u8; 16],
}

/// Why a key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Others could read it.
    #[error("{0} can be read or written by others: chmod 600 {0}", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// It is not 64 hexadecimal digits.
    #[error("{} is no key file: expected 64 hexadecimal digits on one line", .0.display())]
    Malformed(PathBuf),
    /// The registry was made with a key, and the file with it is gone.
    #[error(
        "{} is missing and the registry's secrets are wrapped with it: restore it from a backup; \
         without it every device has to be removed and added anew",
        .0.display()
    )]
    Lost(PathBuf),
    /// The file system says no.
    #[error("cannot use the key file {}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No random bytes for a new one.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl WrappingKey {
    /// A key made of these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key in this file; none if there is no such file.
    ///
    /// Errors: the file is readable or writable by group or others; it holds anything but 64
    /// hexadecimal digits.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyFileError> {
        let failed = |error| KeyFileError::File { path: path.to_owned(), error };
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if is_exposed(&file.metadata().map_err(failed)?) {
            return Err(KeyFileError::Exposed { path: path.to_owned() });
        }
        let mut text = Zeroizing::new(String::with_capacity(128));
        let read = (&mut file).take(128).read_to_string(&mut text);
        read.map_err(|_| KeyFileError::Malformed(path.to_owned()))?;
        let key = from_hex(text.trim()).ok_or(KeyFileError::Malformed(path.to_owned()))?;
        Ok(Some(Self(key)))
    }

    /// Draws a key and keeps it in a new file, mode 0600, durably. Never writes over a file.
    pub fn create(path: &Path, entropy: &mut dyn Entropy) -> Result<Self, KeyFileError> {
        let failed = |error| KeyFileError::File { path: path.to_owned(), error };
        let mut key = Self([0; 32]);
        entropy.fill(&mut key.0)?;
        let text = Zeroizing::new(format!("{}\n", hex(&key.0)));
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = fs::File::open(dir.unwrap_or(Path::new("."))).map_err(failed)?;
        dir.sync_all().map_err(failed)?;
        Ok(key)
    }

    /// Tells this key from another without telling anything about it.
    pub(super) fn check(&self) -> [u8; 16] {
        // The tag of an empty message under a nonce of zeros, with an associated data that no
        // wrapped secret has; random nonces make its repetition as unlikely as any other.
        let mut nothing = [0; 0];
        let cipher = ChaCha20Poly1305::new(&self.0.into());
        let sealed =
            cipher.encrypt_inout_detached(&[0; 12].into(), b"check", nothing.as_mut_slice().into());
        sealed.map_or([0; 16], Into::into)
    }

    /// A name that only this registry gives to a subject: the same each time, and without the key
    /// nobody finds out whose it is, not even by trying names.
    pub(super) fn subject(&self, kind: &str, name: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        for part in ["milepost/erasure", kind, name] {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex(&mac.finalize().into_bytes())
    }

    /// Draws a secret and wraps it.
    pub(super) fn draw(
        &self,
        device: &DeviceId,
        generation: Generation,
        entropy: &mut dyn Entropy,
    ) -> Result<(Secret, Wrapped), EntropyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(bytes.as_mut_slice())?;
        let mut nonce = [0; 12];
        entropy.fill(&mut nonce)?;
        let mut ciphertext = *bytes;
        let sealed = ChaCha20Poly1305::new(&self.0.into()).encrypt_inout_detached(
            &nonce.into(),
            &associated(device, generation),
            ciphertext.as_mut_slice().into(),
        );
        let tag = sealed.map_err(|_| EntropyError("wrapping failed".to_owned()))?.into();
        Ok((Secret::new(*bytes), Wrapped { generation, nonce, ciphertext, tag }))
    }

    /// The secret; none if it was wrapped with another key, for another device, or is damaged.
    pub(super) fn unwrap(&self, device: &DeviceId, wrapped: &Wrapped) -> Option<Secret> {
        let mut bytes = Zeroizing::new(wrapped.ciphertext);
        let opened = ChaCha20Poly1305::new(&self.0.into()).decrypt_inout_detached(
            &wrapped.nonce.into(),
            &associated(device, wrapped.generation),
            bytes.as_mut_slice().into(),
            &Tag::from(wrapped.tag),
        );
        opened.ok().map(|()| Secret::new(*bytes))
    }
}

impl std::fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WrappingKey(..)")
    }
}

/// Whether group or others may read or write a file that only its owner should.
pub fn is_exposed(file: &fs::Metadata) -> bool {
    file.mode() & 0o077 != 0
}

fn associated(device: &DeviceId, generation: Generation) -> Vec<u8> {
    [b"w", device.as_bytes(), &[generation.number()]].concat()
}

/// Lower-case hexadecimal digits, two a byte.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String never fails.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// 32 bytes from 64 hexadecimal digits.
pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
