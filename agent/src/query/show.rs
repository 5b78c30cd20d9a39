//! What the index shows of itself: devices and signals, and a function that writes times.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

use crate::document::Rfc3339;

/// In the temporary schema, which SQLite looks into first, so that names stay short.
///
/// A device's samples are those that can still be read; bit 4 of a block's flags says that only its
/// roll-ups can. Every catalogue makes the coarse place known, whether a rule makes any or not (bit 2).
const VIEWS: &str = "
PRAGMA query_only = OFF;
CREATE TEMP VIEW devices(device, first, last, samples, records) AS
SELECT d.device,
       iso((SELECT min(b.from_ms) FROM main.blocks AS b WHERE b.device = d.id)),
       iso((SELECT max(b.from_ms + b.span_ms) FROM main.blocks AS b WHERE b.device = d.id)),
       (SELECT coalesce(sum(b.samples), 0) FROM main.blocks AS b
         WHERE b.device = d.id AND b.flags & 4 = 0),
       (SELECT count(*) FROM main.records AS r WHERE r.device = d.id)
FROM main.devices AS d;
CREATE TEMP VIEW signals(signal, unit) AS
SELECT path, nullif(unit, '') FROM main.signals
WHERE path <> 'Vehicle.CurrentLocation.H3' OR EXISTS (SELECT 1 FROM main.blocks WHERE flags & 2);
";

/// Makes them known to a connection that is not guarded yet.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    write_times(connection)?;
    connection.execute_batch(VIEWS)
}

/// The function `iso(milliseconds since 1970)`.
pub(super) fn write_times(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function(c"iso", 1, flags, |context| {
        let unix_ms: Option<i64> = context.get(0)?;
        let mut text = Vec::new();
        let is_shown = unix_ms.is_some_and(|ms| Rfc3339::default().write(&mut text, ms));
        Ok(is_shown.then(|| String::from_utf8_lossy(&text).into_owned()))
    })
}
