//! The access log and the error log: what a line says, and where it goes.

use std::path::Path;

use jiff::fmt::strtime;
use rustix::process::Signal;

use crate::harness::{Server, command, guest, run, wait_for_line, wait_until};

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary directory's name is text")
}

/// The parts of a line in the combined format. The date has been looked at.
fn parts(line: &str) -> (String, String) {
    let (peer, rest) = line.split_once(" - - [").expect("a peer");
    let (date, rest) = rest.split_once("] ").expect("a date");
    let time = strtime::parse("%d/%b/%Y:%H:%M:%S %z", date).and_then(|time| time.to_timestamp());
    let age = time
        .expect("a date in its format")
        .duration_until(jiff::Timestamp::now());
    assert!((-60..3600).contains(&age.as_secs()), "{line}");
    (peer.to_owned(), rest.to_owned())
}

#[test]
fn a_line_is_in_the_combined_format() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let socket = directory.path().join("socket");
    let unix = format!("unix:{}", socket.display());
    let server = Server::start(&[
        &guest("rust"),
        "--access-logfile",
        text(&log),
        "--bind",
        "127.0.0.1:0",
        "--bind",
        "[::1]:0",
        "--bind",
        &unix,
    ]);
    let mut client = server.client();
    let mut expect = |request: &[u8], method: &str, expected: &str| {
        client.send(request);
        client.response(method);
        let mark = expected.split(' ').nth(1).expect("a target");
        let line = wait_for_line(&log, mark);
        assert_eq!(parts(&line), ("127.0.0.1".to_owned(), expected.to_owned()));
    };
    expect(
        b"GET /hello/one?a=b HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET",
        r#""GET /hello/one?a=b HTTP/1.1" 200 12 "-" "-""#,
    );
    expect(
        b"GET /hello/two HTTP/1.1\r\nHost: test\r\nReferer: http://other/\r\nUser-Agent: a b\r\n\r\n",
        "GET",
        r#""GET /hello/two HTTP/1.1" 200 12 "http://other/" "a b""#,
    );
    // A client cannot end the quotes, or write what does not belong into a terminal.
    expect(
        b"GET /hello/three HTTP/1.1\r\nHost: test\r\nReferer: a\" 200 \"\r\nUser-Agent: \\\"\t\xc3\xa9\r\n\r\n",
        "GET",
        r#""GET /hello/three HTTP/1.1" 200 14 "a\" 200 \"" "\\\"\té""#,
    );
    expect(
        b"HEAD /hello/four HTTP/1.1\r\nHost: test\r\n\r\n",
        "HEAD",
        r#""HEAD /hello/four HTTP/1.1" 200 - "-" "-""#,
    );
    expect(
        b"GET /none HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET",
        r#""GET /none HTTP/1.1" 404 10 "-" "-""#,
    );
    expect(b"GET /fail HTTP/1.1\r\nHost: test\r\n\r\n", "GET", &{
        let size = server.get("/fail").body.len();
        format!(r#""GET /fail HTTP/1.1" 500 {size} "-" "-""#)
    });
    expect(
        b"GET /stream/300000 HTTP/1.0\r\nHost: test\r\n\r\n",
        "GET",
        r#""GET /stream/300000 HTTP/1.0" 200 300000 "-" "-""#,
    );
    crate::harness::Client::connect(server.addresses[1]).get("/hello/six");
    assert_eq!(parts(&wait_for_line(&log, "/hello/six")).0, "::1");
    let answered = std::process::Command::new("curl")
        .args(["--silent", "--unix-socket", text(&socket), "http://test/hello/unix"])
        .output()
        .expect("curl is installed: tests/install does that");
    assert_eq!(answered.stdout, b"Hello, unix!\n");
    assert_eq!(parts(&wait_for_line(&log, "/hello/unix")).0, "-");
}

