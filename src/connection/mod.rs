//! One connection: what comes before HTTP, and which HTTP it is; hyper speaks it, here are the limits that it is held to.

mod http1;
mod http2;
mod idle;
mod opening;

use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::idle::idle;
use self::opening::{Closed, Protocol, open};
use crate::crowd::Seat;
use crate::flow::Flow;
use crate::listener::{Accepted, Endpoint};
use crate::pace::Pace;
use crate::request::{Host, Peer};
use crate::tls::Acceptor;
use crate::transport::Transport;
use crate::{log, proxy, proxy_protocol, units};

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "HTTP")]
pub struct Options {
    /// Seconds that a connection has for what comes before HTTP: a PROXY protocol header, a TLS handshake.
    #[arg(long, default_value = "10", value_parser = units::seconds, value_name = "SECONDS")]
    pub handshake_timeout: Duration,

    /// Seconds that an idle connection is kept for its next request; 0: every response is its connection's last.
    #[arg(long, default_value = "2", value_parser = units::seconds, value_name = "SECONDS")]
    pub keep_alive: Duration,

    /// Seconds in which a client has to send a whole request head.
    #[arg(long, default_value = "30", value_parser = units::seconds, value_name = "SECONDS")]
    pub header_timeout: Duration,

    /// Seconds that an app's read waits for the client's next bytes; 0: no limit.
    #[arg(long, default_value = "30", value_parser = units::seconds, value_name = "SECONDS")]
    pub body_timeout: Duration,

    /// Bytes a second that a client has to send of a request body, on average; it may fall behind by --body-timeout. 0: any.
    #[arg(long, default_value_t = 500, value_name = "BYTES")]
    pub min_body_rate: u64,

    /// Seconds that a response waits for the client to read on; 0: no limit.
    #[arg(long, default_value = "60", value_parser = units::seconds, value_name = "SECONDS")]
    pub write_timeout: Duration,

    /// Requests that an HTTP/2 connection may have in progress at once.
    #[arg(
        long,
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "N"
    )]
    pub http2_max_concurrent_streams: u32,
}

impl Options {
    pub fn pace(&self) -> Pace {
        Pace {
            silence: self.body_timeout,
            rate: self.min_body_rate,
        }
    }
}

/// What all connections of a worker share.
pub struct Setting {
    pub host: Rc<Host>,
    pub options: Options,
    pub proxy: proxy::Options,
    pub proxy_protocol: proxy_protocol::Options,
    pub tls: Option<Acceptor>,
}

impl Setting {
    /// Whether connections from there are those of many clients.
    pub fn is_proxy(&self, remote: &Endpoint) -> bool {
        self.proxy.trusts(remote) || self.proxy_protocol.expects(remote)
    }
}

/// Serves one connection to its end.
pub async fn serve(
    setting: Rc<Setting>,
    accepted: (Accepted, Endpoint, Endpoint),
    seat: Seat,
    drain: watch::Receiver<bool>,
) {
    let flow = Rc::new(Flow::new(seat));
    tokio::select! {
        () = flow.sent_away() => {}
        () = speak(&setting, accepted, &flow, drain) => {}
    }
}

async fn speak(
    setting: &Setting,
    (accepted, local, remote): (Accepted, Endpoint, Endpoint),
    flow: &Rc<Flow>,
    drain: watch::Receiver<bool>,
) {
    let mut peer = Peer {
        trusted: setting.proxy.trusts(&remote),
        secure: setting.tls.is_some(),
        local,
        remote,
    };
    let transport = Transport::new(accepted, flow.clone(), setting.options.write_timeout);
    // Much is needed to open a connection that is not needed any more when it is open, so it gets a box of its own.
    let opening = Box::pin(open(setting, transport, flow, &mut peer));
    let opened = tokio::select! {
        opened = opening => opened,
        () = idle(flow, None, setting.options.keep_alive, drain.clone()) => return,
    };
    match opened {
        Ok((stream, Protocol::Http1)) => Box::pin(http1::speak(setting, stream, peer, flow, drain)).await,
        Ok((stream, Protocol::Http2)) => Box::pin(http2::speak(setting, stream, peer, flow, drain)).await,
        Err(Closed::Silently) => {}
        Err(Closed::Because(why)) => log::info(format_args!("{}: {why}", peer.name())),
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
