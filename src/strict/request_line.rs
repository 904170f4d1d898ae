//! `method SP request-target SP HTTP-version` (RFC 9112, 3).

use std::ops::Range;

use http::StatusCode;

use super::grammar::{Authority, is_path_and_query, is_token};
use super::refusal::Refusal;

/// The longest target that the parser behind can hold.
const TARGET_BYTES: usize = 65_000;

/// What the rest of the head has to agree with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// Whether it is HTTP/1.0.
    pub old: bool,
    /// Of an absolute-form target: where its authority is in the line, and its scheme's port.
    pub authority: Option<(Range<usize>, u16)>,
}

impl RequestLine {
    /// Of a line without its end, which is made of printable ASCII.
    pub fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (method, target, version) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(method), Some(target), Some(version), None) => (method, target, version),
            (Some(_), Some(_), None, None) => {
                return Err(Refusal::bad(
                    "the request line has no version: HTTP/0.9 is not spoken here (RFC 9112, 3)",
                ));
            }
            _ => {
                return Err(Refusal::bad(
                    "a request line has three parts, a space between each (RFC 9112, 3)",
                ));
            }
        };
        check_method(method)?;
        let old = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(Refusal::new(
                    StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                    "the version is neither HTTP/1.1 nor HTTP/1.0 (RFC 9110, 15.6.6)",
                ));
            }
            _ => return Err(Refusal::bad("no HTTP version ends the request line (RFC 9112, 2.3)")),
        };
        let start = method.len() + 1;
        let authority = check_target(method, target)?
            .map(|(authority, port)| (start + authority.start..start + authority.end, port));
        Ok(Self { old, authority })
    }
}

/// A method is a token, and all that are registered are in capitals; `get` is a mistake, or an attempt to get past a
/// rule about GET (RFC 9110, 9.1).
pub fn check_method(method: &[u8]) -> Result<(), Refusal> {
    if !is_token(method) {
        return Err(Refusal::bad("the method is no token (RFC 9110, 9.1)"));
    }
    if method.iter().any(u8::is_ascii_lowercase) {
        return Err(Refusal::bad("a method has no lower-case letters (RFC 9110, 9.1)"));
    }
    Ok(())
}

/// CONNECT asks for a tunnel.
pub const NO_TUNNEL: Refusal = Refusal::new(
    StatusCode::METHOD_NOT_ALLOWED,
    "CONNECT: this is no proxy (RFC 9110, 9.3.6)",
);

/// Of an absolute-form, where its authority is, and the port of its scheme.
fn check_target(method: &[u8], target: &[u8]) -> Result<Option<(Range<usize>, u16)>, Refusal> {
    if target.len() > TARGET_BYTES {
        return Err(Refusal::new(
            StatusCode::URI_TOO_LONG,
            "the target is too long (RFC 9112, 3)",
        ));
    }
    if method == b"CONNECT" {
        return Err(match Authority::parse(target) {
            Some(Authority {
                host: [_, ..],
                port: Some(_),
            }) => NO_TUNNEL,
            _ => Refusal::bad("the target of CONNECT is a host and a port (RFC 9112, 3.2.3)"),
        });
    }
    match target {
        [b'/', ..] => check_path(target).map(|()| None),
        b"*" if method == b"OPTIONS" => Ok(None),
        b"*" => Err(Refusal::bad("only OPTIONS is about * (RFC 9112, 3.2.4)")),
        _ => {
            let (scheme, port) = scheme(target).ok_or(Refusal::bad(
                "the target is neither a path nor an http URL (RFC 9112, 3.2)",
            ))?;
            let rest = &target[scheme..];
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
            let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
            match Authority::parse(authority) {
                Some(Authority { host: [_, ..], .. }) if !authority.contains(&b'%') => {}
                _ => return Err(Refusal::bad("the target's host is malformed (RFC 9110, 4.2)")),
            }
            check_path(path)?;
            Ok(Some((scheme..scheme + authority.len(), port)))
        }
    }
}

fn check_path(path: &[u8]) -> Result<(), Refusal> {
    if path.contains(&b'#') {
        return Err(Refusal::bad("a fragment is no part of a target (RFC 9112, 3.2)"));
    }
    if is_path_and_query(path) {
        return Ok(());
    }
    Err(Refusal::bad(
        "a character that a target may not have (RFC 3986, 3.3 and 3.4)",
    ))
}

/// How long `http://` or `https://` is, and which port goes without saying.
fn scheme(target: &[u8]) -> Option<(usize, u16)> {
    let starts = |prefix: &[u8]| {
        let start = target.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    [("http://", 80), ("https://", 443)]
        .into_iter()
        .find(|(prefix, _)| starts(prefix.as_bytes()))
        .map(|(prefix, port)| (prefix.len(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(line: &str) -> u16 {
        match RequestLine::parse(line.as_bytes()) {
            Ok(_) => 200,
            Err(refusal) => refusal.status.as_u16(),
        }
    }

    #[test]
    fn a_request_line_has_three_parts() {
        for (line, expected) in [
            ("GET / HTTP/1.1", 200),
            ("M-SEARCH * HTTP/1.1", 400),
            ("M-SEARCH / HTTP/1.0", 200),
            ("!#$%&'*+-.^_`|~09AZ / HTTP/1.1", 200),
            ("OPTIONS * HTTP/1.1", 200),
            ("GET http://a HTTP/1.1", 200),
            ("GET HTTPS://a:81?b HTTP/1.1", 200),
            ("GET http://[::1]:/ HTTP/1.1", 200),
            ("CONNECT a:80 HTTP/1.1", 405),
            ("CONNECT a HTTP/1.1", 400),
            ("CONNECT / HTTP/1.1", 400),
            ("GET a:80 HTTP/1.1", 400),
            ("GET a HTTP/1.1", 400),
            ("GET ftp://a/ HTTP/1.1", 400),
            ("GET http:/a HTTP/1.1", 400),
            ("GET http:///a HTTP/1.1", 400),
            ("GET http://:80/a HTTP/1.1", 400),
            ("GET http://u@a/ HTTP/1.1", 400),
            ("GET http://a/#b HTTP/1.1", 400),
            ("GET http://a/%zz HTTP/1.1", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET /  HTTP/1.1", 400),
            ("GET / HTTP/1.1 ", 400),
            (" GET / HTTP/1.1", 400),
            ("GET / a HTTP/1.1", 400),
            ("GET /", 400),
            ("GET", 400),
            ("", 400),
            ("get / HTTP/1.1", 400),
            ("GeT / HTTP/1.1", 400),
            ("G(T / HTTP/1.1", 400),
            ("GET / HTTP/0.9", 505),
            ("GET / HTTP/1.2", 505),
            ("GET / HTTP/2.0", 505),
            ("GET / http/1.1", 400),
            ("GET / HTTP/1", 400),
            ("GET / HTTP/1.10", 400),
            ("GET / HTTP/11.1", 400),
            ("GET / HTTP /1.1", 400),
            ("GET / FTP/1.1", 400),
        ] {
            assert_eq!(status(line), expected, "{line}");
        }
        let long = format!("GET /{} HTTP/1.1", "a".repeat(TARGET_BYTES));
        assert_eq!(status(&long), 414);
    }

    #[test]
    fn an_absolute_form_says_where_its_authority_is() {
        let line = RequestLine::parse(b"GET https://a.org:81/b HTTP/1.0");
        let expected = RequestLine {
            old: true,
            authority: Some((12..20, 443)),
        };
        assert_eq!(line, Ok(expected));
    }
}
