//! An app that tries what WASI has: it can do what it was given, and nothing else.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Attack, End};
use crate::harness::{Server, guest, write_files};

fn attack(path: &'static str, arguments: &'static [&'static str], end: End, log: &'static str) {
    let app = guest("hostile");
    Attack {
        app,
        path,
        arguments,
        end,
        log,
    }
    .prove();
}

#[test]
fn sleeps_on_a_clock() {
    attack(
        "/sleep/1000000",
        &["--timeout", "1"],
        End::Status(504),
        "hostile: POST /sleep/1000000: no sign of life within --timeout 1 s",
    );
}

#[test]
fn sleeps_for_longer_than_a_request_may_take() {
    attack(
        "/sleep/1000000",
        &["--limit-request-time", "1"],
        End::Status(504),
        "hostile: POST /sleep/1000000: it took longer than --limit-request-time 1 s",
    );
}

#[test]
fn has_nothing_that_it_was_not_given() {
    let denied = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = denied.local_addr().expect("an address").port();
    let server = Server::start(&[&guest("hostile"), "-w", "1"]);
    for (path, answer) in [
        ("/environment", "[] Args { inner: [] }".to_owned()),
        ("/input", "it could: 0".to_owned()),
        ("/look/etc/passwd", "it could not: NotFound".to_owned()),
        ("/write/tmp/owned", "it could not: NotFound".to_owned()),
        (
            &format!("/connect/127.0.0.1:{port}"),
            "it could not: PermissionDenied".to_owned(),
        ),
        ("/listen/127.0.0.1:0", "it could not: PermissionDenied".to_owned()),
        (
            &format!("/send/127.0.0.1:{port}"),
            "it could not: PermissionDenied".to_owned(),
        ),
    ] {
        assert_eq!(server.get(path).text(), answer, "{path}");
    }
    assert!(server.get("/resolve/localhost").text().starts_with("it could not: "));
    denied.set_nonblocking(true).expect("a socket");
    assert!(denied.accept().is_err(), "a connection arrived");
}

#[test]
fn holds_files_without_end() {
    let data = tempfile::tempdir().expect("a temporary directory");
    write_files(data.path(), &[("file", "text")]);
    let grant = format!("{}::/data", data.path().display());
    Attack {
        app: guest("hostile"),
        path: "/files",
        arguments: Box::leak(Box::new(["--dir", Box::leak(grant.into_boxed_str())])),
        end: End::Status(500),
        log: "hostile: POST /files: exhausted a limit: --max-handles 256",
    }
    .prove();
}

/// A directory with a secret beside it, and links that lead out of it.
fn beside_a_secret(root: &Path) -> std::path::PathBuf {
    write_files(
        root,
        &[("secret", "secret"), ("data/file", "text"), ("data/inner/file", "text")],
    );
    let data = root.join("data");
    for (to, link) in [
        ("../secret", "up"),
        ("inner/../../secret", "around"),
        ("..", "parent"),
        ("up", "twice"),
        ("/", "root"),
    ] {
        symlink(to, data.join(link)).expect("a temporary directory can be written");
    }
    symlink(root.join("secret"), data.join("absolute")).expect("a temporary directory can be written");
    data
}

#[test]
fn does_not_get_out_of_its_directory() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let data = beside_a_secret(root.path());
    for mode in ["", ":ro"] {
        let server = Server::start(&[
            &guest("hostile"),
            "-w",
            "1",
            "--dir",
            &format!("{}::/data{mode}", data.display()),
        ]);
        assert_eq!(server.get("/look/data/file").text(), "it could: \"text\"");
        assert_eq!(server.get("/look/data/inner/../file").text(), "it could: \"text\"");
        for path in [
            "../secret",
            "inner/../../secret",
            "inner/../../data/../secret",
            "up",
            "around",
            "twice",
            "parent/secret",
            "root/etc/passwd",
            "absolute",
        ] {
            let answer = server.get(&format!("/look/data/{path}")).text();
            assert!(answer.starts_with("it could not: "), "{path}{mode}: {answer}");
            let answer = server.get(&format!("/write/data/{path}")).text();
            assert!(answer.starts_with("it could not: "), "{path}{mode}: {answer}");
        }
        for to in ["/../secret", "/etc/passwd"] {
            let answer = server.get(&format!("/link{to}")).text();
            assert!(answer.starts_with("it could not: "), "{to}{mode}: {answer}");
        }
        let written = server.get("/write/data/new").text();
        if mode.is_empty() {
            assert_eq!(written, "it could: ()");
        } else {
            assert!(written.starts_with("it could not: "), "{written}");
        }
    }
    assert_eq!(
        std::fs::read_to_string(root.path().join("secret")).expect("it is there"),
        "secret"
    );
}

/// Somebody who swaps a directory for a link while it is walked through: it is one of the two, and never the way out.
#[test]
fn does_not_get_out_by_a_race() {
    let root = tempfile::tempdir().expect("a temporary directory");
    write_files(root.path(), &[("outside/file", "secret"), ("data/real/file", "text")]);
    let data = root.path().join("data");
    let server = Server::start(&[
        &guest("hostile"),
        "-w",
        "1",
        "--dir",
        &format!("{}::/data", data.display()),
    ]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::sync::atomic::Ordering;
            let (path, aside, link) = (data.join("real"), data.join("aside"), data.join("link"));
            symlink(root.path().join("outside"), &link).expect("a link");
            while !stop.load(Ordering::Relaxed) {
                let _ = std::fs::rename(&path, &aside);
                let _ = std::fs::rename(&link, &path);
                let _ = std::fs::rename(&path, &link);
                let _ = std::fs::rename(&aside, &path);
            }
        });
        let mut client = server.client();
        let mut read = 0;
        let answers: Vec<String> = std::iter::from_fn(|| {
            let answer = client.get("/look/data/real/file").text();
            read += usize::from(answer.starts_with("it could: "));
            (read < 200).then_some(answer)
        })
        .take(20_000)
        .collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for answer in answers {
            assert!(!answer.contains("secret"), "{answer}");
        }
        assert!(read > 0, "the directory was never there");
    });
}
