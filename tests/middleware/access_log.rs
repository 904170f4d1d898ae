//! The access logger: a line for each request, and one only.

use super::serve;
use crate::harness::{Server, guest, wat};

/// The logger's lines so far, without the durations.
fn lines(server: &Server) -> Vec<String> {
    let mut found = Vec::new();
    for line in server.log() {
        if let Some((_, line)) = line.split_once("wsgi.errors: ")
            && line.contains(" -> ")
        {
            let (rest, duration) = line.rsplit_once(", ").expect("a line has parts");
            let millis = duration
                .strip_suffix(" ms")
                .and_then(|number| number.parse::<f64>().ok());
            assert!(millis.is_some_and(|millis| millis < 180_000.0), "{line}");
            found.push(rest.to_owned());
        }
    }
    found
}

/// Waits for one line more, and returns it.
fn next(server: &Server, seen: &mut usize) -> String {
    *seen += 1;
    server.wait_for_log_times(" -> ", *seen);
    let lines = lines(server);
    assert_eq!(lines.len(), *seen, "{lines:?}");
    lines[*seen - 1].clone()
}

#[test]
fn one_line_whatever_becomes_of_the_request() {
    let server = serve(&["access-log"], &guest("rust"), &["--max-requests", "0"]);
    let mut seen = 0;
    server.get("/hello/world?a=b%20c");
    assert_eq!(
        next(&server, &mut seen),
        "GET /hello/world?a=b%20c HTTP/1.1 -> 200, 14 bytes"
    );
    server.client().post("/echo", b"hello");
    assert_eq!(next(&server, &mut seen), "POST /echo HTTP/1.1 -> 200, 5 bytes");
    server.get("/stream/100000");
    assert_eq!(
        next(&server, &mut seen),
        "GET /stream/100000 HTTP/1.1 -> 200, 100000 bytes"
    );
    server.get("/nowhere");
    assert_eq!(next(&server, &mut seen), "GET /nowhere HTTP/1.1 -> 404, 10 bytes");
    server.get("/fail");
    assert_eq!(next(&server, &mut seen), "GET /fail HTTP/1.1 -> exception, 0 bytes");
    let mut client = server.client();
    client.send(b"HEAD /stream/100000 HTTP/1.0\r\n\r\n");
    client.read_to_end();
    assert_eq!(next(&server, &mut seen), "HEAD /stream/100000 HTTP/1.0 -> 200, 0 bytes");

    // A client that goes away.
    let mut client = server.client();
    client.send(b"GET /stream/1000000000 HTTP/1.1\r\nHost: test\r\n\r\n");
    client.fill_until(b"\r\n\r\n0123456789");
    drop(client);
    let line = next(&server, &mut seen);
    assert!(line.starts_with("GET /stream/1000000000 HTTP/1.1 -> 200, "), "{line}");
    assert!(line.ends_with(", cut off"), "{line}");

    // Nothing comes later.
    server.get("/hello/end");
    assert_eq!(next(&server, &mut seen), "GET /hello/end HTTP/1.1 -> 200, 12 bytes");
}

#[test]
fn also_where_what_is_inside_comes_to_an_end_of_its_own() {
    let app = wat(
        "logged",
        r#"
        (func $call
          (call $header "Content-Type" "text/plain")
          (if (call $at "/trap") (then (unreachable)))
          (if (call $at "/spin") (then (loop $on (br $on))))
          (call $stream))
        (func $next
          (if (i32.eq (global.get $asked) (i32.const 1)) (then (call $block "first")))
          (if (i32.eq (global.get $asked) (i32.const 2)) (then
            (if (call $at "/trap/late") (then (unreachable)))
            (if (call $at "/break") (then (call $break "it broke"))))))
        "#,
    );
    let server = serve(&["access-log"], &app, &["--timeout", "3"]);
    let mut seen = 0;
    for (target, line) in [
        ("/", "-> 200, 5 bytes"),
        ("/trap", "-> exception, 0 bytes"),
        ("/spin", "-> timeout, 0 bytes"),
        ("/break", "-> 200, 5 bytes, cut off"),
    ] {
        server.raw(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes());
        assert_eq!(next(&server, &mut seen), format!("GET {target} HTTP/1.0 {line}"));
    }
}
