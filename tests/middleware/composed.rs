//! `wsgi-host compose`: linked ahead of time, the same middleware around the same app give the same bytes.

use super::matrix::ALL;
use super::{argument, serve, serve_granted};
use crate::guests::{Subject, table};
use crate::harness::{Response, Server, guest, run, target};

/// All of them but the one in Python, which would have to be compiled anew with each app, and cannot be composed with
/// another one in Python.
fn middleware() -> impl Iterator<Item = &'static super::matrix::Middleware> {
    ALL.iter().filter(|middleware| middleware.name != "basic-auth")
}

/// Everything that a client can tell two responses apart by.
fn shown(mut response: Response) -> (String, Vec<(String, String)>, Vec<u8>, bool) {
    response.headers.retain(|(name, _)| name != "Date");
    (response.status_line, response.headers, response.body, response.complete)
}

/// Links these, the outermost first, and returns the component's file.
fn compose(name: &str, files: &[String]) -> String {
    let directory = target().join("test-guests");
    std::fs::create_dir_all(&directory).expect("the target directory can be written");
    let output = directory.join(format!("composed-{name}.wasm")).display().to_string();
    let mut arguments = vec!["compose"];
    arguments.extend(files.iter().map(String::as_str));
    arguments.extend(["--output", &output]);
    let said = run(&arguments);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    output
}

/// Asks both for everything that guests are asked for.
fn compare(app: &str, fields: &str, servers: &[Server; 2]) {
    let subjects = servers.each_ref().map(|server| Subject {
        fields,
        ..Subject::new(app, server)
    });
    let further = ["/fail", "/stream/65537"].map(|target| ("GET", target, String::new(), Vec::new()));
    let requests = table()
        .into_iter()
        .map(|(method, target, fields, body, _)| (method, target, fields, body));
    for (method, target, fields, body) in requests.chain(further) {
        let [host_run, composed] = subjects
            .each_ref()
            .map(|subject| shown(subject.request(&mut subject.server.client(), method, target, &fields, &body)));
        assert!(
            host_run == composed,
            "{app}: {method} {target}: {host_run:?}\n{composed:?}"
        );
    }
}

fn the_same_around(app: &str) {
    let names: Vec<&str> = middleware().map(|middleware| middleware.name).collect();
    let fields: String = middleware().map(|middleware| middleware.fields).collect();
    let mut files: Vec<String> = names.iter().map(|name| argument(name)).collect();
    files.push(guest(app));
    let composed = compose(app, &files);
    for requests in ["1", "0"] {
        let servers = [
            serve(&names, &guest(app), &["--max-requests", requests]),
            serve(&[], &composed, &["--max-requests", requests]),
        ];
        compare(app, &fields, &servers);
    }
}

/// Around an app that has no files of its own: two that bring some along cannot be composed.
#[test]
fn one_in_python() {
    const USERS: &str = "BASIC_AUTH_USERS=ada:secret";
    let link = guest("middleware/basic-auth");
    let composed = compose("basic-auth", &[link.clone(), guest("rust")]);
    let servers = [
        serve_granted(&link, &format!("env = ['{USERS}']"), &guest("rust")),
        serve(&[], &composed, &["--max-requests", "0", "--env", USERS]),
    ];
    // ada:secret, and nobody.
    for fields in ["Authorization: Basic YWRhOnNlY3JldA==\r\n", ""] {
        compare("rust", fields, &servers);
    }
}

#[test]
fn around_rust() {
    the_same_around("rust");
}

#[test]
fn around_c() {
    the_same_around("c");
}

#[test]
fn around_javascript() {
    the_same_around("javascript");
}

#[test]
fn around_go() {
    the_same_around("go");
}

#[test]
fn around_python() {
    the_same_around("python");
}

#[test]
fn around_flask() {
    the_same_around("flask");
}

#[test]
fn around_django() {
    the_same_around("django");
}
