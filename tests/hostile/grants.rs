//! What an app may do with what it was given, and what `inspect` says of it.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::harness::{Server, guest, run, wait_until};

/// Answers whoever connects, and says on which port.
fn greeter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut hello = [0; 5];
            let _ = stream
                .read_exact(&mut hello)
                .and_then(|()| stream.write_all(b"welcome"));
        }
    });
    port
}

const DENIED: &str = "it could not: access-denied";

#[test]
fn an_app_connects_to_what_was_named_and_to_nothing_else() {
    let (port, other) = (greeter(), greeter());
    for harden in ["off", "try"] {
        let rule = format!("127.0.0.1:{port}");
        let server = Server::start(&[&guest("hostile"), "-w", "1", "--allow-net", &rule, "--harden", harden]);
        let connect = |address: &str| server.get(&format!("/connect/{address}")).text();
        assert_eq!(connect(&format!("127.0.0.1:{port}")), "it could: \"welcome\"");
        assert_eq!(connect(&format!("127.0.0.1:{other}")), DENIED);
        assert_eq!(connect(&format!("127.0.0.2:{port}")), DENIED);
        assert_eq!(server.get(&format!("/send/127.0.0.1:{port}")).text(), DENIED);
        assert_eq!(server.get("/listen/127.0.0.1:0").text(), DENIED);
    }
}

#[test]
fn a_name_opens_no_private_address() {
    let port = greeter();
    let name = format!("localhost:{port}");
    let server = Server::start(&[&guest("hostile"), "-w", "1", "--allow-net", &name]);
    // It may look the name up, which is in the hosts file; what it finds is not for it.
    assert!(server.get("/resolve/localhost").text().contains("127.0.0.1"));
    assert_eq!(server.get(&format!("/connect/{name}")).text(), DENIED);
    assert!(
        server
            .get("/resolve/localhost.localdomain")
            .text()
            .starts_with("it could not: ")
    );

    let address = format!("127.0.0.1:{port}");
    let server = Server::start(&[
        &guest("hostile"),
        "-w",
        "1",
        "--allow-net",
        &name,
        "--allow-net",
        &address,
    ]);
    assert_eq!(server.get(&format!("/connect/{name}")).text(), "it could: \"welcome\"");
}

#[test]
fn a_frozen_clock_stands_still_for_as_long_as_an_instance_lives() {
    let twice = |clock: &str| {
        let server = Server::start(&[&guest("hostile"), "-w", "1", "--clock", clock]);
        server.get("/clock-twice").text()
    };
    // Of both clocks, whether they show the same after a while.
    assert_eq!(twice("frozen"), "true true");
    assert_eq!(twice("coarse"), "false false");
    assert_eq!(twice("real"), "false false");

    let server = Server::start(&[&guest("hostile"), "-w", "1", "--clock", "frozen", "--max-requests", "0"]);
    let shown = server.get("/clock").text();
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(150));
        assert_eq!(server.get("/clock").text(), shown);
    }
    // A fresh instance has the time at which it was made, in steps that tell it little.
    let server = Server::start(&[&guest("hostile"), "-w", "1", "--clock", "frozen"]);
    let first = server.get("/clock").text();
    let in_steps = ["00000000 } 0", ": 0 } 0"].iter().any(|end| first.ends_with(end));
    assert!(in_steps, "{first}");
    wait_until("another time", || server.get("/clock").text() != first);
}

#[test]
fn inspect_says_what_is_granted() {
    let inspect = |grants: &[&str]| {
        let output = run(&[&["inspect", &guest("hostile")], grants].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let without = inspect(&[]);
    for line in [
        "the network: not granted (--allow-net)",
        "environment variables: not granted (--env)",
        "files: not granted (--dir; ",
        "the time: real",
    ] {
        assert!(without.contains(line), "{line}: {without}");
    }
    let with = inspect(&[
        "--allow-net",
        "example.org:443",
        "--env",
        "KEY=secret",
        "--dir",
        "/tmp:ro",
        "--clock",
        "coarse",
    ]);
    for line in [
        "the network: example.org:443",
        "environment variables: KEY",
        "files: /tmp:ro",
        "the time: coarse",
    ] {
        assert!(with.contains(line), "{line}: {with}");
    }
    assert!(!with.contains("secret"), "{with}");
}
