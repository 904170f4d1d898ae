//! Addresses: how they are written, bound by the arbiter, and handed to the workers.
//!
//! All workers accept from the same sockets. A connection that waits in the queue belongs to none of them, so it
//! is not lost with a worker that dies.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, SockFilter, SockRef, Socket, Type};

use crate::fault::{Fault, Kind, Result};
use crate::{activation, descriptors, log};

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Address to listen at; may be repeated. Port 0 takes a free one. An empty HOST means all interfaces. Sockets from
    /// systemd (LISTEN_FDS) are used instead.
    #[arg(short, long, default_value = "127.0.0.1:8000", value_name = "HOST:PORT|unix:PATH")]
    pub bind: Vec<String>,

    /// Connections that may wait to be accepted.
    #[arg(long, default_value_t = 2048, value_name = "N")]
    pub backlog: i32,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    Inet(SocketAddr),
    /// A Unix socket; the path is empty for a client, which has none.
    Unix(PathBuf),
}

impl Endpoint {
    /// As a URL, where it can be one.
    pub fn url(&self, scheme: &str) -> String {
        match self {
            Self::Inet(address) => format!("{scheme}://{address}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// A bound address: the arbiter's end.
pub struct Listener {
    socket: Socket,
    pub endpoint: Endpoint,
    /// Device and inode of a Unix socket: another server may have taken its name since.
    file: Option<(u64, u64)>,
    /// Whether it is somebody else's: it stays when this server ends, and so does what waits in its queue.
    inherited: bool,
}

/// What a worker is told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handover {
    fd: RawFd,
    pub endpoint: Endpoint,
}

/// Takes the addresses, so that one that is in use is found out at once. Nobody can connect yet. Sockets that systemd
/// hands over are used instead, as in gunicorn.
pub fn bind_all(options: &Options) -> Result<Vec<Listener>> {
    let inherited = activation::sockets()?;
    if !inherited.is_empty() {
        return inherited.into_iter().map(Listener::inherit).collect();
    }
    options.bind.iter().map(|address| Listener::bind(address)).collect()
}

impl Listener {
    fn bind(address: &str) -> Result<Self> {
        let bound = match address.strip_prefix("unix:") {
            Some("") => Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is empty")),
            Some(path) => bind_unix(path.into()),
            None => resolve(address).and_then(bind_inet),
        };
        bound.map_err(|error| explain(address, &error))
    }

    fn inherit(fd: OwnedFd) -> Result<Self> {
        let number = fd.as_raw_fd();
        let socket = Socket::from(fd);
        let address = socket.is_listener().and_then(|listens| match listens {
            true => socket.set_nonblocking(true).and_then(|()| socket.local_addr()),
            false => Err(io::Error::other("it does not listen")),
        });
        let fault = |why: String| {
            let text = format!("cannot listen at a socket from systemd (descriptor {number}): {why}");
            Fault::new(Kind::AddressInvalid, text)
        };
        let address = address.map_err(|error| fault(error.to_string()))?;
        let endpoint = match address.as_socket() {
            Some(address) => Endpoint::Inet(address),
            None if address.is_unix() => Endpoint::Unix(address.as_pathname().map(PathBuf::from).unwrap_or_default()),
            None => return Err(fault("it is of neither TCP nor a Unix socket".into())),
        };
        Ok(Self {
            socket,
            endpoint,
            file: None,
            inherited: true,
        })
    }

    /// Lets clients in.
    pub fn listen(&self, options: &Options) -> Result<()> {
        if self.inherited {
            return Ok(());
        }
        self.socket
            .listen(options.backlog)
            .map_err(|error| explain(&self.endpoint.url("http"), &error))
    }

    /// Lets the workers that are started from now on inherit the socket.
    pub fn hand_over(&self) -> Result<Handover> {
        descriptors::leave_open(&self.socket)
            .map_err(|error| Fault::new(Kind::Internal, format!("cannot hand over a socket: {error}")))?;
        Ok(Handover {
            fd: self.socket.as_raw_fd(),
            endpoint: self.endpoint.clone(),
        })
    }

    /// No further client gets in, while those that wait in the queue are still served.
    ///
    /// Closing a listening socket resets what waits in its queue: requests would be lost. So first the kernel is told to
    /// ignore clients that knock: they try again in a second, when the address is closed or somebody else's.
    pub fn refuse_newcomers(&self) {
        match &self.endpoint {
            // Whoever comes now is the next server's.
            _ if self.inherited => {}
            Endpoint::Unix(_) => self.remove_file(),
            Endpoint::Inet(_) => {
                if let Err(error) = self.socket.attach_filter(&IGNORE_SYN) {
                    log::debug(format_args!("no socket filter, so a late client may be reset: {error}"));
                }
            }
        }
    }
}

impl Listener {
    fn remove_file(&self) {
        if let Endpoint::Unix(path) = &self.endpoint
            && self.file.is_some()
            && file_of(path) == self.file
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
    }
}

fn file_of(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Drops TCP segments with the SYN flag, as classic BPF: load byte 13 of the TCP header; if bit 1 is set return 0, else
/// return everything.
const IGNORE_SYN: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 2),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// `HOST:PORT`; no HOST is every IPv4 interface, as in gunicorn, and IPv4 goes first where a name has both.
fn resolve(address: &str) -> io::Result<SocketAddr> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "expected HOST:PORT or unix:PATH");
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').ok_or_else(invalid)?,
        None if host.contains(':') => return Err(invalid()),
        None if host.is_empty() => "0.0.0.0",
        None => host,
    };
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let first = addresses.iter().find(|address| address.is_ipv4());
    first.or(addresses.first()).copied().ok_or_else(invalid)
}

