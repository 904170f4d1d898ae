//! One request, from its head to the last byte of its response: the whole way on one screen.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SERVER};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};

use crate::access_log::AccessLog;
use crate::body::{self, Body, Source};
use crate::environ;
use crate::flow::Exchange;
use crate::listener::Endpoint;
use crate::pace::Pace;
use crate::request_body::RequestBody;
use crate::response::{self, Head};
use crate::sandbox::{Chain, Failure, Input, Label, Reply, ReplyBody, Terms, Upload};
use crate::strict::{self, Refusal, Refused};
use crate::{log, origin_form, proxy};

/// How much of a path names a request in the log.
const NAME_BYTES: usize = 200;
/// Of a body that the app has not read, this much may still be on its way without ending the connection.
const UNREAD_BYTES: u64 = 64 << 10;
/// When to try again, where an app is busy.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// What all requests of a worker share.
pub struct Host {
    pub chain: Arc<Chain>,
    pub requests: strict::Options,
    pub response_limits: response::Limits,
    pub access_log: Rc<AccessLog>,
    /// Whether other instances of the app may run at the same time.
    pub multiprocess: bool,
    /// How long an app's read waits for the client.
    pub pace: Pace,
    /// Whether the worker is about to end, so that every response is its connection's last.
    pub draining: Cell<bool>,
}

/// What all requests of a connection share.
pub struct Peer {
    pub local: Endpoint,
    pub remote: Endpoint,
    /// Whether the other end may speak for the client.
    pub trusted: bool,
    /// Whether it is TLS.
    pub secure: bool,
}

impl Peer {
    /// As the log names it.
    pub fn name(&self) -> String {
        match &self.remote {
            Endpoint::Inet(address) => address.to_string(),
            Endpoint::Unix(_) => "a client".to_owned(),
        }
    }
}

/// Why a request gets an error page.
enum Fault {
    Refused(Refusal),
    Failed(Failure),
    /// The app returned what may not be sent.
    Invalid(String),
}

pub async fn answer(host: &Host, peer: &Peer, exchange: Exchange, request: Request<Incoming>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let body = RequestBody::new(body, parts.version);
    let form = match parts.version {
        Version::HTTP_2 => origin_form::of_http2(&mut parts).map_err(Refusal::bad),
        _ => Ok(()),
    };
    let record = host.access_log.begin(&parts, &peer.remote);
    let target: Arc<str> = target(&parts).into();
    let label = host.chain.label(&target);
    let length = body.size_hint().exact();
    let upload = (!body.is_end_stream()).then(|| Upload::new(is_large(&parts, length)));
    let valid = form.and_then(|()| strict::check(&parts, length, &host.requests));
    let response = match valid {
        Ok(()) => {
            let input = upload.clone().map(|upload| {
                let terms = Terms {
                    label: label.clone(),
                    pace: host.pace,
                    requests: host.requests.clone(),
                };
                Input::new(body, terms, upload)
            });
            respond(host, peer, &parts, input, &label, target).await
        }
        Err(refusal) => Err(Fault::Refused(refusal)),
    };
    if let Err(fault) = &response {
        report(format_args!("{label}"), peer, fault);
    }
    let is_head = parts.method == Method::HEAD;
    let (mut head, body) = match (response, upload.as_ref().and_then(|upload| upload.refusal())) {
        // The app has read less than what the client meant: what it makes of that is no answer.
        (_, Some(refusal)) => page(is_head, &Fault::Refused(refusal)),
        (Ok(response), None) => response,
        (Err(fault), None) => page(is_head, &fault),
    };
    // An app that still makes its body may still read its input: what it leaves is only known at the end.
    let left_unread = upload.is_some_and(|upload| upload.is_unread()) && !body.is_streamed();
    if host.draining.get() || left_unread {
        head.close_connection();
    }
    let ends_with_connection = parts.version == Version::HTTP_10 && head.length.is_none();
    let body = body
        .with_record(record, head.status)
        .with_exchange(exchange, ends_with_connection);
    assemble(head, body)
}

