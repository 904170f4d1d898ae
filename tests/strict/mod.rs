//! The strict layer: raw bytes in, exact statuses out; what is no valid request never reaches the app.

/// A chunked request, from its body on.
macro_rules! chunked {
    ($rest:literal) => {
        concat!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            $rest
        )
        .as_bytes()
    };
}

mod bodies;
mod heads;
mod malformed;
mod valid;

use crate::harness::{Server, wat};

/// Says in the log that it was called, reads its body, and says how long that was; `/none` does not read.
fn app(name: &str) -> String {
    wat(
        name,
        r#"
        (global $sum (mut i32) (i32.const 0))
        (func $call (local $length i32)
          (call $log "called\n")
          (if (call $at "/none") (then (call $body "not read") (return)))
          (block $end (loop $next
            (local.set $length (call $read (i32.const 65536)))
            (if (i32.lt_s (local.get $length) (i32.const 0)) (then
              ;; What it makes of an error is up to an app.
              (if (call $at "/calm") (then (call $body "calm") (return)))
              (call $fail (global.get $data) (global.get $data_length))
              (return)))
            (br_if $end (i32.eqz (local.get $length)))
            (global.set $sum (i32.add (global.get $sum) (local.get $length)))
            (br $next)))
          (call $number (global.get $sum)))"#,
    )
}

/// How often the app of a server with one worker was called. One more call marks the place in the log.
fn calls(server: &Server) -> usize {
    server.get("/last");
    server.wait_for_log("GET /last: wsgi.errors: called");
    let called = |line: &&String| line.contains("wsgi.errors: called") && !line.contains("GET /last");
    server.log().iter().filter(called).count()
}

/// An error page that ends its connection, and nothing after it.
fn is_refusal(answer: &[u8], status: u16, version: &str) -> bool {
    let text = String::from_utf8_lossy(answer);
    text.starts_with(&format!("HTTP/{version} {status} "))
        && text.contains("\r\nConnection: close\r\n")
        && text.matches("HTTP/1.").count() == 1
}

fn version(bytes: &[u8]) -> &'static str {
    let line = bytes.split(|byte| *byte == b'\r').find(|line| line.len() > 1);
    match line.is_some_and(|line| line.ends_with(b" HTTP/1.0")) {
        true => "1.0",
        false => "1.1",
    }
}

const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const GOOD: &[u8] = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n";

fn check_malformed(name: &str, cases: &[(&str, u16, &[u8])]) {
    let server = Server::start(&[&app(name), "-w", "1"]);
    let mut refused = 0;
    let mut check = |answer: &[u8], bytes: &[u8], status: u16, section: &str| {
        let shown = format!("{} {}", bytes.escape_ascii(), answer.escape_ascii());
        assert!(is_refusal(answer, status, version(bytes)), "{shown}");
        refused += 1;
        let line = server.wait_for_log_times("refused with", refused);
        let told = line.contains(&format!(" refused with {status}: ")) && line.contains(section);
        assert!(told && line.contains(": 127.0.0.1:"), "{line} {shown}");
    };
    for (section, status, bytes) in cases {
        check(&server.raw(bytes), bytes, *status, section);
        // Earlier requests of the connection are answered, later ones are not there.
        let mut client = server.client();
        client.send(&[GOOD, bytes, SMUGGLED].concat());
        let good = client.response("GET");
        assert_eq!(
            (good.status(), good.text().as_str()),
            (200, "0"),
            "before {}",
            bytes.escape_ascii()
        );
        check(&client.read_to_end(), bytes, *status, section);
    }
    // Once for each good request, and never for the others.
    assert_eq!(calls(&server), cases.len());
    let log = server.log();
    assert!(!log.iter().any(|line| line.contains("smuggled")));
    let lines = log.iter().filter(|line| line.contains("refused with")).count();
    assert_eq!(lines, 2 * cases.len());
}

#[test]
fn malformed_lines_are_refused() {
    check_malformed("malformed-lines", malformed::LINES);
}

#[test]
fn malformed_request_lines_are_refused() {
    check_malformed("malformed-request-lines", malformed::REQUEST_LINES);
}

#[test]
fn malformed_hosts_are_refused() {
    check_malformed("malformed-hosts", malformed::HOSTS);
}

#[test]
fn malformed_fields_are_refused() {
    check_malformed("malformed-fields", malformed::FIELDS);
}

#[test]
fn malformed_framing_is_refused() {
    check_malformed("malformed-framing", malformed::FRAMING);
}

#[test]
fn malformed_chunks_are_refused() {
    check_malformed("malformed-chunks", malformed::CHUNKS);
}

#[test]
fn valid_requests_are_answered() {
    let server = Server::start(&[&app("valid"), "-w", "1"]);
    let mut called = 0;
    for (section, body, bytes) in valid::VALID {
        let shown = format!("{section}: {}", bytes.escape_ascii());
        let old = version(bytes) == "1.0";
        let mut client = server.client();
        client.send(bytes);
        let mut response = client.response("GET");
        if response.status() == 100 {
            response = client.response("GET");
        }
        let expected = (200, body.to_string());
        assert_eq!((response.status(), response.text()), expected, "{shown}");
        // The connection goes on where the request ends.
        if !old {
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc");
            assert_eq!(client.response("POST").text(), "3", "after {shown}");
        } else if response.header("Connection") != Some("keep-alive") {
            assert_eq!(client.read_to_end(), b"", "{shown}");
        }
        called += if old { 1 } else { 2 };
    }
    assert_eq!(calls(&server), called);
    assert!(!server.log().iter().any(|line| line.contains("refused")));
}

#[test]
fn many_requests_in_one_segment_are_answered_in_order() {
    let server = Server::start(&[&app("pipelined"), "-w", "1"]);
    let again = valid::VALID.iter().filter(|(_, _, bytes)| version(bytes) == "1.1");
    let mut client = server.client();
    let bytes: Vec<u8> = again.clone().flat_map(|(_, _, bytes)| *bytes).copied().collect();
    client.send(&bytes);
    client.half_close();
    for (_, body, bytes) in again {
        let mut response = client.response("GET");
        if response.status() == 100 {
            response = client.response("GET");
        }
        assert_eq!(response.text(), body.to_string(), "{}", bytes.escape_ascii());
    }
    assert_eq!(client.read_to_end(), b"");
}