fn bind_inet(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != IpAddr::from([0_u16; 8]))?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Listener {
        socket,
        endpoint: Endpoint::Inet(bound),
        file: None,
        inherited: false,
    })
}

/// Takes the place of a socket that nobody listens at any more, and of nothing else.
fn bind_unix(path: PathBuf) -> io::Result<Listener> {
    let address = SockAddr::unix(&path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match std::fs::symlink_metadata(&path) {
        Ok(found) if found.file_type().is_socket() => {
            if Socket::new(Domain::UNIX, Type::STREAM, None)?.connect(&address).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(&path)?;
        }
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "there is a file of this name that is no socket",
            ));
        }
        Err(_) => {}
    }
    socket.bind(&address)?;
    // As gunicorn has it: who may connect is decided by the directory that the socket is in.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    socket.set_nonblocking(true)?;
    Ok(Listener {
        socket,
        file: file_of(&path),
        endpoint: Endpoint::Unix(path),
        inherited: false,
    })
}

fn explain(address: &str, error: &io::Error) -> Fault {
    let (kind, help) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            Kind::AddressInUse,
            "the address is in use; stop the other server, or choose another port (0 takes a free one)".into(),
        ),
        io::ErrorKind::PermissionDenied => (
            Kind::AddressDenied,
            "no permission; ports below 1024 need CAP_NET_BIND_SERVICE, a Unix socket a directory you may write to"
                .into(),
        ),
        _ => (Kind::AddressInvalid, error.to_string()),
    };
    Fault::new(kind, format!("cannot listen at {address}: {help}"))
}

impl Handover {
    /// The worker's end. Called once for each, before the worker opens anything.
    pub fn open(&self) -> io::Result<Accept> {
        let fd = descriptors::adopt(self.fd)?;
        match &self.endpoint {
            Endpoint::Inet(_) => Ok(Accept::Inet(tokio::net::TcpListener::from_std(fd.into())?)),
            Endpoint::Unix(path) => Ok(Accept::Unix(
                tokio::net::UnixListener::from_std(fd.into())?,
                Endpoint::Unix(path.clone()),
            )),
        }
    }
}

/// A listening socket of a worker.
pub enum Accept {
    Inet(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener, Endpoint),
}

/// An accepted connection.
pub enum Accepted {
    Inet(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Accept {
    /// The next connection, with the local and the remote end.
    pub async fn accept(&self) -> io::Result<(Accepted, Endpoint, Endpoint)> {
        match self {
            Self::Inet(listener) => {
                let (stream, peer) = listener.accept().await?;
                let local = stream.local_addr()?;
                // Small responses go out at once, and a peer that vanished is noticed some day.
                let _ = stream.set_nodelay(true);
                let _ = SockRef::from(&stream).set_keepalive(true);
                Ok((Accepted::Inet(stream), Endpoint::Inet(local), Endpoint::Inet(peer)))
            }
            Self::Unix(listener, local) => {
                let (stream, _) = listener.accept().await?;
                Ok((Accepted::Unix(stream), local.clone(), Endpoint::Unix(PathBuf::new())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_gunicorn_reads_them() {
        assert_eq!(resolve("127.0.0.1:8000").unwrap().to_string(), "127.0.0.1:8000");
        assert_eq!(resolve("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert_eq!(resolve(":0").unwrap().to_string(), "0.0.0.0:0");
        for wrong in [
            "",
            "8000",
            "127.0.0.1",
            "::1:80",
            "[::1:80",
            "127.0.0.1:99999",
            "127.0.0.1:http",
        ] {
            assert!(resolve(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        let fault = Listener::bind(&format!("unix:{}", path.display())).err().unwrap();
        assert_eq!(fault.kind, Kind::AddressInvalid);
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }

    fn directory_has_socket(listener: &Listener) -> bool {
        matches!(&listener.endpoint, Endpoint::Unix(path) if file_of(path) == listener.file)
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let address = format!("unix:{}", dir.path().join("socket").display());
        let first = Listener::bind(&address).unwrap();
        first.socket.listen(1).unwrap();
        let fault = Listener::bind(&address).err().unwrap();
        assert_eq!(fault.kind, Kind::AddressInUse);
        // What a server leaves behind that was killed.
        let Listener { socket, .. } = &first;
        socket.shutdown(std::net::Shutdown::Both).unwrap();
        let second = Listener::bind(&address).unwrap();
        drop(first);
        assert!(
            directory_has_socket(&second),
            "the first one took away the second one's file"
        );
    }
}
