//! Cross-origin requests: what browsers are told.

use super::{serve, serve_granted};
use crate::harness::{Response, Server, guest, wat};

fn ask(server: &Server, method: &str, target: &str, fields: &str) -> Response {
    let mut client = server.client();
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes());
    client.response(method)
}

const PREFLIGHT: &str = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a, x-b\r\n";

#[test]
fn every_site_may_read_but_nobody_brings_cookies() {
    let server = serve(&["cors"], &guest("rust"), &["--max-requests", "0"]);
    let response = ask(&server, "GET", "/hello/you", "Origin: https://a.example\r\n");
    assert_eq!((response.status(), response.text().as_str()), (200, "Hello, you!\n"));
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(response.header("Access-Control-Allow-Credentials"), None);
    assert_eq!(response.header("Vary"), None, "it is the same for everybody");
    let response = ask(&server, "GET", "/hello/you", "");
    assert_eq!(response.header("Access-Control-Allow-Origin"), None);

    // The app knows no OPTIONS.
    let response = ask(
        &server,
        "OPTIONS",
        "/hello/you",
        &format!("Origin: https://a.example\r\n{PREFLIGHT}"),
    );
    assert_eq!((response.status(), response.body.len()), (204, 0));
    for (name, value) in [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("Access-Control-Allow-Headers", "x-a, x-b"),
        ("Access-Control-Max-Age", "600"),
        (
            "Vary",
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    ] {
        assert_eq!(response.header(name), Some(value), "{name}");
    }
    // Only what is a list of names comes back.
    let fields =
        "Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: <b>, x\r\n";
    let response = ask(&server, "OPTIONS", "/hello/you", fields);
    assert_eq!(response.header("Access-Control-Allow-Headers"), None);
    // What is no preflight is the app's.
    for fields in [
        "",
        "Origin: https://a.example\r\n",
        "Access-Control-Request-Method: PUT\r\n",
    ] {
        assert_eq!(ask(&server, "OPTIONS", "/hello/you", fields).status(), 405, "{fields}");
    }
}

#[test]
fn sites_that_are_listed_may_more_than_others() {
    let app = wat(
        "open",
        r#"
        (func $call
          (call $header "Content-Type" "text/plain")
          (call $header "access-control-allow-origin" "https://evil.example")
          (call $header "Access-Control-Allow-Credentials" "true")
          (if (call $at "/vary") (then (call $header "Vary" "Cookie")))
          (if (call $at "/varies") (then (call $header "Vary" "Cookie, origin")))
          (call $body "hello"))
        "#,
    );
    let grants = "env = ['CORS_ORIGINS=https://a.example https://b.example', 'CORS_CREDENTIALS=1', \
                  'CORS_METHODS=GET, PUT', 'CORS_HEADERS=x-a', 'CORS_EXPOSE=X-Total', 'CORS_MAX_AGE=5']";
    let server = serve_granted("cors", grants, &app);
    for (origin, is_listed) in [
        ("https://a.example", true),
        ("https://b.example", true),
        ("https://evil.example", false),
        ("http://a.example", false),
        ("https://a.example.evil", false),
        ("null", false),
    ] {
        let field = format!("Origin: {origin}\r\n");
        let allowed = is_listed.then_some(origin);
        let response = ask(&server, "GET", "/", &field);
        assert_eq!(response.text(), "hello", "the browser decides who sees it");
        assert_eq!(response.header("Vary"), Some("Origin"), "{origin}");
        assert_eq!(response.header("Access-Control-Allow-Origin"), allowed);
        assert_eq!(
            response.header("Access-Control-Allow-Credentials"),
            allowed.map(|_| "true")
        );
        assert_eq!(
            response.header("Access-Control-Expose-Headers"),
            allowed.map(|_| "X-Total")
        );

        let response = ask(&server, "OPTIONS", "/", &format!("{field}{PREFLIGHT}"));
        assert_eq!(response.status(), if is_listed { 204 } else { 403 });
        for (name, value) in [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Allow-Methods", "GET, PUT"),
            ("Access-Control-Allow-Headers", "x-a"),
            ("Access-Control-Max-Age", "5"),
        ] {
            assert_eq!(response.header(name), is_listed.then_some(value), "{origin}: {name}");
        }
        assert!(
            response
                .header("Vary")
                .is_some_and(|value| value.starts_with("Origin, "))
        );
    }
    // Who asks from no other site gets a response that a cache may not give to one that does.
    assert_eq!(ask(&server, "GET", "/", "").header("Vary"), Some("Origin"));
    assert_eq!(ask(&server, "GET", "/", "").header("Access-Control-Allow-Origin"), None);
    assert_eq!(ask(&server, "GET", "/vary", "").header("Vary"), Some("Cookie, Origin"));
    assert_eq!(
        ask(&server, "GET", "/varies", "").header("Vary"),
        Some("Cookie, origin")
    );
}
