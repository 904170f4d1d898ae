//! `wsgi-host compose`: the same chain as one component.

use std::path::Path;

use super::chain;
use crate::command_line::fails;
use crate::harness::{Server, guest, run, wat, wat_middleware};

/// Links these files, and returns the component's.
fn compose(directory: &Path, files: &[&str]) -> String {
    let out = directory.join("composed.wasm").display().to_string();
    let output = run(&[&["compose"], files, &["-o", &out]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{files:?}: {error}");
    out
}

/// Everything that came, but for the date.
fn answer(server: &Server, request: &str) -> Vec<String> {
    let answer = String::from_utf8_lossy(&server.raw(request.as_bytes())).into_owned();
    let lines = answer.split("\r\n").filter(|line| !line.starts_with("Date: "));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_composed_chain_answers_as_one_that_the_host_runs() {
    let adding = wat_middleware(
        "composed-adding",
        r#"(func $call (call $add_var "acme.user" "ann") (drop (call $inward)) (call $pass) (call $header "X-Seen" "yes"))"#,
    );
    let page = wat_middleware(
        "composed-page",
        r#"(func $call (if (call $inward) (then (call $pass)) (else (call $status (i32.const 502)) (call $body "sorry"))))
        (func $close (call $shut) (call $drop) (call $log "closed\n"))"#,
    );
    let own = wat(
        "composed-app",
        r#"(func $call (if (call $at "/fail") (then (call $fail "no")))
            (if (call $at "/stream") (then (call $stream)))
            (if (call $at "/post") (then (drop (call $read (i32.const 100)))
                (call $body (global.get $data) (global.get $data_length)))))
        (func $next (if (i32.le_u (global.get $asked) (i32.const 3)) (then (call $block "block"))))"#,
    );
    let directory = tempfile::tempdir().unwrap();
    let (go, rust, python) = (guest("go"), guest("rust"), guest("python"));
    for app in [&own, &rust, &go, &python] {
        let composed = compose(directory.path(), &[&adding, &page, app]);
        let checked = run(&["check", &composed]);
        assert!(String::from_utf8_lossy(&checked.stdout).contains("ok (app, "), "{app}");
        let (one, many) = (Server::start(&[&composed]), chain(app, &[&adding, &page], &[]));
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET /fail HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "HEAD /stream HTTP/1.0\r\n\r\n",
            "POST /post HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        ] {
            assert_eq!(answer(&one, request), answer(&many, request), "{app}: {request}");
        }
    }
}

#[test]
fn what_cannot_be_composed_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.wasm").display().to_string();
    let (middleware, app) = (wat_middleware("composing", ""), wat("alone", "(func $call)"));
    fails(&["compose", &app, "-o", &out], 2, &["2 values"]);
    fails(&["compose", &app, &app, "-o", &out], 18, &["alone.wat is an app"]);
    fails(
        &["compose", &middleware, &middleware, "-o", &out],
        18,
        &["composing.wat is a middleware"],
    );
    fails(
        &["compose", &middleware, "nowhere.wasm", "-o", &out],
        10,
        &["nowhere.wasm"],
    );
    fails(
        &["compose", &middleware, &app, "-o", "/nowhere/out.wasm"],
        33,
        &["/nowhere/out.wasm"],
    );
    assert!(!Path::new(&out).exists());
}
