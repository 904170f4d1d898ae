//! A Flask app, served by its name.

use std::path::Path;

use rustix::process::Signal;

use super::serve;
use crate::harness::{Server, alive, inodes, wait_until, write_files};

const APP: &str = r#"
import os
import sqlite3

from flask import Flask, jsonify, render_template, request

my_app = Flask(__name__)


@my_app.get("/")
def index():
    return render_template("index.html", name=request.args.get("name", "nobody"))


@my_app.get("/late")
def late():
    from package import late
    from package.data import words
    return late.TEXT + words()


@my_app.get("/environment")
def environment():
    return jsonify(dict(os.environ))


@my_app.get("/outside")
def outside():
    try:
        return open(request.args["path"]).read()
    except OSError as error:
        return type(error).__name__


@my_app.post("/rows")
def rows():
    with sqlite3.connect("data/rows.db") as db:
        db.execute("create table if not exists rows (text)")
        db.execute("insert into rows values (?)", [request.form["text"]])
        return jsonify([text for text, in db.execute("select text from rows order by rowid")])
"#;

fn project() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_files(
        directory.path(),
        &[
            ("app.py", APP),
            ("templates/index.html", "<p>Hello, {{ name }}, from a template!</p>"),
            ("static/style.css", "p { color: green }\n"),
            ("package/__init__.py", ""),
            ("package/late.py", "TEXT = 'imported late\\n'\n"),
            (
                "package/data/__init__.py",
                "import importlib.resources\ndef words(): return importlib.resources.files(__name__).joinpath('words.txt').read_text()\n",
            ),
            ("package/data/words.txt", "read late\n"),
        ],
    );
    std::fs::create_dir(directory.path().join("data")).unwrap();
    directory
}

fn start(project: &Path, cache: &Path) -> Server {
    let cache = cache.to_str().unwrap();
    serve(
        project,
        &[
            "app:my_app",
            "--dir",
            "data",
            "--env",
            "GREETING=hello",
            "--cache-dir",
            cache,
        ],
    )
}

#[test]
fn a_flask_app_by_its_name() {
    let (project, cache) = (project(), tempfile::tempdir().unwrap());
    let mut server = start(project.path(), cache.path());

    // Templates, static files, package data, modules that are imported late.
    let page = server.get("/?name=%3Cb%3E");
    assert_eq!(page.text(), "<p>Hello, &lt;b&gt;, from a template!</p>");
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    let style = server.get("/static/style.css");
    assert_eq!(style.text(), "p { color: green }\n");
    assert_eq!(style.header("Content-Type"), Some("text/css; charset=utf-8"));
    assert_eq!(server.get("/late").text(), "imported late\nread late\n");
    assert_eq!(server.get("/nowhere").status(), 404);

    // Nothing of the host but what was granted.
    let environment: serde_json::Value = serde_json::from_str(&server.get("/environment").text()).unwrap();
    assert_eq!(environment["GREETING"], "hello");
    for name in ["PATH", "HOME", "WSGI_HOST_CACHE_DIR", "VIRTUAL_ENV"] {
        assert!(environment.get(name).is_none(), "{environment}");
    }
    for path in [
        "/etc/passwd",
        "../etc/passwd",
        project.path().join("app.py").to_str().unwrap(),
    ] {
        let error = server.get(&format!("/outside?path={path}")).text();
        assert!(
            ["FileNotFoundError", "PermissionError"].contains(&error.as_str()),
            "{path}: {error}"
        );
    }

    // Rows stay between requests, and from one server to the next.
    let insert = |server: &Server, text: &str| {
        let mut client = server.client();
        let body = format!("text={text}");
        let head = format!(
            "POST /rows HTTP/1.1\r\nHost: test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send(head.as_bytes());
        serde_json::from_str::<Vec<String>>(&client.response("POST").text()).unwrap()
    };
    assert_eq!(insert(&server, "one"), ["one"]);
    assert_eq!(insert(&server, "two"), ["one", "two"]);
    assert!(project.path().join("data/rows.db").is_file());
    assert_eq!(server.stop().code(), Some(0));

    // Nothing has changed, so nothing is built.
    let before = inodes(cache.path());
    let server = start(project.path(), cache.path());
    assert_eq!(insert(&server, "three"), ["one", "two", "three"]);
    assert_eq!(inodes(cache.path()), before);

    // Something has: a template, and a reload builds the app anew.
    write_files(project.path(), &[("templates/index.html", "Another template")]);
    assert!(server.get("/").text().contains("from a template"));
    let old = server.workers();
    server.signal(Signal::HUP);
    server.wait_for_log("Reloaded: ");
    wait_until("the end of the old workers", || {
        old.iter().all(|worker| !alive(*worker))
    });
    assert_eq!(server.get("/").text(), "Another template");
    assert_ne!(inodes(cache.path()), before);

    // One that does not import leaves the old one where it is.
    write_files(project.path(), &[("app.py", "raise RuntimeError('not today')\n")]);
    server.signal(Signal::HUP);
    server.wait_for_log("not today");
    server.wait_for_log("The reload failed, nothing has changed");
    assert_eq!(server.get("/").text(), "Another template");
}
