//! Who may speak for the client, and what is made of it.

use crate::harness::{Client, Response, Server, guest};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn start(more: &[&str]) -> Server {
    Server::start(&[&[guest("rust").as_str()], more].concat())
}

fn environ(client: &mut Client, fields: &str) -> String {
    client.send(format!("GET /environ HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes());
    client.response("GET").text()
}

fn has(environ: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            environ.lines().any(|found| found == *line),
            "{line} is not in\n{environ}"
        );
    }
}

fn answer(server: &Server, fields: &str) -> Response {
    let mut client = server.client();
    client.send(format!("GET /environ HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes());
    client.response("GET")
}

#[test]
fn the_proxy_protocol_names_both_ends() {
    let server = start(&["--proxy-protocol"]);
    let addresses = [203, 0, 113, 9, 192, 0, 2, 2, 0xdc, 0x04, 0x01, 0xbb];
    let extended = [V2, &[0x21, 0x11, 0, 16], &addresses, &[4, 0, 1, 0]].concat();
    let headers: [&[u8]; 2] = [b"PROXY TCP4 203.0.113.9 192.0.2.2 56324 443\r\n", &extended];
    for header in headers {
        // In one piece with the request, and byte by byte.
        for pieces in [header.len(), 1] {
            let mut client = server.client();
            for piece in header.chunks(pieces) {
                client.send(piece);
            }
            // It is the connection's, not the request's.
            for _ in 0..2 {
                has(
                    &environ(&mut client, ""),
                    &[
                        "REMOTE_ADDR: 203.0.113.9",
                        "REMOTE_PORT: 56324",
                        "SERVER_NAME: 192.0.2.2",
                        "SERVER_PORT: 443",
                    ],
                );
            }
        }
    }
    let mut client = server.client();
    client.send(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n");
    has(
        &environ(&mut client, ""),
        &["REMOTE_ADDR: 2001:db8::1", "REMOTE_PORT: 1"],
    );
    // Who does not know, and who asks for itself, has the ends of the connection.
    let local = [V2, &[0x20, 0x00, 0, 0]].concat();
    for header in [&b"PROXY UNKNOWN\r\n"[..], &local] {
        let mut client = server.client();
        client.send(header);
        has(&environ(&mut client, ""), &["REMOTE_ADDR: 127.0.0.1"]);
    }
    // HTTP/2 may follow.
    let mut client = server.client();
    client.send(&[headers[0], crate::harness::frames::PREFACE].concat());
    client.send(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    client.fill_until(&[0, 0, 0, 4, 1, 0, 0, 0, 0]);
}

#[test]
fn a_header_that_is_malformed_or_missing_ends_the_connection() {
    let server = start(&["--proxy-protocol"]);
    let long = [V2, &[0x21, 0x11, 0xff, 0xff]].concat();
    let request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    let wrong: [&[u8]; 5] = [
        b"",
        b"PROXY TCP4 203.0.113.9 192.0.2.256 56324 443\r\n",
        b"PROXY TCP4 203.0.113.9\r\n",
        b"PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
        &long,
    ];
    for (times, header) in wrong.into_iter().enumerate() {
        let answer = server.raw(&[header, request].concat());
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        server.wait_for_log_times("not ready for HTTP: no valid PROXY protocol header", times + 1);
    }
    // Nor does it wait for ever.
    let server = start(&["--proxy-protocol", "--handshake-timeout", "1"]);
    assert!(server.raw(b"PROXY TCP4 ").is_empty());
    server.wait_for_log("not ready for HTTP within --handshake-timeout");
}

#[test]
fn the_proxy_protocol_is_for_load_balancers_only() {
    let server = start(&["--proxy-protocol", "--proxy-allow-from", "192.0.2.0/24"]);
    // To anybody else it is no HTTP.
    let answer = server.raw(b"PROXY TCP4 203.0.113.9 192.0.2.2 56324 443\r\n\r\n");
    assert!(
        answer.starts_with(b"HTTP/1.1 400 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    has(&environ(&mut server.client(), ""), &["REMOTE_ADDR: 127.0.0.1"]);
    let server = start(&[]);
    let answer = server.raw(b"PROXY TCP4 203.0.113.9 192.0.2.2 56324 443\r\n\r\n");
    assert!(
        answer.starts_with(b"HTTP/1.1 400 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn the_scheme_is_only_a_trusted_proxys_to_change() {
    let fields = [
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Ssl: on\r\n",
        "Forwarded: for=192.0.2.1;proto=https\r\n",
    ];
    let server = start(&[]);
    for field in fields {
        has(
            &answer(&server, field).text(),
            // The client's address is left to the app, as in gunicorn.
            &["wsgi.url_scheme: https", "HTTPS: on", "REMOTE_ADDR: 127.0.0.1"],
        );
    }
    has(
        &answer(&server, "X-Forwarded-Proto: https, http\r\n").text(),
        &["wsgi.url_scheme: http"],
    );
    let server = start(&["--forwarded-allow-ips", "192.0.2.1"]);
    for field in fields {
        let environ = answer(&server, field).text();
        has(&environ, &["wsgi.url_scheme: http"]);
        assert!(!environ.contains("HTTPS:"), "{environ}");
    }
}

#[test]
fn fields_that_disagree_about_the_scheme_are_refused() {
    let disagree = "X-Forwarded-Proto: https\r\nForwarded: proto=http\r\n";
    let server = start(&[]);
    assert_eq!(answer(&server, disagree).status(), 400);
    server.wait_for_log("refused with 400: the proxy's fields disagree");
    // Of somebody who is not trusted they are fields like all others.
    let server = start(&["--forwarded-allow-ips", "192.0.2.1"]);
    assert_eq!(answer(&server, disagree).status(), 200);
}
