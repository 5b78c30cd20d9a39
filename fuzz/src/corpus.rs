//! The committed corpora: a text file per target, an input per line.
//!
//! A line is a word and the input with what is not ASCII escaped as Rust does. The word is `grown`:
//! found by the fuzzer to reach what nothing else here reaches; written by `cargo xtask fuzz
//! --minimize`, and small. Or it is `found-NAME`: it showed a fault once, and stays. The seeds are not
//! in these files: they are made by the product's own encoders, and so never out of date.

use std::path::PathBuf;

use crate::Target;

const GROWN: &str = "grown";
/// Most bytes of grown inputs per target, and of one.
const BYTES_MAX: usize = 3 * 1024;
const INPUT_MAX: usize = 400;

fn path(target: &str) -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = package.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.join("corpus").join(target)
}

/// A target's committed inputs, each with its word.
pub fn read(target: &str) -> Vec<(String, Vec<u8>)> {
    let text = match std::fs::read_to_string(path(target)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        text => text.expect("reading the corpus"),
    };
    let line = |line: &str| {
        let (word, input) = line.split_once(' ').expect("a word and an input");
        (word.to_owned(), unescape(input).expect("an escaped input"))
    };
    text.lines().map(line).collect()
}

/// Replaces what was grown by the smallest of these inputs, as far as there is room.
pub fn write(target: &Target, mut inputs: Vec<Vec<u8>>) {
    let seeds = (target.seeds)();
    let mut kept = read(target.name);
    kept.retain(|(word, _)| word != GROWN);
    inputs.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    inputs.dedup();
    // Spread over all lengths: the smallest alone would be the least interesting.
    let room = inputs.iter().filter(|input| input.len() <= INPUT_MAX && !input.is_empty());
    let room: Vec<&Vec<u8>> = room.filter(|input| !seeds.contains(input)).collect();
    let total: usize = room.iter().map(|input| input.len()).sum();
    let every = total.div_ceil(BYTES_MAX).max(1);
    let grown = room.into_iter().step_by(every).map(|input| (GROWN.to_owned(), input.clone()));
    let lines = kept.into_iter().chain(grown);
    let lines = lines.map(|(word, input)| format!("{word} {}\n", input.escape_ascii()));
    let file = path(target.name);
    std::fs::create_dir_all(file.parent().expect("a directory")).expect("the corpora's directory");
    std::fs::write(file, lines.collect::<String>()).expect("writing the corpus");
}

/// The inverse of `escape_ascii`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let plain = if byte == b'\\' { rest.next()? } else { byte };
        bytes.push(match (byte, plain) {
            (b'\\', b'n') => b'\n',
            (b'\\', b'r') => b'\r',
            (b'\\', b't') => b'\t',
            (b'\\', b'x') => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => plain,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&all.escape_ascii().to_string()), Some(all));
    }
}
