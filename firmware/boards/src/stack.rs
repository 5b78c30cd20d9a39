//! The stack: how much of it was never used, which is painted at the start, and what stands on it.

use cortex_m_rt::STACK_PAINT_VALUE;

#[allow(unsafe_code, reason = "symbols of the linker script, of which the address alone counts")]
unsafe extern "C" {
    static _stack_end: u32;
    static _stack_start: u32;
}

/// Bytes at the stack's end that still have their paint: as many were never used since the boot.
#[allow(unsafe_code, reason = "the stack's memory is read as words, whatever it holds")]
pub fn untouched() -> usize {
    let (end, start) = (&raw const _stack_end, &raw const _stack_start);
    let words = (start.addr() - end.addr()) / size_of::<u32>();
    // SAFETY: from the one symbol to the other is RAM, the stack, and it is only looked at.
    let is_painted = |at: &usize| unsafe { end.add(*at).read_volatile() } == STACK_PAINT_VALUE;
    (0..words).take_while(is_painted).count() * size_of::<u32>()
}

/// What stands on the stack from an address upwards; nothing for an address that is none of the stack's.
#[allow(unsafe_code, reason = "the stack's memory is read as bytes, whatever it holds")]
pub fn from(at: usize) -> impl Iterator<Item = u8> {
    let (end, start) = (&raw const _stack_end, &raw const _stack_start);
    let len = if at < end.addr() { 0 } else { start.addr().saturating_sub(at) };
    let first = end.cast::<u8>().wrapping_add(at.wrapping_sub(end.addr()));
    // SAFETY: from the stack's end up to its start is RAM, and it is only looked at.
    (0..len).map(move |offset| unsafe { first.add(offset).read_volatile() })
}
