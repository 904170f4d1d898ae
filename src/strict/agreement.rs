//! What passes is looked at by a second parser, httparse, which has to find the same requests in it; and nothing depends on
//! how bytes are split. `PROPTEST_CASES=10000000 cargo test --release strict::agreement` is a long run.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use clap::Parser;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, ReadBuf};

use super::scanner::{End, Scanner};
use super::{Guard, Ledger, Options, Refusal};

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
}

/// Small limits, so that they are met.
fn options() -> Options {
    let limits = [
        "",
        "--limit-request-line=60",
        "--limit-request-fields=6",
        "--limit-request-field_size=40",
    ];
    CommandLine::parse_from(limits).options
}

fn config() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(3_000),
    }
}

/// What comes out for pieces that arrive one after the other.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    passed: Vec<u8>,
    heads: u64,
    end: Option<End>,
}

fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Run {
    let mut scanner = Scanner::new(options());
    let mut all = Run {
        passed: Vec::new(),
        heads: 0,
        end: None,
    };
    let mut held = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        let scanned = scanner.scan(&mut held);
        all.passed.extend_from_slice(&held[..scanned.passed]);
        all.heads += scanned.heads;
        if scanned.end.is_some() {
            all.end = scanned.end;
            break;
        }
        held.drain(..scanned.rest);
    }
    all.end = all.end.or_else(|| scanner.finish(&held));
    if let Some(End::Refused(refused)) = &mut all.end {
        // How much of it has arrived by then is up to the client.
        refused.line.clear();
    }
    all
}

impl Run {
    fn refusal(&self) -> Option<Refusal> {
        self.end.as_ref().map(|end| match end {
            End::Refused(refused) => refused.refusal,
            End::Broken(refusal) => *refusal,
        })
    }
}

/// Requests as httparse sees them, with their bodies; None where it sees something else than whole requests and perhaps a
/// last one without its end.
fn second_opinion(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut bodies = Vec::new();
    while !bytes.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 6];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = request.parse(bytes).ok()? else {
            return None;
        };
        http::Method::from_bytes(request.method?.as_bytes()).ok()?;
        request.path?.parse::<http::Uri>().ok()?;
        let field = |name: &str| {
            let mut found = request
                .headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name));
            (found.next().map(|header| header.value), found.next())
        };
        // The same start of a line is the same field in both.
        let text = &bytes[..length];
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        if lines.len() != request.headers.len() + 3 {
            return None;
        }
        for (line, header) in lines[1..].iter().zip(request.headers.iter()) {
            line.strip_prefix(header.name.as_bytes())?.strip_prefix(b":")?;
            http::HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            http::HeaderValue::from_bytes(header.value).ok()?;
        }
        bytes = &bytes[length..];
        let body = match (field("content-length"), field("transfer-encoding")) {
            ((None, _), (None, _)) => &[][..],
            ((Some(length), None), (None, _)) => {
                let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
                let body = &bytes[..length.min(bytes.len())];
                bytes = &bytes[body.len()..];
                body
            }
            ((None, _), (Some(coding), None)) if coding.eq_ignore_ascii_case(b"chunked") => {
                let (body, rest) = chunks(bytes)?;
                bodies.push(body);
                bytes = rest;
                continue;
            }
            _ => return None,
        };
        bodies.push(body.to_vec());
    }
    Some(bodies)
}

fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    while !bytes.is_empty() {
        let httparse::Status::Complete((start, size)) = httparse::parse_chunk_size(bytes).ok()? else {
            return None;
        };
        bytes = &bytes[start..];
        let length = usize::try_from(size).ok()?.min(bytes.len());
        body.extend_from_slice(&bytes[..length]);
        bytes = &bytes[length..];
        if bytes.is_empty() {
            break;
        }
        bytes = bytes.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some((body, bytes));
        }
    }
    Some((body, bytes))
}

fn pattern(pattern: &str) -> impl Strategy<Value = String> + use<> {
    proptest::string::string_regex(pattern).expect("a regular expression")
}

/// A valid request and its body.
fn valid() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let origin = pattern("/([A-Za-z0-9/._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2}){0,6}(\\?[a-z%|{}\\[\\]?/]{0,9})?");
    let host = "(a|[A-Z]{1,3}\\.org|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]{0,4})?";
    let absolute = (pattern(host), pattern("(/[a-z]{0,4}(\\?[a-z]{0,3})?)?")).prop_map(|(host, path)| {
        let target = format!("http://{host}{path}");
        (target, host)
    });
    let target = prop_oneof![
        3 => (origin, pattern(host)),
        1 => absolute,
    ];
    let name = "[!#$%&'*+.^_`|~0-9A-Za-z-]{0,8}[xX]";
    let value = vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..12);
    let fields = vec((pattern(name), value), 0..4);
    (
        pattern("[A-Z!#$%&'*+.^_`|~0-9-]{1,6}"),
        target,
        fields,
        vec(any::<u8>(), 0..40),
        any::<Option<(u8, u8)>>(),
    )
        .prop_filter("CONNECT has no body", |(method, ..)| method != "CONNECT")
        .prop_map(|(method, (target, host), fields, body, chunked)| {
            let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
            for (name, value) in fields {
                bytes.extend_from_slice(&[name.as_bytes(), b":", &value, b"\r\n"].concat());
            }
            match chunked {
                None => {
                    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                    bytes.extend_from_slice(&body);
                }
                Some((size, style)) => {
                    bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in body.chunks(usize::from(size % 16) + 1) {
                        let line = match style % 4 {
                            0 => format!("{:x}\r\n", chunk.len()),
                            1 => format!("00{:X}\r\n", chunk.len()),
                            2 => format!("{:x};a=b\r\n", chunk.len()),
                            _ => format!("{:x} ; a = \"\\\"b;\"\r\n", chunk.len()),
                        };
                        bytes.extend_from_slice(&[line.as_bytes(), chunk, b"\r\n"].concat());
                    }
                    bytes.extend_from_slice(if style > 127 {
                        b"0\r\n\r\n"
                    } else {
                        b"00;z\r\nX: y\r\n\r\n"
                    });
                }
            }
            (bytes, body)
        })
}

