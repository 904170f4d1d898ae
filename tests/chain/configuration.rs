//! What is told before anything is served: which links there are, and the file that says so.

use std::path::Path;

use super::configuration;
use crate::command_line::fails;
use crate::harness::{Server, guest, run, wat, wat_middleware};

fn app() -> String {
    wat("plain", r#"(func $call (call $body "plain"))"#)
}

fn marking(name: &str, mark: &str) -> String {
    let mark = format!("(func $call (drop (call $inward)) (call $pass) (call $header \"X-Mark\" \"{mark}\"))");
    wat_middleware(name, &mark)
}

#[test]
fn an_app_and_a_middleware_are_told_apart() {
    let middleware = marking("role", "yes");
    let app = app();
    fails(&["serve", &middleware], 18, &["is a middleware", "--middleware"]);
    fails(
        &["serve", &app, "--middleware", &app],
        18,
        &["plain.wat is an app, not a middleware"],
    );
    fails(&["serve", &app, "--middleware", "nowhere.wasm"], 10, &["nowhere.wasm"]);
    fails(
        &["serve", &app, "--middleware", &guest("rust")],
        18,
        &["rust.wasm is an app"],
    );
    let checked = run(&["check", &middleware]);
    assert!(checked.status.success());
    assert!(String::from_utf8_lossy(&checked.stdout).contains("ok (middleware, wsgi:gateway/application@0.1.0)"));
    let inspected = run(&["inspect", &middleware]);
    assert!(String::from_utf8_lossy(&inspected.stdout).contains("calling an app inside it"));
}

#[test]
fn a_chain_has_a_greatest_length() {
    let middleware = marking("long", "yes");
    let mut arguments = vec!["serve".to_owned(), app(), "--limit-middleware".into(), "2".into()];
    for _ in 0..3 {
        arguments.extend(["--middleware".into(), middleware.clone()]);
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    fails(&arguments, 2, &["3 middleware", "--limit-middleware allows 2"]);
}

#[test]
fn a_file_says_what_the_command_line_would() {
    let directory = tempfile::tempdir().unwrap();
    let (app, middleware) = (app(), marking("marked", "file"));
    let first = format!(
        "app = '{app}'\nbind = ['127.0.0.1:0', '127.0.0.1:0']\nworkers = 1\nlimit_request_fields = 7\nmax_memory = '8M'"
    );
    let path = configuration(directory.path(), &first, &[(&middleware, "name = 'mark'")]);
    let path = path.display().to_string();
    let mut server = Server::launch(&mut crate::harness::command(&["serve", "-c", &path]));
    server.wait_for_log("Serving: mark > plain in 1 workers");
    assert_eq!(
        server.log().iter().filter(|line| line.contains("Listening at")).count(),
        2
    );
    server.stop();
    // The command line wins, also where it names other links.
    let other = marking("unlike", "words");
    let server = Server::start(&["-c", &path, "--workers", "2", "--middleware", &other]);
    server.wait_for_log("Serving: unlike > plain in 2 workers");
    assert_eq!(server.get("/").header("X-Mark"), Some("words"));
}

#[test]
fn a_mistake_in_a_file_is_named_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    let name = path.display().to_string();
    let (app, middleware) = (app(), marking("mistaken", "yes"));
    let table = |more: &str| format!("workers = 1\n\n[[middleware]]\nfile = '{middleware}'\n{more}\n");
    for (text, names) in [
        ("bind = \"x\"\nworkers = \n".to_owned(), ["c.toml:2: ", ""]),
        (
            "workers = 1\nworker = 2\n".to_owned(),
            ["c.toml:2: ", "`worker` is no option of serve"],
        ),
        ("\n\nworkers = 'many'\n".to_owned(), ["c.toml:3: ", "many"]),
        ("workers = [1, 2]\n".to_owned(), ["c.toml:1: ", "one value"]),
        ("workers = true\n".to_owned(), ["c.toml:1: ", "takes a value"]),
        (
            "config = 'other.toml'\n".to_owned(),
            ["c.toml:1: ", "`config` is no option"],
        ),
        ("[http]\nkeep-alive = 1\n".to_owned(), ["c.toml:1: ", "`http`"]),
        (
            "\n[[middleware]]\nname = 'x'\n".to_owned(),
            ["c.toml:2: ", "without `file`"],
        ),
        (table("bind = 'x'"), ["c.toml:5: ", "`bind` is no option of middleware"]),
        (table("fail-open = 'yes'"), ["c.toml:5: ", "true or false"]),
        (table("timeout = 'soon'"), ["c.toml:5: ", "soon"]),
    ] {
        std::fs::write(&path, &text).unwrap();
        fails(&["serve", &app, "-c", &name], 4, &names);
    }
    fails(&["serve", &app, "-c", "nowhere.toml"], 4, &["nowhere.toml"]);
    let twice = format!("[[middleware]]\nfile = '{middleware}'\nname = 'x'\n");
    std::fs::write(&path, twice.repeat(2)).unwrap();
    fails(
        &["serve", &app, "-c", &name],
        2,
        &["two middleware have the name \"x\""],
    );
}

#[test]
fn a_reload_reads_the_file_again() {
    let directory = tempfile::tempdir().unwrap();
    let (app, one, two) = (app(), marking("before", "one"), marking("after", "two"));
    let write = |links: &[(&str, &str)]| configuration(directory.path(), "workers = 1", links);
    let path = write(&[(&one, "")]).display().to_string();
    let server = Server::start(&[&app, "-c", &path]);
    assert_eq!(server.get("/").header("X-Mark"), Some("one"));
    write(&[(&two, "")]);
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_log("Reloaded: after > plain");
    // The old worker answers until it is gone.
    server.wait_for_log("Worker exiting");
    assert_eq!(server.get("/").header("X-Mark"), Some("two"));
    std::fs::write(Path::new(&path), "nonsense = 1\n").unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_log("The reload failed, nothing has changed: ");
    assert_eq!(server.get("/").header("X-Mark"), Some("two"));
}
