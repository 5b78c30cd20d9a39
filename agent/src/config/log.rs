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
        && logging::check(level).is_err()
    {
        let meant = "error, warn, info, debug or trace, or like `info,agent::forward=debug`";
        section.wrong("level", format!("`{level}` is no level"), Some(meant.to_owned()));
    }
    let json = section.choice("format", &[("text", false), ("json", true)]);
    section.finish();
    Log { level: level.unwrap_or(default.level), json: json.unwrap_or(default.json) }
}
