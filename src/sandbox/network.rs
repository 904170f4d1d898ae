//! Where an app may connect to: nowhere, but where the operator says. Pure; names and addresses are data here.
//!
//! Two things let an address through. It was named itself, alone or in a range. Or it is what a name that was named stands
//! for, as the host found when the app looked it up, and it is an address of the public internet: whoever answers for a
//! name does not decide what is reachable inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// One `--allow-net`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    text: String,
    host: Host,
    /// None is every port.
    port: Option<u16>,
    protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Host {
    /// In lower case, without a dot at its end.
    Name(String),
    Range(Range),
}

/// The addresses that share their first bits with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Range(IpAddr, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Rule {
    /// `HOST:PORT[/udp]`: a name, an address (IPv6 in brackets) or a range of addresses; a port, or `*`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("'{text}': {why}; expected HOST:PORT, such as example.org:443 or [fd00::/8]:5432");
        let (rest, protocol) = match text.strip_suffix("/udp") {
            Some(rest) => (rest, Protocol::Udp),
            None => (text, Protocol::Tcp),
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong("there is no port"))?;
        let port = match port {
            "*" => None,
            number => match number.parse() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(wrong("that is no port")),
            },
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(range) => Host::Range(range.parse().map_err(|why: &str| wrong(why))?),
            // Without brackets an address of IPv6 could be one with or without a port.
            None => match host.parse::<Range>() {
                Ok(range) if range.0.is_ipv4() => Host::Range(range),
                _ if is_name(host) => Host::Name(plain(host)),
                _ => return Err(wrong("that is no host")),
            },
        };
        Ok(Self {
            text: text.to_owned(),
            host,
            port,
            protocol,
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// None is every port.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether this is about a name, so that looking it up is part of the grant.
    pub fn is_for(&self, name: &str) -> bool {
        matches!(&self.host, Host::Name(own) if *own == plain(name))
    }

    /// Whether it lets a connection through; `found` are the addresses that were found for names, each with its name.
    pub fn allows(&self, to: SocketAddr, protocol: Protocol, found: &[(String, IpAddr)]) -> bool {
        let address = to.ip().to_canonical();
        if self.protocol != protocol || self.port.is_some_and(|port| port != to.port()) {
            return false;
        }
        match &self.host {
            Host::Range(range) => range.contains(address),
            Host::Name(name) => {
                is_public(address)
                    && found
                        .iter()
                        .any(|(known, found)| known == name && found.to_canonical() == address)
            }
        }
    }
}

/// A name as names are compared.
pub fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Letters, digits and hyphens between dots, and the last part no number, or some resolvers take it for an address.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253
        && text.split('.').all(part)
        && text
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|first: char| first.is_ascii_alphabetic()))
}

impl std::str::FromStr for Range {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "that is no address")?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most),
            None => Some(most),
        };
        Ok(Self(address, bits.ok_or("that is no number of bits")?))
    }
}

