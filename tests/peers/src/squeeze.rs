//! General compressors over a whole message, each at the setting that the reference has.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

/// zlib's default, and what Python's `gzip` and `zlib` were given.
const DEFLATE_LEVEL: u32 = 6;
/// The highest that needs no more memory to read.
const ZSTD_LEVEL: i32 = 19;
/// The highest.
const BROTLI_QUALITY: i32 = 11;

/// RFC 1952: 18 bytes around a deflate stream.
pub fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(DEFLATE_LEVEL));
    gzip.write_all(bytes)?;
    gzip.finish()
}

/// RFC 1950: 6 bytes around a deflate stream.
pub fn zlib(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::new(DEFLATE_LEVEL));
    zlib.write_all(bytes)?;
    zlib.finish()
}

/// Snappy without its framing, as `FleetWise` sends it.
pub fn snappy(bytes: &[u8]) -> io::Result<Vec<u8>> {
    snap::raw::Encoder::new().compress_vec(bytes).map_err(io::Error::other)
}

/// RFC 7932. The output is empty only if the input is.
pub fn brotli(mut bytes: &[u8]) -> io::Result<Vec<u8>> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut bytes, &mut out, &params)?;
    Ok(out)
}

/// RFC 8878, the size in the header and no checksum. Keeps its tables, which are large, from
/// message to message.
pub struct Zstd(zstd::bulk::Compressor<'static>);

impl Zstd {
    /// A compressor with tables of its own.
    pub fn new() -> io::Result<Self> {
        zstd::bulk::Compressor::new(ZSTD_LEVEL).map(Self)
    }

    /// One frame, which knows nothing of the last.
    pub fn frame(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"a sample, a sample, a sample, and one more sample";

    fn read(mut from: impl io::Read) -> Vec<u8> {
        let mut out = Vec::new();
        from.read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn all_come_back() {
        assert_eq!(read(flate2::read::GzDecoder::new(&gzip(TEXT).unwrap()[..])), TEXT);
        assert_eq!(read(flate2::read::ZlibDecoder::new(&zlib(TEXT).unwrap()[..])), TEXT);
        assert_eq!(read(brotli::Decompressor::new(&brotli(TEXT).unwrap()[..], 4096)), TEXT);
        let snappy = snappy(TEXT).unwrap();
        assert_eq!(snap::raw::Decoder::new().decompress_vec(&snappy).unwrap(), TEXT);
        let mut zstd = Zstd::new().unwrap();
        for _ in 0..2 {
            let frame = zstd.frame(TEXT).unwrap();
            assert_eq!(zstd::bulk::decompress(&frame, 100).unwrap(), TEXT);
        }
    }

    #[test]
    fn frames_are_as_small_as_the_reference_has_them() {
        let (gzip, zlib) = (gzip(TEXT).unwrap(), zlib(TEXT).unwrap());
        assert_eq!(gzip.len(), zlib.len() + 12, "no file name, no comment");
        assert_eq!(&gzip[..4], b"\x1f\x8b\x08\0");
        let frame = Zstd::new().unwrap().frame(TEXT).unwrap();
        assert_eq!(frame[4] & 0b100, 0, "no checksum");
    }
}
