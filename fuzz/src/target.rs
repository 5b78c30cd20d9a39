//! What a target is, and all there are.

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line, and that of its corpus.
    pub name: &'static str,
    /// The longest input worth trying, in bytes.
    pub len_max: usize,
    /// The most bytes it may have allocated at once.
    pub alloc_max: usize,
    /// Puts one input through; panics if something does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with, made by the product's own encoders.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of its language, for the fuzzer to put in.
    pub words: &'static [&'static [u8]],
}

/// All targets, in the order in which bytes pass the parsers.
pub fn all() -> impl Iterator<Item = &'static Target> {
    let hosts: [&[Target]; 2] = [
        #[cfg(feature = "hosts")]
        crate::agent::TARGETS,
        #[cfg(feature = "hosts")]
        crate::simulator::TARGETS,
        #[cfg(not(feature = "hosts"))]
        &[],
        #[cfg(not(feature = "hosts"))]
        &[],
    ];
    crate::wire::TARGETS.iter().chain(hosts.into_iter().flatten())
}

/// The target that the environment names ([`NAME`]), of those in this program; one that is planted, if
/// it names that.
pub fn chosen(targets: &'static [Target]) -> fn(&[u8]) {
    let name = std::env::var(NAME).unwrap_or_default();
    let found = targets.iter().chain(crate::planted::FAULTS).find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("{NAME}={name:?} names no target of this program")).run
}

/// The environment variable that names the target: libFuzzer's command line is its own.
pub const NAME: &str = "MILEPOST_FUZZ_TARGET";
