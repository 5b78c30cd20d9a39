//! What all programs that fuzz have in common: libFuzzer's own command line, and besides it what the
//! environment asks for.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::bound;
use crate::corpus;
use crate::target::{NAME, Target, chosen};

/// The environment variable that asks for something else than fuzzing: `list`, `unpack`, `pack`.
pub const DO: &str = "MILEPOST_FUZZ_DO";
/// The environment variable that says in which directory.
pub const DIR: &str = "MILEPOST_FUZZ_DIR";
/// What stands before the figure whenever a parser took more memory than ever before.
pub const PEAK: &str = "milepost peak bytes: ";

/// Does what the environment asks for and ends the process, or does nothing.
pub fn begin(targets: &'static [Target]) {
    let Ok(what) = std::env::var(DO) else { return };
    let dir = || std::env::var_os(DIR).map(PathBuf::from).expect("a directory");
    match what.as_str() {
        "list" => targets.iter().for_each(list),
        "unpack" => targets.iter().for_each(|target| unpack(target, &dir())),
        "pack" => named(targets).for_each(|target| pack(target, &dir())),
        _ => panic!("{DO} is list, unpack or pack"),
    }
    std::process::exit(0);
}

/// The target that the environment names.
fn named(targets: &'static [Target]) -> impl Iterator<Item = &'static Target> {
    let name = std::env::var(NAME).unwrap_or_default();
    targets.iter().filter(move |target| target.name == name)
}

fn list(target: &Target) {
    let Target { name, len_max, alloc_max, .. } = target;
    println!("{{\"name\":\"{name}\",\"len_max\":{len_max},\"alloc_max\":{alloc_max}}}");
}

/// The seeds, the committed corpus and the dictionary, as libFuzzer reads them.
fn unpack(target: &Target, dir: &Path) {
    let inputs = dir.join(target.name);
    std::fs::create_dir_all(&inputs).expect("a directory for the corpus");
    let committed = corpus::read(target.name);
    let all = (target.seeds)().into_iter().chain(committed.into_iter().map(|(_, input)| input));
    for (at, input) in all.enumerate() {
        std::fs::write(inputs.join(format!("{at:04}")), input).expect("writing the corpus");
    }
    // libFuzzer knows few other escapes.
    let escaped = |word: &&[u8]| {
        word.iter().fold(String::new(), |line, byte| line + &format!("\\x{byte:02x}"))
    };
    let words = target.words.iter().map(|word| format!("\"{}\"\n", escaped(word)));
    let file = dir.join(format!("{}.dict", target.name));
    std::fs::write(file, words.collect::<String>()).expect("writing the dictionary");
}

/// Commits what `dir` holds of inputs, as far as it is small.
fn pack(target: &Target, dir: &Path) {
    let entries = std::fs::read_dir(dir.join(target.name)).expect("a directory of inputs");
    let inputs = entries.map(|entry| std::fs::read(entry.expect("an entry").path()));
    let inputs = inputs.map(|input| input.expect("an input")).collect();
    corpus::write(target, inputs);
}

/// Puts an input through the chosen target.
pub fn run(targets: &'static [Target], input: &[u8]) {
    static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();
    let before = bound::peak();
    CHOSEN.get_or_init(|| chosen(targets))(input);
    let after = bound::peak();
    if after > before {
        eprintln!("{PEAK}{after}");
    }
}

/// Makes a program of a list of targets.
#[macro_export]
macro_rules! program {
    ($targets:expr) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::program::begin($targets),
            |input: &[u8]| $crate::program::run($targets, input)
        );
    };
}
