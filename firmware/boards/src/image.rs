//! Which image this is: the linker's hash of it.

/// A note's header: lengths of name and content, type, and the name `GNU` (System V ABI, "Note
/// Section").
const HEADER_LEN: usize = 16;
/// The linker's SHA-1 of the whole image.
const HASH_LEN: usize = 20;

#[allow(unsafe_code, reason = "what the linker leaves in memory.x")]
unsafe extern "C" {
    static __build_id: [u8; HEADER_LEN + HASH_LEN];
}

/// The first four bytes of the image's GNU build id, as `readelf -n` shows it.
#[allow(unsafe_code, reason = "what the linker leaves in memory.x")]
pub fn hash() -> u32 {
    // SAFETY: the linker puts it there, and nothing changes it.
    let note = unsafe { &__build_id };
    note.get(HEADER_LEN..).and_then(<[u8]>::first_chunk).map_or(0, |hash| u32::from_be_bytes(*hash))
}
