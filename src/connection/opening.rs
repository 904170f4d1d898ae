//! What comes before HTTP: a PROXY protocol header, a TLS handshake, and the way to find out which HTTP it is.

use std::io;

use tokio::time::timeout;

use super::Setting;
use crate::flow::Flow;
use crate::listener::Endpoint;
use crate::proxy_protocol;
use crate::request::Peer;
use crate::tls::Stream;
use crate::transport::Transport;

/// How an HTTP/2 connection starts (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub enum Protocol {
    Http1,
    Http2,
}

/// Why a connection ends before a request.
pub enum Closed {
    /// The client has gone, or has never said anything.
    Silently,
    Because(String),
}

/// Opens a connection, each step with its time limit.
pub async fn open(
    setting: &Setting,
    mut transport: Transport,
    flow: &Flow,
    peer: &mut Peer,
) -> Result<(Stream, Protocol), Closed> {
    let options = &setting.options;
    let expects_header = setting.proxy_protocol.expects(&peer.remote);
    let secured = timeout(options.handshake_timeout, async {
        if expects_header && let Some(ends) = proxy_protocol::read(&mut transport).await? {
            peer.remote = Endpoint::Inet(ends.client);
            peer.local = Endpoint::Inet(ends.server);
        }
        match &setting.tls {
            Some(acceptor) => acceptor.accept(transport).await,
            None => Ok(Stream::plain(transport)),
        }
    });
    let mut stream = match secured.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(closed(&error)),
        Err(_) => return Err(Closed::Because("not ready for HTTP within --handshake-timeout".into())),
    };
    flow.opened();
    if stream.is_secure() {
        return match stream.chose_http2() {
            true => Ok((stream, Protocol::Http2)),
            false => Ok((stream, Protocol::Http1)),
        };
    }
    let decide = |start: &[u8]| match start.len().min(PREFACE.len()) {
        0 => None,
        length if start[..length] != PREFACE[..length] => Some(Protocol::Http1),
        length => (length == PREFACE.len()).then_some(Protocol::Http2),
    };
    let transport = stream.transport();
    match timeout(options.header_timeout, transport.look(PREFACE.len(), decide)).await {
        Ok(Ok(protocol)) => Ok((stream, protocol)),
        // What there is of it is for HTTP/1 to refuse.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof && transport.has_looked() => {
            Ok((stream, Protocol::Http1))
        }
        Ok(Err(_)) | Err(_) => Err(Closed::Silently),
    }
}

fn closed(error: &io::Error) -> Closed {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Closed::Silently,
        _ => Closed::Because(format!("not ready for HTTP: {error}")),
    }
}
