//! Lines of text for whoever watches the board's console.

use core::cell::Cell;
use core::fmt::{self, Write};

use critical_section::Mutex;

/// Writes bytes to the console, and waits for them.
pub type Put = fn(&[u8]);

static PUT: Mutex<Cell<Option<Put>>> = Mutex::new(Cell::new(None));

/// From here on, lines go there.
pub fn begin(put: Put) {
    critical_section::with(|cs| PUT.borrow(cs).set(Some(put)));
}

/// Writes a line.
pub fn line(text: fmt::Arguments<'_>) {
    if let Some(put) = critical_section::with(|cs| PUT.borrow(cs).get()) {
        // A console that refuses a line has nobody to tell.
        let _told = To(put).write_fmt(format_args!("{text}\r\n"));
    }
}

struct To(Put);

impl Write for To {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Self(put) = self;
        put(text.as_bytes());
        Ok(())
    }
}
