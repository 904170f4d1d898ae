//! Apps that break the contract: each mistake costs its own request, is named in the log, and nothing else.

use crate::harness::{Server, wait_until, wat};

/// An app that does what is said for a path, and answers "fine" to all others.
fn routes(name: &str, cases: &[(&str, &str)], more: &str) -> String {
    let route = |(path, code): &(&str, &str)| format!("(if (call $at \"{path}\") (then {code}))\n");
    let routes: String = cases.iter().map(route).collect();
    wat(
        name,
        &format!("{more}\n(global $i (mut i32) (i32.const 0))\n(func $call (call $body \"fine\")\n{routes})"),
    )
}

#[test]
fn a_head_that_may_not_be_sent_is_an_error() {
    let status = "the app returned status";
    let many = "(loop $more (call $header \"A\" \"b\") (global.set $i (i32.add (global.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (global.get $i) (i32.const 1001))))";
    let cases: Vec<(&str, &str, &str)> = vec![
        ("/0", "(call $status (i32.const 0))", status),
        ("/99", "(call $status (i32.const 99))", status),
        ("/100", "(call $status (i32.const 100))", status),
        ("/101", "(call $status (i32.const 101))", status),
        ("/199", "(call $status (i32.const 199))", status),
        ("/1000", "(call $status (i32.const 1000))", status),
        ("/65535", "(call $status (i32.const 65535))", status),
        ("/reason-crlf", r#"(call $reason "a\0d\0aX: y")"#, "the reason phrase"),
        ("/reason-lf", r#"(call $reason "a\0aX: y")"#, "the reason phrase"),
        ("/reason-nul", r#"(call $reason "a\00")"#, "the reason phrase"),
        ("/reason-euro", r#"(call $reason "\u{20ac}")"#, "the reason phrase"),
        (
            "/value-crlf",
            r#"(call $header "A" "b\0d\0aX: y")"#,
            "characters that HTTP forbids",
        ),
        (
            "/value-cr",
            r#"(call $header "A" "b\0dX")"#,
            "characters that HTTP forbids",
        ),
        (
            "/value-lf",
            r#"(call $header "A" "b\0aX: y")"#,
            "characters that HTTP forbids",
        ),
        (
            "/value-nul",
            r#"(call $header "A" "b\00")"#,
            "characters that HTTP forbids",
        ),
        (
            "/value-euro",
            r#"(call $header "A" "\u{20ac}")"#,
            "characters that HTTP forbids",
        ),
        ("/name-crlf", r#"(call $header "A\0d\0aX" "b")"#, "not a token"),
        ("/name-space", r#"(call $header "A b" "b")"#, "not a token"),
        ("/name-colon", r#"(call $header "A:" "b")"#, "not a token"),
        ("/name-nul", r#"(call $header "A\00" "b")"#, "not a token"),
        ("/name-empty", r#"(call $header "" "b")"#, "not a token"),
        ("/name-latin", r#"(call $header "\u{e9}" "b")"#, "not a token"),
        ("/connection", r#"(call $header "Connection" "close")"#, "hop-by-hop"),
        (
            "/keep-alive",
            r#"(call $header "keep-alive" "timeout=5")"#,
            "hop-by-hop",
        ),
        ("/te", r#"(call $header "TE" "trailers")"#, "hop-by-hop"),
        ("/upgrade", r#"(call $header "Upgrade" "websocket")"#, "hop-by-hop"),
        (
            "/chunked",
            r#"(call $header "Transfer-Encoding" "chunked")"#,
            "hop-by-hop",
        ),
        ("/length", r#"(call $header "Content-Length" "five")"#, "Content-Length"),
        (
            "/lengths",
            r#"(call $header "Content-Length" "4") (call $header "Content-Length" "5")"#,
            "Content-Length",
        ),
        ("/many", many, "1001 header fields"),
        (
            "/huge",
            "(call $header \"A\" (call $letters (i32.const 300000)) (i32.const 300000))",
            "a head of more than",
        ),
    ];
    let codes: Vec<_> = cases.iter().map(|(path, code, _)| (*path, *code)).collect();
    let server = Server::start(&[&routes("heads", &codes, "")]);
    let mut client = server.client();
    for (path, _, why) in &cases {
        let response = client.get(path);
        assert_eq!(
            (response.status(), response.text().as_str()),
            (500, "Internal Server Error\n"),
            "{path}"
        );
        let line = server.wait_for_log(&format!("[ERROR] heads: GET {path}: the app returned"));
        assert!(line.contains(why), "{path}: {line}");
        assert_eq!(client.get("/").text(), "fine", "after {path}");
    }
}

#[test]
fn an_iterable_is_closed_even_if_its_head_may_not_be_sent() {
    let server = Server::start(&[&wat(
        "bad-head",
        r#"(func $call (call $header "A b" "") (call $stream)) (func $close (call $log "closed\n"))"#,
    )]);
    assert_eq!(server.get("/").status(), 500);
    server.wait_for_log("bad-head: GET /: wsgi.errors: closed");
}

#[test]
fn a_trap_costs_its_own_request() {
    let traps = [
        ("/unreachable", "(unreachable)", "unreachable"),
        (
            "/zero",
            "(drop (i32.div_u (i32.const 1) (global.get $i)))",
            "divide by zero",
        ),
        ("/outside", "(drop (i32.load (i32.const -4)))", "out of bounds"),
        ("/nonsense", "(call $body (i32.const -10) (i32.const 100))", "trapped"),
        ("/no-utf-8", "(call $reason \"\\ff\")", "trapped"),
        ("/drop-twice", "(call $drop_input (i32.const 77))", "trapped"),
        ("/deep", "(call $deep)", "exhausted a limit: --max-stack"),
    ];
    let codes: Vec<_> = traps.iter().map(|(path, code, _)| (*path, *code)).collect();
    for arguments in [&["-w", "1"][..], &["-w", "1", "--max-requests", "0"]] {
        let app = routes("traps", &codes, "(func $deep (call $deep))");
        let server = Server::start(&[&[app.as_str()], arguments].concat());
        let mut client = server.client();
        for (path, _, why) in &traps {
            let response = client.get(path);
            assert_eq!(
                (response.status(), response.text().as_str()),
                (500, "Internal Server Error\n"),
                "{path}"
            );
            let start = format!("[ERROR] traps: GET {path}: ");
            server.wait_for_log(&start);
            assert_eq!(client.get("/").text(), "fine", "after {path}");
            let log: Vec<_> = server.log().into_iter().filter(|line| line.contains(&start)).collect();
            assert!(log.iter().any(|line| line.contains(why)), "{path}: {log:#?}");
        }
        server.worker();
    }
}

/// An app that takes `step` as the second block, or as the first at `/first`, or as the closing at `/close`.
fn iterable(name: &str, step: &str) -> String {
    wat(
        name,
        &format!(
            r#"(global $path (mut i32) (i32.const 0))
            (func $call
              (global.set $path (i32.const 0))
              (if (call $at "/first") (then (global.set $path (i32.const 1))))
              (if (call $at "/close") (then (global.set $path (i32.const 2))))
              (call $stream))
            (func $step {step})
            (func $next
              (if (i32.eq (global.get $path) (i32.const 1)) (then (call $step) (return)))
              (if (i32.eq (global.get $asked) (i32.const 1)) (then (call $block "one")))
              (if (i32.and (i32.eqz (global.get $path)) (i32.eq (global.get $asked) (i32.const 2))) (then (call $step))))
            (func $close (if (i32.eq (global.get $path) (i32.const 2)) (then (call $step))))"#
        ),
    )
}

#[test]
fn a_trap_in_an_iterable() {
    let server = Server::start(&[&iterable("trap", "(unreachable)"), "-w", "1", "--max-requests", "0"]);
    assert_eq!(server.get("/first").status(), 500);
    server.wait_for_log("trap: GET /first: trapped");
    let response = server.get("/second");
    assert_eq!(
        (response.status(), response.text().as_str(), response.complete),
        (200, "one", false)
    );
    server.wait_for_log("trap: GET /second: trapped");
    // The response is whole by then.
    let response = server.get("/close");
    assert_eq!(
        (response.status(), response.text().as_str(), response.complete),
        (200, "one", true)
    );
    server.wait_for_log("trap: GET /close: in close(): trapped");
    server.worker();
}

#[test]
fn an_app_that_gives_no_sign_of_life_is_ended() {
    let spin = "(loop $spin (br $spin))";
    let server = Server::start(&[&iterable("lifeless", spin), "-w", "1", "--timeout", "3"]);
    assert_eq!(server.get("/first").status_line, "HTTP/1.1 504 Gateway Timeout");
    server.wait_for_log("[ERROR] lifeless: GET /first: no sign of life within --timeout");
    let response = server.get("/second");
    assert_eq!(
        (response.status(), response.text().as_str(), response.complete),
        (200, "one", false)
    );
    server.wait_for_log("lifeless: GET /second: no sign of life within --timeout");
    let response = server.get("/close");
    assert_eq!((response.text().as_str(), response.complete), ("one", true));
    server.wait_for_log("lifeless: GET /close: in close(): no sign of life within --timeout");

    let server = Server::start(&[&routes("spin", &[("/spin", spin)], ""), "-w", "1", "--timeout", "3"]);
    assert_eq!(server.get("/spin").status(), 504);
    server.wait_for_log("spin: GET /spin: no sign of life within --timeout");
    assert_eq!(server.get("/").text(), "fine");
}

#[test]
fn a_spinning_app_does_not_keep_others_waiting() {
    // Without a limit: it is still spinning when the others have been answered.
    let spin = r#"(call $log "spinning\n") (loop $spin (br $spin))"#;
    let server = Server::start(&[&routes("busy", &[("/spin", spin)], ""), "-w", "1", "--timeout", "0"]);
    let mut spinning = server.client();
    spinning.send(b"GET /spin HTTP/1.1\r\nHost: a\r\n\r\n");
    server.wait_for_log("busy: GET /spin: wsgi.errors: spinning");
    for _ in 0..10 {
        assert_eq!(server.get("/").text(), "fine");
    }
}

#[test]
fn an_instance_counts_its_own_requests() {
    let app = wat("counter", "(func $call (call $number (global.get $requests)))");
    for (arguments, expected) in [
        (&[][..], ["1", "1", "1", "1", "1", "1"]),
        (&["--max-requests", "3"], ["1", "2", "3", "1", "2", "3"]),
        (&["--max-requests", "0"], ["1", "2", "3", "4", "5", "6"]),
    ] {
        let server = Server::start(&[&[app.as_str(), "-w", "1"], arguments].concat());
        let counts: Vec<_> = expected.iter().map(|_| server.get("/").text()).collect();
        assert_eq!(counts, expected, "{arguments:?}");
    }
}

#[test]
fn an_instance_that_trapped_is_not_used_again() {
    let cases = [
        ("/", "(call $number (global.get $requests))"),
        ("/trap", "(unreachable)"),
        ("/fail", "(call $fail \"x\")"),
    ];
    let server = Server::start(&[&routes("again", &cases, ""), "-w", "1", "--max-requests", "0"]);
    let counts: Vec<_> = ["/", "/", "/fail", "/", "/trap", "/", "/"]
        .iter()
        .map(|path| server.get(path).text())
        .collect();
    let page = "Internal Server Error\n";
    assert_eq!(counts, ["1", "2", page, "4", page, "1", "2"]);
}

#[test]
fn memory_is_limited_and_the_log_says_so() {
    let cases = [
        (
            "/trap",
            "(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then (unreachable)))",
        ),
        (
            "/refused",
            "(call $number (i32.eq (memory.grow (i32.const 100)) (i32.const -1)))",
        ),
        (
            "/granted",
            "(call $number (i32.eq (memory.grow (i32.const 10)) (i32.const -1)))",
        ),
    ];
    let server = Server::start(&[&routes("greedy", &cases, ""), "-w", "1", "--max-memory", "4M"]);
    assert_eq!(server.get("/trap").status(), 500);
    server.wait_for_log("greedy: GET /trap: exhausted a limit: --max-memory");
    // An app that can live with it goes on.
    assert_eq!(server.get("/refused").text(), "1");
    assert_eq!(server.get("/granted").text(), "0");
}

#[test]
fn a_block_is_limited_and_the_log_says_so() {
    let cases = [
        ("/bytes", "(call $body_of (i32.const 2000000))"),
        (
            "/head",
            "(call $reason (call $letters (i32.const 2000000)) (i32.const 2000000))",
        ),
        ("/half", "(call $body_of (i32.const 500000))"),
    ];
    let server = Server::start(&[&routes("bulky", &cases, ""), "-w", "1", "--limit-response-block", "1M"]);
    for path in ["/bytes", "/head"] {
        assert_eq!(server.get(path).status(), 500);
        server.wait_for_log(&format!("bulky: GET {path}: exhausted a limit: --limit-response-block"));
    }
    assert_eq!(server.get("/half").body.len(), 500_000);

    let app = iterable("bulky-block", "(call $block_of (i32.const 2000000))");
    let server = Server::start(&[&app, "-w", "1", "--limit-response-block", "1M"]);
    assert_eq!(server.get("/first").status(), 500);
    server.wait_for_log("bulky-block: GET /first: exhausted a limit: --limit-response-block");
    assert!(!server.get("/second").complete);
    server.wait_for_log("bulky-block: GET /second: exhausted a limit: --limit-response-block");
}

#[test]
fn a_reader_that_is_kept_reads_an_error_later() {
    let app = wat(
        "keeper",
        r#"
        (global $kept (mut i32) (i32.const 0))
        (func $call
          (if (call $at "/keep") (then (global.set $kept (global.get $reader)) (call $forget) (return)))
          (global.set $reader (global.get $kept))
          (if (i32.eq (call $read (i32.const 10)) (i32.const -1))
            (then (call $fail (global.get $data) (global.get $data_length)))))"#,
    );
    let server = Server::start(&[&app, "-w", "1", "--max-requests", "0"]);
    assert_eq!(server.client().post("/keep", b"secret").status(), 200);
    assert_eq!(server.get("/later").status(), 500);
    server.wait_for_log("keeper: GET /later: the request that this input belongs to is over");
}

#[test]
fn readers_that_are_never_dropped_do_no_harm() {
    let app = wat(
        "leak",
        "(func $call (call $forget) (call $number (global.get $requests)))",
    );
    let server = Server::start(&[&app, "-w", "1", "--max-requests", "0", "--max-instances", "1"]);
    let mut instances = 0;
    for _ in 0..2_500 {
        let response = server.client().post("/", b"x");
        assert_eq!(response.status(), 200);
        if response.text() == "1" {
            instances += 1;
        }
    }
    // It is replaced now and then, and not for each request.
    assert!((2..50).contains(&instances), "{instances} instances");
}

#[test]
fn what_an_app_logs_is_tagged_and_split_and_cannot_forge() {
    let app = wat(
        "talker",
        r#"(func $call
            (call $log "one\ntwo ")
            (call $log "words\n\n")
            (call $log "[2026-01-01 00:00:00 +0000] [1] [INFO] forged\r\1b[2J\00\u{85}\n")
            (call $log "last"))"#,
    );
    let server = Server::start(&[&app, "-w", "1"]);
    server.get("/x?secret");
    server.wait_for_log("last");
    let log = server.log();
    let said: Vec<_> = log
        .iter()
        .filter_map(|line| line.split_once("[ERROR] talker: GET /x: wsgi.errors: "))
        .collect();
    let said: Vec<_> = said.iter().map(|(_, text)| *text).collect();
    let forged = "[2026-01-01 00:00:00 +0000] [1] [INFO] forged\\r\\x1b[2J\\x00\\x85";
    assert_eq!(said, ["one", "two words", forged, "last"]);
}

#[test]
fn what_a_request_logs_is_limited() {
    let app = wat(
        "flood",
        r#"(func $call (local $i i32)
            (loop $more
              (call $log "0123456789012345678\n")
              (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br_if $more (i32.lt_u (local.get $i) (i32.const 10000)))))"#,
    );
    let server = Server::start(&[&app, "-w", "1", "--limit-request-log", "1K"]);
    for request in 1..=2 {
        assert_eq!(server.get("/").status(), 200);
        server.wait_for_log_times("the rest of what this request writes to the log is dropped", request);
        let lines = server
            .log()
            .iter()
            .filter(|line| line.contains("wsgi.errors: "))
            .count();
        // 51 whole ones and a piece, each time.
        assert_eq!(lines, request * 52);
    }
}

#[test]
fn requests_wait_for_an_instance_but_not_for_ever() {
    let read = r#"(call $log "waiting\n") (drop (call $read (i32.const 1)))"#;
    let app = routes("narrow", &[("/wait", read)], "");
    let waiting = |server: &Server| {
        let mut client = server.client();
        client.send(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
        server.wait_for_log("narrow: POST /wait: wsgi.errors: waiting");
        client
    };

    let server = Server::start(&[&app, "-w", "1", "--max-instances", "1"]);
    let mut first = waiting(&server);
    let mut second = server.client();
    second.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    first.send(b"x");
    assert_eq!(first.response("POST").text(), "fine");
    assert_eq!(second.response("GET").text(), "fine");

    let server = Server::start(&[&app, "-w", "1", "--max-instances", "1", "--instance-timeout", "0.3"]);
    let mut first = waiting(&server);
    let refused = server.get("/");
    assert_eq!(refused.status_line, "HTTP/1.1 503 Service Unavailable");
    assert!(
        refused
            .header("Retry-After")
            .is_some_and(|seconds| seconds.parse::<u32>().is_ok())
    );
    server.wait_for_log("narrow: GET /: unavailable: every instance of --max-instances is busy");
    first.send(b"x");
    assert_eq!(first.response("POST").text(), "fine");
    // It is given back a little later than the answer comes.
    wait_until("the instance that was busy", || server.get("/").text() == "fine");
}
