//! Request names: the same inward, outward, and nothing that a client could write into logs.

use std::collections::BTreeSet;

use super::serve;
use crate::guests::Subject;
use crate::harness::{guest, wat};

#[test]
fn inward_and_outward_it_is_the_same() {
    let server = serve(&["request-id"], &guest("rust"), &[]);
    let subject = Subject::new("request-id", &server);
    let mut client = server.client();
    let mut made = BTreeSet::new();
    let longest = "x".repeat(128);
    let too_long = "x".repeat(129);
    for (given, is_kept) in [
        ("from-a-proxy_1.2:3+4/5=", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("two words", false),
        ("<script>", false),
        ("caf\u{e9}", false),
        ("", false),
        ("one,two", false),
    ] {
        let field = format!("X-Request-ID: {given}\r\n");
        let response = subject.request(&mut client, "GET", "/environ", &field, b"");
        let id = response
            .header("X-Request-ID")
            .expect("a response has a name")
            .to_owned();
        let text = response.text();
        let inward = text.lines().filter_map(|line| line.strip_prefix("HTTP_X_REQUEST_ID: "));
        assert_eq!(inward.collect::<Vec<_>>(), [id.as_str()], "{text}");
        if is_kept {
            assert_eq!(id, given);
        } else {
            assert!(
                id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{id}"
            );
            assert!(made.insert(id), "no name is given twice");
        }
    }
    let response = server.get("/stream/100000");
    assert_eq!(response.body.len(), 100_000);
    assert!(made.insert(response.header("X-Request-ID").unwrap().to_owned()));
}

#[test]
fn a_name_of_the_apps_own_gives_way() {
    let app = wat(
        "named",
        r#"
        (func $call
          (call $header "Content-Type" "text/plain")
          (call $header "x-request-id" "mine")
          (call $header "X-Request-Id" "mine too"))
        "#,
    );
    let server = serve(&["request-id"], &app, &[]);
    let response = server.get("/");
    assert_eq!(response.header("X-Request-ID").map(str::len), Some(32));
}

#[test]
fn where_there_is_no_response_the_log_has_it() {
    let server = serve(&["request-id"], &guest("rust"), &["--max-requests", "0"]);
    let subject = Subject::new("request-id", &server);
    let response = subject.request(&mut server.client(), "GET", "/fail", "X-Request-ID: find-me\r\n", b"");
    assert_eq!(response.status(), 500);
    server.wait_for_log("no response to request find-me");
}
