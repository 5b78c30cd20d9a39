//! What is logged, for tests of what an operator gets to see.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Dispatch;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines of warnings and errors that this thread logs in `act`.
pub fn logged(act: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = || {
        let writer = writer.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish()
    };
    // While there is but one, a place in the code that another thread comes to first is settled by what
    // that thread listens to: nothing.
    let _another = Dispatch::new(subscriber());
    tracing::subscriber::with_default(subscriber(), act);
    let text = lines.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}
