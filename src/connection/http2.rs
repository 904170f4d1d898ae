//! HTTP/2 over a connection: many requests at once, each in a task of its own.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::idle::{DRAIN_IDLE, idle, unused};
use super::{Setting, report};
use crate::body::{Cut, GONE, watched};
use crate::flow::{Delivery, Exchange, Flow};
use crate::log;
use crate::request::{self, Peer};
use crate::tls::Stream;

/// What may arrive of a request body that its app does not read, and of all those of a connection.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// What a head may take when it is unpacked, 32 bytes for each field included (RFC 9113, 6.5.2). It is packed so
/// well that many small requests would unpack to what `--limit-request-fields` and the like allow in HTTP/1.
const HEADER_LIST_BYTES: usize = 64 << 10;
/// Streams that a client has reset before they were looked at, and streams that were reset because of its errors, before
/// the connection is taken for an attack (CVE-2023-44487, CVE-2025-8671).
const EARLY_RESETS: usize = 20;
const ERROR_RESETS: usize = 100;
/// When a client that is silent is asked whether it is still there, and how long it has for the answer.
const PING: Duration = Duration::from_secs(60);
const PONG: Duration = Duration::from_secs(30);

/// Serves a connection to its end.
pub async fn speak(setting: &Setting, stream: Stream, peer: Peer, flow: &Rc<Flow>, drain: watch::Receiver<bool>) {
    flow.multiplex();
    let options = &setting.options;
    let peer = Rc::new(peer);
    let service = service_fn(|request| {
        let (host, peer, flow) = (setting.host.clone(), peer.clone(), flow.clone());
        async move {
            let delivery = DELIVERY.try_with(Rc::clone).unwrap_or_default();
            let exchange = Exchange::begin(flow, delivery);
            let (here, gone) = oneshot::channel::<()>();
            // In a task of its own, because hyper drops what runs here when the client resets the stream: a guest would be
            // dropped in the middle of a call, and could not put its files in order.
            let answer = tokio::task::spawn_local(async move {
                let gone = async { drop(gone.await) };
                let answer = watched(request::answer(&host, &peer, exchange, request), gone).await;
                if answer.is_none() {
                    log::info(format_args!("{}: {GONE}", peer.name()));
                }
                answer
            });
            let answer = answer.await;
            drop(here);
            answer.ok().flatten().ok_or(Cut)
        }
    });
    let streams = Streams {
        write_timeout: options.write_timeout,
        remote: peer.name().into(),
    };
    let head_bytes = setting.host.requests.head_bytes().min(HEADER_LIST_BYTES);
    let connection = http2::Builder::new(streams)
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.http2_max_concurrent_streams)
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(EARLY_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let opened = Some(Instant::now() + options.header_timeout);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = idle(flow, opened, options.keep_alive, drain.clone()) => {
            // GOAWAY: what is on its way is still answered, what comes later is the client's to send elsewhere.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                ended = connection => ended,
                () = unused(flow, DRAIN_IDLE) => return,
            }
        }
    };
    if let Err(error) = ended {
        report(&error, &peer);
    }
}

tokio::task_local! {
    /// Of the stream whose task this is.
    static DELIVERY: Rc<Delivery>;
}

/// Runs the streams of an HTTP/2 connection. One whose client does not open its window for too long is dropped, which
/// resets it: the transport sees only clients that do not read at all.
#[derive(Clone)]
struct Streams {
    write_timeout: Duration,
    remote: Rc<str>,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let Self { write_timeout, remote } = self.clone();
        tokio::task::spawn_local(async move {
            let delivery = Rc::<Delivery>::default();
            tokio::select! {
                biased;
                () = DELIVERY.scope(delivery.clone(), stream) => {}
                () = delivery.stalled(write_timeout) => {
                    log::debug(format_args!("{remote}: a stream's client does not read its response"));
                }
            }
        });
    }
}
