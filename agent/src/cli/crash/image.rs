//! The image that crashed: its ELF file, and which line of source an address belongs to.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use anyhow::{Context as _, anyhow, bail};
use object::{Object as _, ObjectSection as _, SectionKind};
use serde::Serialize;

/// Most bytes of a file that is looked at: an ELF file with all that debuggers want is some MiB.
const FILE_LEN_MAX: u64 = 256 << 20;
/// Bytes of a word on the stack, and of the longest call before a return address.
const WORD: usize = 4;

/// An ELF file, of the hash that was looked for.
pub(super) struct Image {
    pub path: PathBuf,
    loader: Loader,
    /// Code, by its address.
    code: Vec<(u32, Vec<u8>)>,
}

/// An address of a crash.
#[derive(Serialize, Debug)]
pub(super) struct Place {
    /// What it was in: `pc`, `lr`, or how far up the stack.
    pub at: String,
    pub address: u32,
    /// The innermost first; more than one where calls were inlined.
    pub calls: Vec<Call>,
}

/// A function, and a line of it.
#[derive(Serialize, Debug, PartialEq, Eq)]
pub(super) struct Call {
    function: Option<String>,
    file: Option<String>,
    line: Option<u32>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.function.as_deref().unwrap_or("?"))?;
        if let Some(file) = &self.file {
            write!(f, "  {file}")?;
        }
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

impl Image {
    /// The image with this hash among these files and those in these directories; none if no path is
    /// given. That none of them has the hash is an error, which names what was looked at.
    pub fn find(paths: &[PathBuf], hash: u32) -> anyhow::Result<Option<Self>> {
        let mut others = Vec::new();
        for path in paths {
            let about = || format!("cannot read {}", path.display());
            if !fs::metadata(path).with_context(about)?.is_dir() {
                match read(path)? {
                    (code, found) if found == hash => return Self::open(path, code).map(Some),
                    (_, found) => others.push(format!("{} is {found:08x}", path.display())),
                }
                continue;
            }
            for entry in fs::read_dir(path).with_context(about)? {
                let file = entry.with_context(about)?.path();
                // What is no image has nothing to say here.
                match read(&file) {
                    Ok((code, found)) if found == hash => {
                        return Self::open(&file, code).map(Some);
                    }
                    Ok((_, found)) => others.push(format!("{} is {found:08x}", file.display())),
                    Err(_) => {}
                }
            }
        }
        match (paths, others.as_slice()) {
            ([], _) => Ok(None),
            (_, []) => bail!("no image there; the crash is of {hash:08x}"),
            (_, others) => {
                bail!("another image: {}; the crash is of {hash:08x}", others.join(", "))
            }
        }
    }

    fn open(path: &Path, code: Vec<(u32, Vec<u8>)>) -> anyhow::Result<Self> {
        let failed =
            |error| anyhow!("cannot read what {} has for debuggers: {error}", path.display());
        let loader = Loader::new(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), loader, code })
    }

    /// What stands before an address of code.
    fn before(&self, address: u32) -> Option<&[u8]> {
        self.code.iter().find_map(|(base, code)| {
            let at = usize::try_from(address.checked_sub(*base)?).ok()?;
            code.get(at.checked_sub(WORD)?..at)
        })
    }

    fn has(&self, address: u32) -> bool {
        self.code.iter().any(|(base, code)| {
            address.checked_sub(*base).is_some_and(|at| (at as usize) < code.len())
        })
    }

    /// Whether a call returns there: in Thumb code, which the lowest bit says, behind BL or BLX
    /// (Armv7-M Architecture Reference Manual, A7.7.18 and A7.7.19).
    fn is_return(&self, word: u32) -> bool {
        let Some(&[a, b, c, d]) = self.before(word & !1) else { return false };
        let (first, second) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        let is_call = first & 0xF800 == 0xF000 && second & 0xD000 == 0xD000;
        word & 1 == 1 && (is_call || second & 0xFF87 == 0x4780)
    }

    /// The calls that this address is in; of where a call returns to, the call itself.
    fn calls(&self, address: u32, is_return: bool) -> Vec<Call> {
        let probe = u64::from(address & !1).saturating_sub(u64::from(is_return));
        let mut calls = Vec::new();
        // Damaged or missing, what debuggers want has nothing to say.
        if let Ok(mut frames) = self.loader.find_frames(probe) {
            while let Ok(Some(frame)) = frames.next() {
                let function = frame.function.as_ref();
                let function = function.and_then(|name| Some(name.demangle().ok()?.into_owned()));
                let (file, line) =
                    frame.location.map_or((None, None), |place| (place.file, place.line));
                calls.push(Call { function, file: file.map(str::to_owned), line });
            }
        }
        if calls.is_empty()
            && let Some(symbol) = self.loader.find_symbol(probe)
        {
            let function = addr2line::demangle_auto(symbol.into(), None).into_owned();
            calls.push(Call { function: Some(function), file: None, line: None });
        }
        calls
    }
}

/// Code and hash of an image.
type Read = (Vec<(u32, Vec<u8>)>, u32);

fn read(path: &Path) -> anyhow::Result<Read> {
    let name = path.display();
    let len = fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
    if len > FILE_LEN_MAX {
        bail!("{name} has {len} bytes: more than any image");
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
    let file = object::File::parse(&*bytes).map_err(|_| anyhow!("{name} is no ELF file"))?;
    let hash = file.build_id().ok().flatten().and_then(<[u8]>::first_chunk);
    let hash =
        hash.with_context(|| format!("{name} has no build id: it is no image of a device"))?;
    let code = file.sections().filter(|section| section.kind() == SectionKind::Text);
    let code = code.filter_map(|section| {
        Some((u32::try_from(section.address()).ok()?, section.data().ok()?.to_vec()))
    });
    Ok((code.collect(), u32::from_be_bytes(*hash)))
}

/// Program counter, link register, and what on the stack looks like where a call returns to; without an
/// image the first two, as they are.
pub(super) fn places(image: Option<&Image>, registers: [u32; 3], stack: &[u8]) -> Vec<Place> {
    let [pc, lr, _] = registers;
    let place = |at: &str, address: u32, is_return: bool| {
        let image = image.filter(|image| image.has(address & !1));
        let calls = image.map_or_else(Vec::new, |image| image.calls(address, is_return));
        Place { at: at.to_owned(), address, calls }
    };
    let is_return = |word| image.is_some_and(|image| image.is_return(word));
    let mut places = vec![place("pc", pc, false), place("lr", lr, is_return(lr))];
    let words = stack.chunks_exact(WORD).zip((0..).step_by(WORD));
    for (word, offset) in words {
        let Some(word) = word.first_chunk().map(|word| u32::from_le_bytes(*word)) else { continue };
        // The registers stand there once more, where an exception put them.
        if is_return(word) && word != lr {
            places.push(place(&format!("sp+{offset}"), word, true));
        }
    }
    places
}
