//! One connection: hyper speaks HTTP/1.1 over it, here are the limits that it is held to.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::flow::Flow;
use crate::listener::{Accepted, Endpoint};
use crate::log;
use crate::request::{self, Host, Peer};
use crate::transport::Transport;
use crate::{strict, units};

/// What a connection may hold in a buffer, at least: a block that a request body arrives in. A head may be larger.
const BUFFER_BYTES: usize = 64 << 10;
/// A connection that is idle when the worker ends gets this long for one more request, or its keep-alive time if that is
/// shorter: a client that is just sending one does not lose it.
const DRAIN_IDLE: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "HTTP")]
pub struct Options {
    /// Connections that a worker serves at once; further ones wait to be accepted.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub worker_connections: usize,

    /// Seconds that an idle connection is kept for its next request; 0: every response is its connection's last.
    #[arg(long, default_value = "2", value_parser = units::seconds, value_name = "SECONDS")]
    pub keep_alive: Duration,

    /// Seconds in which a client has to send a whole request head.
    #[arg(long, default_value = "30", value_parser = units::seconds, value_name = "SECONDS")]
    pub header_timeout: Duration,

    /// Seconds that an app's read waits for the client's next bytes; 0: no limit.
    #[arg(long, default_value = "30", value_parser = units::seconds, value_name = "SECONDS")]
    pub body_timeout: Duration,

    /// Seconds that a response waits for the client to read on; 0: no limit.
    #[arg(long, default_value = "60", value_parser = units::seconds, value_name = "SECONDS")]
    pub write_timeout: Duration,
}

/// Serves one connection to its end.
pub async fn serve(
    stream: Accepted,
    local: Endpoint,
    remote: Endpoint,
    trusted: bool,
    host: Rc<Host>,
    options: &Options,
    drain: watch::Receiver<bool>,
) {
    let flow = Rc::new(Flow::default());
    let peer = Rc::new(Peer {
        local,
        remote,
        trusted,
        flow: flow.clone(),
    });
    let transport = Transport::new(stream, flow.clone(), options.write_timeout);
    let ledger = Rc::new(strict::Ledger::default());
    let guard = strict::Guard::new(transport, &host.requests, ledger.clone(), peer.name());
    let service = service_fn(|request| {
        let (host, peer) = (host.clone(), peer.clone());
        let refused = ledger.next();
        peer.flow.begin();
        async move {
            Ok::<_, Infallible>(match refused {
                Some(refused) => request::refuse(&host, &peer, &refused),
                None => request::answer(&host, &peer, request).await,
            })
        }
    });
    let connection = http1::Builder::new()
        // A client may end its side after the request and still wait for the answer.
        .half_close(true)
        .keep_alive(!options.keep_alive.is_zero())
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_headers(host.requests.limit_request_fields)
        .max_buf_size(BUFFER_BYTES.max(host.requests.head_bytes()))
        .title_case_headers(true)
        .serve_connection(TokioIo::new(guard), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = idle(&flow, options.keep_alive, drain) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        report(&error, &peer);
    }
}

/// Ends when the connection has been idle for too long.
async fn idle(flow: &Flow, keep_alive: Duration, mut drain: watch::Receiver<bool>) {
    let mut drained_at = None;
    loop {
        if drained_at.is_none() && *drain.borrow_and_update() {
            drained_at = Some(Instant::now());
        }
        let since = match (flow.idle_since(), drained_at) {
            (since, Some(drained)) => Some(since.unwrap_or(drained).max(drained)),
            (since, None) => since,
        };
        let patience = match drained_at {
            Some(_) => keep_alive.min(DRAIN_IDLE),
            None => keep_alive,
        };
        let busy = flow.is_busy();
        let now = Instant::now();
        let wake = match since {
            Some(since) if !busy && since + patience <= now => return,
            Some(since) if !busy => since + patience,
            _ => now + patience.max(Duration::from_millis(100)),
        };
        tokio::select! {
            () = sleep_until(wake) => {}
            changed = drain.changed(), if drained_at.is_none() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

fn report(error: &hyper::Error, peer: &Peer) {
    let remote = peer.name();
    let mut text = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        text = format!("{text}: {cause}");
    }
    if error.is_parse() {
        log::info(format_args!("{remote}: no valid request: {text}"));
    } else {
        log::debug(format_args!("{remote}: connection ended: {text}"));
    }
}
