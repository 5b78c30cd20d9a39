//! Sealed bytes to an authenticated frame. The acceptor opens a frame to know that it is real, the
//! forwarder to read it; the journal in between keeps it sealed (I4).

use std::collections::HashMap;

use protocol::frame::{self, Binding, FrameError, Header};
use protocol::keys::{FrameKey, frame_key};
use protocol::{DeviceId, Generation};

use crate::registry::{Registry, RegistryError};

/// Opens frames; remembers the keys of the rings it met last.
#[derive(Debug)]
pub struct Opener {
    registry: Registry,
    purpose: Purpose,
    /// Keys used since the last turn, and those of the turn before: when the first map is full the
    /// second is forgotten. Bounded, and a ring in use is never derived anew.
    young: HashMap<KeyName, FrameKey>,
    old: HashMap<KeyName, FrameKey>,
    /// [`Registry::destroyed`] when the keys were made.
    destroyed: u64,
}

/// What frames are opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To take them in: a revoked device's are refused.
    Accept,
    /// To forward what was taken in: also from a device that was revoked since.
    Forward,
}

/// Keys in each of the two maps.
const KEYS_MAX: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct KeyName {
    device: DeviceId,
    ring: protocol::RingId,
    generation: Generation,
}

/// Why a frame could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The device, or this generation of its secret, is not in the registry.
    #[error("no secret for this device and key generation")]
    NoSecret,
    /// Malformed, changed on the way, or sealed with another key or for another ring.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The registry could not be read: the frame may be good.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Opener {
    /// An opener with an empty memory.
    pub fn new(registry: Registry, purpose: Purpose) -> Self {
        let destroyed = registry.destroyed();
        Self { registry, purpose, young: HashMap::new(), old: HashMap::new(), destroyed }
    }

    /// Opens a frame in place. If it fails, the buffer's content is no longer a frame.
    pub fn open<'a>(
        &mut self,
        binding: &Binding,
        sealed: &'a mut [u8],
    ) -> Result<(Header, &'a mut [u8]), OpenError> {
        let (header, _) = Header::read(sealed)?;
        let destroyed = self.registry.destroyed();
        if std::mem::replace(&mut self.destroyed, destroyed) != destroyed {
            self.young.clear();
            self.old.clear();
        }
        let key = self.key(binding, header.generation)?;
        Ok(frame::open(key, binding, sealed)?)
    }

    /// Forgets a device's keys: it was removed or its secret changed.
    pub fn forget(&mut self, device: &DeviceId) {
        self.young.retain(|name, _| name.device != *device);
        self.old.retain(|name, _| name.device != *device);
    }

    fn key(&mut self, binding: &Binding, generation: Generation) -> Result<&FrameKey, OpenError> {
        let name = KeyName { device: binding.device, ring: binding.ring, generation };
        if !self.young.contains_key(&name) {
            let key = if let Some(key) = self.old.remove(&name) {
                key
            } else {
                let secret = match self.purpose {
                    Purpose::Accept => self.registry.secret(binding.device, generation),
                    Purpose::Forward => self.registry.secret_to_read(binding.device, generation),
                };
                let secret = secret?.ok_or(OpenError::NoSecret)?;
                frame_key(&secret, &binding.device, &binding.ring, generation)
            };
            if self.young.len() >= KEYS_MAX {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(name, key);
        }
        self.young.get(&name).ok_or(OpenError::NoSecret)
    }
}
