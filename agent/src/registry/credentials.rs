//! What a device is given to speak as itself, and how a key file says it.

use protocol::{DeviceId, Generation, Registration, Secret};
use serde::{Deserialize, Serialize};

use super::wrap;

/// What a device must be given to speak as itself. As JSON it is a line of a key file:
/// `{"device":"...","generation":0,"registration":2712847316,"secret":"<64 hexadecimal digits>"}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "KeyLine", try_from = "KeyLine")]
pub struct Credentials {
    /// Who.
    pub device: DeviceId,
    /// Which of its secrets this is.
    pub generation: Generation,
    /// In which registration, if that is known.
    pub registration: Option<Registration>,
    /// The secret.
    pub secret: Secret,
}

/// Credentials as written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine {
    device: DeviceId,
    generation: Generation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registration: Option<Registration>,
    secret: String,
}

impl From<Credentials> for KeyLine {
    fn from(credentials: Credentials) -> Self {
        let Credentials { device, generation, registration, secret } = credentials;
        Self { device, generation, registration, secret: wrap::hex(secret.expose()) }
    }
}

impl TryFrom<KeyLine> for Credentials {
    type Error = &'static str;

    fn try_from(line: KeyLine) -> Result<Self, Self::Error> {
        let secret = wrap::from_hex(&line.secret).ok_or("a secret is 64 hexadecimal digits")?;
        let KeyLine { device, generation, registration, .. } = line;
        Ok(Self { device, generation, registration, secret: Secret::new(secret) })
    }
}
