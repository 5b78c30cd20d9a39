//! `[log]`: what the agent writes to standard error; what it means is [`crate::logging`]'s.

use super::read::Section;
use crate::logging;

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or `target=level`, comma-separated.
    pub level: String,
    /// One JSON object a line.
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), json: false }
    }
}

pub(super) fn read(mut section: Section<'_>) -> Log {
    let default = Log::default();
    let level = section.text("level").map(str::to_owned);
    if let Some(level) = &level
        && let Err(logging::NoFilter(part)) = logging::check(level)
    {
        let levels = logging::LEVELS.join(", ");
        let meant = format!("one of {levels}, or like `info,agent::forward=debug`");
        section.wrong("level", format!("`{part}` is no level"), Some(meant));
    }
    let json = section.choice("format", &[("text", false), ("json", true)]);
    section.finish();
    Log { level: level.unwrap_or(default.level), json: json.unwrap_or(default.json) }
}
