//! What clients are held to: sizes of heads, and time.

use std::io::Read;
use std::time::Duration;

use crate::harness::{PATIENCE, Server, guest, wait_until, wat};

fn app() -> String {
    wat("limited", "(func $call (call $body \"fine\"))")
}

fn status(server: &Server, head: &str) -> String {
    let answer = String::from_utf8_lossy(&server.raw(format!("{head}\r\n\r\n").as_bytes())).into_owned();
    answer.split("\r\n").next().unwrap_or_default().to_owned()
}

#[test]
fn a_head_has_limits_and_each_refusal_a_line() {
    let server = Server::start(&[&app(), "-w", "1"]);
    let (too_long, too_large) = (
        "HTTP/1.1 414 URI Too Long",
        "HTTP/1.1 431 Request Header Fields Too Large",
    );
    let count = |server: &Server| {
        let log = server.log();
        log.iter().filter(|line| line.contains("refused with")).count()
    };
    let fields = |count: usize| "X: y\r\n".repeat(count);
    let refused = [
        (format!("GET /{} HTTP/1.1\r\nHost: a", "x".repeat(4_094)), too_long),
        (format!("GET /{} HTTP/1.1\r\nHost: a", "x".repeat(100_000)), too_long),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(8_190)),
            too_large,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(2_000_000)),
            too_large,
        ),
        (format!("GET / HTTP/1.1\r\n{}Host: a", fields(100)), too_large),
        (format!("GET / HTTP/1.1\r\n{}Host: a", fields(1_000)), too_large),
        ("GET / HTTP/1.1".into(), "HTTP/1.1 400 Bad Request"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a".into(),
            "HTTP/1.1 400 Bad Request",
        ),
    ];
    for (before, (head, line)) in refused.into_iter().enumerate() {
        assert_eq!(status(&server, &head), line, "{}", &head[..head.len().min(100)]);
        wait_until("a line for each refusal", || count(&server) == before + 1);
    }
    // What just fits.
    for (head, line) in [
        (
            format!("GET /{} HTTP/1.1\r\nHost: a", "x".repeat(4_000)),
            "HTTP/1.1 200 OK",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(8_100)),
            "HTTP/1.1 200 OK",
        ),
        (format!("GET / HTTP/1.1\r\n{}Host: a", fields(98)), "HTTP/1.1 200 OK"),
        ("GET / HTTP/1.0".into(), "HTTP/1.0 200 OK"),
    ] {
        assert_eq!(status(&server, &format!("{head}\r\nConnection: close")), line);
    }
}

#[test]
fn the_limits_can_be_set() {
    let limits = [
        "--limit-request-line",
        "100",
        "--limit-request-fields",
        "3",
        "--limit-request-field_size",
        "50",
    ];
    let server = Server::start(&[&[app().as_str()], &limits[..]].concat());
    for (head, code) in [
        (format!("GET /{} HTTP/1.1\r\nHost: a", "x".repeat(90)), "414"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(50)), "431"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\nE: f".to_owned(), "431"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nConnection: close".to_owned(),
            "200",
        ),
    ] {
        assert_eq!(status(&server, &head).split(' ').nth(1), Some(code), "{head}");
    }
    let large = ["--limit-request-line", "60000", "--limit-request-field_size", "200000"];
    let server = Server::start(&[&[app().as_str()], &large[..]].concat());
    let head = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}",
        "x".repeat(50_000),
        "y".repeat(190_000)
    );
    assert_eq!(status(&server, &head), "HTTP/1.1 200 OK");
}

#[test]
fn an_idle_connection_is_closed() {
    let server = Server::start(&[&app(), "--keep-alive", "0.3"]);
    let mut client = server.client();
    assert_eq!(client.get("/").text(), "fine");
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_connection_that_was_quiet_goes_on_where_it_was() {
    let server = Server::start(&[&app(), "--keep-alive", "60", "--header-timeout", "60"]);
    // Longer than it takes until the connection gives back its memory.
    let quiet = Duration::from_millis(600);
    let mut client = server.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "fine");
        std::thread::sleep(quiet);
    }
    // Half a request that came with the one before it.
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHo");
    assert_eq!(client.response("GET").text(), "fine");
    std::thread::sleep(quiet);
    client.send(b"st: a\r\n\r\n");
    assert_eq!(client.response("GET").text(), "fine");
    // The last response of a connection stays its last.
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response("GET").text(), "fine");
    std::thread::sleep(quiet);
    let _ = client.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn without_keep_alive_every_response_is_the_last() {
    let server = Server::start(&[&app(), "--keep-alive", "0"]);
    let mut client = server.client();
    let response = client.get("/");
    assert_eq!(
        response.header("Connection").map(str::to_lowercase).as_deref(),
        Some("close")
    );
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_head_has_to_arrive_in_time() {
    let server = Server::start(&[&app(), "--header-timeout", "2", "--keep-alive", "60"]);
    for start in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: "] {
        let mut client = server.client();
        client.send(start);
        let answer = client.read_to_end();
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 408 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(server.get("/").text(), "fine");
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let server = Server::start(&[&guest("rust"), "-w", "1", "--write-timeout", "0.5"]);
    let mut client = server.client();
    client.send(b"GET /stream/10000000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    server.wait_for_log("rust: GET /stream/10000000000: wsgi.errors: stream closed after");
    let response = server.get("/stream/10");
    assert_eq!(response.text(), "0123456789");
}

#[test]
fn a_worker_serves_only_so_many_connections() {
    let server = Server::start(&[&guest("rust"), "-w", "1", "--worker-connections", "1"]);
    let mut first = server.client();
    first.send(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(first.response("POST").status(), 100);
    // Nobody is idle who could make way.
    let mut second = server.client();
    second.send(b"GET /hello/x HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut stream = second.stream();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout can be set");
    let error = stream.read(&mut [0; 1]).expect_err("the second connection has to wait");
    assert!(
        matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
        "{error}"
    );
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    first.send(b"xx");
    assert_eq!(first.response("POST").text(), "2 bytes\n");
    assert_eq!(second.response("GET").text(), "Hello, x!\n");
}
