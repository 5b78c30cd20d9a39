//! TLS, at the port and towards brokers: certificates and keys from files, and what they say.
//!
//! Constraints first. A renewed certificate is taken up without a restart, and a bad one must not
//! take the port down: it is refused, said, and the one in use stays. A private key that others can
//! read is not used. The cryptography is named at every place (`provider`): nothing depends on a
//! default of the process, which could be missing.
//!
//! `files` reads, `names` says whom a certificate speaks for, `server` and `client` make the two
//! ends. TLS 1.2 and 1.3, nothing older.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

mod client;
mod files;
mod names;
mod server;
#[cfg(test)]
mod tests;

pub use client::{ClientFiles, check_client, client_config};
pub use files::{TlsError, Validity};
pub use names::CertificateNames;
pub use server::{ServerFiles, ServerTls, TlsStatus, check_server, keep_fresh};

pub(crate) use server::unix_s;

/// From here on a certificate's end is said.
pub const EXPIRY_WARNING_S: i64 = 14 * DAY_S;

const DAY_S: i64 = 24 * 60 * 60;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How long a certificate is still good, in words.
pub fn remaining(left_s: i64) -> String {
    match left_s {
        ..0 => format!("expired {} ago", span(-left_s)),
        0..EXPIRY_WARNING_S => format!("expires in {}: renew it", span(left_s)),
        _ => format!("valid for {}", span(left_s)),
    }
}

fn span(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / DAY_S),
    }
}
