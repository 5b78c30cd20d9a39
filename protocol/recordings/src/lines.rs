//! The lines of a file, unpacked on the way: plain, gzip or zstd, told by the first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use ruzstd::decoding::StreamingDecoder;

use crate::ReadError;

const LINE_LEN_MAX: usize = 64 * 1024;

/// Reads a file line by line; knows where it is.
pub struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Open { path: path.to_owned(), source };
        let mut packed = BufReader::with_capacity(256 * 1024, File::open(path).map_err(failed)?);
        let head = packed.fill_buf().map_err(failed)?;
        let reader: Box<dyn BufRead> = if head.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(packed)))
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Box::new(BufReader::with_capacity(64 * 1024, ZstdFrames::new(packed).map_err(failed)?))
        } else {
            Box::new(packed)
        };
        Ok(Self { path: path.to_owned(), reader, number: 0, line: Vec::new() })
    }

    /// The next line without its end, and its number from 1; nothing at the end of the file.
    pub fn read_line(&mut self) -> Result<Option<(u64, &[u8])>, ReadError> {
        self.line.clear();
        let limit = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line);
        let failed = |source, line| ReadError::Read { path: self.path.clone(), line, source };
        let len = read.map_err(|source| failed(source, self.number + 1))?;
        if len == 0 {
            return Ok(None);
        }
        self.number += 1;
        if len == LINE_LEN_MAX && !self.line.ends_with(b"\n") {
            let source = io::Error::new(io::ErrorKind::InvalidData, "a line of more than 64 KiB");
            return Err(failed(source, self.number));
        }
        Ok(Some((self.number, self.line.trim_ascii_end())))
    }
}

/// One zstd frame after the other, which [`StreamingDecoder`] alone would silently end at the first.
struct ZstdFrames {
    current: Option<StreamingDecoder<BufReader<File>, ruzstd::decoding::FrameDecoder>>,
}

impl ZstdFrames {
    fn new(packed: BufReader<File>) -> io::Result<Self> {
        Ok(Self { current: Some(StreamingDecoder::new(packed).map_err(io::Error::other)?) })
    }
}

impl Read for ZstdFrames {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.current {
            let len = decoder.read(into)?;
            if len > 0 || into.is_empty() {
                return Ok(len);
            }
            let at_end = decoder.get_mut().fill_buf()?.is_empty();
            let finished = self.current.take();
            if let (false, Some(decoder)) = (at_end, finished) {
                *self = Self::new(decoder.into_inner())?;
            }
        }
        Ok(0)
    }
}
