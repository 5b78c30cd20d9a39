//! Why the other side turns a device away, as far as the device's end of the connection shows it:
//! MQTT's reason code (MQTT 5.0, 3.2.2.2), TLS's alert (RFC 8446, section 6), or no answer at all.

use std::io;

use rustls::{AlertDescription, Error};

/// Bytes within which a CONNACK's reason stands.
const HEAD_LEN: usize = 7;

/// What comes first over a connection: a welcome or not.
#[derive(Debug)]
pub enum Greeting {
    /// It has not come, or not all of it.
    Awaited(Vec<u8>),
    /// It has.
    Over,
}

impl Default for Greeting {
    fn default() -> Self {
        Self::Awaited(Vec::new())
    }
}

impl Greeting {
    /// What came next; the reason, if with it there is one.
    pub fn take(&mut self, bytes: &[u8]) -> Option<String> {
        let Self::Awaited(head) = self else { return None };
        head.extend(bytes.iter().take(HEAD_LEN.saturating_sub(head.len())));
        let answer = answer(head)?;
        *self = Self::Over;
        match answer {
            Answer::Welcome => None,
            Answer::Refused(code) => Some(format!("CONNACK {code:#04x}, {}", words(code))),
            Answer::Tls => Some("it speaks TLS, and the devices do not".to_owned()),
            Answer::Foreign => Some("what answers is not MQTT".to_owned()),
        }
    }

    /// Nothing comes any more, because of an error or without one.
    pub fn end(&mut self, error: Option<&io::Error>) -> Option<String> {
        let Self::Awaited(_) = std::mem::replace(self, Self::Over) else { return None };
        let said = error.and_then(of_tls);
        Some(said.unwrap_or_else(|| "closed without an answer to CONNECT".to_owned()))
    }
}

/// Why shaking hands came to nothing.
pub fn of_handshake(error: &io::Error) -> String {
    of_tls(error).unwrap_or_else(|| "closed during the TLS handshake".to_owned())
}

fn of_tls(error: &io::Error) -> Option<String> {
    Some(match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(alert) => format!("TLS alert, {}", of_alert(*alert)),
        Error::InvalidMessage(_) => "it does not speak TLS, and the devices do".to_owned(),
        Error::InvalidCertificate(why) => format!("its certificate is not good: {why}"),
        other => format!("TLS: {other}"),
    })
}

fn of_alert(alert: AlertDescription) -> String {
    let said = match alert {
        AlertDescription::CertificateRequired => "it asks for a certificate",
        AlertDescription::UnknownCA => "it does not trust who signed the certificate",
        AlertDescription::CertificateExpired => "the certificate has expired",
        AlertDescription::CertificateRevoked => "the certificate was revoked",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => "it cannot use the certificate",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::ProtocolVersion => "no version in common",
        AlertDescription::HandshakeFailure => "nothing in common to agree on",
        other => return format!("{other:?}"),
    };
    said.to_owned()
}

enum Answer {
    Welcome,
    Refused(u8),
    Tls,
    Foreign,
}

/// None until there is enough of it.
fn answer(head: &[u8]) -> Option<Answer> {
    match head {
        [] => None,
        [0x20, rest @ ..] => {
            // The remaining length, then a byte of flags.
            let len = rest.iter().position(|byte| byte & 0x80 == 0)?;
            Some(match rest.get(len + 2)? {
                0 => Answer::Welcome,
                code => Answer::Refused(*code),
            })
        }
        // An alert's record.
        [0x15, ..] => Some(Answer::Tls),
        _ => Some(Answer::Foreign),
    }
}

const fn words(code: u8) -> &'static str {
    match code {
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password: no such device, or not its key",
        0x87 => "not authorized: revoked, or with another device's certificate",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8a => "banned",
        0x8c => "bad authentication method",
        0x90 => "topic name invalid",
        0x95 => "packet too large",
        0x97 => "quota exceeded: too many connections",
        0x9c => "use another server",
        0x9d => "server moved",
        0x9f => "connection rate exceeded",
        _ => "unspecified error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(parts: &[&[u8]]) -> Option<String> {
        let mut greeting = Greeting::default();
        parts.iter().find_map(|part| greeting.take(part)).or_else(|| greeting.end(None))
    }

    #[test]
    fn the_first_answer_says_why() {
        let welcome: &[u8] = &[0x20, 3, 0, 0, 0];
        assert_eq!(refused(&[welcome, &[0xe0, 1, 0x87]]), None);
        for parts in [&[&[0x20, 3, 0, 0x87, 0][..]][..], &[&[0x20], &[0x83, 0, 0], &[0x87, 0]]] {
            assert!(refused(parts).unwrap().starts_with("CONNACK 0x87, not authorized"));
        }
        assert!(refused(&[&[0x20, 3, 0, 0x86, 0]]).unwrap().contains("no such device"));
        assert!(refused(&[&[0x15, 3, 3, 0, 2]]).unwrap().contains("speaks TLS"));
        assert!(refused(&[b"HTTP/1.1 400"]).unwrap().contains("not MQTT"));
        for parts in [&[][..], &[&[0x20, 3][..]]] {
            assert!(refused(parts).unwrap().contains("without an answer"));
        }
    }

    #[test]
    fn alerts_are_put_in_words() {
        let of = |error: Error| of_handshake(&io::Error::other(error));
        let said = of(Error::AlertReceived(AlertDescription::CertificateRequired));
        assert_eq!(said, "TLS alert, it asks for a certificate");
        let plain = rustls::InvalidMessage::InvalidContentType;
        assert!(of(Error::InvalidMessage(plain)).contains("does not speak TLS"));
        assert!(of_handshake(&io::ErrorKind::UnexpectedEof.into()).contains("handshake"));
        let alert = io::Error::other(Error::AlertReceived(AlertDescription::UnknownCA));
        let said = Greeting::default().end(Some(&alert)).unwrap();
        assert!(said.contains("does not trust"), "{said}");
    }
}
