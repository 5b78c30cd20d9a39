//! What the fault registers of a Cortex-M mean, in the words of who looks for the mistake (Armv7-M
//! Architecture Reference Manual, B3.2.15 and B3.2.16).

/// Bits of the Configurable Fault Status Register.
const CONFIGURABLE: [(u32, &str); 19] = [
    (0, "instruction fetched where nothing may be executed"),
    (1, "access that the memory protection does not allow, at MMFAR if that is given"),
    (3, "memory protection fault when an exception returned"),
    (4, "memory protection fault when an exception was entered: has the stack overflowed?"),
    (5, "memory protection fault when the floating-point state was kept"),
    (8, "instruction fetched where no memory is: a wild jump, or a return to nowhere"),
    (9, "access to where no memory is, at BFAR: a wild pointer"),
    (10, "access to where no memory is, some instructions before the program counter"),
    (11, "bus fault when an exception returned"),
    (12, "bus fault when an exception was entered: has the stack overflowed?"),
    (13, "bus fault when the floating-point state was kept"),
    (16, "undefined instruction: a wild jump, or damaged code"),
    (17, "jump to an address that is no Thumb code: a wild jump"),
    (18, "return from an exception to an impossible state"),
    (19, "no coprocessor, and an instruction for it"),
    (24, "unaligned access"),
    (25, "division by zero"),
    // Of the Hard Fault Status Register, which has its own numbers.
    (32 + 1, "the vector table cannot be read"),
    (32 + 30, "the fault escalated, because its own handler is not enabled"),
];

/// What the registers that a reason names say; nothing if it names none.
pub(super) fn meaning(reason: &str) -> Vec<&'static str> {
    let register = |name: &str| {
        let (_, rest) = reason.split_once(name)?;
        let digits = rest.trim_start().strip_prefix("0x")?;
        u32::from_str_radix(digits.get(..8)?, 16).ok()
    };
    let configurable = u64::from(register("CFSR").unwrap_or_default());
    let hard = u64::from(register("HFSR").unwrap_or_default());
    let set = configurable | hard << u32::BITS;
    CONFIGURABLE.iter().filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, says)| *says).collect()
}
