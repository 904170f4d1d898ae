//! HTTP/1 over a connection: hyper while there is a request, and next to nothing while there is none.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::idle::idle;
use super::{Setting, report};
use crate::flow::{Exchange, Flow};
use crate::request::{self, Peer};
use crate::strict::{Guard, Ledger};
use crate::tls::Stream;

/// What a connection may hold in a buffer, at least: a block that a request body arrives in. A head may be larger.
const BUFFER_BYTES: usize = 64 << 10;
/// After so long without a request a connection gives back the memory that it would need for one.
const QUIET: Duration = Duration::from_millis(250);

/// Serves a connection to its end.
pub async fn speak(setting: &Setting, stream: Stream, peer: Peer, flow: &Rc<Flow>, drain: watch::Receiver<bool>) {
    let ledger = Rc::new(Ledger::default());
    let mut guard = Guard::new(stream, &setting.host.requests, ledger.clone(), peer.name());
    loop {
        let spoken = Box::pin(converse(setting, guard, &ledger, &peer, flow, drain.clone()));
        match spoken.await {
            Some(quiet) => guard = quiet,
            None => return,
        }
        if guard.has_more() {
            continue;
        }
        // All that is left of the connection while nothing happens.
        let transport = guard.get_mut().transport();
        let more = transport.look(1, |start| (!start.is_empty()).then_some(()));
        tokio::select! {
            biased;
            more = more => if more.is_err() {
                return;
            },
            () = idle(flow, None, setting.options.keep_alive, drain.clone()) => {
                let _ = guard.shutdown().await;
                return;
            }
        }
    }
}

/// Lets hyper speak until the connection ends, or nothing has happened for a while: hyper's buffers, and the room for a
/// request, are several times what an idle connection needs. It is given back then.
async fn converse(
    setting: &Setting,
    guard: Guard<Stream>,
    ledger: &Ledger,
    peer: &Peer,
    flow: &Rc<Flow>,
    drain: watch::Receiver<bool>,
) -> Option<Guard<Stream>> {
    let (host, options) = (&setting.host, &setting.options);
    let service = service_fn(|request| {
        let refused = ledger.next();
        let exchange = Exchange::begin(flow.clone(), Rc::default());
        async move {
            Ok::<_, Infallible>(match refused {
                Some(refused) => request::refuse(host, peer, exchange, &refused),
                None => request::answer(host, peer, exchange, request).await,
            })
        }
    });
    let mut connection = http1::Builder::new()
        // A client may end its side after the request and still wait for the answer.
        .half_close(true)
        .keep_alive(!options.keep_alive.is_zero())
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_headers(host.requests.limit_request_fields)
        .max_buf_size(BUFFER_BYTES.max(host.requests.head_bytes()))
        .title_case_headers(true)
        .serve_connection(TokioIo::new(guard), service);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = idle(flow, None, options.keep_alive, drain) => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            connection.await
        }
        () = flow.quiet(QUIET) => {
            let parts = connection.into_parts();
            let mut guard = parts.io.into_inner();
            if guard.get_mut().is_closing() {
                let _ = guard.shutdown().await;
                return None;
            }
            // The start of a request that came with the one before it.
            guard.give_back(&parts.read_buf);
            return Some(guard);
        }
    };
    if let Err(error) = ended {
        report(&error, peer);
    }
    None
}
