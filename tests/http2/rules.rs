//! RFC 9113, section by section: what is wrong ends the stream or the connection with the code that the section names,
//! and never reaches an app.

use crate::harness::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Outcome, PING, PREFACE, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, encode, fields, request,
};
use crate::harness::{Server, wat};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

const WHOLE: u8 = END_HEADERS | END_STREAM;

/// Says in the log that it was called, and reads what there is.
fn app(name: &str) -> String {
    wat(
        name,
        r#"(func $call
            (call $log "called\n")
            (block $end (loop $next
              (br_if $end (i32.le_s (call $read (i32.const 1000)) (i32.const 0)))
              (br $next))))"#,
    )
}

fn get() -> Vec<u8> {
    encode(HEADERS, WHOLE, 1, &fields(&request("GET", "/")))
}

/// A GET with these fields besides.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    encode(HEADERS, WHOLE, 1, &fields(&[&request("GET", "/")[..], more].concat()))
}

/// A request of these fields only.
fn only(all: &[(&str, &str)]) -> Vec<u8> {
    encode(HEADERS, WHOLE, 1, &fields(all))
}

/// A POST of these fields, and its body in one frame.
fn post(more: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let head = fields(&[&request("POST", "/")[..], more].concat());
    [
        encode(HEADERS, END_HEADERS, 1, &head),
        encode(DATA, END_STREAM, 1, body),
    ]
    .concat()
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    encode(
        SETTINGS,
        0,
        0,
        &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat(),
    )
}

