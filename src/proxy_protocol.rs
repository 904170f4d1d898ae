//! The PROXY protocol, versions 1 and 2: a load balancer that passes bytes on says first whom it got them from.
//!
//! Source: <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>

use std::io;
use std::net::SocketAddr;

use clap::Args;
use proxy_header::{ParseConfig, ProxyHeader};
use serde::{Deserialize, Serialize};

use crate::listener::Endpoint;
use crate::proxy::Network;
use crate::transport::Transport;

/// The longest header of version 1, CR LF included.
const TEXT_BYTES: usize = 107;
/// What a header of version 2 may measure, with everything that follows the addresses in it.
const BINARY_BYTES: usize = 4 << 10;
const TEXT: &[u8] = b"PROXY ";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Up to the length of the rest.
const BINARY_START: usize = BINARY.len() + 4;

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Proxies")]
pub struct Options {
    /// Expect a PROXY protocol header, version 1 or 2, at the start of connections from --proxy-allow-from.
    #[arg(long)]
    pub proxy_protocol: bool,

    /// Load balancers that send it: addresses or networks, or * for all. Unix sockets always do.
    #[arg(
        long,
        visible_alias = "proxy-allow-ips",
        default_value = "127.0.0.1,::1",
        value_delimiter = ',',
        value_name = "IP[/BITS],..."
    )]
    pub proxy_allow_from: Vec<Network>,
}

impl Options {
    /// Whether a connection from there starts with a header. If so, one that does not is closed: guessing
    /// would let a client write the header.
    pub fn expects(&self, remote: &Endpoint) -> bool {
        self.proxy_protocol && Network::any_contains(&self.proxy_allow_from, remote)
    }
}

/// Both ends of a connection, as the load balancer saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// Takes the header off the connection; none if it is the load balancer's own, or it does not know the ends.
pub async fn read(transport: &mut Transport) -> io::Result<Option<Ends>> {
    let limit = TEXT_BYTES.max(BINARY_BYTES);
    let found = transport.look(limit, |bytes| parse(bytes).transpose()).await;
    let (ends, length) = match found {
        Ok(parsed) => parsed?,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(malformed()),
        Err(error) => return Err(error),
    };
    transport.skip(length);
    Ok(ends)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no valid PROXY protocol header")
}

/// The ends and the header's length; none if there has to come more.
fn parse(bytes: &[u8]) -> io::Result<Option<(Option<Ends>, usize)>> {
    let starts = |magic: &[u8]| {
        let common = bytes.len().min(magic.len());
        bytes[..common] == magic[..common]
    };
    let length = if starts(TEXT) {
        match bytes.iter().take(TEXT_BYTES).position(|byte| *byte == b'\n') {
            Some(end) => Some(end + 1),
            None if bytes.len() >= TEXT_BYTES => return Err(malformed()),
            None => None,
        }
    } else if starts(BINARY) {
        let rest = bytes.get(BINARY_START - 2..BINARY_START);
        rest.map(|rest| BINARY_START + rest.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    } else {
        return Err(malformed());
    };
    let Some(length) = length else { return Ok(None) };
    if length > BINARY_BYTES {
        return Err(malformed());
    }
    let Some(header) = bytes.get(..length) else {
        return Ok(None);
    };
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let (header, used) = ProxyHeader::parse(header, config).map_err(|_| malformed())?;
    if used != length {
        return Err(malformed());
    }
    let ends = header.proxied_address().map(|address| Ends {
        client: address.source,
        server: address.destination,
    });
    Ok(Some((ends, length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proxy_header::ProxiedAddress;

    fn ends(client: &str, server: &str) -> Ends {
        Ends {
            client: client.parse().unwrap(),
            server: server.parse().unwrap(),
        }
    }

    /// Complete at its last byte, and not before.
    fn parsed(header: &[u8]) -> Option<Option<Ends>> {
        for length in 0..header.len() {
            match parse(&header[..length]) {
                Ok(None) => {}
                Ok(Some(_)) => panic!("complete after {length} of {} bytes", header.len()),
                Err(_) => return None,
            }
        }
        let more = [header, b"GET / HTTP/1.1\r\n"].concat();
        match parse(&more) {
            Ok(Some((ends, length))) => {
                assert_eq!(length, header.len());
                Some(ends)
            }
            Ok(None) => panic!("not complete"),
            Err(_) => None,
        }
    }

    #[test]
    fn version_1() {
        let four = ends("192.0.2.1:56324", "192.0.2.2:443");
        let six = ends("[2001:db8::1]:1", "[2001:db8::2]:65535");
        assert_eq!(
            parsed(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"),
            Some(Some(four))
        );
        assert_eq!(
            parsed(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"),
            Some(Some(six))
        );
        assert_eq!(parsed(b"PROXY UNKNOWN\r\n"), Some(None));
        assert_eq!(parsed(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"), Some(None));
        for wrong in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.256 56324 443\r\n",
            "PROXY TCP4 ::1 ::1 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 65536\r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
            "proxy UNKNOWN\r\n",
        ] {
            assert_eq!(parsed(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(
            parsed(format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).as_bytes()),
            None
        );
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [BINARY, &[command, family], &length, rest].concat()
    }

    #[test]
    fn version_2() {
        let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 0x01, 0xbb];
        let four = Some(Some(ends("192.0.2.1:56324", "192.0.2.2:443")));
        assert_eq!(parsed(&binary(0x21, 0x11, &addresses)), four);
        // What follows the addresses is skipped, whatever it is.
        let extended = [&addresses[..], &[0x02, 0x00, 0x01, b'x'], &[0xee; 100]].concat();
        assert_eq!(parsed(&binary(0x21, 0x11, &extended)), four);
        // LOCAL, of an unspecified family, over a Unix socket.
        assert_eq!(parsed(&binary(0x20, 0x00, &[])), Some(None));
        assert_eq!(parsed(&binary(0x20, 0x11, &addresses)), Some(None));
        assert_eq!(parsed(&binary(0x21, 0x00, &[1, 2, 3])), Some(None));
        assert_eq!(parsed(&binary(0x21, 0x31, &[0; 216])), Some(None));
        for wrong in [
            binary(0x11, 0x11, &addresses),
            binary(0x22, 0x11, &addresses),
            binary(0x21, 0x11, &addresses[1..]),
            binary(0x21, 0x41, &addresses),
            binary(0x21, 0x11, &[0; BINARY_BYTES]),
        ] {
            assert_eq!(parsed(&wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(start in prop_oneof![Just(TEXT), Just(BINARY), Just(&b""[..])], rest: Vec<u8>) {
            let _ = parse(&[start, &rest].concat());
        }

        #[test]
        fn what_another_encoder_writes_is_read(client: SocketAddr, server: SocketAddr) {
            prop_assume!(client.is_ipv4() == server.is_ipv4());
            // Neither version has room for a flow label or a scope.
            let plain = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
            let given = Ends { client: plain(client), server: plain(server) };
            let header = ProxyHeader::with_address(ProxiedAddress::stream(given.client, given.server));
            let mut buffer = [0; 256];
            let length = header.encode_to_slice_v1(&mut buffer).unwrap();
            prop_assert_eq!(parsed(&buffer[..length]), Some(Some(given)));
            let length = header.encode_to_slice_v2(&mut buffer).unwrap();
            prop_assert_eq!(parsed(&buffer[..length]), Some(Some(given)));
        }
    }
}
