//! The agent's log: on standard error, as text or as JSON, its level and format changed while it
//! runs, and no line repeated without end.
//!
//! What a line says: `timestamp`, `level`, `target` (the module), `message`, and fields, among them
//! always `device` and `sink` where it is about one. Never a secret: those types do not print.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// What to log, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or `target=level`, comma-separated.
    pub filter: String,
    /// One JSON object a line.
    pub json: bool,
}

impl From<&crate::config::Log> for Log {
    fn from(log: &crate::config::Log) -> Self {
        Self { filter: log.level.clone(), json: log.json }
    }
}

type Filtered = Layered<reload::Layer<Targets, Registry>, Registry>;
type Format = Box<dyn Layer<Filtered> + Send + Sync>;

struct Handles {
    filter: reload::Handle<Targets, Registry>,
    format: reload::Handle<Format, Filtered>,
}

static HANDLES: OnceLock<Handles> = OnceLock::new();

/// Begins to log, to standard error: standard output is for answers and documents.
pub fn start(log: &Log) -> Result<(), NoFilter> {
    let (filter, filter_handle) = reload::Layer::new(targets(&log.filter)?);
    let (format, format_handle) = reload::Layer::new(format(log.json));
    tracing_subscriber::registry().with(filter).with(format).with(Damper::default()).init();
    // Called once, and if not, the first one's stay.
    drop(HANDLES.set(Handles { filter: filter_handle, format: format_handle }));
    Ok(())
}

/// Logs like this from now on.
pub fn apply(log: &Log) -> Result<(), NoFilter> {
    let filter = targets(&log.filter)?;
    let Some(handles) = HANDLES.get() else { return Ok(()) };
    let changed =
        handles.filter.reload(filter).and_then(|()| handles.format.reload(format(log.json)));
    if let Err(error) = changed {
        tracing::warn!(%error, "the log goes on as it was");
    }
    Ok(())
}

/// Whether this is a filter.
pub fn check(filter: &str) -> Result<(), NoFilter> {
    targets(filter).map(drop)
}

/// Levels, as a filter names them.
pub const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Config: what was given is no filter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` is neither a level ({levels}) nor target=level, like agent::forward=debug",
    levels = LEVELS.join(", ")
)]
pub struct NoFilter(pub String);

/// A filter's parts. A word alone is a level and nothing else: taken for a target, as the library
/// does, a mistyped level would silence the log.
fn targets(filter: &str) -> Result<Targets, NoFilter> {
    let mut targets = Targets::new();
    for part in filter.split(',').map(str::trim) {
        let wrong = || NoFilter(part.to_owned());
        let (target, word) = part.split_once('=').map_or((None, part), |(t, word)| (Some(t), word));
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        let level: LevelFilter = word.parse().ok().filter(|_| is_level).ok_or_else(wrong)?;
        targets = match target {
            None => targets.with_default(level),
            Some("") => return Err(wrong()),
            Some(target) => targets.with_target(target, level),
        };
    }
    Ok(targets)
}

fn format(json: bool) -> Format {
    let to_stderr = fmt::layer().with_writer(std::io::stderr);
    if json {
        to_stderr.with_ansi(false).json().flatten_event(true).boxed()
    } else {
        to_stderr.with_ansi(std::io::stderr().is_terminal()).boxed()
    }
}

/// Lines of one kind that are written in one period; further ones are counted.
const BURST: u32 = 20;
const PERIOD: Duration = Duration::from_secs(10);
/// Where the counts are said from; never held back itself.
const TARGET: &str = "agent::logging";

/// Holds back warnings and errors of one kind, from one place in the code, beyond [`BURST`] a
/// period.
#[derive(Debug, Default)]
struct Damper(Mutex<HashMap<Identifier, Kind>>);

/// The lines from one place.
#[derive(Clone, Copy, Debug)]
struct Kind {
    since: Duration,
    count: u32,
}

impl Kind {
    /// Another line at `now`: whether it is written, and how many were held back in the period that
    /// ended with it.
    fn take(&mut self, now: Duration) -> (bool, u32) {
        let mut held_back = 0;
        if now.saturating_sub(self.since) >= PERIOD {
            held_back = self.count.saturating_sub(BURST);
            *self = Self { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        (self.count <= BURST, held_back)
    }
}

impl<S: Subscriber> Layer<S> for Damper {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == TARGET {
            return true;
        }
        let now = uptime();
        let (is_written, held_back) = {
            let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = Kind { since: now, count: 0 };
            kinds.entry(metadata.callsite()).or_insert(fresh).take(now)
        };
        if held_back > 0 {
            let of = metadata.target();
            tracing::warn!(target: TARGET, held_back, of, "lines like the next one were held back");
        }
        is_written
    }
}

fn uptime() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    #[allow(clippy::disallowed_methods, reason = "driver: paces the log")]
    START.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_line_is_written_so_often_and_then_counted() {
        let mut kind = Kind { since: Duration::ZERO, count: 0 };
        let written = (0..100).filter(|_| kind.take(Duration::from_secs(1)).0).count();
        assert_eq!(written, 20);
        assert_eq!(kind.take(PERIOD), (true, 80));
        assert_eq!(kind.take(PERIOD), (true, 0));
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        for filter in ["info", "INFO", "off", "info,agent::forward=debug", "warn, agent=trace"] {
            assert_eq!(check(filter), Ok(()), "{filter}");
        }
        for filter in ["agent=loud", "chatty", "inof", "", "info,", "=info", "agent=", "4", "agent"]
        {
            let said = check(filter).unwrap_err().to_string();
            assert!(said.contains("error, warn, info, debug, trace, off"), "{filter}: {said}");
        }
        // A word that is no level must not be taken for a module that alone is logged.
        let filter = targets("warn,agent::forward=debug").unwrap();
        assert!(filter.would_enable("anything", &Level::WARN));
        assert!(filter.would_enable("agent::forward", &Level::DEBUG));
        assert!(!filter.would_enable("agent::accept", &Level::INFO));
    }
}
