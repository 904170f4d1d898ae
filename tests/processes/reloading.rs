//! SIGHUP: the app is read again, and nobody notices but by its answers.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::load::Load;
use super::{Unfinished, wait_until_gone};
use crate::harness::{Server, guest, signal_process};

/// A server of an app that can be changed, which is `app.wasm` in the directory.
fn start(directory: &Path) -> (Server, PathBuf) {
    let app = directory.join("app.wasm");
    change(&app, "rust");
    let server = Server::start(&[app.to_str().unwrap(), "--workers", "2"]);
    server.wait_for_log_times("Booting worker with pid: ", 2);
    (server, app)
}

fn change(app: &Path, name: &str) {
    std::fs::copy(guest(name), app).unwrap();
}

#[test]
fn a_changed_app_is_served_and_the_old_workers_go() {
    let directory = tempfile::tempdir().unwrap();
    let (server, app) = start(directory.path());
    let before = server.get("/").text();
    let old = server.workers();
    change(&app, "c");
    assert_eq!(server.get("/").text(), before);
    let request = Unfinished::start(&server);
    server.signal(Signal::HUP);
    server.wait_for_log("Reloaded: app");
    // The request is finished by the worker that began it.
    request.finish();
    wait_until_gone(&old);
    let after = server.get("/").text();
    assert_ne!(after, before);
    server.wait_for_log_times("Booting worker with pid: ", 4);
    assert_eq!(server.workers().len(), 4);
}

#[test]
fn no_request_is_lost_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let (server, app) = start(directory.path());
    let load = Load::start(server.address());
    for (round, name) in ["c", "rust", "c"].into_iter().enumerate() {
        let old = server.workers();
        change(&app, name);
        server.signal(Signal::HUP);
        server.wait_for_log_times("Reloaded: app", round + 1);
        wait_until_gone(&old);
        load.wait_for_more(50);
    }
    let tally = load.end();
    assert_eq!(tally.refused, 0, "{tally:?}");
    assert!(tally.lost.is_empty(), "{tally:?}");
}

#[test]
fn a_broken_app_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (server, app) = start(directory.path());
    let before = server.get("/").text();
    std::fs::write(&app, b"\0asm broken").unwrap();
    server.signal(Signal::HUP);
    let line = server.wait_for_log("The reload failed, nothing has changed: ");
    assert!(line.contains("app.wasm") && line.contains("[ERROR]"), "{line}");
    assert_eq!(server.get("/").text(), before);
    std::fs::remove_file(&app).unwrap();
    server.signal(Signal::HUP);
    server.wait_for_log_times("The reload failed, nothing has changed: ", 2);
    assert_eq!(server.get("/").text(), before);
    // And when it is well again, it is served again.
    change(&app, "c");
    server.signal(Signal::HUP);
    server.wait_for_log("Reloaded: app");
    wait_until_gone(&server.workers()[..2]);
    assert_ne!(server.get("/").text(), before);
}

#[test]
fn code_that_was_thrown_out_of_the_cache_is_made_again() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[
        &guest("rust"),
        "--workers",
        "1",
        "--cache-dir",
        cache.path().to_str().unwrap(),
    ]);
    server.wait_for_log_times("Booting worker with pid: ", 1);
    // A server that has just been started ends if its workers cannot start; one that has been reloaded is to go on.
    server.signal(Signal::HUP);
    server.wait_for_log_times("Booting worker with pid: ", 2);
    wait_until_gone(&server.workers()[..1]);
    for entry in std::fs::read_dir(cache.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    signal_process(server.workers()[1], Signal::KILL);
    server.wait_for_log("Worker failed to boot: ");
    server.wait_for_log_times("Booting worker with pid: ", 3);
    assert_eq!(server.get("/hello/x").status(), 200);
}
