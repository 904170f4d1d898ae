//! Links that do odd things at odd moments: each has a defined end, and leaves nothing behind.

use super::chain;
use crate::harness::{Resources, Server, wait_until, wait_until_resident, wat, wat_middleware};

/// An app that streams, and says that it was closed.
fn app() -> String {
    wat(
        "calm",
        r#"(func $call (call $stream)) (func $close (call $log "closed\n"))
        (func $next (if (i32.le_u (global.get $asked) (i32.const 3)) (then (call $block "block"))))"#,
    )
}

#[test]
fn a_link_that_calls_inward_without_end_is_stopped() {
    let app = wat("counted", r#"(func $call (call $body "one"))"#);
    let endless = wat_middleware(
        "endless",
        r#"(func $call (loop $on (drop (call $inward_of "")) (br $on)))"#,
    );
    let few = wat_middleware(
        "few",
        r#"(func $call (drop (call $inward_of "")) (drop (call $inward_of "")) (drop (call $inward_of "")) (call $pass))"#,
    );
    let server = chain(&app, &[&endless], &["--timeout", "3"]);
    assert_eq!(server.get("/").status(), 504);
    server.wait_for_log("[ERROR] endless: GET /: the request has made --limit-inward-calls 100 calls inward");
    server.wait_for_log("[ERROR] endless: GET /: no sign of life within --timeout");
    let lines = server
        .log()
        .iter()
        .filter(|line| line.contains("--limit-inward-calls"))
        .count();
    assert_eq!(lines, 1);
    // All links of a request have one budget: each of two calls three times, which is twelve calls.
    for (limit, status) in [("12", 200), ("11", 503)] {
        let server = chain(&app, &[&few, &few], &["--limit-inward-calls", limit]);
        assert_eq!(server.get("/").status(), status, "{limit}");
    }
}

#[test]
fn a_link_that_waits_for_what_is_inside_does_not_run_out_of_time_itself() {
    // The app is slow by waiting for its client, which stops its clock; the links around it wait for it.
    let app = wat(
        "patient",
        r#"(func $call (drop (call $read (i32.const 100))) (call $body (global.get $data) (global.get $data_length)))"#,
    );
    let passing = wat_middleware("waiting", "");
    let server = chain(&app, &[passing.as_str(); 2], &["--timeout", "3"]);
    let mut client = server.client();
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
    std::thread::sleep(std::time::Duration::from_secs(4));
    client.send(b"late");
    assert_eq!(client.response("POST").text(), "late");
}

#[test]
fn a_link_that_calls_inward_when_it_is_closed_leaves_nothing_open() {
    let late = wat_middleware(
        "late",
        r#"(func $close (call $shut) (call $drop)
            (global.set $vars_end (global.get $vars)) (drop (call $inward_of "")))"#,
    );
    for kept in ["1", "0"] {
        let server = chain(
            &app(),
            &[&late],
            &[
                "--max-requests",
                kept,
                "--max-instances",
                "1",
                "--instance-timeout",
                "20",
            ],
        );
        for request in 1..=3 {
            assert_eq!(server.get("/").text(), "blockblockblock");
            server.wait_for_log_times("calm: GET /: wsgi.errors: closed", 2 * request);
        }
    }
}

#[test]
fn a_link_that_calls_inward_before_there_is_a_request_is_told_so() {
    let early = wat_middleware(
        "early",
        r#"(global $refused (mut i32) (i32.const 0)) (start $boot)
        (func $boot (if (i32.eqz (call $inward_of "")) (then (global.set $refused (call $failure)))))
        (func $call (call $number (global.get $refused)))"#,
    );
    assert_eq!(chain(&app(), &[&early], &[]).get("/").text(), "3");
}

