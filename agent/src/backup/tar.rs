//! Archives: POSIX ustar, only regular files, no links, no devices.
//!
//! | header | at | bytes | |
//! |---|---|---|---|
//! | name | 0 | 100 | |
//! | mode, owner, group | 100 | 8 each | octal, closed by a zero |
//! | size | 124 | 12 | octal |
//! | time | 136 | 12 | octal, seconds |
//! | checksum | 148 | 8 | sum of the header's bytes, this field as blanks |
//! | type | 156 | 1 | `0` |
//! | magic, version | 257 | 8 | `ustar`, zero, `00` |
//! | prefix | 345 | 155 | a name's front, if it is longer than 100 |
//!
//! Content follows, filled up to 512 bytes; two blocks of zeros end it.

use std::io::{self, Read, Write};

pub(super) const BLOCK_LEN: usize = 512;
/// Largest size that eleven octal digits tell.
const SIZE_MAX: u64 = (1 << 33) - 1;

/// One member's header.
pub(super) fn header(name: &str, size: u64, time_s: u64) -> io::Result<[u8; BLOCK_LEN]> {
    let unfit = |what: &str| io::Error::other(format!("{name}: {what} for an archive"));
    if size > SIZE_MAX {
        return Err(unfit("larger than 8 GiB is too large"));
    }
    let (prefix, name) = if name.len() <= 100 {
        ("", name)
    } else {
        let fits = |at: &usize| *at <= 155 && name.len() - at - 1 <= 100;
        let at = name.match_indices('/').map(|(at, _)| at).find(fits);
        name.split_at_checked(at.ok_or_else(|| unfit("the name is too long"))?)
            .map(|(prefix, rest)| (prefix, rest.trim_start_matches('/')))
            .unwrap_or_default()
    };
    let mut block = [0; BLOCK_LEN];
    put(&mut block, 0, name.as_bytes());
    put(&mut block, 100, b"0000600\0");
    put(&mut block, 108, b"0000000\0");
    put(&mut block, 116, b"0000000\0");
    put(&mut block, 124, format!("{size:011o}\0").as_bytes());
    put(&mut block, 136, format!("{:011o}\0", time_s.min(SIZE_MAX)).as_bytes());
    put(&mut block, 156, b"0");
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 345, prefix.as_bytes());
    let sum = checksum(&block);
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// What fills a member of this size up to whole blocks.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % 512).unwrap_or(0);
    if over == 0 { 0 } else { BLOCK_LEN - over }
}

/// Ends an archive.
pub(super) fn finish(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK_LEN])
}

/// Whether an archive of ours, cut off or not, can begin like this.
pub(super) fn may_begin_with(bytes: &[u8]) -> bool {
    let is_at = |at: usize, wanted: &[u8]| {
        bytes.get(at..).is_none_or(|rest| rest.iter().zip(wanted).all(|(is, wanted)| is == wanted))
    };
    // Of one that is cut off in its first name little can be told: a name is no text of several lines.
    let is_name = bytes.len() > 100 || !bytes.contains(&b'\n');
    is_name && is_at(100, b"0000600\0") && is_at(257, b"ustar")
}

/// The next member's name and size; none at the end.
pub(super) fn next(from: &mut impl Read) -> io::Result<Option<(String, u64)>> {
    let bad =
        |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not a tar file: {why}"));
    let mut block = [0; BLOCK_LEN];
    from.read_exact(&mut block)?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if field(&block, 257, 5) != b"ustar" || octal(field(&block, 148, 8)) != Some(checksum(&block)) {
        return Err(bad("a header is damaged"));
    }
    if !matches!(field(&block, 156, 1), b"0" | b"\0") {
        return Err(bad("it holds something else than files"));
    }
    let size = octal(field(&block, 124, 12)).ok_or_else(|| bad("a size is damaged"))?;
    let text = |at, len| String::from_utf8_lossy(until_zero(field(&block, at, len))).into_owned();
    let (prefix, name) = (text(345, 155), text(0, 100));
    Ok(Some((if prefix.is_empty() { name } else { format!("{prefix}/{name}") }, size)))
}

fn put(block: &mut [u8; BLOCK_LEN], at: usize, bytes: &[u8]) {
    if let Some(field) = block.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

fn field(block: &[u8; BLOCK_LEN], at: usize, len: usize) -> &[u8] {
    block.get(at..at + len).unwrap_or_default()
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn octal(field: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(until_zero(field)).ok()?.trim(), 8).ok()
}

fn checksum(block: &[u8; BLOCK_LEN]) -> u64 {
    let blanked =
        |(at, byte): (usize, &u8)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) };
    block.iter().enumerate().map(blanked).sum()
}
