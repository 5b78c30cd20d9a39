//! Registers of a part.

/// A register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register(pub usize);

#[allow(
    unsafe_code,
    reason = "addresses of the parts' registers, and of nothing else, are made into one"
)]
impl Register {
    pub fn read(self) -> u32 {
        // SAFETY: the address is a register's, which is always mapped and aligned.
        unsafe { core::ptr::with_exposed_provenance::<u32>(self.0).read_volatile() }
    }

    pub fn write(self, value: u32) {
        // SAFETY: the same; what a write does to memory (DMA) is the driver's to say.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }

    /// Sets bits, and leaves the others.
    pub fn set(self, bits: u32) {
        self.write(self.read() | bits);
    }
}