/// What makes a difference, wherever it stands.
const TELLING: [&[u8]; 27] = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b";",
    b"0",
    b"5",
    b",",
    b"\r\n\r\n",
    b"\xe9",
    b"%",
    b"#",
    b"/",
    b"\"",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n",
    b"chunked",
    b"GET / HTTP/1.1\r\n",
    b"HTTP/1.0",
    b"0\r\n\r\n",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// Bytes that are nearly requests.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let telling = prop_oneof![
        1 => vec(any::<u8>(), 1..3),
        6 => prop::sample::select(&TELLING[..]).prop_map(<[u8]>::to_vec),
    ];
    let change = (any::<prop::sample::Index>(), 0..4_usize, telling);
    (vec(valid(), 1..4), vec(change, 0..4)).prop_map(|(requests, changes)| {
        let mut bytes: Vec<u8> = requests.into_iter().flat_map(|(bytes, _)| bytes).collect();
        for (at, cut, put) in changes {
            let mut start = at.index(bytes.len().max(1)).min(bytes.len());
            if cut == 0 {
                // What is only put in makes most of a difference at the start of a line.
                let line = bytes[start..].iter().position(|byte| *byte == b'\n');
                start += line.map_or(0, |line| line + 1);
            }
            let end = (start + cut).min(bytes.len());
            bytes.splice(start..end, put);
        }
        bytes
    })
}

/// A connection on which these pieces arrive.
struct Pieces(std::vec::IntoIter<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.next() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                let all = std::iter::once(rest).chain(self.0.by_ref()).collect::<Vec<_>>();
                self.0 = all.into_iter();
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn split(bytes: &[u8], at: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut ends: Vec<usize> = at
        .iter()
        .map(|at| at.index(bytes.len() + 1))
        .chain([bytes.len()])
        .collect();
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let pieces = starts.zip(&ends).map(|(start, end)| bytes[start..*end].to_vec());
    pieces.filter(|piece| !piece.is_empty()).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn valid_requests_pass_with_their_bodies(requests in vec(valid(), 1..4)) {
        let (bytes, bodies): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let small = bytes.iter().all(|bytes| bytes.split(|byte| *byte == b'\n').all(|line| line.len() < 40));
        let all = run([bytes.concat().as_slice()]);
        if small {
            prop_assert_eq!(all.refusal(), None);
        }
        if all.end.is_none() {
            prop_assert_eq!(all.heads, bodies.len() as u64);
            prop_assert_eq!(second_opinion(&all.passed), Some(bodies));
        }
    }

    #[test]
    fn what_passes_is_the_same_to_a_second_parser(bytes in nearly()) {
        let all = run([bytes.as_slice()]);
        let bodies = second_opinion(&all.passed);
        prop_assert!(bodies.is_some(), "it sees no requests in {}", all.passed.escape_ascii());
        prop_assert_eq!(bodies.map(|bodies| bodies.len() as u64), Some(all.heads));
    }

    #[test]
    fn how_bytes_are_split_makes_no_difference(bytes in nearly(), at in vec(any::<prop::sample::Index>(), 0..6)) {
        let whole = run([bytes.as_slice()]);
        let pieces = split(&bytes, &at);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        for other in [run(pieces.iter().map(Vec::as_slice)), run(single)] {
            prop_assert_eq!(other.refusal(), whole.refusal());
            match (&other.end, &whole.end) {
                // By then the head was let through.
                (Some(End::Broken(_)), Some(End::Refused(_))) => {
                    prop_assert_eq!(other.heads, whole.heads + 1);
                    prop_assert!(other.passed.starts_with(&whole.passed));
                }
                _ => prop_assert_eq!(&other, &whole),
            }
        }
    }

    #[test]
    fn the_guard_hands_on_what_passes(
        bytes in nearly(), at in vec(any::<prop::sample::Index>(), 0..6), room in 1..50_usize,
    ) {
        let pieces = split(&bytes, &at);
        let ledger = Rc::new(Ledger::default());
        let mut guard = Guard::new(Pieces(pieces.into_iter()), &options(), ledger.clone(), String::new());
        let mut context = Context::from_waker(Waker::noop());
        let (mut received, mut end) = (Vec::new(), None);
        let mut space = vec![0; room];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut guard).poll_read(&mut context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => break,
                Poll::Ready(Ok(())) => received.extend_from_slice(buffer.filled()),
                Poll::Ready(Err(error)) => {
                    end = error.get_ref().and_then(|error| error.downcast_ref::<Refusal>()).copied();
                    prop_assert!(end.is_some());
                    break;
                }
                Poll::Pending => prop_assert!(false, "it waits for nothing"),
            }
        }
        let requests = second_opinion(&received);
        prop_assert!(requests.is_some(), "it sees no requests in {}", received.escape_ascii());
        let mut refused = None;
        for _ in requests.unwrap_or_default() {
            prop_assert!(refused.is_none(), "a request after the refused one");
            refused = ledger.next();
        }
        let end = end.or(refused.map(|refused| refused.refusal));
        prop_assert_eq!(end, run([bytes.as_slice()]).refusal());
    }
}
