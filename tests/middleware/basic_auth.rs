//! Basic authentication: who gets in, and what the app inside is told.

use super::{serve, serve_granted};
use crate::guests::Subject;
use crate::harness::guest;

#[test]
fn who_is_who() {
    let server = serve(&["basic-auth"], &guest("rust"), &["--max-requests", "0"]);
    let subject = Subject::new("basic-auth", &server);
    let mut client = server.client();
    for (authorization, user) in [
        // The schemes of a password file: ada:secret, bob:test, eve:tea:time.
        ("Basic YWRhOnNlY3JldA==", Some("ada")),
        ("basic  YWRhOnNlY3JldA==", Some("ada")),
        ("Basic Ym9iOnRlc3Q=", Some("bob")),
        ("Basic ZXZlOnRlYTp0aW1l", Some("eve")),
        // ada:Secret, ada:, ada, bob:secret, nobody:, nobody:{PLAIN}
        ("Basic YWRhOlNlY3JldA==", None),
        ("Basic YWRhOg==", None),
        ("Basic YWRh", None),
        ("Basic Ym9iOnNlY3JldA==", None),
        ("Basic bm9ib2R5Og==", None),
        ("Basic bm9ib2R5OntQTEFJTn0=", None),
        ("Basic", None),
        ("Basic !!!", None),
        ("Basic \u{e9}", None),
        ("Bearer YWRhOnNlY3JldA==", None),
        ("", None),
    ] {
        let field = format!("Authorization: {authorization}\r\n");
        let response = subject.request(&mut client, "GET", "/environ", &field, b"");
        let text = response.text();
        match user {
            Some(user) => {
                assert_eq!(response.status(), 200, "{authorization}");
                assert!(text.contains(&format!("\nREMOTE_USER: {user}\n")), "{text}");
                assert!(text.contains("AUTH_TYPE: Basic\n"), "{text}");
                assert!(!text.contains("HTTP_AUTHORIZATION"), "{text}");
                assert_eq!(response.header("WWW-Authenticate"), None);
            }
            None => {
                assert_eq!(response.status(), 401, "{authorization}");
                assert_eq!(text, "Unauthorized\n");
                let challenge = response.header("WWW-Authenticate");
                assert_eq!(challenge, Some("Basic realm=\"Restricted\", charset=\"UTF-8\""));
            }
        }
    }
    assert_eq!(server.get("/environ").status(), 401);
}

#[test]
fn without_users_nobody_gets_in() {
    let server = serve(&[&guest("middleware/basic-auth")], &guest("rust"), &[]);
    assert_eq!(server.get("/environ").status(), 500);
    server.wait_for_log("basic authentication without users");
}

#[test]
fn users_from_a_file_that_is_granted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    std::fs::write(&file, "# who may come in\nada:secret\nbob:{PLAIN}test:and a comment\n").unwrap();
    let grants = format!(
        "env = ['BASIC_AUTH_FILE=/run/users', 'BASIC_AUTH_REALM=Staff']\ndir = ['{}::/run:ro']",
        directory.path().display()
    );
    let server = serve_granted(&guest("middleware/basic-auth"), &grants, &guest("rust"));
    let subject = Subject::new("basic-auth", &server);
    let status = |authorization: &str| {
        let field = format!("Authorization: Basic {authorization}\r\n");
        subject
            .request(&mut server.client(), "GET", "/hello/you", &field, b"")
            .status()
    };
    assert_eq!(status("YWRhOnNlY3JldA=="), 200);
    assert_eq!(status("Ym9iOnRlc3Q="), 200);
    assert_eq!(status("Ym9iOnNlY3JldA=="), 401);
    let challenge = server.get("/hello/you");
    assert_eq!(
        challenge.header("WWW-Authenticate"),
        Some("Basic realm=\"Staff\", charset=\"UTF-8\"")
    );
    // Who is taken out of it is out.
    std::fs::write(&file, "bob:test\n").unwrap();
    assert_eq!(status("YWRhOnNlY3JldA=="), 401);
    assert_eq!(status("Ym9iOnRlc3Q="), 200);
}
