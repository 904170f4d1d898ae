//! What PEP 3333 lets a middleware do, and what it does not touch goes through.

use super::chain;
use crate::harness::{resident_bytes, wat, wat_middleware};

/// An app that streams three blocks, or answers in one piece.
fn app() -> String {
    wat(
        "inmost",
        r#"(func $call (call $status (i32.const 404)) (call $reason "Not Here") (call $header "X-App" "yes")
            (if (call $at "/stream") (then (call $stream)) (else (call $body "whole"))))
        (func $next (if (i32.le_u (global.get $asked) (i32.const 3)) (then (call $block "block,"))))"#,
    )
}

#[test]
fn a_chain_of_five_passes_everything_on() {
    let middleware = wat_middleware("passing", "");
    let server = chain(&app(), &[middleware.as_str(); 5], &[]);
    let mut client = server.client();
    for _ in 0..3 {
        let whole = client.get("/");
        assert_eq!((whole.status(), whole.text().as_str()), (404, "whole"));
        assert_eq!(whole.status_line, "HTTP/1.1 404 Not Here");
        assert_eq!(whole.header("x-app"), Some("yes"));
        let stream = client.get("/stream");
        assert_eq!((stream.status(), stream.text().as_str()), (404, "block,block,block,"));
        assert_eq!(stream.header("x-app"), Some("yes"));
    }
    server.wait_for_log("Serving: passing > passing#2 > passing#3 > passing#4 > passing#5 > inmost in 1 workers");
}

#[test]
fn a_chain_is_as_long_as_its_limit_allows() {
    let middleware = wat_middleware("one-of-many", "");
    let server = chain(&app(), &[middleware.as_str(); 16], &[]);
    assert_eq!(server.get("/stream").text(), "block,block,block,");
}

#[test]
fn a_middleware_adds_to_the_environ_and_to_the_response() {
    let app = wat(
        "private",
        r#"(func $call (if (i32.and (call $var "acme.user" "ann") (call $var "REMOTE_USER" "ann"))
            (then (call $body "hello ann")) (else (call $body "who?"))))"#,
    );
    let middleware = wat_middleware(
        "adding",
        r#"(func $call (call $add_var "acme.user" "ann") (call $add_var "REMOTE_USER" "ann")
            (drop (call $inward)) (call $pass) (call $header "X-Seen" "yes") (call $status (i32.const 203)))"#,
    );
    let server = chain(&app, &[&middleware], &[]);
    let response = server.get("/");
    assert_eq!((response.status(), response.text().as_str()), (203, "hello ann"));
    assert_eq!(response.header("x-seen"), Some("yes"));
}

#[test]
fn a_middleware_answers_by_itself() {
    let app = wat("untouched", r#"(func $call (call $log "called\n"))"#);
    let middleware = wat_middleware(
        "refusing",
        r#"(func $call (call $status (i32.const 401)) (call $body "no"))"#,
    );
    let mut server = chain(&app, &[&middleware], &[]);
    let response = server.get("/");
    assert_eq!((response.status(), response.text().as_str()), (401, "no"));
    assert_eq!(server.stop().code(), Some(0));
    assert!(!server.whole_log().iter().any(|line| line.contains("untouched: GET")));
}

#[test]
fn a_middleware_calls_inward_more_than_once() {
    let app = wat(
        "flaky",
        r#"(func $call
            (if (call $var "retry" "1") (then (call $body "second")) (else (call $fail "not yet"))))"#,
    );
    let middleware = wat_middleware(
        "retrying",
        r#"(func $call
            (if (i32.eqz (call $inward_of "" )) (then (call $add_var "retry" "1") (drop (call $inward_of ""))))
            (call $pass))"#,
    );
    let server = chain(&app, &[&middleware], &[]);
    assert_eq!(server.get("/").text(), "second");
    server.wait_for_log("flaky: GET /: not yet");
}

#[test]
fn a_request_body_goes_inward_or_is_replaced() {
    let app = wat(
        "reading",
        r#"(func $call
            (if (global.get $reader) (then (drop (call $read (i32.const 100)))))
            (call $body (global.get $data) (global.get $data_length)))"#,
    );
    let passing = wat_middleware("handing-on", "");
    let replacing = wat_middleware(
        "replacing",
        r#"(func $call (drop (call $inward_of "another body")) (call $pass))"#,
    );
    for (middleware, expected) in [
        ([passing.as_str(), passing.as_str()], "the original"),
        ([passing.as_str(), replacing.as_str()], "another body"),
    ] {
        let server = chain(&app, &middleware, &[]);
        assert_eq!(server.client().post("/", b"the original").text(), expected);
    }
}

#[test]
fn a_response_is_wrapped_block_by_block() {
    let middleware = wat_middleware(
        "dropping",
        r#"(func $next (if (call $relay) (then (if (i32.eq (global.get $asked) (i32.const 2)) (then (call $block "")))))) "#,
    );
    let server = chain(&app(), &[&middleware], &[]);
    assert_eq!(server.get("/stream").text(), "block,block,");
}

/// Bytes that go through a chain in one direction.
const LARGE: usize = 300 << 20;
/// What a worker may grow by meanwhile.
const GROWTH: u64 = 64 << 20;

#[test]
fn a_large_body_goes_through_a_chain_in_constant_memory() {
    let middleware = wat_middleware("relaying", "");
    // Up: counted. Down: as much again.
    let app = wat(
        "heavy",
        r#"(global $sum (mut i32) (i32.const 0)) (global $count (mut i32) (i32.const 0))
        (func $call (if (call $at "/down") (then (call $stream)) (else
            (block $end (loop $more
                (global.set $count (call $read (i32.const 65536)))
                (br_if $end (i32.le_s (global.get $count) (i32.const 0)))
                (global.set $sum (i32.add (global.get $sum) (global.get $count)))
                (global.set $top (i32.const 0x20000))
                (br $more)))
            (call $number (global.get $sum)))))
        (func $next (if (i32.le_u (global.get $asked) (i32.const 4801)) (then (call $block_of (i32.const 65536)))))"#,
    );
    let server = chain(&app, &[middleware.as_str(); 3], &[]);
    server.get("/");
    let pid = server.worker();
    let before = resident_bytes(pid);
    let mut client = server.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes());
    let block = vec![b'x'; 1 << 20];
    for _ in 0..LARGE / block.len() {
        client.send(&block);
        assert!(resident_bytes(pid) < before + GROWTH, "the request body is collected");
    }
    assert_eq!(client.response("POST").text(), LARGE.to_string());
    client.send(b"GET /down HTTP/1.0\r\n\r\n");
    let mut received = 0;
    loop {
        let block = client.read_some();
        if block.is_empty() {
            break;
        }
        received += block.len();
        assert!(resident_bytes(pid) < before + GROWTH, "the response body is collected");
    }
    assert!(received > LARGE, "{received}");
}