#[test]
fn what_is_wrong_ends_a_stream_or_the_connection() {
    let goaway = Outcome::GoAway;
    let reset = Outcome::Reset;
    let half_head = encode(HEADERS, END_STREAM, 1, &fields(&request("GET", "/")));
    let wide_open = [
        setting(4, 0x7fff_ffff),
        encode(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
    ]
    .concat();
    let cases: Vec<(&str, Vec<u8>, Vec<Outcome>)> = vec![
        (
            "4.2 a frame larger than SETTINGS_MAX_FRAME_SIZE",
            encode(DATA, 0, 1, &[0; 16_385]),
            vec![goaway(FRAME_SIZE_ERROR)],
        ),
        (
            "4.3 a field block that cannot be unpacked",
            encode(HEADERS, WHOLE, 1, &[0xff; 8]),
            vec![goaway(COMPRESSION_ERROR)],
        ),
        (
            "5.1 DATA on an idle stream",
            encode(DATA, 0, 1, b"x"),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "5.1 RST_STREAM on an idle stream",
            encode(RST_STREAM, 0, 1, &[0; 4]),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "5.1 WINDOW_UPDATE on an idle stream",
            encode(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "5.1 DATA after END_STREAM",
            [get(), encode(DATA, 0, 1, b"x")].concat(),
            vec![reset(STREAM_CLOSED), goaway(STREAM_CLOSED)],
        ),
        (
            "5.1.1 a stream of the server's",
            encode(HEADERS, WHOLE, 2, &fields(&request("GET", "/"))),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "6.1 DATA on the connection",
            encode(DATA, 0, 0, b"x"),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "6.1 padding longer than the frame",
            [
                encode(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/"))),
                encode(DATA, 8, 1, &[9, 0]),
            ]
            .concat(),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "6.2 HEADERS on the connection",
            encode(HEADERS, WHOLE, 0, &fields(&request("GET", "/"))),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "6.4 RST_STREAM of another size",
            [get(), encode(RST_STREAM, 0, 1, &[0; 3])].concat(),
            vec![goaway(FRAME_SIZE_ERROR)],
        ),
        (
            "6.5 SETTINGS on a stream",
            encode(SETTINGS, 0, 1, &[]),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "6.5 an acknowledgement that says something",
            encode(SETTINGS, ACK, 0, &[0; 6]),
            vec![goaway(FRAME_SIZE_ERROR)],
        ),
        (
            "6.5 SETTINGS of another size",
            encode(SETTINGS, 0, 0, &[0; 5]),
            vec![goaway(FRAME_SIZE_ERROR)],
        ),
        ("6.5.2 ENABLE_PUSH of 2", setting(2, 2), vec![goaway(PROTOCOL_ERROR)]),
        (
            "6.5.2 a window of 2^31",
            setting(4, 1 << 31),
            vec![goaway(FLOW_CONTROL_ERROR)],
        ),
        ("6.5.2 a frame size of 0", setting(5, 0), vec![goaway(PROTOCOL_ERROR)]),
        (
            "6.6 PUSH_PROMISE of a client",
            encode(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "6.7 PING on a stream",
            encode(PING, 0, 1, &[0; 8]),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "6.7 PING of another size",
            encode(PING, 0, 0, &[0; 7]),
            vec![goaway(FRAME_SIZE_ERROR)],
        ),
        (
            "6.9 a window that opens by nothing",
            encode(WINDOW_UPDATE, 0, 0, &[0; 4]),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "6.9.1 a window of more than 2^31 - 1",
            wide_open,
            vec![goaway(FLOW_CONTROL_ERROR)],
        ),
        (
            "6.10 CONTINUATION of nothing",
            encode(CONTINUATION, END_HEADERS, 1, &[]),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "6.10 another frame amid a field block",
            [half_head.clone(), encode(PING, 0, 0, &[0; 8])].concat(),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "6.10 a field block goes on in another stream",
            [half_head, encode(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            vec![goaway(PROTOCOL_ERROR)],
        ),
        (
            "8.1.1 a length that the body does not reach",
            post(&[("content-length", "5")], b"1234"),
            vec![reset(PROTOCOL_ERROR), Outcome::Status(200)],
        ),
        (
            "8.1.1 a length that the body exceeds",
            post(&[("content-length", "3")], b"1234"),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.1.1 a length and no body",
            with(&[("content-length", "1")]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.2.1 a name in upper case",
            with(&[("X-Upper", "a")]),
            vec![reset(PROTOCOL_ERROR), goaway(PROTOCOL_ERROR)],
        ),
        (
            "8.2.1 a name with a space",
            with(&[("a b", "a")]),
            vec![reset(PROTOCOL_ERROR), goaway(PROTOCOL_ERROR)],
        ),
        (
            "8.2.1 a value with a line's end",
            with(&[("x", "a\r\nb: c")]),
            vec![reset(PROTOCOL_ERROR), goaway(PROTOCOL_ERROR)],
        ),
        (
            "8.2.1 a value with NUL",
            with(&[("x", "a\0b")]),
            vec![reset(PROTOCOL_ERROR), goaway(PROTOCOL_ERROR)],
        ),
        (
            "8.2.1 a value that starts with white space",
            with(&[("x", " a")]),
            vec![Outcome::Status(400)],
        ),
        (
            "8.2.2 Connection",
            with(&[("connection", "close")]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.2.2 Keep-Alive",
            with(&[("keep-alive", "timeout=5")]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.2.2 Proxy-Connection",
            with(&[("proxy-connection", "close")]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.2.2 Transfer-Encoding",
            with(&[("transfer-encoding", "chunked")]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.2.2 Upgrade",
            with(&[("upgrade", "websocket")]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.2.2 TE of something else",
            with(&[("te", "gzip")]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.3 a pseudo-header field that there is none of",
            with(&[(":other", "a")]),
            vec![reset(PROTOCOL_ERROR), goaway(PROTOCOL_ERROR)],
        ),
        (
            "8.3 a pseudo-header field of responses",
            with(&[(":status", "200")]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.3 a pseudo-header field after others",
            only(&[
                (":method", "GET"),
                (":scheme", "http"),
                ("x", "y"),
                (":path", "/"),
                (":authority", "test"),
            ]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.3.1 a method that stands twice",
            with(&[(":method", "GET")]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.3.1 no method",
            only(&request("GET", "/")[1..]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.3.1 no scheme",
            only(&[(":method", "GET"), (":path", "/"), (":authority", "test")]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.3.1 no path",
            only(&request("GET", "/")[..3]),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.3.1 an empty path",
            only(&request("GET", "")),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.3.1 a path that does not start with /",
            only(&request("GET", "a")),
            vec![reset(PROTOCOL_ERROR)],
        ),
        (
            "8.3.1 another scheme",
            only(&[
                (":method", "GET"),
                (":scheme", "ftp"),
                (":authority", "test"),
                (":path", "/"),
            ]),
            vec![Outcome::Status(400)],
        ),
        (
            "8.3.1 Host is not the authority",
            with(&[("host", "other")]),
            vec![Outcome::Status(400)],
        ),
        (
            "8.3.1 no authority",
            only(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]),
            vec![Outcome::Status(400)],
        ),
    ];
    let server = Server::start(&[&app("rules-broken"), "-w", "1"]);
    let mut wrong = Vec::new();
    let mut whole_heads = 0;
    for (rule, bytes, expected) in cases {
        // What is wrong may come after a request that is not.
        let good_heads: [&[u8]; 2] = [&get(), &post(&[], b"")[..get().len() + 1]];
        let length = rule.starts_with("8.1.1 a length that");
        if length || good_heads.iter().any(|head| bytes.starts_with(head)) {
            whole_heads += 1;
        }
        let mut frames = Frames::connect(server.address());
        let _ = frames.try_send(&bytes);
        let outcome = frames.outcome(1);
        // A section may name a code of its own for the connection's end; h2 has the general one for some.
        let general = |expected: &Outcome| matches!(expected, Outcome::GoAway(_)) && outcome == goaway(PROTOCOL_ERROR);
        if !expected
            .iter()
            .any(|expected| *expected == outcome || general(expected))
        {
            wrong.push(format!("{rule}: {outcome:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Requests are served in the order in which they come, on one worker.
    assert_eq!(server.get("/last").status(), 200);
    server.wait_for_log("GET /last: wsgi.errors: called");
    let calls = server.log().iter().filter(|line| line.contains("called")).count();
    assert!(calls <= whole_heads + 1, "{calls} calls, and {whole_heads} good heads");
}

#[test]
fn what_is_unusual_is_served() {
    let unknown = [
        encode(0xbe, 0xff, 0, b"what"),
        encode(0xbe, 0, 1, b"ever"),
        setting(0xbeef, 1),
        get(),
    ]
    .concat();
    let split: Vec<u8> = {
        let block = fields(&request("GET", "/"));
        let mut bytes = encode(HEADERS, END_STREAM, 1, &block[..1]);
        bytes.extend(encode(CONTINUATION, 0, 1, &block[1..20]));
        bytes.extend(encode(CONTINUATION, 0, 1, &[]));
        bytes.extend(encode(CONTINUATION, END_HEADERS, 1, &block[20..]));
        bytes
    };
    let padded = {
        let block = [&[3][..], &fields(&request("GET", "/")), &[0; 3]].concat();
        encode(HEADERS, WHOLE | 8, 1, &block)
    };
    let priority = [encode(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]), get()].concat();
    let trailers = [
        encode(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/"))),
        encode(DATA, 0, 1, b"1234"),
        encode(HEADERS, WHOLE, 1, &fields(&[("x-trailer", "a")])),
    ]
    .concat();
    let cases = [
        ("4.1 unknown frames, flags and settings", unknown),
        ("6.10 a field block in pieces", split),
        ("6.2 padding", padded),
        ("5.3 priorities", priority),
        ("8.1 trailers", trailers),
        ("8.2.2 TE: trailers", with(&[("te", "trailers")])),
        ("8.3.1 Host is the authority", with(&[("host", "TEST")])),
        (
            "8.1.1 a length that is right",
            post(&[("content-length", "4")], b"1234"),
        ),
    ];
    let server = Server::start(&[&app("rules-unusual")]);
    for (rule, bytes) in cases {
        let mut frames = Frames::connect(server.address());
        frames.send(&bytes);
        assert_eq!(frames.outcome(1), Outcome::Status(200), "{rule}");
    }
}

#[test]
fn settings_and_pings_are_acknowledged() {
    let server = Server::start(&[&app("rules-acks")]);
    let mut frames = Frames::connect(server.address());
    // The server's own preface comes first (3.4).
    let first = frames.next().expect("a frame");
    assert_eq!((first.kind, first.flags), (SETTINGS, 0));
    let settings: Vec<(u16, u32)> = first
        .payload
        .chunks(6)
        .map(|setting| {
            let name = u16::from_be_bytes([setting[0], setting[1]]);
            (name, u32::from_be_bytes(setting[2..].try_into().expect("four bytes")))
        })
        .collect();
    assert!(settings.contains(&(3, 100)), "streams at once: {settings:?}");
    frames.find(|frame| frame.kind == SETTINGS && frame.flags == ACK);
    frames.frame(PING, 0, 0, b"12345678");
    let pong = frames.find(|frame| frame.kind == PING && frame.flags == ACK);
    assert_eq!(pong.payload, b"12345678");
}

#[test]
fn a_window_is_kept_to() {
    let server = Server::start(&[&wat(
        "rules-window",
        r#"(func $call
        (if (call $at "/wait") (then (drop (call $read (i32.const 1)))))
        (call $body_of (i32.const 1000)))"#,
    )]);
    // 6.9.2: what the server sends.
    let mut frames = Frames::raw(server.address());
    frames.send(&[PREFACE, &setting(4, 10)].concat());
    frames.get(1, "/");
    let frame = frames.find_kind(DATA);
    assert_eq!((frame.payload.len(), frame.flags), (10, 0));
    frames.frame(PING, 0, 0, &[0; 8]);
    let frame = frames.find(|frame| frame.kind == DATA || (frame.kind == PING && frame.flags == ACK));
    assert_eq!(frame.kind, PING, "it sends no more than it may");
    frames.frame(WINDOW_UPDATE, 0, 1, &5_u32.to_be_bytes());
    assert_eq!(frames.find_kind(DATA).payload.len(), 5);
    frames.frame(WINDOW_UPDATE, 0, 1, &10_000_u32.to_be_bytes());
    let rest = frames.find_kind(DATA);
    assert_eq!(rest.payload.len(), 985);

    // 6.9.1: what the server is sent, whose app reads one byte.
    let mut frames = Frames::connect(server.address());
    frames.frame(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/none")));
    assert_eq!(frames.find_kind(HEADERS).status(), 200);
    let mut frames = Frames::connect(server.address());
    frames.frame(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/wait")));
    let window = 1 << 20;
    let mut sent = 0;
    while sent <= window && frames.try_send(&encode(DATA, 0, 1, &[0; 16_384])).is_ok() {
        sent += 16_384;
    }
    let end = frames.find(|frame| matches!(frame.kind, RST_STREAM | GOAWAY) && frame.code() != 0);
    assert_eq!(end.code(), FLOW_CONTROL_ERROR);
}

#[test]
fn no_more_streams_than_agreed_are_opened() {
    let server = Server::start(&[&app("rules-many"), "--http2-max-concurrent-streams", "2"]);
    let mut frames = Frames::connect(server.address());
    frames.find(|frame| frame.kind == SETTINGS && frame.flags == 0);
    frames.frame(SETTINGS, ACK, 0, &[]);
    for stream in [1, 3, 5] {
        frames.frame(HEADERS, END_HEADERS, stream, &fields(&request("POST", "/")));
    }
    // 5.1.2: refused, and safe to be sent again.
    const REFUSED_STREAM: u32 = 7;
    let refused = frames.find_kind(RST_STREAM);
    assert_eq!((refused.stream, refused.code()), (5, REFUSED_STREAM));
    frames.frame(DATA, END_STREAM, 1, b"x");
    assert_eq!(frames.outcome(1), Outcome::Status(200));
}

#[test]
fn what_is_no_preface_is_http_1() {
    let server = Server::start(&[&app("rules-preface")]);
    for start in [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "PRI / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
    ] {
        let answer = String::from_utf8_lossy(&server.raw(start.as_bytes())).into_owned();
        assert!(answer.starts_with("HTTP/1.1 "), "{start:?}: {answer:?}");
    }
    // As much of it as there is, and no more.
    let mut client = server.client();
    client.send(&PREFACE[..20]);
    client.half_close();
    let answer = client.read_to_end();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "));
}
