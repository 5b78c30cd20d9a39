//! Where a broker is.

use std::fmt;
use std::net::Ipv6Addr;

/// `mqtt://HOST:PORT` or `mqtts://HOST:PORT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerUrl {
    /// Whether it is `mqtts`.
    pub is_tls: bool,
    /// A name or an address; IPv6 in brackets.
    pub host: String,
    /// The port; 1883 or 8883 if none was given.
    pub port: u16,
}

impl BrokerUrl {
    /// Reads one; none if it is malformed. With TLS the host is a name or an IPv4 address: what
    /// certificates name.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (is_tls, port) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let end = rest.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match rest.get(end..)?.rfind(':') {
            Some(colon) => {
                let (host, port) = rest.split_at_checked(end + colon)?;
                (host, port.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?)
            }
            None => (rest, port),
        };
        let is_name = |host: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.len() <= 253 && host.bytes().all(allowed)
        };
        let is_v6 = |host: &str| {
            let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
        };
        let fits = is_name(host) || (!is_tls && is_v6(host));
        fits.then(|| Self { is_tls, host: host.to_owned(), port })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        let shown = |text| BrokerUrl::parse(text).map(|url| url.to_string());
        for (text, expected) in [
            ("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:1884"),
            ("mqtt://broker", "mqtt://broker:1883"),
            ("mqtts://broker.example/", "mqtts://broker.example:8883"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtt://[::1]:5", "mqtt://[::1]:5"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected));
        }
        for text in [
            "broker:1883",
            "http://broker",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://b:0",
            "mqtt://b:x",
            "mqtt://b:70000",
            "mqtt://u@b",
            "mqtt://b/topic",
            "mqtts://[::1]",
            "mqtt://::1",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
