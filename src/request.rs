//! One request, from its head to the last byte of its response: the whole way on one screen.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SERVER};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};

use crate::access_log::AccessLog;
use crate::body::{self, Body, Source};
use crate::environ::{self, Refusal};
use crate::flow::Flow;
use crate::listener::Endpoint;
use crate::log;
use crate::response::{self, Head};
use crate::sandbox::{App, Failure, Input, Reply, ReplyBody};

/// How much of a path names a request in the log.
const NAME_BYTES: usize = 200;
/// Of a body that the app has not read, this much may still be on its way without ending the connection.
const UNREAD_BYTES: u64 = 64 << 10;
/// When to try again, where an app is busy.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// What all requests of a worker share.
pub struct Host {
    pub app: Rc<App>,
    pub head_limits: environ::Limits,
    pub access_log: Rc<AccessLog>,
    /// Whether other instances of the app may run at the same time.
    pub multiprocess: bool,
    /// How long an app's read waits for the client.
    pub body_timeout: Duration,
    /// Whether the worker is about to end, so that every response is its connection's last.
    pub draining: Cell<bool>,
}

/// What all requests of a connection share.
pub struct Peer {
    pub local: Endpoint,
    pub remote: Endpoint,
    pub trusted: bool,
    pub flow: Rc<Flow>,
}

/// Why a request gets an error page.
enum Fault {
    Refused(Refusal),
    Failed(Failure),
    /// The app returned what may not be sent.
    Invalid(String),
}

pub async fn answer(host: &Host, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let record = host.access_log.begin(&parts, &peer.remote);
    let name = name(&host.app, &parts);
    let unread = Arc::new(AtomicBool::new(is_large(&parts, &body)));
    let input = Input::of(body, host.body_timeout, unread.clone());
    let (mut head, body) = match respond(host, peer, &parts, input, &name).await {
        Ok(response) => response,
        Err(fault) => page(&parts.method, &name, &fault),
    };
    // An app that still makes its body may still read its input: what it leaves is only known at the end.
    let left_unread = unread.load(Ordering::Relaxed) && !body.is_streamed();
    if host.draining.get() || left_unread {
        head.close_connection();
    }
    let ends_with_connection = parts.version == Version::HTTP_10 && head.length.is_none();
    let body = body
        .with_record(record, head.status)
        .with_flow(peer.flow.clone(), ends_with_connection);
    assemble(head, body)
}

async fn respond(
    host: &Host,
    peer: &Peer,
    parts: &Parts,
    input: Option<Input>,
    name: &Arc<str>,
) -> Result<(Head, Body), Fault> {
    environ::check(parts, &host.head_limits).map_err(Fault::Refused)?;
    let setting = environ::Setting {
        local: &peer.local,
        peer: &peer.remote,
        trusted: peer.trusted,
        multiprocess: host.multiprocess,
        run_once: host.app.run_once(),
    };
    let vars = environ::variables(parts, &setting);
    let reply = host.app.call(name.clone(), vars, input).await.map_err(Fault::Failed)?;
    let Reply {
        status,
        reason,
        headers,
        body,
    } = reply;
    let head = response::check(&parts.method, status, &reason, &headers);
    match (head, body) {
        (Ok(head), ReplyBody::Bytes(bytes)) => Ok(whole(parts, head, bytes.into(), name)),
        (Ok(head), ReplyBody::Chunks(chunks)) => {
            let source = Source {
                chunks,
                name: name.clone(),
                length: head.length,
            };
            if head.has_body {
                let body = source.start().await.map_err(Fault::Failed)?;
                Ok((head, body))
            } else {
                source.close().await;
                Ok((head, Body::whole(Bytes::new())))
            }
        }
        (Err(why), body) => {
            if let ReplyBody::Chunks(chunks) = body {
                let source = Source {
                    chunks,
                    name: name.clone(),
                    length: None,
                };
                source.close().await;
            }
            Err(Fault::Invalid(why))
        }
    }
}

/// Whether a body is so long that, if the app does not read it, the connection is better closed than read to its end.
fn is_large(parts: &Parts, body: &Incoming) -> bool {
    match body.size_hint().exact() {
        Some(length) => length > UNREAD_BYTES,
        None => parts.version != Version::HTTP_10,
    }
}

/// A body of one block, held to the length that the app gave it.
fn whole(parts: &Parts, mut head: Head, mut bytes: Bytes, name: &str) -> (Head, Body) {
    if !head.has_body {
        // What a GET would get is what the length is of.
        if head.length.is_none() && parts.method == Method::HEAD && !bytes.is_empty() {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        return (head, Body::whole(Bytes::new()));
    }
    let sent = bytes.len() as u64;
    match head.length {
        Some(length) if sent < length => {
            body::warn_short(name, length - sent);
            return (head, Body::short(bytes));
        }
        Some(length) if sent > length => {
            body::warn_long(name);
            bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        }
        _ => {}
    }
    (head, Body::whole(bytes))
}

/// A short page that tells the client no more than its status; the log gets the rest.
fn page(method: &Method, name: &str, fault: &Fault) -> (Head, Body) {
    let status = match fault {
        Fault::Refused(refusal) => refusal.status,
        Fault::Failed(Failure::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        Fault::Failed(Failure::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
        Fault::Failed(_) | Fault::Invalid(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    match fault {
        Fault::Refused(refusal) => log::info(format_args!(
            "{name}: refused with {}: {}",
            status.as_u16(),
            refusal.why
        )),
        Fault::Failed(failure) => log::lines(log::Level::Error, name, &failure.to_string()),
        Fault::Invalid(why) => log::error(format_args!("{name}: {why}")),
    }
    let text = format!("{}\n", status.canonical_reason().unwrap_or("Error"));
    let mut headers = http::HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_SECONDS);
    }
    let has_body = method != Method::HEAD;
    let mut head = Head {
        status,
        reason: hyper::ext::ReasonPhrase::from_static(b""),
        headers,
        length: Some(text.len() as u64),
        has_body,
    };
    if let Ok(reason) = hyper::ext::ReasonPhrase::try_from(status.canonical_reason().unwrap_or("Error").as_bytes()) {
        head.reason = reason;
    }
    if matches!(fault, Fault::Refused(_)) {
        head.close_connection();
    }
    let body = if has_body { text.into() } else { Bytes::new() };
    (head, Body::whole(body))
}

fn assemble(head: Head, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
        .headers_mut()
        .entry(SERVER)
        .or_insert(HeaderValue::from_static("wsgi-host"));
    if head.status.canonical_reason().map(str::as_bytes) != Some(head.reason.as_bytes()) {
        response.extensions_mut().insert(head.reason);
    }
    response
}

/// `app: GET /path`, as the log names a request.
fn name(app: &App, parts: &Parts) -> Arc<str> {
    let path = parts.uri.path();
    let path = &path[..path.floor_char_boundary(NAME_BYTES)];
    format!("{}: {} {path}", app.name, parts.method).into()
}
