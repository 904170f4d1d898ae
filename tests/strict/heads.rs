//! Refusals as a client sees them, and heads that arrive bit by bit.

use super::{app, calls, is_refusal};
use crate::harness::Server;

#[test]
fn a_refusal_is_a_page_like_any_other() {
    let server = Server::start(&[&app("page"), "--access-logfile", "-"]);
    let answer = String::from_utf8_lossy(&server.raw(b"GET /a\"b HTTP/1.1\r\nHost: a\r\n\r\n")).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head ends");
    let mut lines: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with("Date: ")).collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "HTTP/1.1 400 Bad Request",
            "Connection: close",
            "Content-Length: 12",
            "Content-Type: text/plain; charset=utf-8",
            "Server: wsgi-host",
        ]
    );
    assert_eq!(body, "Bad Request\n");
    // Both logs have one line, the client's bytes are escaped in it, and only the error log says why.
    server.wait_for_log(r#""GET /a\"b HTTP/1.1" 400 12 "-" "-""#);
    let line = server.wait_for_log("refused with 400: a character that a target may not have (RFC 3986, 3.3 and 3.4)");
    assert!(line.contains("[INFO] page: 127.0.0.1:"), "{line}");

    server.raw(b"GET / HTTP/1.1\x1b[2J\r\nHost: a\r\n\r\n");
    server.wait_for_log(r#""GET / HTTP/1.1\x1b[2J" 400 12 "-" "-""#);
}

#[test]
fn a_refusal_fits_the_request() {
    let server = Server::start(&[&app("fits")]);
    let answer = server.raw(b"HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert!(is_refusal(&answer, 400, "1.1") && answer.ends_with(b"\r\n\r\n"));
    let answer = server.raw(b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n");
    assert!(is_refusal(&answer, 400, "1.0") && answer.ends_with(b"\r\n\r\nBad Request\n"));
    // There is nothing at the other end of a tunnel that could be asked for.
    let answer = server.raw(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    assert!(is_refusal(&answer, 405, "1.1"));
    assert!(String::from_utf8_lossy(&answer).contains("\r\nAllow: \r\n"));
}

#[test]
fn what_is_too_long_is_refused_before_it_ends() {
    let server = Server::start(&[&app("too-long"), "-w", "1"]);
    let long = "x".repeat(9_000);
    for (start, status) in [
        (format!("GET /{long}"), 414),
        (format!("{}{long}", "X".repeat(1_000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{long}"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX:{}", " ".repeat(9_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "X: y\r\n".repeat(100)), 431),
    ] {
        // The client sends no more, and waits for an answer.
        let answer = server.raw(start.as_bytes());
        assert!(is_refusal(&answer, status, "1.1"), "{}", &start[..40]);
    }
    assert_eq!(calls(&server), 0);
}

#[test]
fn limits_are_exact() {
    let limits = [
        "--limit-request-line",
        "20",
        "--limit-request-fields",
        "2",
        "--limit-request-field_size",
        "30",
    ];
    let server = Server::start(&[&[app("exact").as_str()], &limits[..]].concat());
    let status = |head: &str| {
        let mut client = server.client();
        client.send(head.as_bytes());
        client.response("GET").status()
    };
    // 20 bytes without the line's end, as gunicorn counts.
    assert_eq!(status("GET /789ab HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    assert_eq!(status("GET /789abcd HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"), 200);
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nX: y\r\n\r\n"), 431);
    // 30 bytes with the line's end.
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(25))),
        200
    );
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(26))),
        431
    );
    let chunk = |rest: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{rest}\r\n");
    let wide = ["--limit-request-fields", "2", "--limit-request-field_size", "50"];
    let server = Server::start(&[&[app("exact-chunks").as_str()], &wide[..]].concat());
    let status = |bytes: String| {
        let mut client = server.client();
        client.send(bytes.as_bytes());
        client.response("POST").status()
    };
    assert_eq!(status(chunk(&format!("0;{}\r\n", "x".repeat(46)))), 200);
    assert_eq!(status(chunk(&format!("0;{}\r\n", "x".repeat(47)))), 413);
    assert_eq!(status(chunk(&format!("{}\r\n", "0".repeat(49)))), 413);
    assert_eq!(status(chunk(&format!("0\r\nX: {}\r\n", "y".repeat(45)))), 200);
    assert_eq!(status(chunk(&format!("0\r\nX: {}\r\n", "y".repeat(46)))), 431);
    assert_eq!(status(chunk("0\r\nX: y\r\nX: y\r\n")), 200);
    assert_eq!(status(chunk("0\r\nX: y\r\nX: y\r\nX: y\r\n")), 431);
}

#[test]
fn a_head_may_arrive_byte_by_byte() {
    let server = Server::start(&[&app("byte-by-byte"), "-w", "1"]);
    let mut client = server.client();
    client.stream().set_nodelay(true).expect("a socket has this option");
    let request =
        b"\r\nPOST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n";
    for _ in 0..2 {
        for byte in request {
            client.send(&[*byte]);
        }
        assert_eq!(client.response("POST").text(), "5");
    }
    // A line is refused as soon as it is known to be wrong: here, its last byte.
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n" {
        client.send(&[*byte]);
    }
    assert!(is_refusal(&client.read_to_end(), 400, "1.1"));
    assert_eq!(calls(&server), 2);
}

#[test]
fn a_large_head_passes_in_pieces() {
    let server = Server::start(&[&app("large-head")]);
    let fields: String = (0..60)
        .map(|index| format!("X-{index}: {}\r\n", "y".repeat(8_000)))
        .collect();
    let mut client = server.client();
    for _ in 0..2 {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n{fields}\r\nabc").as_bytes());
        assert_eq!(client.response("POST").text(), "3");
    }
}

#[test]
fn a_head_that_does_not_end_is_answered_at_the_end_of_the_connection() {
    let server = Server::start(&[&app("no-end"), "-w", "1"]);
    for start in ["G", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        let mut client = server.client();
        client.send(start.as_bytes());
        client.half_close();
        assert!(is_refusal(&client.read_to_end(), 400, "1.1"), "{start:?}");
    }
    server.wait_for_log_times(
        "refused with 400: the connection ended within a request's head (RFC 9112, 8)",
        3,
    );
    // This is no start of a request.
    let mut client = server.client();
    client.send(b"\r\n\r");
    client.half_close();
    assert_eq!(client.read_to_end(), b"");
    assert_eq!(calls(&server), 0);
}

#[test]
fn nothing_is_said_after_a_connection_was_meant_to_end() {
    let server = Server::start(&[&app("last"), "-w", "1"]);
    for start in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let answer = server.raw(format!("{start}no request\r\n\r\n").as_bytes());
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.contains(" 200 OK\r\n") && text.matches("HTTP/1.").count() == 1,
            "{text}"
        );
    }
}

#[test]
fn names_with_underscores_are_dropped_refused_or_at_the_operators_risk() {
    let show = crate::harness::guest("rust");
    let head = "GET /environ HTTP/1.1\r\nHost: a\r\nX-Real: one\r\nX_Real: two\r\nContent_Length: 5\r\n\r\n";
    let ask = |arguments: &[&str]| {
        let server = Server::start(&[&[show.as_str()], arguments].concat());
        let mut client = server.client();
        client.send(head.as_bytes());
        let response = client.response("GET");
        (response.status(), response.text())
    };
    let (status, text) = ask(&[]);
    assert!(status == 200 && text.contains("HTTP_X_REAL: one\n"), "{text}");
    assert_eq!(ask(&["--header-map", "refuse"]).0, 400);
    let (status, text) = ask(&["--header-map", "dangerous"]);
    assert!(status == 200 && text.contains("HTTP_X_REAL: one,two\n"), "{text}");
    assert!(!text.contains("CONTENT_LENGTH"), "{text}");
}
