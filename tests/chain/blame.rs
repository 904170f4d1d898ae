//! What fails is named, and what is around it is told.

use super::{chain, configuration};
use crate::harness::{Server, wat, wat_middleware};

/// An app that fails in the way that the path names.
fn failing() -> String {
    wat(
        "collapsing",
        r#"(func $deep (call $deep))
        (func $call
            (if (call $at "/exception") (then (call $fail "Traceback: boom")))
            (if (call $at "/trap") (then (unreachable)))
            (if (call $at "/timeout") (then (loop $on (br $on))))
            (if (call $at "/stack") (then (call $deep)))
            (if (call $at "/memory") (then (call $body_of (i32.const 500000000))))
            (if (call $at "/block") (then (call $body_of (i32.const 80000000))))
            (if (call $at "/stream") (then (call $stream))))
        (func $next (if (i32.eq (global.get $asked) (i32.const 2)) (then (unreachable)) (else (call $block "block"))))"#,
    )
}

/// For what does not end by itself. All else has the time that it has by default: machines stand still now and then.
const BRIEF: [&str; 2] = ["--timeout", "3"];

#[test]
fn a_link_sees_what_failed_inside_and_the_log_names_it() {
    let page = wat_middleware(
        "page",
        r#"(func $call (if (call $inward) (then (call $pass))
            (else (call $number (call $failure)) (call $status (i32.const 502)))))"#,
    );
    let passing = wat_middleware("between", "");
    let patient = chain(&failing(), &[&page, &passing], &[]);
    let brief = chain(&failing(), &[&page, &passing], &BRIEF);
    for (path, case, why) in [
        ("/exception", "0", "Traceback: boom"),
        ("/trap", "0", "trapped: wasm trap: wasm `unreachable`"),
        ("/timeout", "1", "no sign of life within --timeout"),
        ("/stack", "2", "exhausted a limit: --max-stack"),
        ("/memory", "2", "exhausted a limit: --max-memory"),
        ("/block", "2", "exhausted a limit: --limit-response-block"),
    ] {
        let server = if path == "/timeout" { &brief } else { &patient };
        let response = server.get(path);
        assert_eq!((response.status(), response.text().as_str()), (502, case), "{path}");
        server.wait_for_log(&format!("[ERROR] collapsing: GET {path}: {why}"));
    }
    // Who passes a failure on is not blamed for it.
    for mut server in [patient, brief] {
        server.stop();
        let log = server.whole_log();
        let blamed = log
            .iter()
            .find(|line| line.contains("] page: ") || line.contains("] between: "));
        assert_eq!(blamed, None);
    }
}

#[test]
fn a_failure_that_nobody_catches_reaches_the_client_as_it_would_without_a_chain() {
    let passing = wat_middleware("through", "");
    let brief = chain(&failing(), &[passing.as_str(); 2], &BRIEF);
    assert_eq!(brief.get("/timeout").status(), 504);
    let server = chain(&failing(), &[passing.as_str(); 2], &[]);
    for path in ["/exception", "/trap", "/stack"] {
        assert_eq!(server.get(path).status(), 500, "{path}");
    }
    let stream = server.get("/stream");
    assert_eq!((stream.text().as_str(), stream.complete), ("block", false));
    server.wait_for_log("[ERROR] collapsing: GET /stream: trapped: ");
    assert!(!server.log().iter().any(|line| line.contains("] through: ")));
}

#[test]
fn each_link_has_its_own_limits() {
    let directory = tempfile::tempdir().unwrap();
    // Needs more memory than it has, where the app, which takes as much, has enough.
    let greedy = wat_middleware(
        "gluttonous",
        "(func $call (drop (call $letters (i32.const 30000000))) (drop (call $inward)) (call $pass))",
    );
    let app = wat(
        "roomy",
        r#"(func $call (drop (call $letters (i32.const 30000000))) (call $body "room"))"#,
    );
    for (limit, status) in [("16M", 500), ("64M", 200)] {
        let file = configuration(
            directory.path(),
            "workers = 1",
            &[(&greedy, &format!("name = \"poor\"\nmax-memory = \"{limit}\""))],
        );
        let server = Server::start(&[&app, "--config", &file.display().to_string()]);
        assert_eq!(server.get("/").status(), status, "{limit}");
        if status == 500 {
            server.wait_for_log("[ERROR] poor: GET /: exhausted a limit: --max-memory");
        }
    }
}

/// A link that fails in the way that a path names, set to fail open.
fn fail_open(app: &str, kept: &str) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let fragile = wat_middleware(
        "fragile",
        r#"(func $call
            (if (call $at "/trap") (then (unreachable)))
            (if (call $at "/exception") (then (call $let_go) (call $fail "no") (return)))
            (if (call $at "/keeps") (then (call $forget) (call $fail "no") (return)))
            (if (call $at "/timeout") (then (loop $on (br $on))))
            (if (call $at "/reads") (then (drop (call $read (i32.const 1))) (unreachable)))
            (drop (call $inward))
            (if (call $at "/late") (then (unreachable)))
            (call $pass))"#,
    );
    let file = configuration(
        directory.path(),
        "workers = 1",
        &[(
            &fragile,
            &format!("fail-open = true\ntimeout = 3\nmax-requests = {kept}"),
        )],
    );
    let server = Server::start(&[app, "-c", &file.display().to_string()]);
    (directory, server)
}

#[test]
fn a_link_that_fails_open_is_skipped_where_nobody_has_seen_anything_of_it() {
    let app = wat(
        "sturdy",
        r#"(func $call (if (i32.le_s (call $read (i32.const 100)) (i32.const 0)) (then (call $body "nothing"))
            (else (call $body (global.get $data) (global.get $data_length)))))"#,
    );
    for kept in ["1", "0"] {
        let (_directory, server) = fail_open(&app, kept);
        let mut client = server.client();
        for path in ["/trap", "/exception", "/keeps", "/timeout", "/fine"] {
            let response = client.post(path, b"the body");
            assert_eq!(
                (response.status(), response.text().as_str()),
                (200, "the body"),
                "{path}"
            );
            if path != "/timeout" {
                assert_eq!(client.get(path).text(), "nothing", "{path}");
            }
            if path != "/fine" {
                server.wait_for_log(&format!("fragile: POST {path}: skipped, as it is set to fail open"));
            }
        }
        for path in ["/late", "/reads"] {
            assert_eq!(server.client().post(path, b"the body").status(), 500, "{path}");
            server.wait_for_log(&format!("[ERROR] fragile: POST {path}: trapped"));
        }
        assert!(
            !server
                .log()
                .iter()
                .any(|line| line.contains("/late: skipped") || line.contains("/reads: skipped"))
        );
    }
}
