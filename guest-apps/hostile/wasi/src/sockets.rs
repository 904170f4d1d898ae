//! What it tries with the network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use wasip2::io::streams::StreamError;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::OutgoingDatagram;
use wasip2::sockets::udp_create_socket::create_udp_socket;

use crate::Outcome;

fn name(error: ErrorCode) -> String {
    error.name().into()
}

fn stream_name(error: StreamError) -> String {
    error.to_string()
}

/// What an address or a name with a port stands for, in IPv4.
fn addresses(address: &str) -> Outcome<Vec<IpSocketAddress>> {
    let (host, port) = address.split_once(':').ok_or("no port")?;
    let port = port.parse().map_err(|_| "no port")?;
    let found = match host.parse() {
        Ok(address) => vec![IpAddr::V4(address)],
        Err(_) => resolve(host)?,
    };
    let v4 = found.into_iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(v4(SocketAddrV4::new(address, port))),
        IpAddr::V6(_) => None,
    });
    Ok(v4.collect())
}

fn v4(address: SocketAddrV4) -> IpSocketAddress {
    let [a, b, c, d] = address.ip().octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port: address.port(),
        address: (a, b, c, d),
    })
}

/// Says hello, and what came back.
pub fn connect(address: &str) -> Outcome<String> {
    let mut outcome = Err("nothing to connect to".into());
    for address in addresses(address)? {
        outcome = greet(address);
    }
    outcome
}

fn greet(address: IpSocketAddress) -> Outcome<String> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(name)?;
    socket.start_connect(&instance_network(), address).map_err(name)?;
    socket.subscribe().block();
    let (input, output) = socket.finish_connect().map_err(name)?;
    output.blocking_write_and_flush(b"hello").map_err(stream_name)?;
    let mut answer = Vec::new();
    loop {
        match input.blocking_read(100) {
            Ok(block) => answer.extend(block),
            Err(StreamError::Closed) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Err(error) => return Err(stream_name(error)),
        }
    }
}

pub fn listen(address: &str) -> Outcome<()> {
    for address in addresses(address)? {
        let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(name)?;
        socket.start_bind(&instance_network(), address).map_err(name)?;
        socket.finish_bind().map_err(name)?;
        socket.start_listen().map_err(name)?;
        socket.finish_listen().map_err(name)?;
    }
    Ok(())
}

pub fn send(address: &str) -> Outcome<u64> {
    let socket = create_udp_socket(IpAddressFamily::Ipv4).map_err(name)?;
    let any = v4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    socket.start_bind(&instance_network(), any).map_err(name)?;
    socket.finish_bind().map_err(name)?;
    let (_input, output) = socket.stream(None).map_err(name)?;
    output.check_send().map_err(name)?;
    let datagrams = addresses(address)?.into_iter().map(|remote_address| OutgoingDatagram {
        data: b"hello".to_vec(),
        remote_address: Some(remote_address),
    });
    output.send(&datagrams.collect::<Vec<_>>()).map_err(name)
}

pub fn resolve(host: &str) -> Outcome<Vec<IpAddr>> {
    let answers = resolve_addresses(&instance_network(), host).map_err(name)?;
    let mut found = Vec::new();
    loop {
        match answers.resolve_next_address() {
            Ok(Some(IpAddress::Ipv4((a, b, c, d)))) => found.push(Ipv4Addr::new(a, b, c, d).into()),
            Ok(Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h)))) => {
                found.push(Ipv6Addr::new(a, b, c, d, e, f, g, h).into());
            }
            Ok(Option::None) => return Ok(found),
            Err(ErrorCode::WouldBlock) => answers.subscribe().block(),
            Err(error) => return Err(name(error)),
        }
    }
}
