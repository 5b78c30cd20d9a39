//! An authority, and certificates made by it.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// Signs certificates; its own lies in a folder, with those that it makes.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Files {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM, for its owner alone.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority, in this folder.
    pub fn new(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "An authority of the tests");
        let own = params.self_signed(&key)?;
        std::fs::write(dir.join("ca.pem"), own.pem())?;
        Ok(Self { dir: dir.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// For a server on this machine.
    pub fn server(&self, name: &str) -> Result<Files> {
        self.make(name, "localhost", Some("127.0.0.1"), 2100)
    }

    /// One that expired long ago.
    pub fn expired_server(&self, name: &str) -> Result<Files> {
        self.make(name, "localhost", Some("127.0.0.1"), 2001)
    }

    /// For a client with this name.
    pub fn client(&self, name: &str) -> Result<Files> {
        self.make(name, name, None, 2100)
    }

    /// One for a client that expired long ago.
    pub fn expired_client(&self, name: &str) -> Result<Files> {
        self.make(name, name, None, 2001)
    }

    /// Writes `file.pem` and `file.key`, over what is there.
    fn make(&self, file: &str, name: &str, address: Option<&str>, until: i32) -> Result<Files> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = address.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let usage = match address {
            Some(_) => ExtendedKeyUsagePurpose::ServerAuth,
            None => ExtendedKeyUsagePurpose::ClientAuth,
        };
        params.extended_key_usages = vec![usage];
        let made = params.signed_by(&key, &self.issuer)?;
        let files = Files {
            certificate: self.dir.join(format!("{file}.pem")),
            key: self.dir.join(format!("{file}.key")),
        };
        std::fs::write(&files.certificate, made.pem())?;
        let mut options = std::fs::OpenOptions::new();
        let mut private =
            options.write(true).create(true).truncate(true).mode(0o600).open(&files.key)?;
        std::io::Write::write_all(&mut private, key.serialize_pem().as_bytes())?;
        Ok(files)
    }
}
