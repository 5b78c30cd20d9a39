//! Certificates and keys as they lie in PEM files.

use std::fs;
use std::io;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::registry::is_exposed;

/// The largest file that is read; chains and bundles are far smaller.
const FILE_LEN_MAX: u64 = 4 * 1024 * 1024;

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Config: a file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Config: others can read or write a private key.
    #[error("{path} can be read or written by others: chmod 600 {path}", path = .0.display())]
    Exposed(PathBuf),
    /// Config: no certificate in PEM.
    #[error("{}: no certificate in PEM (-----BEGIN CERTIFICATE-----)", .0.display())]
    NoCertificate(PathBuf),
    /// Config: no private key in PEM.
    #[error("{}: no unencrypted private key in PEM (PKCS#8, PKCS#1 or SEC1)", .0.display())]
    NoKey(PathBuf),
    /// Config: what is in the file cannot be used.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Config: certificate and key are not a pair.
    #[error("the key {} does not belong to the certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Config: the certificate's time has not come, or is over.
    #[error("{}: the certificate {}", path.display(), if *is_over { "has expired" } else { "is not valid yet" })]
    OutOfTime {
        /// The certificate's file.
        path: PathBuf,
        /// Whether it is over.
        is_over: bool,
    },
    /// Config: TLS itself does not take what the files hold.
    #[error("TLS cannot use {}: {error}", path.display())]
    Refused {
        /// The file that matters most.
        path: PathBuf,
        /// Why.
        error: rustls::Error,
    },
}

impl TlsError {
    /// The file that is wrong.
    pub fn path(&self) -> &Path {
        match self {
            Self::Mismatch { key, .. } => key,
            Self::Exposed(path)
            | Self::NoCertificate(path)
            | Self::NoKey(path)
            | Self::Read { path, .. }
            | Self::Unusable { path, .. }
            | Self::OutOfTime { path, .. }
            | Self::Refused { path, .. } => path,
        }
    }

    /// Whether it is about the private key.
    pub const fn is_about_key(&self) -> bool {
        matches!(self, Self::Exposed(_) | Self::NoKey(_) | Self::Mismatch { .. })
    }
}

/// When a certificate is good, in Unix seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// The first second.
    pub from_s: i64,
    /// The last second.
    pub until_s: i64,
}

impl Validity {
    /// Seconds that are left; negative when it is over.
    pub const fn left_s(&self, now_s: i64) -> i64 {
        self.until_s.saturating_sub(now_s)
    }

    /// Errors: outside of it.
    pub fn holds(&self, now_s: i64, path: &Path) -> Result<(), TlsError> {
        let is_over = now_s > self.until_s;
        if is_over || now_s < self.from_s {
            return Err(TlsError::OutOfTime { path: path.to_owned(), is_over });
        }
        Ok(())
    }
}

/// A certificate with its key, and how long it is good.
pub(super) struct Pair {
    pub key: CertifiedKey,
    pub validity: Validity,
}

/// Reads a certificate chain and its key, and makes sure that they belong together.
pub(super) fn read_pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Pair, TlsError> {
    let chain = read_certificates(certificate)?;
    let mut validity: Option<Validity> = None;
    for der in &chain {
        let this = validity_of(der, certificate)?;
        // A chain is good for as long as its shortest-lived part.
        let until_s = validity.map_or(this.until_s, |so_far| so_far.until_s.min(this.until_s));
        let from_s = validity.map_or(this.from_s, |so_far| so_far.from_s.max(this.from_s));
        validity = Some(Validity { from_s, until_s });
    }
    let validity = validity.ok_or_else(|| TlsError::NoCertificate(certificate.to_owned()))?;
    let private = read_key(key)?;
    let pair = CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        error => TlsError::Refused { path: key.to_owned(), error },
    })?;
    Ok(Pair { key: pair, validity })
}

/// Reads the certificates that are trusted to sign others.
pub(super) fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for der in read_certificates(path)? {
        roots.add(der).map_err(|error| TlsError::Refused { path: path.to_owned(), error })?;
    }
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (text, _) = read(path)?;
    let unusable = |error: &dyn std::fmt::Display| TlsError::Unusable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(&text) {
        let der = der.map_err(|error| unusable(&error))?;
        // What is no certificate would be noticed only by a peer.
        validity_of(&der, path)?;
        found.push(der);
    }
    if found.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let (text, metadata) = read(path)?;
    if is_exposed(&metadata) {
        return Err(TlsError::Exposed(path.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::NoKey(path.to_owned()))
}

fn validity_of(der: &CertificateDer<'_>, path: &Path) -> Result<Validity, TlsError> {
    let (_, certificate) = parse_x509_certificate(der).map_err(|error| TlsError::Unusable {
        path: path.to_owned(),
        reason: format!("not an X.509 certificate: {error}"),
    })?;
    let validity = certificate.validity();
    Ok(Validity {
        from_s: validity.not_before.timestamp(),
        until_s: validity.not_after.timestamp(),
    })
}

fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, fs::Metadata), TlsError> {
    let failed = |error| TlsError::Read { path: path.to_owned(), error };
    let file = fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_LEN_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes, metadata))
}
