//! What real apps do with files, modules and the environment, one small app for each: `tests/apps/python/small`.

use std::path::Path;

use super::{build, in_project, project, serve};
use crate::harness::Server;

fn ask(server: &Server, target: &str) -> serde_json::Value {
    let response = server.get(target);
    assert_eq!(response.status(), 200, "{target}: {}", response.text());
    serde_json::from_slice(&response.body).expect("the app answers in JSON")
}

#[test]
fn what_is_opened_or_imported_late_is_there() {
    let project = project("small");
    let server = serve(project.path(), &["late"]);
    for (target, expected) in [
        ("/module", serde_json::json!(1)),
        ("/own_module", "imported late".into()),
        ("/own_data", vec!["one two", "one two"].into()),
        ("/package_data", "a note".into()),
        ("/codec", vec!["é", "xn--bcher-kva.example", "0078"].into()),
        ("/zone", "2026-07-01T14:00:00+02:00".into()),
        ("/template", "<p>&lt;x&gt;</p>".into()),
        ("/temporary", 100.into()),
        ("/environment", serde_json::json!({})),
        (
            "/derived_keys",
            vec![
                "55ac046e56e3089f",
                "4ddcd8f60b98be21",
                "77d6576238657b20",
                "fdbabe1c9d347200",
                "7023bdcb3afd7348",
            ]
            .into(),
        ),
    ] {
        assert_eq!(ask(&server, target), expected, "{target}");
    }
    let version = ask(&server, "/distribution");
    assert!(
        version.as_str().is_some_and(|version| version.starts_with("3.")),
        "{version}"
    );
    // Every instance starts from the same memory, and yet none draws what another one drew.
    let (one, two) = (ask(&server, "/chance"), ask(&server, "/chance"));
    for index in 0..3 {
        assert_ne!(one[index], two[index], "{one} {two}");
    }
}

#[test]
fn what_a_request_leaves_in_its_environment_modules_and_files_the_next_one_does_not_find() {
    let project = project("small");
    let server = serve(project.path(), &["late", "-w", "1", "--max-instances", "1"]);
    for _ in 0..5 {
        assert_eq!(ask(&server, "/secrets"), 0);
    }
    // Where instances are kept, it does: but for the file, which nobody could write.
    let kept = ["late", "-w", "1", "--max-instances", "1", "--max-requests", "0"];
    let server = serve(project.path(), &kept);
    assert_eq!(ask(&server, "/secrets"), 0);
    assert_eq!(ask(&server, "/secrets"), 3);
}

#[test]
fn the_standard_librarys_validator_has_nothing_to_say() {
    let project = project("small");
    let mut server = serve(project.path(), &["validated"]);
    for body in [&b""[..], b"a", b"line\nline\nand the rest", &[b'x'; 100_000]] {
        let response = server.client().post("/path?query", body);
        assert_eq!(response.status(), 200, "{}", response.text());
        assert!(response.body == body, "{} bytes came back", response.body.len());
        server.wait_for_log(&format!("read {} bytes", body.len()));
    }
    let mut client = server.client();
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.response("POST").text(), "abcde");
    assert_eq!(server.stop().code(), Some(0));
    assert!(!server.whole_log().iter().any(|line| line.contains("Assertion")));
}

#[test]
fn settings_are_read_at_import_and_may_be_read_again() {
    let project = project("small");
    let output = build(project.path(), &["settings", "--env", "APP_NAME=built"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let server = serve(
        project.path(),
        &["app.wasm", "--env", "APP_NAME=served", "--env", "SERVED=yes"],
    );
    assert_eq!(server.get("/").text(), "built served yes");
}

#[test]
fn a_compiled_extension_is_named_with_what_imports_it() {
    let project = project("small");
    let output = in_project(project.path(), &["build", "needs_extension"])
        .output()
        .expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(21), "{error}");
    let line = error.lines().last().unwrap_or_default();
    let importer = Path::new("fast").join("__init__.py");
    for part in [
        "wsgi-host: needs_extension",
        "fast.speed",
        "speed.cpython-311-x86_64-linux-gnu.so",
        importer.to_str().expect("a name is text"),
    ] {
        assert!(line.contains(part), "{part:?} is not in {error}");
    }
}
