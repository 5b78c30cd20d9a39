use std::vec::Vec;

use super::*;

const REGISTERS: [u32; 3] = [0x1234, 0x5679, 0x6100_0000];

fn crashed(memory: &mut Memory, reason: &str, stack: &[u8]) {
    memory.crash(
        Cause::Fault,
        0xABCD_0123,
        REGISTERS,
        format_args!("{reason}"),
        stack.iter().copied(),
    );
}

#[test]
fn a_crash_is_told_after_the_reset_and_once() {
    let mut memory = Memory::new();
    assert_eq!((memory.reset(), memory.untold(DeviceTime::default())), (ResetReason::Power, None));
    memory.begin(7);
    assert_eq!(
        (memory.reset(), memory.untold(DeviceTime::default())),
        (ResetReason::Unknown, None)
    );
    crashed(&mut memory, "panicked at run.rs:3", &[1, 2, 3]);
    assert_eq!((memory.reset(), memory.crashes_in_a_row()), (ResetReason::Crash, 1));

    memory.begin(8);
    let time = DeviceTime::default();
    let told = Crash {
        time,
        boot: 7,
        image: 0xABCD_0123,
        registers: REGISTERS,
        reason: "panicked at run.rs:3",
        stack: &[1, 2, 3],
    };
    assert_eq!(memory.untold(time), Some(told));
    // Another reset before it is told: not a crash of that run's, and still to be told.
    assert_eq!(memory.reset(), ResetReason::Unknown);
    memory.begin(9);
    assert_eq!(memory.untold(time), Some(told));
    memory.told();
    assert_eq!(memory.untold(time), None);
    memory.told();
    assert_eq!(memory.untold(time), None);
}

#[test]
fn a_watchdog_is_told_from_a_fault() {
    let mut memory = Memory::new();
    memory.begin(1);
    memory.crash(Cause::Watchdog, 0, REGISTERS, format_args!("watchdog"), std::iter::empty());
    assert_eq!(memory.reset(), ResetReason::Watchdog);
}

#[test]
fn a_crash_before_the_boot_has_a_number_is_told_as_well() {
    let mut memory = Memory::new();
    crashed(&mut memory, "early", &[]);
    assert_eq!((memory.reset(), memory.crashes_in_a_row()), (ResetReason::Crash, 1));
    assert_eq!(memory.untold(DeviceTime::default()).unwrap().boot, 0);
}

#[test]
fn what_is_too_long_is_cut() {
    let mut memory = Memory::new();
    let stack: Vec<u8> = (0..=255).cycle().take(STACK_LEN_MAX + 9).collect();
    // The last character that fits in part has two bytes.
    let reason: std::string::String =
        std::iter::once('x').chain(std::iter::repeat_n('ä', REASON_LEN_MAX)).collect();
    crashed(&mut memory, &reason, &stack);
    let told = memory.untold(DeviceTime::default()).unwrap();
    assert_eq!(told.stack, &stack[..STACK_LEN_MAX]);
    assert_eq!(told.reason, &reason[..REASON_LEN_MAX - 1]);
}

#[test]
fn crashes_in_a_row_are_waited_after_longer_and_longer_and_health_ends_it() {
    let mut memory = Memory::new();
    let mut waits = Vec::new();
    for boot in 1..=80 {
        memory.begin(boot);
        crashed(&mut memory, "again", &[]);
        waits.push(memory.wait_ms());
    }
    assert_eq!(waits[..6], [0, 0, 1_000, 2_000, 4_000, 8_000]);
    assert_eq!((waits[11], waits[79]), (300_000, 300_000));
    memory.begin(81);
    memory.healthy();
    assert_eq!((memory.crashes_in_a_row(), memory.wait_ms()), (0, 0));
}

#[test]
fn any_flipped_bit_and_any_garbage_is_nothing() {
    let mut memory = Memory::new();
    memory.begin(3);
    crashed(&mut memory, "text", &[9; 40]);
    let time = DeviceTime::default();
    for bit in 0..32 {
        for word in 0..3 {
            let mut hurt = memory;
            hurt.crash.registers[word] ^= 1 << bit;
            assert_eq!(hurt.untold(time), None);
        }
        let flips: [fn(&mut Remains, u32); 6] = [
            |crash, flip| crash.cause ^= flip,
            |crash, flip| crash.boot ^= flip,
            |crash, flip| crash.image ^= flip,
            |crash, flip| crash.reason_len ^= flip,
            |crash, flip| crash.stack_len ^= flip,
            |crash, flip| crash.check ^= flip,
        ];
        for flip in flips {
            let mut hurt = memory;
            flip(&mut hurt.crash, 1 << bit);
            assert_eq!(hurt.untold(time), None);
        }
        let mut hurt = memory;
        hurt.run.in_a_row ^= 1 << bit;
        assert_eq!((hurt.reset(), hurt.crashes_in_a_row()), (ResetReason::Power, 0));
        hurt.healthy();
        assert_eq!(hurt.reset(), ResetReason::Power);
    }
    let mut hurt = memory;
    hurt.crash.stack[39] ^= 1;
    assert_eq!(hurt.untold(time), None);
    hurt = memory;
    hurt.crash.reason[0] ^= 1;
    assert_eq!(hurt.untold(time), None);
}