impl Range {
    fn contains(self, address: IpAddr) -> bool {
        let Self(start, bits) = self;
        match (start, address) {
            (IpAddr::V4(start), IpAddr::V4(address)) => {
                (start.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(bits)
            }
            (IpAddr::V6(start), IpAddr::V6(address)) => {
                (start.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(bits)
            }
            _ => false,
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Range {
    Range(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits)
}

const fn v6(a: u16, b: u16, bits: u8) -> Range {
    Range(IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), bits)
}

/// What IANA's registry of special-purpose addresses has of IPv4 (RFC 6890), multicast, and what is reserved.
const SPECIAL_V4: [Range; 15] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    // Link-local, and where clouds keep their metadata.
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// All of IPv6 that is given out for the public internet ...
const PUBLIC_V6: Range = v6(0x2000, 0, 3);
/// ... except what stands for something else: protocols' own addresses (Teredo among them), documentation, 6to4.
const SPECIAL_V6: [Range; 4] = [
    v6(0x2001, 0, 23),
    v6(0x2001, 0xdb8, 32),
    v6(0x2002, 0, 16),
    v6(0x3fff, 0, 20),
];

/// Whether an address is of the public internet.
fn is_public(address: IpAddr) -> bool {
    let is_in = |ranges: &[Range]| ranges.iter().any(|range| range.contains(address));
    match address {
        IpAddr::V4(_) => !is_in(&SPECIAL_V4),
        IpAddr::V6(_) => PUBLIC_V6.contains(address) && !is_in(&SPECIAL_V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a rule lets a connection to this address through, if `example.org` was found to be that address.
    fn allows(rule: &str, to: &str) -> bool {
        let to: SocketAddr = to.parse().unwrap();
        let found = [("example.org".to_owned(), to.ip())];
        Rule::parse(rule).unwrap().allows(to, Protocol::Tcp, &found)
    }

    #[test]
    fn what_is_named_is_allowed_and_nothing_else() {
        for (rule, to, allowed) in [
            ("10.1.2.3:5432", "10.1.2.3:5432", true),
            ("10.1.2.3:5432", "10.1.2.3:5433", false),
            ("10.1.2.3:5432", "10.1.2.4:5432", false),
            ("10.1.2.3:5432", "[::ffff:10.1.2.3]:5432", true),
            ("10.0.0.0/8:*", "10.255.0.1:1", true),
            ("10.0.0.0/8:*", "11.0.0.1:1", false),
            ("0.0.0.0/0:80", "127.0.0.1:80", true),
            ("0.0.0.0/0:80", "[::1]:80", false),
            ("[::1]:80", "[::1]:80", true),
            ("[::1]:80", "127.0.0.1:80", false),
            ("[fd00::/8]:80", "[fdff::1]:80", true),
            ("[fd00::/8]:80", "[fe80::1]:80", false),
            ("example.org:443", "93.184.215.14:443", true),
            ("Example.ORG.:443", "93.184.215.14:443", true),
            ("example.org:443", "93.184.215.14:80", false),
            ("example.org:443", "[2606:2800:21f::1]:443", true),
            ("example.com:443", "93.184.215.14:443", false),
            ("example.org:443/udp", "93.184.215.14:443", false),
        ] {
            assert_eq!(allows(rule, to), allowed, "{rule} {to}");
        }
        let udp = Rule::parse("10.0.0.1:53/udp").unwrap();
        let to = "10.0.0.1:53".parse().unwrap();
        assert!(udp.allows(to, Protocol::Udp, &[]) && !udp.allows(to, Protocol::Tcp, &[]));
    }

    #[test]
    fn a_name_does_not_open_what_is_not_public() {
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:169.254.169.254]",
            "[::127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::1]",
            "[100::1]",
            "[2001::1]",
            "[2001:db8::1]",
            "[2002:7f00:1::]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
        ] {
            assert!(!allows("example.org:80", &format!("{address}:80")), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "172.32.0.1",
            "[2a00:1450::1]",
            "[2001:4860::1]",
        ] {
            assert!(allows("example.org:80", &format!("{address}:80")), "{address}");
        }
    }

    #[test]
    fn an_address_counts_only_as_what_the_name_was_found_to_be() {
        let rule = Rule::parse("example.org:443").unwrap();
        let to: SocketAddr = "93.184.215.14:443".parse().unwrap();
        assert!(!rule.allows(to, Protocol::Tcp, &[]));
        let of_another = [("example.com".to_owned(), to.ip())];
        assert!(!rule.allows(to, Protocol::Tcp, &of_another));
        let another = [("example.org".to_owned(), "93.184.215.15".parse().unwrap())];
        assert!(!rule.allows(to, Protocol::Tcp, &another));
        assert!(rule.is_for("EXAMPLE.org.") && !rule.is_for("www.example.org"));
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            "",
            "example.org",
            "example.org:",
            "example.org:0",
            "example.org:70000",
            "example.org:http",
            ":80",
            "*:80",
            "*.example.org:80",
            "exa mple.org:80",
            "::1:80",
            "[::1:80",
            "[example.org]:80",
            "10.0.0.0/33:80",
            "1.2.3:80",
            "0x7f000001:80",
            "example.org:80/tcp",
        ] {
            assert!(Rule::parse(wrong).is_err(), "{wrong}");
        }
    }
}
