//! Guests that take memory together: what one worker gives to all of them is bounded.

use std::time::Instant;

use crate::harness::{Client, PATIENCE, Resources, Server, guest, hostile, run, wait_until, wait_until_resident, wat};

/// All grow by 50 MiB: `/take` if it can, `/insist` or it traps, and `/hold` as soon as it can, to keep it until its client
/// has sent its body. `/wait` does only that.
fn taker() -> String {
    wat(
        "taker",
        r#"
        (func $take (result i32) (i32.ne (memory.grow (i32.const 800)) (i32.const -1)))
        (func $wait (call $log "waits\n") (drop (call $read (i32.const 4))))
        (func $call
          (if (call $at "/take") (then
            (if (call $take) (then (call $body "taken")) (else (call $body "refused")))
            (return)))
          (if (call $at "/insist") (then
            (if (i32.eqz (call $take)) (then (unreachable)))))
          (if (call $at "/hold") (then
            (loop $again (br_if $again (i32.eqz (call $take))))
            (call $wait)))
          (if (call $at "/wait") (then (call $wait)))
          (call $body "fine"))"#,
    )
}

/// One worker, whose instances have 64 MiB together.
fn narrow(app: &str, max_requests: &str) -> Server {
    Server::start(&[
        app,
        "-w",
        "1",
        "--max-worker-memory",
        "64M",
        "--max-instances",
        "9",
        "--max-requests",
        max_requests,
    ])
}

const WAITS: &str = "wsgi.errors: waits";

/// A request that goes on until its body comes.
fn hold(server: &Server, path: &str, times: usize) -> Client {
    let mut client = server.client();
    client.send(format!("POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
    server.wait_for_log_times(WAITS, times);
    client
}

fn finish(mut client: Client) {
    client.send(b"4\r\nbody\r\n0\r\n\r\n");
    let answer = client.response("POST");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "fine"));
}

#[test]
fn instances_of_a_worker_have_only_so_much_together() {
    for kept in ["1", "0"] {
        let server = narrow(&taker(), kept);
        assert_eq!(server.get("/take").text(), "taken");
        let held = hold(&server, "/hold", 1);
        assert_eq!(server.get("/take").text(), "refused");
        let line = server.wait_for_log("taker: GET /take: it was given no more memory: ");
        assert!(
            line.contains("[WARNING]") && line.ends_with("--max-worker-memory 64.0 MiB is in use"),
            "{line}"
        );
        assert_eq!(server.get("/insist").status(), 503);
        let line = server.wait_for_log("taker: GET /insist: unavailable: ");
        assert!(
            line.contains("[ERROR]") && line.ends_with("--max-worker-memory 64.0 MiB is in use"),
            "{line}"
        );
        assert_eq!(server.get("/good").text(), "fine");
        finish(held);
        // What one has left behind is another one's; an instance that is kept makes way.
        wait_until("the memory is free again", || server.get("/take").text() == "taken");

        // Also of one whose client goes away in the middle of the call.
        let gone = hold(&server, "/hold", 2);
        assert_eq!(server.get("/take").text(), "refused");
        drop(gone);
        wait_until("the memory is free again", || server.get("/take").text() == "taken");
    }
}

/// Two that take memory page by page, and write to it, at once and again and again.
#[test]
fn good_requests_are_served_beside_those_that_take_it_all() {
    const LIMIT: &str = "unavailable: --max-worker-memory 64.0 MiB is in use";

    let server = narrow(&hostile("nibble"), "1");
    let worker = server.worker();
    assert_eq!(server.client().post("/good", b"fine").text(), "fine");
    let before = Resources::of(worker).resident_bytes;
    let end = Instant::now() + PATIENCE;
    for rounds in 1..=4 {
        let attackers: Vec<_> = (0..2)
            .map(|_| {
                let mut client = server.client();
                std::thread::spawn(move || client.get("/").status())
            })
            .collect();
        while attackers.iter().any(|attacker| !attacker.is_finished()) {
            assert!(Instant::now() < end, "the attackers are not ended");
            let answer = server.client().post("/good", b"fine");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "fine"));
        }
        for attacker in attackers {
            assert_eq!(attacker.join().expect("a client does not panic"), 503);
        }
        server.wait_for_log_times(LIMIT, 2 * rounds);
        // With what two more slots keep.
        wait_until_resident(worker, before + 2 * super::SLACK_BYTES);
    }
    assert_eq!(server.worker(), worker);
}

/// An instance of this app starts with three pages.
#[test]
fn instances_that_do_not_fit_are_waited_for() {
    let server = Server::start(&[
        &taker(),
        "-w",
        "1",
        "--max-worker-memory",
        "1M",
        "--instance-timeout",
        "0.5",
    ]);
    let held: Vec<_> = (1..=4).map(|times| hold(&server, "/wait", times)).collect();
    assert_eq!(server.get("/").status(), 503);
    server.wait_for_log(
        "[ERROR] taker: GET /: unavailable: every instance that --max-worker-memory 1.0 MiB has room for is busy",
    );
    held.into_iter().for_each(finish);
    assert_eq!(server.get("/").text(), "fine");

    let server = Server::start(&[&taker(), "-w", "1", "--max-worker-memory", "0"]);
    assert_eq!(server.get("/take").text(), "taken");

    let output = run(&[
        "serve",
        &taker(),
        "--bind",
        "127.0.0.1:0",
        "--max-worker-memory",
        "100K",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(17), "{said}");
    assert!(said.contains("--max-worker-memory allows 102400; raise it"), "{said}");
}

#[test]
fn threads_that_wait_for_disks_are_only_so_many() {
    const MOST: u64 = 3;

    let data = tempfile::tempdir().expect("a temporary directory");
    let grant = format!("{}::/data", data.path().display());
    let server = Server::start(&[
        &guest("hostile"),
        "-w",
        "1",
        "--dir",
        &grant,
        "--limit-request-writes",
        "8M",
        "--blocking-threads",
        &MOST.to_string(),
    ]);
    let worker = server.worker();
    assert_eq!(server.client().post("/good", b"fine").text(), "fine");
    let before = Resources::of(worker).threads;
    let busy: Vec<_> = (0..16)
        .map(|_| {
            let mut client = server.client();
            std::thread::spawn(move || client.get("/fill/writes").text())
        })
        .collect();
    let mut seen = before;
    while busy.iter().any(|client| !client.is_finished()) {
        seen = seen.max(Resources::of(worker).threads);
    }
    for client in busy {
        let answer = client.join().expect("a client does not panic");
        assert_eq!(answer, "it could not: insufficient-space");
    }
    assert!(seen > before && seen <= before + MOST, "{before} threads became {seen}");
}