#[test]
fn an_iterable_of_an_earlier_request_is_closed_and_says_so() {
    let hoarding = wat_middleware(
        "hoarding",
        r#"(func $call
            (if (i32.eqz (global.get $held))
                (then (drop (call $inward)) (call $body "kept"))
                (else (drop (call $relay)) (call $body (i32.load (i32.const 0xd4)) (i32.load (i32.const 0xd8))))))"#,
    );
    let server = chain(&app(), &[&hoarding], &["--max-requests", "0"]);
    assert_eq!(server.get("/").text(), "kept");
    server.wait_for_log("calm: GET /: wsgi.errors: closed");
    for _ in 0..2 {
        assert_eq!(server.get("/").text(), "the iterable is closed");
    }
    assert_eq!(server.log().iter().filter(|line| line.contains("calm: ")).count(), 1);
}

#[test]
fn an_iterable_is_returned_once() {
    let again = wat_middleware(
        "returning",
        r#"(global $mine (mut i32) (i32.const 0))
        (func $call (drop (call $inward))
            (if (global.get $mine)
                (then (i32.store8 (i32.const 0x28) (i32.const 1)) (i32.store (i32.const 0x2c) (global.get $mine)))
                (else (call $pass) (global.set $mine (i32.load (i32.const 0x2c))))))"#,
    );
    let server = chain(&app(), &[&again], &["--max-requests", "2"]);
    for request in 1..=2 {
        assert_eq!(server.get("/").text(), "blockblockblock");
        assert_eq!(server.get("/").status(), 500);
        server.wait_for_log_times("[ERROR] returning: GET /: trapped: ", request);
        server.wait_for_log_times("calm: GET /: wsgi.errors: closed", 2 * request);
    }
}

#[test]
fn a_link_that_asks_what_it_has_closed_is_to_blame_for_it() {
    let hasty = wat_middleware("hasty", "(func $next (call $shut) (drop (call $relay))) (func $close)");
    let server = chain(&app(), &[&hasty], &[]);
    assert_eq!(server.get("/").status(), 500);
    server.wait_for_log("[ERROR] hasty: GET /: the iterable is closed");
}

/// Requests of each kind before and after which things are counted.
const REQUESTS: usize = 1_000;
/// What a worker may have grown by meanwhile.
const GROWTH: u64 = 16 << 20;

#[test]
fn nothing_is_left_of_odd_requests() {
    let odd = wat_middleware(
        "odd",
        r#"(func $call
            (if (call $at "/trap") (then (unreachable)))
            (drop (call $inward))
            (if (call $at "/holds") (then (unreachable)))
            (if (call $at "/no") (then (call $fail "no")))
            (if (call $at "/mine") (then (call $body "mine")))
            (if (i32.eqz (i32.or (call $at "/mine") (call $at "/no"))) (then (call $pass))))
        (func $next (drop (call $relay)) (if (call $at "/next") (then (unreachable))))
        (func $close (if (call $at "/close") (then (unreachable))) (if (call $at "/shut") (then (call $shut))))"#,
    );
    let passing = wat_middleware("even", "");
    let app = wat(
        "quiet",
        r#"(func $call (call $stream))
        (func $next (if (i32.le_u (global.get $asked) (i32.const 3)) (then (call $block "block"))))"#,
    );
    let kinds = [
        "/trap", "/holds", "/no", "/mine", "/next", "/close", "/shut", "/forgets",
    ];
    for kept in ["1", "0"] {
        let server = chain(
            &app,
            &[&odd, &passing],
            &["--max-requests", kept, "--max-instances", "4"],
        );
        let round = |server: &Server| {
            for kind in kinds {
                assert_ne!(server.get(kind).status(), 503, "{kind}");
            }
        };
        (0..REQUESTS / 10).for_each(|_| round(&server));
        let worker = server.worker();
        let before = Resources::of(worker);
        (0..REQUESTS / kinds.len()).for_each(|_| round(&server));
        wait_until("the descriptors are closed", || {
            Resources::of(worker).descriptors <= before.descriptors
        });
        wait_until_resident(worker, before.resident_bytes + GROWTH);
    }
}
