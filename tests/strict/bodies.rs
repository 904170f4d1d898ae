//! Bodies that break the rules, or are larger than they may be, when the app already reads them.

use super::{app, calls, is_refusal};
use crate::harness::{Client, Server, guest};

const CHUNKED: &str = "Host: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";

/// A client whose request has reached the app, which waits for the body.
fn reading(server: &Server, target: &str) -> Client {
    let mut client = server.client();
    client.send(format!("POST {target} HTTP/1.1\r\n{CHUNKED}").as_bytes());
    assert_eq!(client.response("POST").status(), 100);
    client
}

#[test]
fn a_body_that_breaks_while_it_is_read_is_the_clients_fault_whatever_the_app_says() {
    let server = Server::start(&[&app("breaks"), "-w", "1"]);
    let cases = [
        ("zz\r\n", "7.1"),
        ("5\r\nhelloXX", "7.1"),
        ("5\nhello\r\n", "2.2"),
        ("5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n", "6.5.1"),
    ];
    for (index, (body, section)) in cases.iter().enumerate() {
        // One app fails, the other takes what there is for good.
        for target in ["/", "/calm"] {
            let mut client = reading(&server, target);
            client.send(body.as_bytes());
            assert!(is_refusal(&client.read_to_end(), 400, "1.1"), "{body:?}");
        }
        let line = server.wait_for_log_times("a broken request body: ", 2 * index + 2);
        assert!(line.contains("127.0.0.1:") && line.contains(section), "{line}");
    }
    assert_eq!(calls(&server), 2 * cases.len());
    let lines = server
        .log()
        .iter()
        .filter(|line| line.contains("a broken request body"))
        .count();
    assert_eq!(lines, 2 * cases.len());
}

#[test]
fn a_body_that_breaks_after_the_answer_began_cuts_the_answer() {
    let server = Server::start(&[&guest("rust")]);
    let mut client = server.client();
    client.send(format!("POST /echo HTTP/1.1\r\n{CHUNKED}").as_bytes());
    assert_eq!(client.response("POST").status(), 100);
    client.send(b"3\r\nabc\r\n");
    client.fill_until(b"abc\r\n");
    client.send(b"zz\r\n");
    let response = client.response("POST");
    assert_eq!(
        (response.status(), response.text().as_str(), response.complete),
        (200, "abc", false)
    );
    server.wait_for_log("a broken request body: a chunk without a size (RFC 9112, 7.1)");
}

#[test]
fn a_broken_body_that_nobody_reads_ends_the_connection() {
    let server = Server::start(&[&app("unread"), "-w", "1"]);
    let mut client = server.client();
    client.send(format!("POST /none HTTP/1.1\r\n{CHUNKED}").as_bytes());
    let response = client.response("POST");
    assert_eq!(
        (response.text().as_str(), response.header("Connection")),
        ("not read", Some("close"))
    );
    let _ = client.try_send(b"zz\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_to_end(), b"");
    assert_eq!(calls(&server), 1);
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let server = Server::start(&[&app("too-large"), "-w", "1", "--limit-request-body", "10"]);
    for fields in [
        "Content-Length: 11\r\n",
        "Content-Length: 11\r\nExpect: 100-continue\r\n",
    ] {
        // No 100, and no byte of the body is waited for.
        let answer = server.raw(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
        assert!(is_refusal(&answer, 413, "1.1"), "{}", String::from_utf8_lossy(&answer));
    }
    let line = server.wait_for_log_times("refused with 413", 2);
    assert!(
        line.contains("the request body is larger than --limit-request-body (RFC 9110, 15.5.14)"),
        "{line}"
    );
    // A client that sends it all the same gets its answer.
    let mut client = server.client();
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n");
    let _ = client.try_send(&vec![b'x'; 4_000_000]);
    assert_eq!(client.response("POST").status(), 413);
    assert_eq!(calls(&server), 0);
    assert_eq!(server.client().post("/", b"0123456789").text(), "10");
}

#[test]
fn a_body_of_unknown_length_is_refused_when_it_has_become_too_large() {
    let server = Server::start(&[&app("grows"), "-w", "1", "--limit-request-body", "10"]);
    let mut client = server.client();
    client.send(format!("POST / HTTP/1.1\r\n{CHUNKED}a\r\n0123456789\r\n0\r\n\r\n").as_bytes());
    let mut response = client.response("POST");
    if response.status() == 100 {
        response = client.response("POST");
    }
    assert_eq!(response.text(), "10");
    for (index, target) in ["/", "/calm"].into_iter().enumerate() {
        let mut client = reading(&server, target);
        client.send(b"a\r\n0123456789\r\n");
        client.send(b"1\r\n0\r\n");
        assert!(is_refusal(&client.read_to_end(), 413, "1.1"));
        server.wait_for_log_times(": the request body is larger than --limit-request-body", index + 1);
    }
    // One that does not care is not asked.
    let mut client = server.client();
    client.send(format!("POST /none HTTP/1.1\r\n{CHUNKED}").as_bytes());
    assert_eq!(client.response("POST").text(), "not read");

    let server = Server::start(&[&guest("rust"), "--limit-request-body", "10"]);
    let mut client = server.client();
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    client.fill_until(b"abc\r\n");
    client.send(b"8\r\n01234567\r\n");
    let response = client.response("POST");
    assert_eq!((response.text().as_str(), response.complete), ("abc", false));
}

#[test]
fn bodies_may_have_no_limit() {
    let server = Server::start(&[&app("unlimited"), "--limit-request-body", "0"]);
    let mut client = server.client();
    client.send(b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n");
    assert_eq!(client.response("POST").text(), "not read");
    let server = Server::start(&[&app("limited-by-default")]);
    let status = |length: u64| {
        let mut client = server.client();
        client.send(format!("POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        client.response("POST").status()
    };
    assert_eq!((status(1 << 30), status((1 << 30) + 1)), (200, 413));
}

#[test]
fn extensions_may_not_outweigh_the_data() {
    let server = Server::start(&[&app("extensions")]);
    // As many as there is data are fine, however many chunks that are.
    let mut client = reading(&server, "/");
    let chunk = format!("40;{}\r\n{}\r\n", "x".repeat(60), "y".repeat(64));
    client.send(format!("{}0\r\n\r\n", chunk.repeat(1_000)).as_bytes());
    assert_eq!(client.response("POST").text(), "64000");
    let mut client = reading(&server, "/");
    let chunk = format!("1;{}\r\ny\r\n", "x".repeat(2_000));
    let _ = client.try_send(chunk.repeat(9).as_bytes());
    assert!(is_refusal(&client.read_to_end(), 413, "1.1"));
}
