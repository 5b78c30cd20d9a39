//! Whom a certificate speaks for.

use protocol::DeviceId;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// What a URI name begins with that names a device.
const URI_PREFIX: &str = "urn:milepost:device:";

/// The devices that a client's certificate names: its common name, its DNS names, and its URIs of
/// the form `urn:milepost:device:ID`. Device ids keep their case, and so do these.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CertificateNames(Vec<DeviceId>);

impl CertificateNames {
    /// Of a client's own certificate, which the handshake verified; none if it names no device.
    pub fn of(leaf: &CertificateDer<'_>) -> Self {
        let Ok((_, certificate)) = parse_x509_certificate(leaf) else { return Self::default() };
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let alternative = alternative.iter().flat_map(|names| &names.value.general_names);
        let alternative = alternative.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            GeneralName::URI(uri) => uri.strip_prefix(URI_PREFIX),
            _ => None,
        });
        Self(common.chain(alternative).filter_map(|name| name.parse().ok()).collect())
    }

    /// Whether it speaks for this device.
    pub fn include(&self, device: &DeviceId) -> bool {
        self.0.contains(device)
    }
}
