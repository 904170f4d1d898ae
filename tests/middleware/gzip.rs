//! Compression: for whom, of what, and what it does to the head.

use std::fmt::Write;

use super::{gunzip, serve, unfinished};
use crate::guests::Subject;
use crate::harness::{Client, Response, Server, guest, wat};

const SIZE: usize = 5000;

fn get(client: &mut Client, target: &str, fields: &str) -> Response {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes());
    client.response("GET")
}

fn decoded(response: &Response) -> Vec<u8> {
    gunzip(&response.body).expect("the body is compressed")
}

#[test]
fn clients_get_what_they_ask_for() {
    let app = wat(
        "compressible",
        r#"
        (func $call
          (call $header "Content-Type" "text/plain; charset=utf-8")
          (call $body_of (i32.const 5000)))
        "#,
    );
    let server = serve(&["gzip"], &app, &[]);
    let mut client = server.client();
    for (accept_encoding, is_gzip) in [
        (None, false),
        (Some(""), false),
        (Some("gzip"), true),
        (Some("x-gzip"), true),
        (Some("GZip"), true),
        (Some("deflate, gzip, br"), true),
        (Some("deflate, br"), false),
        (Some("*"), true),
        (Some("*;q=0"), false),
        (Some("gzip;q=0"), false),
        (Some("gzip;q=0.000"), false),
        (Some("gzip;q=0, *"), false),
        (Some("*;q=0, gzip"), true),
        (Some("gzip;q=0.001"), true),
        (Some("gzip ; Q=0.5 ,deflate"), true),
        (Some("identity"), false),
        (Some("identity;q=1, gzip;q=0.5"), false),
        (Some("identity;q=0.5, gzip;q=0.5"), true),
        (Some("identity;q=0, *;q=0.1"), true),
        (Some("gzip;q=x"), false),
        (Some("gzip;q=2"), false),
        (Some("gzip;q=-1"), false),
        (Some("gzip;level=9"), false),
        (Some(",,,gzip,,"), true),
        (Some(";q=1"), false),
        (Some("notgzip"), false),
    ] {
        let field = accept_encoding.map_or_else(String::new, |value| format!("Accept-Encoding: {value}\r\n"));
        let response = get(&mut client, "/", &field);
        assert_eq!(response.header("Vary"), Some("Accept-Encoding"), "{accept_encoding:?}");
        let expected = is_gzip.then_some("gzip");
        assert_eq!(response.header("Content-Encoding"), expected, "{accept_encoding:?}");
        let body = if is_gzip { decoded(&response) } else { response.body };
        assert_eq!(body, [b'x'; SIZE], "{accept_encoding:?}");
    }
}

/// What is done to a response, for a client that accepts gzip.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Done {
    Compressed,
    /// Not for this request, but another one might get another answer.
    Varies,
    Nothing,
}

/// Status, header fields, bytes of the body (streamed, if it is negative), and of the request; what is done, and some
/// fields after it.
type Case = (
    u16,
    &'static [(&'static str, &'static str)],
    i32,
    &'static str,
    Done,
    &'static [(&'static str, Option<&'static str>)],
);

const TEXT: (&str, &str) = ("Content-Type", "text/plain");

