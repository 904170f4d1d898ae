//! `close()` reaches every link exactly once, from the outside in, on every path.

use super::chain;
use crate::harness::{Server, wat, wat_middleware};

/// Two middleware and an app; each says that it is closed before it closes what is inside of it.
fn closing(app_next: &str) -> (String, [String; 2]) {
    let app = wat(
        "core",
        &format!(
            r#"(func $call (call $stream)) (func $close (call $log "closed\n"))
            (func $next {app_next})"#
        ),
    );
    let middleware = |name| {
        wat_middleware(
            name,
            r#"(func $close (call $log "closed\n") (call $shut) (call $drop))"#,
        )
    };
    (app, [middleware("outer"), middleware("middle")])
}

/// The links that have said that they are closed, in order.
fn closed(server: &Server) -> Vec<String> {
    let log = server.log();
    log.iter()
        .filter_map(|line| line.strip_suffix(": wsgi.errors: closed")?.rsplit("] ").next())
        .filter_map(|tag| Some(tag.split_once(": ")?.0.to_owned()))
        .collect()
}

#[test]
fn a_body_that_ends_well_or_badly_is_closed_from_the_outside_in() {
    let three = r#"(if (i32.le_u (global.get $asked) (i32.const 3)) (then (call $block "block")))"#;
    let broken =
        r#"(if (i32.eq (global.get $asked) (i32.const 1)) (then (call $block "block")) (else (call $break "lost")))"#;
    let never = r#"(call $break "at once")"#;
    let endless = r#"(call $block_of (i32.const 65536))"#;
    for (next, request, answer) in [
        (three, "GET / HTTP/1.0\r\n\r\n", "block"),
        (three, "HEAD / HTTP/1.0\r\n\r\n", "200 OK"),
        (broken, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "block"),
        (never, "GET / HTTP/1.0\r\n\r\n", "500 Internal"),
        (endless, "GET / HTTP/1.0\r\n\r\n", "xxx"),
    ] {
        for kept in ["1", "0"] {
            let (app, middleware) = closing(next);
            let server = chain(&app, &[&middleware[0], &middleware[1]], &["--max-requests", kept]);
            let mut client = server.client();
            client.send(request.as_bytes());
            client.fill_until(answer.as_bytes());
            drop(client);
            server.wait_for_log_times("closed", 3);
            assert_eq!(closed(&server), ["outer", "middle", "core"], "{next} {request}");
        }
    }
}

#[test]
fn a_link_that_is_given_up_leaves_nothing_open() {
    let (app, middleware) = closing(r#"(call $block "block")"#);
    let spinning = wat_middleware("spinning", r#"(func $call (drop (call $inward)) (loop $on (br $on)))"#);
    let server = chain(&app, &[&spinning, &middleware[1]], &["--timeout", "3"]);
    assert_eq!(server.get("/").status(), 504);
    server.wait_for_log("[ERROR] spinning: GET /: no sign of life within --timeout");
    server.wait_for_log("core: GET /: wsgi.errors: closed");
    assert_eq!(closed(&server), ["middle", "core"]);
}

#[test]
fn a_chain_whose_client_has_gone_is_given_up_as_a_whole() {
    let app = wat(
        "toiling",
        r#"(func $call (if (call $at "/busy") (then (call $stream)) (else (call $body "fine"))))
        (func $next (if (i32.eq (global.get $asked) (i32.const 1))
            (then (call $block_of (i32.const 16000000)))
            (else (call $log "toils\n") (loop $on (br $on)))))"#,
    );
    let passing = wat_middleware("enduring", "");
    let server = chain(
        &app,
        &[passing.as_str(); 3],
        &["--timeout", "0", "--max-instances", "1", "--instance-timeout", "60"],
    );
    for times in 1..=2 {
        let mut client = server.client();
        client.send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n");
        // The block before is still being sent when the client goes.
        server.wait_for_log_times("toiling: GET /busy: wsgi.errors: toils", times);
        drop(client);
        server.wait_for_log_times(
            "enduring: GET /busy: the client has gone, and the app did not stop",
            times,
        );
        assert_eq!(server.get("/").text(), "fine");
    }
}

#[test]
fn what_a_failed_link_held_is_closed_by_the_host() {
    let moments = [
        ("call", "(func $call (drop (call $inward)) (unreachable))"),
        ("next", "(func $next (drop (call $relay)) (unreachable))"),
        (
            "later",
            "(func $next (drop (call $relay)) (if (i32.eq (global.get $asked) (i32.const 2)) (then (unreachable))))",
        ),
        ("close", "(func $close (unreachable))"),
        ("forgets", "(func $close)"),
        ("drops", "(func $close (call $drop))"),
        (
            "says-no",
            r#"(func $call (drop (call $inward)) (call $fail "changed my mind"))"#,
        ),
        ("says-yes", r#"(func $call (drop (call $inward)) (call $body "mine"))"#),
        (
            "shuts-early",
            "(func $next (call $shut) (drop (call $relay)) (call $shut)) (func $close (call $shut))",
        ),
        (
            "twice",
            "(func $call (drop (call $inward_of \"\")) (drop (call $inward_of \"\")) (call $pass))",
        ),
    ];
    let three = r#"(if (i32.le_u (global.get $asked) (i32.const 3)) (then (call $block "block")))"#;
    for (moment, functions) in moments {
        for kept in ["1", "0"] {
            let (app, middleware) = closing(three);
            let failing = wat_middleware(&format!("failing-{moment}"), functions);
            // One instance each: what is not given back is missed by the next request.
            let server = chain(
                &app,
                &[&failing, &middleware[1]],
                &[
                    "--max-requests",
                    kept,
                    "--max-instances",
                    "2",
                    "--instance-timeout",
                    "20",
                ],
            );
            let each = if moment == "twice" { 2 } else { 1 };
            for request in 1..=4 {
                let answer = server.raw(b"GET / HTTP/1.0\r\n\r\n");
                assert!(
                    !String::from_utf8_lossy(&answer).contains("503"),
                    "{moment}: request {request}"
                );
                server.wait_for_log_times("core: GET /: wsgi.errors: closed", request * each);
            }
            let mut all = closed(&server);
            if each == 1 {
                assert_eq!(all, ["middle", "core"].repeat(4), "{moment}");
            }
            all.sort_unstable();
            let each = 4 * each;
            assert_eq!(all, [vec!["core"; each], vec!["middle"; each]].concat(), "{moment}");
        }
    }
}
