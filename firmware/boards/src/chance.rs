//! Chance: a key drawn once a boot, and numbers made from it.

use cortex_m::peripheral::SYST;
use firmware::ports::Entropy;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

/// Readings of the timer that a boot begins with.
const READINGS: usize = 2048;
/// Bytes that one derivation gives.
const BLOCK_LEN: usize = 32;

/// Numbers that nobody can foresee who does not know the device's seed.
///
/// The key is made of the seed that the device was provisioned with and of what the timer shows when
/// the boot came how far: under QEMU the host's clock stands behind it. On a board whose timer is as
/// regular as its code, two boots from one copy of the flash would draw the same: such a board has
/// to mix in a source of noise of its own (docs/porting.md).
#[derive(Debug)]
pub struct Chance {
    key: [u8; BLOCK_LEN],
    drawn: u64,
}

impl Chance {
    /// Draws the key.
    pub fn new(seed: &[u8; 32]) -> Self {
        let mut noise = Sha256::new();
        for _ in 0..READINGS {
            noise.update(SYST::get_current().to_le_bytes());
        }
        let mut key = [0; BLOCK_LEN];
        let fits = Hkdf::<Sha256>::new(Some(seed), &noise.finalize()).expand(b"chance", &mut key);
        debug_assert!(fits.is_ok(), "one block always fits");
        Self { key, drawn: 0 }
    }

    /// Eight bytes, as a number.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl Entropy for Chance {
    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(BLOCK_LEN) {
            self.drawn += 1;
            let block = Sha256::new()
                .chain_update(self.key)
                .chain_update(self.drawn.to_le_bytes())
                .finalize();
            for (byte, drawn) in part.iter_mut().zip(block) {
                *byte = drawn;
            }
        }
    }
}
