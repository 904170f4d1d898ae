//! One thread that accepts, as a worker of wsgi-host does, and lets hyper do the rest.

use std::convert::Infallible;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::Signal;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::answer::answer;

/// wsgi-host's defaults: a request head has so long, so many fields, and hyper's buffers hold the largest one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const FIELDS: usize = 100;
const HEAD_BYTES: usize = 4094 + FIELDS * 8190 + 4;

pub fn run() -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?;
    let listener = TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, accept(listener))
}

async fn accept(listener: TcpListener) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        // A client that was gone before it was accepted is nothing to end for.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(converse(stream));
        }
    }
}

async fn converse(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_keepalive(true);
    // How a connection ends is its client's affair.
    let _ = http1::Builder::new()
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(FIELDS)
        .max_buf_size(HEAD_BYTES)
        .title_case_headers(true)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) }),
        )
        .await;
}
