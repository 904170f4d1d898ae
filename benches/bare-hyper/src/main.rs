//! The limit that wsgi-host is measured against: the same processes, the same hyper with the same settings, and no guest.
//!
//! `bare-hyper PORT WORKERS` answers `GET /` with the bytes of the hello guests, `GET /stream/N` with N bytes in blocks of
//! 64 KiB, and `POST /count` with how many bytes it was sent.

#![forbid(unsafe_code)]

mod answer;
mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use socket2::{Domain, Socket, Type};

/// As `wsgi-host serve --backlog` has it.
const BACKLOG: i32 = 2048;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker"] => worker::run(),
        [port, workers] => arbiter(port.parse()?, workers.parse()?),
        _ => anyhow::bail!("usage: bare-hyper PORT WORKERS"),
    }
}

/// Binds, starts the workers, and waits for them to end, which they do with this process.
fn arbiter(port: u16, workers: usize) -> anyhow::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    let workers = (0..workers)
        .map(|_| spawn(&socket))
        .collect::<anyhow::Result<Vec<Child>>>()?;
    for mut worker in workers {
        worker.wait()?;
    }
    Ok(())
}

/// A worker is this program again; the socket is its standard input, so that nothing has to say where it is.
fn spawn(socket: &Socket) -> anyhow::Result<Child> {
    let socket: std::net::TcpListener = socket.try_clone()?.into();
    Command::new(std::env::current_exe()?)
        .arg("worker")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .spawn()
        .context("cannot start a worker")
}
