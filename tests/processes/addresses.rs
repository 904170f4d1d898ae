//! Where it listens, and what it leaves there.

use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::answer;
use crate::harness::{PATIENCE, Server, guest};

fn answer_over_unix(path: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn several_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let guest = guest("rust");
    let mut server = Server::start(&[
        &guest,
        "-b",
        "127.0.0.1:0",
        "-b",
        "[::1]:0",
        "--bind",
        &unix,
        "-b127.0.0.1:0",
    ]);
    server.wait_for_log(&format!("Listening at: {unix} ({})", server.pid()));
    assert_eq!(server.addresses.len(), 3);
    assert!(server.addresses[1].is_ipv6());
    for address in &server.addresses {
        let environ = answer(*address, "/environ").unwrap();
        assert!(
            environ.contains(&format!("SERVER_PORT: {}\n", address.port())),
            "{environ}"
        );
        assert!(
            environ.contains(&format!("REMOTE_ADDR: {}\n", address.ip())),
            "{environ}"
        );
    }
    assert!(answer_over_unix(&path, "/hello/unix").ends_with("Hello, unix!\n"));
    assert_eq!(server.stop().code(), Some(0));
    assert!(!path.exists(), "the socket is removed at the end");
}

#[test]
fn the_socket_of_a_server_that_is_no_more_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // A listener does not remove its socket.
    drop(UnixListener::bind(&path).unwrap());
    assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    let mut server = Server::start(&[&guest("rust"), "--bind", &format!("unix:{}", path.display())]);
    assert!(answer_over_unix(&path, "/hello/unix").ends_with("Hello, unix!\n"));
    assert_eq!(server.stop().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_pid_file_for_as_long_as_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pid");
    let mut server = Server::start(&[&guest("rust"), "--pid", path.to_str().unwrap()]);
    server.wait_for_log("Booting worker with pid: ");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", server.pid()));
    assert_eq!(server.stop().code(), Some(0));
    assert!(!path.exists());
}
