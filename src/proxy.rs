//! Which peers may speak for the client: `--forwarded-allow-ips`.

use std::net::IpAddr;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::listener::Endpoint;

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Proxies whose X-Forwarded-Proto is believed: addresses or networks, or * for all. Unix sockets always are.
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
        match peer {
            Endpoint::Unix(_) => true,
            Endpoint::Inet(peer) => {
                let address = peer.ip().to_canonical();
                self.forwarded_allow_ips.iter().any(|network| network.contains(address))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
