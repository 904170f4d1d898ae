//! Heads, and bodies of one block.

use crate::harness::{Response, Server, guest, wat};

/// An app with a route for each case of this suite.
fn app() -> String {
    wat(
        "responses",
        r#"
        (func $call
          (call $header "Content-Type" "text/plain")
          (call $body "hello")
          (if (call $at "/reason") (then (call $status (i32.const 404)) (call $reason "Gone fishing")))
          (if (call $at "/latin") (then (call $reason "caf\u{e9}") (call $header "X" "\u{ff}\tb")))
          (if (call $at "/standard") (then (call $status (i32.const 404))))
          (if (call $at "/799") (then (call $status (i32.const 799))))
          (if (call $at "/999") (then (call $status (i32.const 999)) (call $reason "The End")))
          (if (call $at "/fields") (then
            (call $header "Set-Cookie" "a=1")
            (call $header "X-Between" "")
            (call $header "set-cookie" "b=2")
            (call $header "Date" "Thu, 01 Jan 1970 00:00:00 GMT")
            (call $header "Server" "own")))
          (if (call $at "/empty") (then (call $body "")))
          (if (call $at "/length") (then (call $header "content-length" "5") (call $header "Content-Length" "5")))
          (if (call $at "/long") (then (call $header "Content-Length" "3")))
          (if (call $at "/none") (then (call $header "Content-Length" "0")))
          (if (call $at "/short") (then (call $header "Content-Length" "10")))
          (if (call $at "/204") (then (call $status (i32.const 204))))
          (if (call $at "/204-length") (then (call $status (i32.const 204)) (call $header "Content-Length" "0")))
          (if (call $at "/304") (then (call $status (i32.const 304)) (call $header "Content-Length" "5")))
          (if (call $at "/large") (then (call $body_of (i32.const 5000000))))
          (if (call $at "/fail") (then (call $fail "first line\nsecond \1b[31mline\n"))))"#,
    )
}

fn values<'a>(response: &'a Response, name: &str) -> Vec<&'a str> {
    let fields = response
        .headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name));
    fields.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn the_reason_phrase_reaches_the_client() {
    let server = Server::start(&[&app()]);
    for (target, line) in [
        ("/", "HTTP/1.1 200 OK"),
        ("/reason", "HTTP/1.1 404 Gone fishing"),
        ("/standard", "HTTP/1.1 404 Not Found"),
        ("/799", "HTTP/1.1 799 Unknown"),
        ("/999", "HTTP/1.1 999 The End"),
    ] {
        let response = server.get(target);
        assert_eq!(response.status_line, line);
        assert_eq!(response.text(), "hello");
    }
}

#[test]
fn native_strings_are_sent_a_byte_a_character() {
    let server = Server::start(&[&app()]);
    let answer = server.raw(b"GET /latin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with(b"HTTP/1.1 200 caf\xe9\r\n"));
    assert!(answer.windows(8).any(|window| window == b"\r\nX: \xff\tb"));
}

#[test]
fn fields_stay_as_they_are() {
    let server = Server::start(&[&app()]);
    let response = server.get("/fields");
    assert_eq!(values(&response, "Set-Cookie"), ["a=1", "b=2"]);
    assert_eq!(values(&response, "X-Between"), [""]);
    assert_eq!(values(&response, "Content-Type"), ["text/plain"]);
    assert_eq!(values(&response, "Date"), ["Thu, 01 Jan 1970 00:00:00 GMT"]);
    assert_eq!(values(&response, "Server"), ["own"]);
}

#[test]
fn date_and_server_are_added() {
    let server = Server::start(&[&app()]);
    for target in ["/", "/fail", "/204"] {
        let response = server.get(target);
        let date = response.header("Date").expect("a date");
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
        assert!(
            response
                .header("Server")
                .is_some_and(|name| name.starts_with("wsgi-host"))
        );
    }
}

#[test]
fn one_block_has_a_length() {
    let server = Server::start(&[&app()]);
    let mut client = server.client();
    for (target, length) in [("/", 5), ("/empty", 0), ("/length", 5), ("/large", 5_000_000)] {
        let response = client.get(target);
        assert_eq!(
            response.header("Content-Length"),
            Some(length.to_string().as_str()),
            "{target}"
        );
        assert_eq!(response.header("Transfer-Encoding"), None);
        assert_eq!(response.body.len(), length);
    }
}

#[test]
fn http_1_0_gets_a_length_too() {
    let server = Server::start(&[&app()]);
    let mut client = server.client();
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    let response = client.response("GET");
    assert_eq!(
        (response.header("Content-Length"), response.text().as_str()),
        (Some("5"), "hello")
    );
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn some_responses_have_no_body() {
    let server = Server::start(&[&app()]);
    let mut client = server.client();
    for (method, target, status, length) in [
        ("HEAD", "/", 200, Some("5")),
        ("HEAD", "/length", 200, Some("5")),
        ("HEAD", "/short", 200, Some("10")),
        ("GET", "/204", 204, None),
        ("GET", "/204-length", 204, None),
        ("GET", "/304", 304, None),
        ("HEAD", "/fail", 500, Some("22")),
    ] {
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let response = client.response(method);
        assert_eq!(
            (response.status(), response.header("Content-Length")),
            (status, length),
            "{method} {target}"
        );
        assert_eq!(response.header("Transfer-Encoding"), None);
        // Were there a body, this would not be an answer.
        assert_eq!(client.get("/").text(), "hello");
    }
}

#[test]
fn what_is_more_than_the_length_is_not_sent() {
    let server = Server::start(&[&app()]);
    let mut client = server.client();
    let response = client.get("/long");
    assert_eq!(
        (response.header("Content-Length"), response.text().as_str()),
        (Some("3"), "hel")
    );
    server.wait_for_log("responses: GET /long: the app returned more than its Content-Length");
    let response = client.get("/none");
    assert_eq!(
        (response.header("Content-Length"), response.text().as_str()),
        (Some("0"), "")
    );
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn what_is_less_than_the_length_ends_the_connection() {
    let server = Server::start(&[&app()]);
    for version in ["1.1", "1.0"] {
        let mut client = server.client();
        client.send(format!("GET /short HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").as_bytes());
        let response = client.response("GET");
        assert_eq!(response.header("Content-Length"), Some("10"));
        assert_eq!((response.text().as_str(), response.complete), ("hello", false));
    }
    server.wait_for_log_times("responses: GET /short: the app's body ended 5 bytes short", 2);
}

#[test]
fn a_failure_is_a_short_page_and_a_long_log() {
    let server = Server::start(&[&app()]);
    let mut client = server.client();
    let response = client.get("/fail");
    assert_eq!(response.status_line, "HTTP/1.1 500 Internal Server Error");
    assert_eq!(response.text(), "Internal Server Error\n");
    server.wait_for_log("[ERROR] responses: GET /fail: first line");
    server.wait_for_log("[ERROR] responses: GET /fail: second \\x1b[31mline");
    // The app said so in good order: that is no reason to end the connection.
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn a_rust_app_that_fails_is_answered_for() {
    let server = Server::start(&[&guest("rust")]);
    assert_eq!(server.get("/fail").status(), 500);
    server.wait_for_log("rust: GET /fail: deliberate failure");
}