#[rustfmt::skip]
const CASES: &[Case] = &[
    (200, &[TEXT], 5000, "", Done::Compressed, &[]),
    (200, &[TEXT], -5000, "", Done::Compressed, &[("Content-Length", None)]),
    (404, &[("Content-Type", "text/html")], 5000, "", Done::Compressed, &[]),
    (500, &[("content-type", "application/json")], 5000, "", Done::Compressed, &[]),
    (200, &[("Content-Type", "image/svg+xml ; a=b")], 5000, "", Done::Compressed, &[]),
    (200, &[("Content-Type", "Application/Problem+JSON")], 5000, "", Done::Compressed, &[]),
    (200, &[("Content-Type", "image/png")], 5000, "", Done::Nothing, &[]),
    (200, &[("Content-Type", "application/octet-stream")], -5000, "", Done::Nothing, &[]),
    (200, &[], 5000, "", Done::Nothing, &[]),
    // Too short; a stream, only if it says so.
    (200, &[TEXT], 255, "", Done::Nothing, &[("Content-Length", Some("255"))]),
    (200, &[TEXT], 256, "", Done::Compressed, &[]),
    (200, &[TEXT], 0, "", Done::Nothing, &[]),
    (200, &[TEXT, ("Content-Length", "255")], -255, "", Done::Nothing, &[("Content-Length", Some("255"))]),
    (200, &[TEXT], -255, "", Done::Compressed, &[]),
    // The length of what is compressed is another.
    (200, &[TEXT, ("Content-Length", "5000")], -5000, "", Done::Compressed, &[("Content-Length", None)]),
    (200, &[TEXT, ("Content-Length", "5000"), ("Accept-Ranges", "bytes")], 5000, "", Done::Compressed, &[("Accept-Ranges", None)]),
    // What may not be touched.
    (200, &[TEXT, ("Content-Encoding", "br")], 5000, "", Done::Nothing, &[("Content-Encoding", Some("br"))]),
    (200, &[TEXT, ("Cache-Control", "public, No-Transform")], 5000, "", Done::Nothing, &[]),
    (200, &[TEXT, ("Cache-Control", "public")], 5000, "", Done::Compressed, &[]),
    (200, &[TEXT, ("Content-Digest", "sha-256=:AAAA:")], 5000, "", Done::Nothing, &[]),
    (206, &[TEXT, ("Content-Range", "bytes 0-4999/9999")], 5000, "Range: bytes=0-4999\r\n", Done::Nothing, &[]),
    (200, &[TEXT], 5000, "Range: bytes=0-4999\r\n", Done::Varies, &[]),
    (416, &[TEXT, ("Content-Range", "bytes */9999")], 5000, "Range: bytes=99999-\r\n", Done::Nothing, &[]),
    (204, &[TEXT], 0, "", Done::Nothing, &[]),
    // Tags, and what they are asked with.
    (200, &[TEXT, ("ETag", "\\22a\\22")], 5000, "", Done::Compressed, &[("ETag", Some("W/\"a\""))]),
    (200, &[TEXT, ("ETag", "W/\\22a\\22")], 5000, "", Done::Compressed, &[("ETag", Some("W/\"a\""))]),
    (200, &[TEXT, ("ETag", "\\22a\\22")], 5000, "Range: bytes=0-\r\n", Done::Varies, &[("ETag", Some("\"a\""))]),
    (304, &[("ETag", "\\22a\\22")], 0, "If-None-Match: W/\"b\", W/\"a\"\r\n", Done::Nothing, &[("ETag", Some("W/\"a\""))]),
    (304, &[("ETag", "\\22a\\22")], 0, "If-None-Match: \"a\"\r\n", Done::Nothing, &[("ETag", Some("\"a\""))]),
    // Vary grows.
    (200, &[TEXT, ("Vary", "Cookie")], 5000, "", Done::Compressed, &[("Vary", Some("Cookie, Accept-Encoding"))]),
    (200, &[TEXT, ("Vary", "Cookie, accept-encoding")], 5000, "", Done::Compressed, &[("Vary", Some("Cookie, accept-encoding"))]),
    (200, &[TEXT, ("vary", "*")], 5000, "", Done::Compressed, &[("Vary", Some("*"))]),
];

/// An app with a response for each case.
fn app() -> String {
    let (mut call, mut next) = (String::new(), String::new());
    for (index, (status, headers, size, ..)) in CASES.iter().enumerate() {
        write!(
            call,
            "(if (call $at \"/{index}\") (then (call $status (i32.const {status}))"
        )
        .unwrap();
        for (name, value) in *headers {
            write!(call, "(call $header \"{name}\" \"{value}\")").unwrap();
        }
        if *size < 0 {
            writeln!(call, "(global.set $left (i32.const {})) (call $stream)))", -size).unwrap();
        } else {
            writeln!(call, "(call $body_of (i32.const {size}))))").unwrap();
        }
    }
    write!(
        next,
        "(if (global.get $left) (then (call $block_of (global.get $left)) (global.set $left (i32.const 0))))"
    )
    .unwrap();
    wat(
        "negotiated",
        &format!("(global $left (mut i32) (i32.const 0)) (func $call {call}) (func $next {next})"),
    )
}

#[test]
fn responses_are_compressed_where_that_is_safe() {
    let app = app();
    let server = serve(&["gzip"], &app, &["--max-requests", "0"]);
    let mut client = server.client();
    for (index, (status, _, size, fields, done, after)) in CASES.iter().enumerate() {
        let what = format!("{:?}", CASES[index]);
        let fields = format!("Accept-Encoding: gzip\r\n{fields}");
        let response = get(&mut client, &format!("/{index}"), &fields);
        assert_eq!(response.status(), *status, "{what}");
        assert!(response.complete, "{what}");
        let is_compressed = response.header("Content-Encoding") == Some("gzip");
        assert_eq!(is_compressed, *done == Done::Compressed, "{what}");
        let varies = response.header("Vary").is_some();
        assert_eq!(varies, *done != Done::Nothing, "{what}");
        let body = if is_compressed {
            decoded(&response)
        } else {
            response.body.clone()
        };
        assert_eq!(body.len(), size.unsigned_abs() as usize, "{what}");
        for (name, value) in *after {
            let found = response.header(name);
            // What is whole has a length, of its own.
            let is_new_length = *name == "Content-Length" && value.is_none() && found.is_some();
            assert!(
                found == *value || is_new_length && *size > 0,
                "{what}: {name} {found:?}"
            );
        }
    }
}