#[test]
fn a_dash_is_standard_output() {
    let directory = tempfile::tempdir().unwrap();
    let (output, errors) = (directory.path().join("output"), directory.path().join("errors"));
    let served = command(&[
        "serve",
        &guest("rust"),
        "--bind",
        "127.0.0.1:0",
        "--access-logfile",
        "-",
    ]);
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "exec \"$0\" \"$@\" >\"$OUTPUT\" 2>\"$ERRORS\""])
        .arg(served.get_program())
        .args(served.get_args())
        .envs(served.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .envs([("OUTPUT", &output), ("ERRORS", &errors)]);
    let mut server = Server::launch(&mut shell);
    server.addresses = vec![address(&errors)];
    assert_eq!(server.get("/hello/x").status(), 200);
    let line = wait_for_line(&output, "/hello/x");
    assert!(line.ends_with(r#""GET /hello/x HTTP/1.1" 200 10 "-" "-""#), "{line}");
    assert!(!std::fs::read_to_string(&errors).unwrap().contains("/hello/x"));
}

#[test]
fn without_a_flag_there_is_no_access_log() {
    let mut server = Server::start(&[&guest("rust")]);
    assert_eq!(server.get("/hello/x").status(), 200);
    assert_eq!(server.stop().code(), Some(0));
    assert!(
        !server.whole_log().iter().any(|line| line.contains("/hello/x")),
        "{:?}",
        server.log()
    );
}

/// Where a server listens that writes its log to this file.
fn address(log: &Path) -> std::net::SocketAddr {
    let line = wait_for_line(log, "Listening at: http://");
    let address = line.split_once("http://").and_then(|(_, rest)| rest.split(' ').next());
    address.and_then(|address| address.parse().ok()).expect("an address")
}

#[test]
fn logs_are_opened_anew_after_a_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let (access, errors) = (directory.path().join("access.log"), directory.path().join("error.log"));
    std::fs::write(&access, "from yesterday\n").unwrap();
    let mut server = Server::launch(&mut command(&[
        "serve",
        &guest("rust"),
        "--workers",
        "2",
        "--bind",
        "127.0.0.1:0",
        "--access-logfile",
        text(&access),
        "--error-logfile",
        text(&errors),
    ]));
    server.addresses = vec![address(&errors)];
    assert_eq!(server.get("/hello/before").status(), 200);
    wait_for_line(&access, "/hello/before");
    assert!(
        std::fs::read_to_string(&access)
            .unwrap()
            .starts_with("from yesterday\n"),
        "a log is appended to"
    );
    let (old_access, old_errors) = (
        directory.path().join("access.log.1"),
        directory.path().join("error.log.1"),
    );
    std::fs::rename(&access, &old_access).unwrap();
    std::fs::rename(&errors, &old_errors).unwrap();
    server.signal(Signal::USR1);
    wait_until("the logs are there again", || access.exists() && errors.exists());
    // Every process has its own turn, so ask until one writes to the new file.
    wait_until("a line in the new access log", || {
        server.get("/fail");
        server.get("/hello/after");
        std::fs::read_to_string(&access).unwrap().contains("/hello/after")
    });
    wait_for_line(&errors, "deliberate failure");
    let before = std::fs::read_to_string(&old_access).unwrap();
    assert!(before.contains("/hello/before"), "{before}");
    assert_eq!(server.stop().code(), Some(0));
    wait_for_line(&errors, "Shutting down: arbiter");
    assert_eq!(server.whole_log(), [""; 0], "nothing is written to the terminal");
}

#[test]
fn a_rotation_ends_no_worker_that_is_still_booting() {
    let server = Server::start(&[&guest("rust"), "--workers", "2"]);
    server.wait_for_log_times("Booting worker with pid: ", 2);
    for round in 1..=3 {
        server.signal(Signal::HUP);
        // The new workers have just been started.
        server.wait_for_log_times("Reloaded: ", round);
        server.signal(Signal::USR1);
        server.wait_for_log_times("Booting worker with pid: ", 2 + 2 * round);
    }
    assert_eq!(server.get("/hello/x").status(), 200);
    let ended: Vec<_> = server
        .log()
        .into_iter()
        .filter(|line| line.contains(" ended "))
        .collect();
    assert!(ended.is_empty(), "{ended:?}");
}

#[test]
fn a_log_that_cannot_be_written_is_found_out_at_the_start() {
    for flag in ["--access-logfile", "--error-logfile"] {
        let output = run(&["serve", &guest("rust"), flag, "/nowhere/at/all.log"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(33), "{error}");
        assert!(error.contains(flag) && error.contains("/nowhere/at/all.log"), "{error}");
    }
}
