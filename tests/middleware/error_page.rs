//! The error page: each way to fail has a status, and the client is told no more than that.

use super::{serve, serve_granted};
use crate::harness::{Client, Response, wat};

/// Fails in every way there is, by path.
pub fn failing() -> String {
    wat(
        "failing",
        r#"
        (func $call
          (call $header "Content-Type" "text/plain")
          (if (call $at "/fine") (then (call $body "fine")))
          (if (call $at "/exception") (then (call $fail "secret <b>&\27</b>")))
          (if (call $at "/trap") (then (unreachable)))
          (if (call $at "/spin") (then (loop $on (br $on))))
          (if (call $at "/memory") (then
            (loop $on (br_if $on (i32.ne (memory.grow (i32.const 64)) (i32.const -1))))
            (unreachable)))
          (if (call $at "/busy") (then
            (call $fail "secret queue")
            (i32.store8 (i32.const 0x14) (i32.const 3))))
          (if (call $at "/empty") (then (call $status (i32.const 502))))
          (if (call $at "/teapot") (then (call $status (i32.const 418)) (call $body "short and stout")))
          (if (call $at "/own") (then (call $status (i32.const 500)) (call $body "my own page")))
          (if (call $at "/stream/fine") (then (call $stream)))
          (if (call $at "/stream/first") (then (call $stream)))
          (if (call $at "/stream/late") (then (call $stream))))
        (func $next
          (if (call $at "/stream/first") (then (call $break "secret beginning") (return)))
          (if (i32.eq (global.get $asked) (i32.const 1)) (then (call $block "first, ")))
          (if (i32.eq (global.get $asked) (i32.const 2)) (then
            (if (call $at "/stream/late") (then (call $break "secret end")) (else (call $block "second"))))))
        "#,
    )
}

fn get(client: &mut Client, target: &str, accept: &str) -> Response {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{accept}\r\n").as_bytes());
    client.response("GET")
}

#[test]
fn every_failure_is_a_page() {
    let patient = serve(&["error-page"], &failing(), &["--max-memory", "32M"]);
    // For what does not end by itself.
    let brief = serve(&["error-page"], &failing(), &["--timeout", "3"]);
    for (target, status, reason, log) in [
        ("/exception", 500, "Internal Server Error", "secret <b>"),
        ("/trap", 500, "Internal Server Error", "unreachable"),
        ("/spin", 504, "Gateway Timeout", "no sign of life"),
        ("/memory", 500, "Internal Server Error", "--max-memory"),
        ("/busy", 503, "Service Unavailable", "secret queue"),
        ("/stream/first", 500, "Internal Server Error", "secret beginning"),
    ] {
        let server = if target == "/spin" { &brief } else { &patient };
        for (accept, is_html) in [
            ("", true),
            ("Accept: text/html;q=0, text/plain\r\n", false),
            ("Accept: */*\r\n", true),
            ("Accept: text/html,application/xml;q=0.9,*/*;q=0.8\r\n", true),
            ("Accept: application/json\r\n", false),
        ]
        .into_iter()
        .take(if target == "/spin" { 2 } else { 5 })
        {
            let response = get(&mut server.client(), target, accept);
            assert_eq!(response.status_line, format!("HTTP/1.1 {status} {reason}"), "{target}");
            let text = response.text();
            let title = format!("{status} {reason}");
            if is_html {
                assert_eq!(response.header("Content-Type"), Some("text/html; charset=utf-8"));
                assert!(text.starts_with("<!DOCTYPE html>"), "{text}");
                assert!(text.contains(&format!("<h1>{title}</h1>")), "{text}");
            } else {
                assert_eq!(response.header("Content-Type"), Some("text/plain; charset=utf-8"));
                assert!(text.starts_with(&format!("{title}\n")), "{text}");
            }
            assert_eq!(response.header("Cache-Control"), Some("no-store"));
            assert_eq!(response.header("Retry-After"), (status == 503).then_some("1"));
            for secret in ["secret", "unreachable", "memory", "{"] {
                assert!(!text.replace("<style>body {", "").contains(secret), "{target}: {text}");
            }
        }
        server.wait_for_log(log);
    }
}

#[test]
fn what_is_no_failure_stays_as_it_is() {
    let server = serve(&["error-page"], &failing(), &["--max-requests", "0"]);
    for (target, status, body) in [
        ("/fine", 200, "fine"),
        ("/empty", 502, ""),
        ("/teapot", 418, "short and stout"),
        ("/own", 500, "my own page"),
        ("/stream/fine", 200, "first, second"),
    ] {
        let response = server.get(target);
        assert_eq!(
            (response.status(), response.text().as_str()),
            (status, body),
            "{target}"
        );
        assert!(response.complete);
    }
    // Once the head is sent, it is too late for a page.
    let response = server.get("/stream/late");
    assert_eq!((response.status(), response.text().as_str()), (200, "first, "));
    assert!(!response.complete);
}

#[test]
fn details_and_empty_responses_where_that_is_wanted() {
    let grants = "env = ['ERROR_PAGE_DETAILS=1', 'ERROR_PAGE_EMPTY=1']";
    let server = serve_granted("error-page", grants, &failing());
    let text = server.get("/exception").text();
    assert!(
        text.contains("<pre>secret &lt;b&gt;&amp;&#39;&lt;/b&gt;</pre>"),
        "{text}"
    );
    let text = get(&mut server.client(), "/exception", "Accept: text/plain\r\n").text();
    assert!(text.ends_with("\n\nsecret <b>&'</b>\n"), "{text}");
    let response = server.get("/empty");
    assert_eq!(response.status_line, "HTTP/1.1 502 Bad Gateway");
    assert!(
        response.text().contains("<h1>502 Bad Gateway</h1>"),
        "{}",
        response.text()
    );
    assert_eq!(server.get("/own").text(), "my own page");
}
