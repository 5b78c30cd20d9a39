//! The beginning of a TLS connection: a socket in, a line and the names of its certificate out.

use std::io;
use std::sync::Arc;

use rustls::{CertificateError, Error};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::line::Wire;
use super::reason::TlsRefusal;
use crate::tls::{CertificateNames, ServerTls};

/// What TLS may hold back for a device that does not read.
const BUFFER_LEN_MAX: usize = 16 * 1024;

/// Shakes hands. The names are none where no certificate is asked for.
///
/// Cancel safe in that nothing is kept: the connection is lost.
pub(super) async fn shake_hands(
    tls: &ServerTls,
    stream: TcpStream,
) -> Result<(Wire, Option<CertificateNames>), TlsRefusal> {
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config()));
    let accepted = acceptor
        .accept_with(stream, |connection| connection.set_buffer_limit(Some(BUFFER_LEN_MAX)))
        .await;
    let stream = accepted.map_err(|error| refusal(&error))?;
    let names = tls.wants_certificates().then(|| {
        let chain = stream.get_ref().1.peer_certificates();
        chain.and_then(|chain| chain.first()).map(CertificateNames::of).unwrap_or_default()
    });
    Ok((Wire::Tls(Box::new(stream)), names))
}

fn refusal(error: &io::Error) -> TlsRefusal {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        None => TlsRefusal::Left,
        Some(Error::InvalidMessage(_)) => TlsRefusal::NotTls,
        Some(Error::PeerIncompatible(_)) => TlsRefusal::Version,
        Some(Error::NoCertificatesPresented) => TlsRefusal::NoCertificate,
        Some(Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                TlsRefusal::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsRefusal::NotValidYet
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                TlsRefusal::Untrusted
            }
            _ => TlsRefusal::BadCertificate,
        },
        Some(Error::AlertReceived(_)) => TlsRefusal::Distrusted,
        Some(_) => TlsRefusal::Other,
    }
}
