//! `wasi:sockets/ip-name-lookup` as an app gets it: only the names that it was granted are looked up, and what they stand
//! for is remembered, because only that may be connected to.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    self, Host, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, HostNetwork, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, SocketError};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsView};

use super::network::{Protocol, Rule, plain};
use super::state::State;

/// Addresses that are remembered for one instance: no more than a few names have.
const FOUND: usize = 256;

/// The network of one instance.
#[derive(Clone, Default)]
pub struct Reach(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rules: Vec<Rule>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What is being looked up, by the handle.
    asked: HashMap<u32, String>,
    found: Vec<(String, IpAddr)>,
}

impl Reach {
    pub fn new(rules: &[Rule]) -> Self {
        Self(Arc::new(Inner {
            rules: rules.to_vec(),
            known: Mutex::default(),
        }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a socket may be used so. Nobody connects to an app: it cannot listen, nor choose its own address.
    pub fn allows(&self, address: SocketAddr, how: SocketAddrUse) -> bool {
        let to = |protocol| {
            let known = self.known();
            self.0
                .rules
                .iter()
                .any(|rule| rule.allows(address, protocol, &known.found))
        };
        match how {
            SocketAddrUse::TcpConnect => to(Protocol::Tcp),
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => to(Protocol::Udp),
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => address.ip().is_unspecified() && address.port() == 0,
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
        }
    }

    fn may_look_up(&self, name: &str) -> bool {
        let is_address = name.parse::<IpAddr>().is_ok();
        is_address || self.0.rules.iter().any(|rule| rule.is_for(name))
    }

    fn found(&self, handle: u32, address: IpAddr) {
        let mut known = self.known();
        if let Some(name) = known.asked.get(&handle).cloned()
            && known.found.len() < FOUND
            && !known.found.contains(&(name.clone(), address))
        {
            known.found.push((name, address));
        }
    }
}

/// The host's side of the interface.
struct Names;

impl HasData for Names {
    type Data<'a> = Lookup<'a>;
}

struct Lookup<'a>(&'a mut State);

/// Puts this in the place of wasmtime's own.
pub fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    ip_name_lookup::add_to_linker::<State, Names>(linker, |state| Lookup(state))?;
    linker.allow_shadowing(false);
    Ok(())
}

// Errors are wasmtime's business.
impl network::Host for Lookup<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        self.0.sockets().convert_error_code(error)
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        self.0.sockets().network_error_code(error)
    }
}

impl HostNetwork for Lookup<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        HostNetwork::drop(&mut self.0.sockets(), network)
    }
}

impl Host for Lookup<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        if !self.0.reach.may_look_up(&name) {
            return Err(ErrorCode::AccessDenied.into());
        }
        let stream = self.0.sockets().resolve_addresses(network, name.clone())?;
        self.0.reach.known().asked.insert(stream.rep(), plain(&name));
        Ok(stream)
    }
}

impl HostResolveAddressStream for Lookup<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let handle = stream.rep();
        let address = self.0.sockets().resolve_next_address(stream)?;
        match address {
            Some(IpAddress::Ipv4((a, b, c, d))) => self.0.reach.found(handle, Ipv4Addr::new(a, b, c, d).into()),
            Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h))) => {
                self.0.reach.found(handle, Ipv6Addr::new(a, b, c, d, e, f, g, h).into());
            }
            None => {}
        }
        Ok(address)
    }

    fn subscribe(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<Resource<DynPollable>> {
        self.0.sockets().subscribe(stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.0.reach.known().asked.remove(&stream.rep());
        HostResolveAddressStream::drop(&mut self.0.sockets(), stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_for_what_was_granted() {
        let reach = Reach::new(&[
            Rule::parse("10.0.0.1:80").unwrap(),
            Rule::parse("example.org:53/udp").unwrap(),
        ]);
        let allows = |address: &str, how| reach.allows(address.parse().unwrap(), how);
        assert!(allows("10.0.0.1:80", SocketAddrUse::TcpConnect));
        assert!(!allows("10.0.0.1:80", SocketAddrUse::UdpSend));
        assert!(allows("0.0.0.0:0", SocketAddrUse::TcpBind) && allows("[::]:0", SocketAddrUse::UdpBind));
        assert!(!allows("127.0.0.1:0", SocketAddrUse::TcpBind) && !allows("0.0.0.0:8080", SocketAddrUse::TcpBind));
        assert!(!allows("0.0.0.0:0", SocketAddrUse::TcpListen) && !allows("10.0.0.1:80", SocketAddrUse::TcpAccept));
        // What a name stands for is known once it was looked up, and only under that name.
        let address = "93.184.215.14:53";
        assert!(!allows(address, SocketAddrUse::UdpSend));
        reach.known().asked.insert(1, "example.org".into());
        reach.found(2, "93.184.215.15".parse().unwrap());
        reach.found(1, "93.184.215.14".parse().unwrap());
        assert!(allows(address, SocketAddrUse::UdpSend) && !allows("93.184.215.15:53", SocketAddrUse::UdpSend));
    }

    #[test]
    fn only_names_that_were_granted_are_looked_up() {
        let reach = Reach::new(&[
            Rule::parse("example.org:443").unwrap(),
            Rule::parse("10.0.0.0/8:*").unwrap(),
        ]);
        assert!(reach.may_look_up("example.org") && reach.may_look_up("EXAMPLE.org."));
        assert!(!reach.may_look_up("www.example.org") && !reach.may_look_up("data.attacker.example"));
        assert!(reach.may_look_up("10.0.0.1"));
    }
}
