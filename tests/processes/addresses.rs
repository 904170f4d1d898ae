//! Where it listens, and what it leaves there.

use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use super::answer;
use crate::harness::{PATIENCE, Server, command, guest};

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

/// Starts a command as systemd would: with two sockets from descriptor 3 on, of TCP and a Unix socket, and their number in
/// the environment.
const ACTIVATE: &str = r#"
import os, socket, sys
tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
tcp.bind(("127.0.0.1", 0))
unix.bind(sys.argv[1])
for number, one in enumerate((tcp, unix)):
    if sys.argv[2] == "listen":
        one.listen()
    os.dup2(one.fileno(), 100 + number)
os.dup2(100, 3)
os.dup2(101, 4)
process = os.getpid() if sys.argv[3] == "own" else 1
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(process), LISTEN_FDNAMES="web:local")
os.execv(sys.argv[4], sys.argv[4:])
"#;

fn activated(path: &Path, listen: &str, process: &str) -> Command {
    let app = guest("rust");
    let inner = command(&["serve", &app, "--bind", "127.0.0.1:0"]);
    let mut activated = Command::new("python3");
    activated.args(["-I", "-c", ACTIVATE]).arg(path).args([listen, process]);
    activated.arg(inner.get_program()).args(inner.get_args());
    activated.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    activated
}

#[test]
fn sockets_from_systemd_are_used_instead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut server = Server::launch(&mut activated(&path, "listen", "own"));
    server.find_addresses();
    server.wait_for_log(&format!("Listening at: unix:{} ", path.display()));
    assert_eq!(server.addresses.len(), 1, "and none of --bind");
    for _ in 0..3 {
        assert!(answer(server.address(), "/hello/x").unwrap().ends_with("Hello, x!\n"));
        assert!(answer_over_unix(&path, "/hello/unix").ends_with("Hello, unix!\n"));
    }
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_log("Reloaded: rust");
    assert!(answer_over_unix(&path, "/hello/unix").ends_with("Hello, unix!\n"));
    assert_eq!(server.stop().code(), Some(0));
    assert!(path.exists(), "the socket is systemd's");
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut server = Server::launch(&mut activated(&path, "listen", "other"));
    server.find_addresses();
    assert!(answer(server.address(), "/hello/x").unwrap().ends_with("Hello, x!\n"));
    assert!(!server.log().iter().any(|line| line.contains("unix:")));
}

#[test]
fn a_socket_that_does_not_listen_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let output = activated(&directory.path().join("socket"), "no", "own")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(32), "{error}");
    assert!(error.contains("cannot listen at a socket from systemd"), "{error}");
}
