//! When a boot was, for samples that count from it.
//!
//! A device without a wall clock counts from its boot. The first record of that boot that says both
//! times places all its samples; a better clock places them anew.

use protocol::Clock;
use rusqlite::{Connection, OptionalExtension as _, params};

/// What to add to the uptime of a boot, if it is known.
pub fn offset_ms(db: &Connection, device: i64, boot: u32) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT offset_ms FROM boots WHERE device = ? AND boot = ?")?
        .query_row((device, boot), |row| row.get(0))
        .optional()
}

/// Beyond this an offset is nobody's clock: some 140,000 years.
const OFFSET_MAX: u64 = 1 << 52;

/// Learns when a boot was, unless a clock as good has said so before; places the blocks that wait
/// for it. Whether it was news.
pub fn learn(
    db: &Connection,
    device: i64,
    (boot, offset_ms, clock): (u32, i64, Clock),
) -> rusqlite::Result<bool> {
    if offset_ms.unsigned_abs() > OFFSET_MAX {
        return Ok(false);
    }
    let known: Option<u8> = db
        .prepare_cached("SELECT clock FROM boots WHERE device = ? AND boot = ?")?
        .query_row((device, boot), |row| row.get(0))
        .optional()?;
    if known.is_some_and(|known| known >= clock as u8) {
        return Ok(false);
    }
    db.prepare_cached(
        "INSERT INTO boots(device, boot, offset_ms, clock) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT(device, boot) DO UPDATE
         SET offset_ms = excluded.offset_ms, clock = excluded.clock",
    )?
    .execute(params![device, boot, offset_ms, clock as u8])?;
    // Roll-ups stand on the hours of the place they were made for. Those whose samples are gone
    // cannot be made anew: they stay where they are.
    db.prepare_cached(
        "DELETE FROM rollups WHERE block IN
           (SELECT id FROM blocks WHERE device = ?1 AND boot = ?2 AND from_ms IS NOT NULL AND len > 0)",
    )?
    .execute((device, boot))?;
    db.prepare_cached(
        // A number that overflows is none to SQLite, and a device may claim any uptime.
        "UPDATE blocks SET from_ms = CASE WHEN abs(uptime_ms / 2) < 2000000000000000000
           THEN uptime_ms + ?3 ELSE uptime_ms END
         WHERE device = ?1 AND boot = ?2 AND len > 0",
    )?
    .execute((device, boot, offset_ms))?;
    Ok(true)
}
