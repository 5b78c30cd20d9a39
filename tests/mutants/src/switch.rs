//! Which mutant is on. The sources under test ask this; it is no part of the product.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Nobody asked yet.
const UNREAD: u32 = u32::MAX;
/// None is on, and whoever is asked about is written down.
const TRACING: u32 = u32::MAX - 1;
/// More mutants than any run has.
const MUTANTS_MAX: usize = 1 << 15;

static ACTIVE: AtomicU32 = AtomicU32::new(UNREAD);
static SEEN: [AtomicBool; MUTANTS_MAX] = [const { AtomicBool::new(false) }; MUTANTS_MAX];

/// Whether this mutant is on: the one that `MILEPOST_MUTANT` numbers. With `MILEPOST_MUTANT_TRACE`
/// none is, and the numbers asked for are added to that file.
#[inline]
pub fn on(number: u32) -> bool {
    let active = ACTIVE.load(Relaxed);
    active == number || (active >= TRACING && asked(number))
}

#[cold]
fn asked(number: u32) -> bool {
    if ACTIVE.load(Relaxed) == UNREAD {
        let number = std::env::var("MILEPOST_MUTANT").ok().and_then(|text| text.parse().ok());
        let traced = std::env::var_os("MILEPOST_MUTANT_TRACE").is_some();
        ACTIVE.store(number.unwrap_or(if traced { TRACING } else { 0 }), Relaxed);
    }
    if ACTIVE.load(Relaxed) == TRACING && !SEEN[number as usize].swap(true, Relaxed) {
        let path = std::env::var_os("MILEPOST_MUTANT_TRACE").expect("named when tracing");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        // In one write: other threads trace, too.
        let line = format!("{number}\n");
        file.expect("a file to trace to").write_all(line.as_bytes()).expect("room for a trace");
    }
    ACTIVE.load(Relaxed) == number
}
