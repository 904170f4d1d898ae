//! `wsgi-host build`: one file to ship, or one line that says why not.

use std::path::Path;

use super::{build, in_project};
use crate::harness::{Server, write_files};

const APP: &str = r#"
import helper

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    with open("text.txt") as file:
        yield (helper.greeting() + file.read()).encode()
"#;

#[test]
fn one_file_that_needs_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let project = directory.path().join("project");
    write_files(
        directory.path(),
        &[
            ("project/app.py", APP),
            ("project/text.txt", "from a file\n"),
            (
                "library/helper.py",
                "import os\nNAME = os.environ['NAME']\ndef greeting():\n    import zipfile\n    return NAME + ' '\n",
            ),
        ],
    );
    let output = build(&project, &["app", "--path", "../library", "--env", "NAME=built"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The default name. What there is not any more, it does not need.
    let shipped = directory.path().join("shipped.wasm");
    std::fs::rename(project.join("app.wasm"), &shipped).unwrap();
    std::fs::remove_dir_all(&project).unwrap();
    std::fs::remove_dir_all(directory.path().join("library")).unwrap();
    let server = Server::start(&[shipped.to_str().unwrap()]);
    for _ in 0..2 {
        assert_eq!(server.get("/").text(), "built from a file\n");
    }
}

/// What is said of an app that cannot be had.
fn fails(directory: &Path, arguments: &[&str], status: i32) -> String {
    let output = in_project(directory, arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
    assert!(error.lines().any(|line| line.starts_with("wsgi-host: ")), "{error}");
    assert!(!directory.join("app.wasm").exists(), "half a component is none");
    error
}

#[test]
fn an_app_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &[("app.py", "text = 'no app'\nmy_app = None\n")]);
    for (arguments, names) in [
        (["build", "app:nothing"], ["app", "nothing"]),
        (["serve", "app"], ["app", "application"]),
        (["build", "nowhere:application"], ["nowhere", "module"]),
        (["build", "app:text"], ["app:text", "call"]),
    ] {
        let error = fails(directory.path(), &arguments, 20);
        assert_eq!(
            error.lines().filter(|line| !line.starts_with('[')).count(),
            1,
            "{error}"
        );
        for name in names {
            assert!(error.contains(name), "{name:?} is not in {error}");
        }
    }
}

#[test]
fn an_app_that_fails_at_import_shows_its_own_traceback() {
    let directory = tempfile::tempdir().unwrap();
    write_files(
        directory.path(),
        &[
            ("app.py", "import broken\n"),
            ("broken.py", "def fail():\n    return 1 / 0\n\nfail()\n"),
            ("wrong.py", "def f(:\n    pass\n"),
            ("missing.py", "import surely_not_installed\n"),
        ],
    );
    let error = fails(directory.path(), &["serve", "app"], 21);
    for part in [
        "Traceback (most recent call last):",
        "app.py\", line 1",
        "broken.py\", line 2, in fail",
        "ZeroDivisionError",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    for ours in ["adapter", "componentize", "importlib._bootstrap"] {
        assert!(!error.contains(ours), "{ours:?} is in {error}");
    }
    let error = fails(directory.path(), &["build", "wrong"], 21);
    assert!(
        error.contains("SyntaxError") && error.contains("wrong.py\", line 1"),
        "{error}"
    );
    let error = fails(directory.path(), &["build", "missing"], 21);
    assert!(
        error.contains("surely_not_installed") && error.contains("missing.py\", line 1"),
        "{error}"
    );
}

const COUNTING: &str = r#"
import sys

asked = []

def app(environ, start_response):
    asked.append(environ["PATH_INFO"] + "?" + environ["QUERY_STRING"])
    print("said to nobody while it is built", file=environ["wsgi.errors"])
    if environ["PATH_INFO"] == "/broken":
        raise LookupError("not while it is built")
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield from (path.encode() + b"\n" for path in sorted(set(asked)))

def middleware(app):
    return app
"#;

#[test]
fn an_app_is_warmed_up_as_it_is_told_and_not_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &[("app.py", COUNTING)]);
    for (warm_up, asked) in [
        (&[][..], "/now?\n"),
        (
            &["--warm-up", "/a%20b?c=d", "--warm-up", "/second"],
            "/a b?c=d\n/now?\n/second?\n",
        ),
    ] {
        let server = super::serve(directory.path(), &[&["app:app"], warm_up].concat());
        for _ in 0..2 {
            assert_eq!(server.get("/now").text(), asked);
        }
    }
    let error = fails(directory.path(), &["build", "app:app", "--warm-up", "/broken"], 21);
    for part in [
        "--warm-up /broken",
        "LookupError: not while it is built",
        "app.py\", line",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    let error = fails(directory.path(), &["serve", "app:app", "--warm-up", "relative"], 2);
    assert!(error.contains("starts with /"), "{error}");
    let middleware = ["build", "--middleware", "app:middleware", "--warm-up", "/"];
    assert!(fails(directory.path(), &middleware, 2).contains("is for apps"));
}
