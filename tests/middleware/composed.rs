//! `wsgi-host compose`: linked ahead of time, the same middleware around the same app give the same bytes.

use super::matrix::ALL;
use super::{argument, serve};
use crate::guests::{Subject, table};
use crate::harness::{Response, guest, run, target};

/// All of them but those in Python, which would have to be compiled anew with each app.
fn middleware() -> impl Iterator<Item = &'static super::matrix::Middleware> {
    ALL.iter().filter(|middleware| middleware.name != "basic-auth")
}

/// Everything that a client can tell two responses apart by.
fn shown(mut response: Response) -> (String, Vec<(String, String)>, Vec<u8>, bool) {
    response.headers.retain(|(name, _)| name != "Date");
    (response.status_line, response.headers, response.body, response.complete)
}

fn the_same_around(app: &str) {
    let names: Vec<&str> = middleware().map(|middleware| middleware.name).collect();
    let fields: String = middleware().map(|middleware| middleware.fields).collect();
    let files: Vec<String> = names.iter().map(|name| argument(name)).collect();
    let app_file = guest(app);
    let output = target().join("test-guests").join(format!("composed-{app}.wasm"));
    std::fs::create_dir_all(target().join("test-guests")).expect("the target directory can be written");
    let composed = output.to_str().expect("a path is text");
    let mut arguments = vec!["compose"];
    arguments.extend(files.iter().map(String::as_str));
    arguments.extend([app_file.as_str(), "--output", composed]);
    let output = run(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    for requests in ["1", "0"] {
        let servers = [
            serve(&names, &app_file, &["--max-requests", requests]),
            serve(&[], composed, &["--max-requests", requests]),
        ];
        let subjects = servers.each_ref().map(|server| Subject {
            fields: &fields,
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
