//! Which peers may speak for the client, `--forwarded-allow-ips`, and what they say.

use std::net::IpAddr;

use clap::Args;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::listener::Endpoint;

/// The fields in which proxies name the scheme, each with the value that stands for https: gunicorn's.
const SCHEME_FIELDS: [(&str, &[&str]); 3] = [
    ("x-forwarded-proto", &["https"]),
    ("x-forwarded-protocol", &["ssl", "https"]),
    ("x-forwarded-ssl", &["on"]),
];

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Proxies")]
pub struct Options {
    /// Proxies that are believed what scheme the client used (X-Forwarded-Proto, Forwarded): addresses or networks, or *
    /// for all. Unix sockets always are.
    #[arg(
        long,
        default_value = "127.0.0.1,::1",
        value_delimiter = ',',
        value_name = "IP[/BITS],..."
    )]
    pub forwarded_allow_ips: Vec<Network>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    Any,
    Of { address: IpAddr, bits: u8 },
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong = || format!("'{text}' is no IP address, no network such as 10.0.0.0/8, and not *");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        if bits > all {
            return Err(wrong());
        }
        Ok(Self::Of { address, bits })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Of { address, bits } => write!(f, "{address}/{bits}"),
        }
    }
}

impl Network {
    /// Whether a peer is in any of these; one at a Unix socket is in all.
    pub fn any_contains(networks: &[Self], peer: &Endpoint) -> bool {
        match peer {
            Endpoint::Unix(_) => true,
            Endpoint::Inet(peer) => {
                let address = peer.ip().to_canonical();
                networks.iter().any(|network| network.contains(address))
            }
        }
    }

    fn contains(self, peer: IpAddr) -> bool {
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        match self {
            Self::Any => true,
            Self::Of { address, bits } => {
                let ((own, own_family), (other, other_family)) = (number(address), number(peer));
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                own_family == other_family && own & mask == other & mask
            }
        }
    }
}

impl Options {
    pub fn trusts(&self, peer: &Endpoint) -> bool {
        Network::any_contains(&self.forwarded_allow_ips, peer)
    }
}

/// The scheme that the client used, `https` or `http`, as the fields of a proxy say it; none if none does. An error
/// if they disagree: one of them may be the client's own, and the proxy only passes it on.
///
/// In a list the last one counts, which the proxy has added that is trusted; what comes before it others have said.
pub fn scheme(headers: &HeaderMap) -> Result<Option<&'static str>, &'static str> {
    let mut said = None;
    let mut say = |secure: bool| match said.replace(secure) {
        Some(before) if before != secure => Err("the proxy's fields disagree about the client's scheme"),
        _ => Ok(()),
    };
    for (name, secure) in SCHEME_FIELDS {
        for value in headers.get_all(name) {
            let value = value.to_str().unwrap_or_default();
            let last = value.rsplit(',').next().unwrap_or_default().trim();
            say(secure.iter().any(|secure| last.eq_ignore_ascii_case(secure)))?;
        }
    }
    for value in headers.get_all(http::header::FORWARDED) {
        if let Some(scheme) = value.to_str().ok().and_then(forwarded_proto) {
            say(scheme.eq_ignore_ascii_case("https"))?;
        }
    }
    Ok(said.map(|secure| if secure { "https" } else { "http" }))
}

/// `proto` of the last element of a Forwarded field (RFC 7239, 4).
fn forwarded_proto(value: &str) -> Option<&str> {
    let mut quoted = false;
    let mut escaped = false;
    let parts = |separator: char| {
        move |character: char| {
            match character {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
            character == separator && !quoted
        }
    };
    let last = value.split(parts(',')).fold("", |_, element| element);
    last.split(parts(';')).find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        name.trim()
            .eq_ignore_ascii_case("proto")
            .then_some(bare.unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(fields: &[(&'static str, &'static str)]) -> Result<Option<&'static str>, ()> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        scheme(&headers).map_err(drop)
    }

    #[test]
    fn the_scheme_is_what_the_nearest_proxy_says() {
        assert_eq!(said(&[]), Ok(None));
        for (name, value, expected) in [
            ("x-forwarded-proto", "https", "https"),
            ("x-forwarded-proto", "HTTPS", "https"),
            ("x-forwarded-proto", "http", "http"),
            ("x-forwarded-proto", "ftp", "http"),
            ("x-forwarded-proto", "http, https", "https"),
            ("x-forwarded-proto", "https, http", "http"),
            ("x-forwarded-protocol", "ssl", "https"),
            ("x-forwarded-ssl", "on", "https"),
            ("x-forwarded-ssl", "off", "http"),
            ("forwarded", "proto=https", "https"),
            ("forwarded", "for=192.0.2.1;Proto=\"https\";by=\"[::1]:1\"", "https"),
            ("forwarded", "proto=https, for=\"a,b;proto=https\";proto=http", "http"),
            ("forwarded", "for=\"a\\\",\" ; proto=https", "https"),
        ] {
            assert_eq!(said(&[(name, value)]), Ok(Some(expected)), "{name}: {value}");
        }
        assert_eq!(said(&[("forwarded", "for=192.0.2.1")]), Ok(None));
        assert_eq!(said(&[("forwarded", "proto=https, for=192.0.2.1")]), Ok(None));
    }

    #[test]
    fn fields_that_disagree_are_an_error() {
        let https = ("x-forwarded-proto", "https");
        assert_eq!(said(&[https, https, ("x-forwarded-ssl", "on")]), Ok(Some("https")));
        assert_eq!(said(&[https, ("x-forwarded-proto", "http")]), Err(()));
        assert_eq!(said(&[https, ("x-forwarded-ssl", "off")]), Err(()));
        assert_eq!(said(&[https, ("forwarded", "proto=http")]), Err(()));
    }

    #[test]
    fn networks_contain_their_addresses() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(network("*").contains(address("192.0.2.1")));
        assert!(network("10.0.0.0/8").contains(address("10.255.0.1")));
        assert!(!network("10.0.0.0/8").contains(address("11.0.0.1")));
        assert!(network("0.0.0.0/0").contains(address("192.0.2.1")));
        assert!(!network("0.0.0.0/0").contains(address("::1")));
        assert!(network("::1").contains(address("::1")));
        assert!(!network("127.0.0.1").contains(address("127.0.0.2")));
        for wrong in ["", "localhost", "10.0.0.0/33", "::1/129", "10.0.0.0/x"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
