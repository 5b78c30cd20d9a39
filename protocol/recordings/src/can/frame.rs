//! One line of `candump -L`: `(seconds) channel ID#DATA`, and back.
//!
//! Classic frames with data (`123#0102`), with a DLC above 8 (`123#0102030405060708_F`), remote
//! frames (`123#R`, `123#R4`) and FD frames (`123##1DEADBEEF`: one digit of flags, then the data).
//! An id of eight digits is a 29-bit one, of three an 11-bit one; error frames have bit 29 set.

use std::fmt::Write as _;

/// Most bytes of a frame (CAN FD).
pub const FRAME_DATA_MAX: usize = 64;

/// Which kind of frame, besides the id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Form {
    /// A 29-bit id, or the class of an error frame.
    pub extended: bool,
    /// Asks for data instead of carrying them; the length it asks for, 0 for none.
    pub remote: Option<u8>,
    /// Flags of an FD frame (1 bit rate switch, 2 error state).
    pub fd_flags: Option<u8>,
    /// The DLC of a classic frame of 8 bytes that states more than 8.
    pub dlc: Option<u8>,
}

/// A frame of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CanFrame<'a> {
    /// When, in microseconds, from whatever the log counts.
    pub us: i64,
    /// The interface, as the log calls it.
    pub channel: &'a str,
    /// The id without flags; of error frames with bit 29 set, as the log has it.
    pub id: u32,
    /// What kind.
    pub form: Form,
    data: [u8; FRAME_DATA_MAX],
    len: u8,
}

impl<'a> CanFrame<'a> {
    /// A frame of these bytes; nothing if there are more than 64.
    pub fn new(us: i64, channel: &'a str, id: u32, form: Form, data: &[u8]) -> Option<Self> {
        let mut bytes = [0; FRAME_DATA_MAX];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        Some(Self { us, channel, id, form, data: bytes, len: u8::try_from(data.len()).ok()? })
    }

    /// Its bytes.
    pub fn data(&self) -> &[u8] {
        self.data.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Reads a line without its end.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let mut words = line.split_ascii_whitespace();
        let us = parse_us(words.next()?.strip_prefix('(')?.strip_suffix(')')?)?;
        let channel = words.next().filter(|channel| channel.len() <= 32)?;
        let (id, content) = words.next()?.split_once('#')?;
        // candump -x adds the direction; nothing else may follow.
        if !matches!(words.next(), None | Some("T" | "R")) || words.next().is_some() {
            return None;
        }
        let extended = match id.len() {
            3 => false,
            8 => true,
            _ => return None,
        };
        let id = u32::from_str_radix(id, 16).ok().filter(|id| *id < 1 << 30)?;
        let form = Form { extended, ..Form::default() };
        if let Some(content) = content.strip_prefix('#') {
            let (flags, hex) = content.split_at_checked(1)?;
            let fd_flags = Some(u8::from_str_radix(flags, 16).ok()?);
            return Self::with_hex(us, channel, id, Form { fd_flags, ..form }, hex, FRAME_DATA_MAX);
        }
        if let Some(len) = content.strip_prefix('R') {
            let len = if len.is_empty() { 0 } else { parse_digit(len)? };
            return Self::new(us, channel, id, Form { remote: Some(len), ..form }, &[]);
        }
        let (hex, dlc) = match content.split_once('_') {
            Some((hex, dlc)) => (hex, Some(parse_digit(dlc).filter(|dlc| *dlc > 8)?)),
            None => (content, None),
        };
        Self::with_hex(us, channel, id, Form { dlc, ..form }, hex, 8)
    }

    fn with_hex(
        us: i64,
        channel: &'a str,
        id: u32,
        form: Form,
        hex: &str,
        len_max: usize,
    ) -> Option<Self> {
        let mut bytes = [0; FRAME_DATA_MAX];
        let len = hex.len() / 2;
        if !hex.len().is_multiple_of(2) || len > len_max || !hex.is_ascii() {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..hex.len()).step_by(2)) {
            let digits = hex.get(at..at + 2).filter(|digits| !digits.starts_with('+'))?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Self::new(us, channel, id, form, bytes.get(..len)?)
    }

    /// The line that [`Self::parse`] reads, without its end.
    pub fn line(&self) -> String {
        let (seconds, us) = (self.us.div_euclid(1_000_000), self.us.rem_euclid(1_000_000));
        let id = if self.form.extended {
            format!("{:08X}", self.id)
        } else {
            format!("{:03X}", self.id)
        };
        let mut line = format!("({seconds}.{us:06}) {} {id}#", self.channel);
        match (self.form.fd_flags, self.form.remote) {
            (Some(flags), _) => append(&mut line, format_args!("#{flags:X}")),
            (None, Some(0)) => line.push('R'),
            (None, Some(len)) => append(&mut line, format_args!("R{len:X}")),
            (None, None) => {}
        }
        for byte in self.data() {
            append(&mut line, format_args!("{byte:02X}"));
        }
        if let Some(dlc) = self.form.dlc {
            append(&mut line, format_args!("_{dlc:X}"));
        }
        line
    }
}

fn append(line: &mut String, text: std::fmt::Arguments<'_>) {
    let written = line.write_fmt(text);
    debug_assert!(written.is_ok(), "a String takes everything");
}

fn parse_digit(text: &str) -> Option<u8> {
    u8::from_str_radix(text, 16).ok().filter(|_| text.len() == 1 && text != "+")
}

/// `1627275155.016000`, exactly.
fn parse_us(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.')?;
    crate::decimal::whole(seconds.as_bytes(), 12)?;
    let digits = fraction.as_bytes();
    if digits.len() > 9 {
        return None;
    }
    crate::decimal::scaled(text.as_bytes(), 6, crate::decimal::Excess::Cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_written_again() {
        for line in [
            "(1627275155.016000) can2 009#993410C100069080",
            "(1627274455.012500) can1 17F00010#2010000000000000",
            "(46408.584930) vcan0 7FF#",
            "(0.000001) can0 123#R",
            "(0.000001) can0 123#R8",
            "(1.000001) can0 12345678##3000102030405060708090A0B0C0D0E0F",
            "(1.000001) can0 123#0102030405060708_F",
            "(1.000001) can0 20000004#0000000000000000",
        ] {
            assert_eq!(CanFrame::parse(line.as_bytes()).unwrap().line(), line);
        }
        let frame = CanFrame::parse(b"(1627275155.016) can2 009#9934").unwrap();
        assert_eq!(
            (frame.us, frame.id, frame.data()),
            (1_627_275_155_016_000, 9, &[0x99, 0x34][..])
        );
        assert!(!frame.form.extended);
    }

    #[test]
    fn anything_else_is_no_frame() {
        for line in [
            "",
            "can2 009#99",
            "(1.5) can2",
            "(1.5) can2 009",
            "(1.5) can2 09#99",
            "(1.5) can2 009#9",
            "(1.5) can2 009#+9",
            "(1.5) can2 009#000102030405060708",
            "(x) can2 009#99",
            "(-1.5) can2 009#99",
            "(1.5) can2 00G#99",
            "(1.5) can2 FFFFFFFF#99",
            "(1.5) can2 009#99 garbage",
            "(1.5) can2 009#99_8",
        ] {
            assert_eq!(CanFrame::parse(line.as_bytes()), None, "{line}");
        }
    }
}
