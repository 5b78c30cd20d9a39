//! TLS on a device's link: whom it trusts, and the certificate that names it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::DeviceId;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

/// What a fleet's TLS needs; PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Who signs the other side's certificate.
    pub ca: PathBuf,
    /// The devices' own certificates, if they have any.
    pub identity: Option<Identity>,
}

/// Where devices have their certificates from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Identity {
    /// A folder with `DEVICE.pem` and `DEVICE.key` for each.
    Each(PathBuf),
    /// One certificate and key for all, whoever it names.
    One(PathBuf, PathBuf),
}

/// The devices' end of TLS to one address.
#[derive(Clone, Debug)]
pub struct Tls {
    name: ServerName<'static>,
    roots: Arc<RootCertStore>,
    identity: Option<Identity>,
}

impl Tls {
    /// For connections to this host.
    pub fn new(host: &str, files: &TlsFiles) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca)? {
            roots.add(certificate).map_err(|error| at(&files.ca, &error))?;
        }
        Ok(Self { name, roots: Arc::new(roots), identity: files.identity.clone() })
    }

    /// Whom the other side's certificate must name.
    pub fn server_name(&self) -> ServerName<'static> {
        self.name.clone()
    }

    /// For a device's next connection: its files are read anew each time, as they may have been
    /// renewed.
    pub fn config(&self, device: &DeviceId) -> io::Result<Arc<ClientConfig>> {
        // Named, not the process's default, which may be missing.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(io::Error::other)?
            .with_root_certificates(self.roots.clone());
        let (certificate, key) = match &self.identity {
            None => return Ok(Arc::new(builder.with_no_client_auth())),
            Some(Identity::Each(dir)) => {
                (dir.join(format!("{device}.pem")), dir.join(format!("{device}.key")))
            }
            Some(Identity::One(certificate, key)) => (certificate.clone(), key.clone()),
        };
        let chain = certificates(&certificate)?;
        let private = read(&key)?;
        let private = PrivateKeyDer::from_pem_slice(&private).map_err(|error| at(&key, &error))?;
        let config = builder.with_client_auth_cert(chain, private);
        Ok(Arc::new(config.map_err(|error| at(&certificate, &error))?))
    }
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| at(path, &error))?;
    if found.is_empty() {
        return Err(at(path, &"no certificate in it"));
    }
    Ok(found)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
