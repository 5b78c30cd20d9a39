//! The bytes of entries, and a way past all of them.

use agent::journal::{Item, Journal, Position};
use protocol::loss::LossReason;
use protocol::{Counts, DeviceTime, Lane, Loss, Seq};

use super::disk::Disk;
use super::truth::{Truth, Violation, must};

/// Reads all that is durable of a lane; the number of the last entry. Where entries end is noted:
/// there they have to end for ever. What stands before `floor` may be gone.
pub(super) fn walk(
    truth: &Truth,
    disk: &Disk,
    journal: &Journal,
    lane: Lane,
    floor: Position,
) -> Result<Option<u64>, Violation> {
    let mut reader = journal.tail().reader(lane, journal.tail().oldest(lane));
    let mut last = None;
    loop {
        match reader.next() {
            Ok(Some(Item::Entry { entry, end, .. })) => {
                let told = truth.told(lane, &entry, end)?;
                told.end.get_or_init(|| end);
                last = Some(told.number);
            }
            // Removed, and not yet durably.
            Ok(Some(Item::Damage(damage))) => {
                must(damage.to <= floor, || format!("{lane}: {damage:?}"))?;
            }
            Ok(None) => return Ok(last),
            Err(_) if disk.heal() => {}
            Err(error) => return Err(Violation(format!("{lane}: {error}"))),
        }
    }
}

/// A payload with parts that look like the beginning of a record.
pub(super) fn frame(number: u64, len: u64) -> Vec<u8> {
    let len = usize::try_from(len + number * 37 % 61).unwrap_or(0);
    let mut bytes = Vec::with_capacity(len + 12);
    while bytes.len() < len {
        bytes.extend_from_slice(&[0xa7, b'M', b'r', 0x1e]);
        bytes.extend_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A loss, as the agent says it.
pub(super) fn gap(first: Seq, last: Seq, through: Counts) -> Vec<u8> {
    let reason = LossReason::Unexplained;
    let said = Loss { first, last, through, reason, time: DeviceTime::default() };
    postcard::to_extend(&said, Vec::new()).unwrap_or_default()
}
