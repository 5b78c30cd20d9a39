//! Our end towards a broker: whom we trust, and who we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use super::files::{TlsError, Validity, read_pair, read_roots};
use super::provider;

/// Where certificates and key lie; PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientFiles {
    /// Who signs the broker's certificate.
    pub ca: PathBuf,
    /// Our own certificate and its key, if the broker wants one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Reads the files anew: call it for each connection, so that renewed ones are taken up. Also how
/// long our own certificate is good, if we have one.
pub fn client_config(
    files: &ClientFiles,
) -> Result<(Arc<ClientConfig>, Option<Validity>), TlsError> {
    let provider = provider();
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::Refused { path, error }
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(refused(&files.ca))?
        .with_root_certificates(read_roots(&files.ca)?);
    let Some((certificate, key)) = &files.identity else {
        return Ok((Arc::new(builder.with_no_client_auth()), None));
    };
    let pair = read_pair(certificate, key, &provider)?;
    let resolver = Arc::new(SingleCertAndKey::from(pair.key));
    Ok((Arc::new(builder.with_client_cert_resolver(resolver)), Some(pair.validity)))
}

/// Whether a connection could use these files now.
pub fn check_client(files: &ClientFiles, now_s: i64) -> Result<(), TlsError> {
    let (_, validity) = client_config(files)?;
    match (validity, &files.identity) {
        (Some(validity), Some((certificate, _))) => validity.holds(now_s, certificate),
        _ => Ok(()),
    }
}