#[test]
fn a_head_is_that_of_a_get() {
    let app = app();
    let server = serve(&["gzip"], &app, &[]);
    let mut client = server.client();
    let mut ask = |method: &str, target: &str| {
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n").as_bytes());
        let mut response = client.response(method);
        response
            .headers
            .retain(|(name, _)| name != "Date" && name != "Transfer-Encoding");
        response.headers.sort();
        (response.status_line, response.headers)
    };
    for (index, case) in CASES.iter().enumerate() {
        let target = format!("/{index}");
        // Of nothing, the server gives a GET alone the length.
        if case.2 != 0 {
            assert_eq!(ask("HEAD", &target), ask("GET", &target), "{case:?}");
        }
    }
}

#[test]
fn what_gains_nothing_stays_as_it_is() {
    let server = serve(&["gzip"], &guest("rust"), &[]);
    let noise = noise(4000);
    let response = echo(&server, &noise);
    assert_eq!(decoded(&response), noise, "a stream cannot be known beforehand");
    let app = wat(
        "noise",
        &format!(
            r#"(func $call (call $header "Content-Type" "text/plain") (call $header "ETag" "\22a\22") (call $body "{}"))"#,
            noise.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>()
        ),
    );
    let server = serve(&["gzip"], &app, &[]);
    let response = get(&mut server.client(), "/", "Accept-Encoding: gzip\r\n");
    assert_eq!(response.header("Content-Encoding"), None);
    assert_eq!(response.header("ETag"), Some("\"a\""));
    assert_eq!(response.header("Vary"), Some("Accept-Encoding"));
    assert_eq!(response.body, noise);
}

/// Bytes that no encoder makes shorter (a linear congruential generator's).
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn echo(server: &Server, body: &[u8]) -> Response {
    let fields = format!(
        "Accept-Encoding: gzip\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n",
        body.len()
    );
    Subject::new("gzip", server).request(&mut server.client(), "POST", "/echo", &fields, body)
}

#[test]
fn a_long_text_comes_back_whole() {
    let server = serve(&["gzip"], &guest("rust"), &["--max-requests", "0"]);
    let text: Vec<u8> = (0..400_000)
        .flat_map(|line| format!("line {line}\n").into_bytes())
        .collect();
    let response = echo(&server, &text);
    assert!(response.complete);
    assert!(response.body.len() < text.len() / 2, "{}", response.body.len());
    assert!(decoded(&response) == text);
}

/// Server-sent events: what the app has sent can be decoded before it sends more.
#[test]
fn each_block_arrives_when_it_is_sent() {
    const EVENTS: [&str; 3] = ["data: one\n\n", "data: two\n\n", "data: three\n\n"];

    let server = serve(&["gzip"], &guest("rust"), &[]);
    let mut client = server.client();
    client.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    let event = |event: &str| format!("{:x}\r\n{event}\r\n", event.len());
    client.send(event(EVENTS[0]).as_bytes());
    client.fill_until(b"\r\n\r\n");
    let mut raw = client.read_some();
    let head = raw
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("the head is there");
    raw.drain(..head + 4);
    let (mut body, mut expected) = (Vec::new(), Vec::<u8>::new());
    for (index, sent) in EVENTS.iter().enumerate() {
        if index > 0 {
            client.send(event(sent).as_bytes());
        }
        expected.extend(sent.as_bytes());
        // The app has nothing more to send until this has arrived.
        loop {
            while let Some(data) = chunk(&raw) {
                body.extend_from_slice(&raw[data.clone()]);
                raw.drain(..data.end + 2);
            }
            if unfinished(&body) == expected {
                break;
            }
            raw.extend(client.read_some());
        }
    }
}

/// Where the data of the first chunk is, if it is there as a whole.
fn chunk(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let end = bytes.windows(2).position(|window| window == b"\r\n")?;
    let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
    let data = end + 2..end + 2 + size;
    (bytes.len() >= data.end + 2).then_some(data)
}