/// The answer to what is no valid request, and was never parsed.
pub fn refuse(host: &Host, peer: &Peer, exchange: Exchange, refused: &Refused) -> Response<Body> {
    let record = host.access_log.begin_refused(&refused.line, &peer.remote);
    let fault = Fault::Refused(refused.refusal);
    report(format_args!("{}", host.chain.name()), peer, &fault);
    let (head, body) = page(refused.head_only, &fault);
    let body = body.with_record(record, head.status).with_exchange(exchange, false);
    assemble(head, body)
}

async fn respond(
    host: &Host,
    peer: &Peer,
    parts: &Parts,
    input: Option<Input>,
    label: &Label,
    target: Arc<str>,
) -> Result<(Head, Body), Fault> {
    let forwarded = match peer.trusted {
        true => proxy::scheme(&parts.headers).map_err(|why| Fault::Refused(Refusal::bad(why)))?,
        false => None,
    };
    let setting = environ::Setting {
        local: &peer.local,
        peer: &peer.remote,
        scheme: forwarded.unwrap_or(if peer.secure { "https" } else { "http" }),
        multiprocess: host.multiprocess,
        run_once: host.chain.run_once(),
        header_map: host.requests.header_map,
    };
    let vars = environ::variables(parts, &setting);
    let reply = host.chain.call(target, vars, input).await.map_err(Fault::Failed)?;
    let Reply {
        status,
        reason,
        headers,
        body,
    } = reply;
    let head = response::check(&parts.method, status, &reason, &headers, &host.response_limits);
    match (head, body) {
        (Ok(head), ReplyBody::Bytes(bytes)) => Ok(whole(parts, head, bytes.into(), label)),
        (Ok(head), ReplyBody::Chunks(chunks)) => {
            let source = Source {
                chunks,
                label: label.clone(),
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
                    label: label.clone(),
                    length: None,
                };
                source.close().await;
            }
            Err(Fault::Invalid(why))
        }
    }
}

/// Whether a body is so long that, if the app does not read it, the connection is better closed than read to its end.
fn is_large(parts: &Parts, length: Option<u64>) -> bool {
    match length {
        Some(length) => length > UNREAD_BYTES,
        None => parts.version != Version::HTTP_10,
    }
}

/// A body of one block, held to the length that the app gave it.
fn whole(parts: &Parts, mut head: Head, mut bytes: Bytes, label: &Label) -> (Head, Body) {
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
            body::warn_short(label, length - sent);
            return (head, Body::short(bytes));
        }
        Some(length) if sent > length => {
            body::warn_long(label);
            bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        }
        _ => {}
    }
    (head, Body::whole(bytes))
}

/// Tells the log what the client is not told.
fn report(name: fmt::Arguments<'_>, peer: &Peer, fault: &Fault) {
    match fault {
        Fault::Refused(refusal) => log::info(format_args!(
            "{name}: {}: refused with {}: {refusal}",
            peer.name(),
            refusal.status.as_u16(),
        )),
        // The log has it already, with the name of the link that failed.
        Fault::Failed(_) => {}
        Fault::Invalid(why) => log::error(format_args!("{name}: {why}")),
    }
}

/// A short page that tells the client no more than its status; the log has the rest.
fn page(is_head: bool, fault: &Fault) -> (Head, Body) {
    let status = match fault {
        Fault::Refused(refusal) => refusal.status,
        Fault::Failed(Failure::Timeout(_)) => StatusCode::GATEWAY_TIMEOUT,
        Fault::Failed(Failure::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
        Fault::Failed(_) | Fault::Invalid(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let text = format!("{}\n", status.canonical_reason().unwrap_or("Error"));
    let mut headers = http::HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_SECONDS);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // What a tunnel would lead to has no methods here (RFC 9110, 10.2.1 and 15.5.6).
        headers.insert(ALLOW, HeaderValue::from_static(""));
    }
    let has_body = !is_head;
    let mut head = Head {
        status,
        reason: None,
        headers,
        length: Some(text.len() as u64),
        has_body,
    };
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
    if let Some(reason) = head.reason {
        response.extensions_mut().insert(reason);
    }
    response
}

/// `GET /path`, as the log names a request.
fn target(parts: &Parts) -> String {
    let path = parts.uri.path();
    let path = &path[..path.floor_char_boundary(NAME_BYTES)];
    format!("{} {path}", parts.method)
}
