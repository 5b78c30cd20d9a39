//! Archives and manifests, without files.

use std::io;

use super::Manifest;
use super::tar;

/// The members of an archive, up to its end or to what is wrong with it.
pub fn members(mut archive: &[u8]) -> io::Result<Vec<(String, u64)>> {
    let mut members = Vec::new();
    while let Some((name, len)) = tar::next(&mut archive)? {
        members.push((name, len));
        let whole = len.saturating_add(u64::try_from(tar::padding(len)).unwrap_or(0));
        let whole = usize::try_from(whole).unwrap_or(usize::MAX);
        archive = archive.get(whole..).ok_or(io::ErrorKind::UnexpectedEof)?;
    }
    Ok(members)
}

/// An archive of members that are all zeros.
pub fn archive(members: &[(&str, u64)]) -> io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (name, len) in members {
        archive.extend_from_slice(&tar::header(name, *len, 0)?);
        let whole = usize::try_from(*len).unwrap_or(0) + tar::padding(*len);
        archive.resize(archive.len() + whole, 0);
    }
    tar::finish(&mut archive)?;
    Ok(archive)
}

/// The manifest in a text, or what is wrong with it.
pub fn manifest(text: &[u8]) -> Result<Manifest, String> {
    Manifest::decode(text)
}

/// A manifest as it is written.
pub fn encoded(manifest: &Manifest) -> serde_json::Result<Vec<u8>> {
    manifest.encode()
}
