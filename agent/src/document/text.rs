//! JSON text: strings escaped, numbers, hexadecimal.
//!
//! Source: RFC 8259 section 7.

use std::io::Write as _;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a JSON string, quotes included.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Appends the inside of a JSON string.
pub fn escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| needs_escape(*byte)) {
        let Some((plain, [special, after @ ..])) = rest.split_at_checked(at) else { break };
        out.extend_from_slice(plain);
        escape(out, *special);
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// Appends a whole number.
pub fn integer<N: itoa::Integer>(out: &mut Vec<u8>, number: N) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends what has a short textual form that needs no escaping: an id, a number.
pub fn plain(out: &mut Vec<u8>, shown: impl std::fmt::Display) {
    let written = write!(out, "{shown}");
    debug_assert!(written.is_ok(), "a vector takes every write");
}

/// Appends bytes as lower-case hexadecimal digits, without quotes.
pub fn hexadecimal(out: &mut Vec<u8>, bytes: &[u8]) {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    out.extend(digits.filter_map(|nibble| HEX.get(usize::from(nibble)).copied()));
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escape(out: &mut Vec<u8>, special: u8) {
    let short = match special {
        b'"' | b'\\' => special,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            hexadecimal(out, &[special]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_reads_back(text in any::<String>()) {
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Vec::new();
        string(&mut out, "a\"\\\n\r\t\u{1}\u{1f}\u{7f}é");
        assert_eq!(out, "\"a\\\"\\\\\\n\\r\\t\\u0001\\u001f\u{7f}é\"".as_bytes());
    }
}
