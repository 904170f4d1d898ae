//! The middleware of guest-apps: each around every app, and what each is there for.

mod access_log;
mod basic_auth;
mod composed;
mod cors;
mod error_page;
mod gzip;
mod matrix;
mod python;
mod request_id;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::harness::{Server, guest, tools_path};

static BUILDING: Mutex<()> = Mutex::new(());

/// `wsgi-host serve APP` in one worker, with these around the app, the first outermost: middleware of guest-apps by
/// their names, others as the command line takes them.
fn serve(middleware: &[&str], app: &str, arguments: &[&str]) -> Server {
    let middleware: Vec<String> = middleware.iter().map(|name| argument(name)).collect();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = repository.join("guest-apps/middleware/basic-auth");
    let mut all = vec![app, "--workers", "1"];
    all.extend(middleware.iter().flat_map(|one| ["--middleware", one.as_str()]));
    all.extend(["--path", path.to_str().expect("the repository's path is text")]);
    all.extend(arguments);
    // What is in Python is built by the first that needs it, and found in the cache by the others.
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    Server::from_command(&all, |command| {
        command
            .current_dir(repository.join("tests/apps/middleware"))
            .env("PATH", tools_path())
    })
}

/// The same with one middleware that has grants: further keys of its table in a configuration file.
fn serve_granted(middleware: &str, grants: &str, app: &str) -> Server {
    let text = format!("[[middleware]]\nfile = '{}'\n{grants}\n", argument(middleware));
    let mut config = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    config
        .write_all(text.as_bytes())
        .expect("a temporary file can be written");
    let path = config.path().to_str().expect("its name is text");
    Server::start(&[app, "--workers", "1", "--max-requests", "0", "--config", path])
}

fn argument(name: &str) -> String {
    match name {
        "basic-auth" => "with_users:create_app".to_owned(),
        _ if name.contains(['.', ':']) => name.to_owned(),
        _ => guest(&format!("middleware/{name}")),
    }
}

/// What a compressed body holds; None if it is none.
fn gunzip(body: &[u8]) -> Option<Vec<u8>> {
    let output = run_gzip(body);
    output.status.success().then_some(output.stdout)
}

/// What can be known of a compressed body before it is here as a whole.
fn unfinished(body: &[u8]) -> Vec<u8> {
    run_gzip(body).stdout
}

fn run_gzip(body: &[u8]) -> Output {
    let mut gzip = Command::new("gzip")
        .args(["--decompress", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("gzip is part of every system");
    let mut stdin = gzip.stdin.take().expect("a pipe");
    let body = body.to_vec();
    // It may find an error and end before it has read all.
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = gzip.wait_with_output().expect("gzip ends");
    let _ = writer.join();
    output
}
