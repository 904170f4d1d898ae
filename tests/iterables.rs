//! Bodies of many blocks: sent one by one, ended in the way that the client can tell, and closed once.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Client, Response, Server, guest, resident_bytes, wat};

const WORKER_BYTES: u64 = 100 << 20;
/// More than the kernel keeps for a connection, on both of its ends.
const KERNEL_BYTES: u64 = 32 << 20;

/// An app with a route for each case of this suite. It logs each step and the closing of its iterable.
fn app() -> String {
    wat(
        "blocks",
        r#"
        (global $route (mut i32) (i32.const 0))
        (func $call
          (global.set $route (i32.const 0))
          (if (call $at "/three") (then (global.set $route (i32.const 1))))
          (if (call $at "/empty") (then (global.set $route (i32.const 2))))
          (if (call $at "/long") (then (global.set $route (i32.const 1)) (call $header "Content-Length" "4")))
          (if (call $at "/short") (then (global.set $route (i32.const 1)) (call $header "Content-Length" "20")))
          (if (call $at "/exact") (then (global.set $route (i32.const 1)) (call $header "Content-Length" "11")))
          (if (call $at "/zero") (then (global.set $route (i32.const 1)) (call $header "Content-Length" "0")))
          (if (call $at "/nothing-of-5") (then (call $header "Content-Length" "5")))
          (if (call $at "/204") (then (global.set $route (i32.const 1)) (call $status (i32.const 204))))
          (if (call $at "/304") (then (global.set $route (i32.const 1)) (call $status (i32.const 304))))
          (if (call $at "/break") (then (global.set $route (i32.const 3))))
          (if (call $at "/break-of-20") (then (global.set $route (i32.const 3)) (call $header "Content-Length" "20")))
          (if (call $at "/break-at-once") (then (global.set $route (i32.const 4))))
          (if (call $at "/endless") (then (global.set $route (i32.const 5))))
          (if (call $at "/echo") (then (global.set $route (i32.const 6))))
          (if (call $at "/spin") (then (global.set $route (i32.const 7))))
          (call $stream))
        (func $one_two_three
          (if (i32.eq (global.get $asked) (i32.const 1)) (then (call $block "one")))
          (if (i32.eq (global.get $asked) (i32.const 2)) (then (call $block "two")))
          (if (i32.eq (global.get $asked) (i32.const 3)) (then (call $block "three"))))
        (func $next
          (call $log "asked\n")
          (block $0 (block $1 (block $2 (block $3 (block $4 (block $5 (block $6 (block $7
            (br_table $0 $1 $2 $3 $4 $5 $6 $7 (global.get $route)))
            ;; 7
            (if (i32.gt_u (global.get $asked) (i32.const 1)) (then (call $log "spinning\n") (loop $spin (br $spin))))
            (call $block_of (i32.const 33554432)) (return))
            ;; 6
            (if (call $read (i32.const 65536))
              (then (call $block (global.get $data) (global.get $data_length))))
            (return))
            ;; 5
            (call $block_of (i32.const 65536)) (return))
            ;; 4
            (call $break "broken at once") (return))
            ;; 3
            (call $one_two_three)
            (if (i32.eq (global.get $asked) (i32.const 3)) (then (call $break "broken\nin the middle")))
            (return))
            ;; 2
            (if (i32.lt_u (global.get $asked) (i32.const 6)) (then (call $block "")))
            (if (i32.eq (global.get $asked) (i32.const 2)) (then (call $block "a")))
            (if (i32.eq (global.get $asked) (i32.const 4)) (then (call $block "b")))
            (return))
            ;; 1
            (call $one_two_three) (return)))
        (func $close (call $log "closed\n"))"#,
    )
}

fn count(server: &Server, text: &str) -> usize {
    server.log().iter().filter(|line| line.contains(text)).count()
}

/// How often the iterable of this path was asked and closed, after one closing has been logged.
fn steps(server: &Server, path: &str) -> (usize, usize) {
    static MARKS: AtomicUsize = AtomicUsize::new(0);

    server.wait_for_log(&format!("{path}: wsgi.errors: closed"));
    // Were it closed twice, the second line would be there before the next request's.
    let mark = format!("/mark/{}", MARKS.fetch_add(1, Ordering::Relaxed));
    server.get(&mark);
    server.wait_for_log(&format!("{mark}: wsgi.errors: closed"));
    let line = |step: &str| format!("{path}: wsgi.errors: {step}");
    (count(server, &line("asked")), count(server, &line("closed")))
}

fn request(client: &mut Client, method: &str, target: &str, version: &str) -> Response {
    client.send(format!("{method} {target} HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes());
    client.response(method)
}

fn start() -> Server {
    Server::start(&[&app(), "-w", "1"])
}

#[test]
fn blocks_are_chunked_for_http_1_1() {
    let server = start();
    let answer = server.raw(b"GET /three HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head ends");
    assert!(head.to_lowercase().contains("\r\ntransfer-encoding: chunked"), "{head}");
    assert!(!head.to_lowercase().contains("content-length"), "{head}");
    assert_eq!(body, "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n");
    assert_eq!(steps(&server, "/three"), (4, 1));
}

#[test]
fn blocks_end_with_the_connection_for_http_1_0() {
    let server = start();
    for fields in ["", "Connection: keep-alive\r\n"] {
        let mut client = server.client();
        client.send(format!("GET /three HTTP/1.0\r\n{fields}\r\n").as_bytes());
        let response = client.response("GET");
        assert_eq!(
            (response.header("Transfer-Encoding"), response.header("Content-Length")),
            (None, None)
        );
        assert_eq!((response.text().as_str(), response.complete), ("onetwothree", true));
    }
}

#[test]
fn a_length_of_the_apps_own_is_kept() {
    let server = start();
    let mut client = server.client();
    let response = client.get("/exact");
    assert_eq!(
        (response.header("Content-Length"), response.header("Transfer-Encoding")),
        (Some("11"), None)
    );
    assert_eq!(response.text(), "onetwothree");
    assert_eq!(client.get("/three").text(), "onetwothree");
    assert_eq!(steps(&server, "/exact").1, 1);
}

#[test]
fn an_iterable_may_be_empty() {
    let server = start();
    let mut client = server.client();
    let response = client.get("/");
    assert_eq!(
        (response.status(), response.text().as_str(), response.complete),
        (200, "", true)
    );
    assert_eq!(client.get("/three").text(), "onetwothree");
    assert_eq!(steps(&server, "/"), (1, 1));
}

#[test]
fn empty_blocks_are_never_the_last_chunk() {
    let server = start();
    let answer = server.raw(b"GET /empty HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(
        answer.ends_with(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(steps(&server, "/empty"), (6, 1));
}

#[test]
fn a_body_that_is_not_wanted_is_closed_all_the_same() {
    let server = start();
    for (method, target) in [("HEAD", "/three"), ("HEAD", "/short"), ("GET", "/204"), ("GET", "/304")] {
        let mut client = server.client();
        let response = request(&mut client, method, target, "1.1");
        assert_eq!(response.body, b"");
        assert_eq!(client.get("/exact").text(), "onetwothree");
        assert_eq!(steps(&server, target).1, 1, "{method} {target}");
    }
}

#[test]
fn what_is_more_than_the_length_is_not_sent() {
    let server = start();
    let mut client = server.client();
    let response = client.get("/long");
    assert_eq!(
        (response.header("Content-Length"), response.text().as_str()),
        (Some("4"), "onet")
    );
    // The connection goes on.
    assert_eq!(client.get("/three").text(), "onetwothree");
    assert_eq!(steps(&server, "/long"), (2, 1));
    server.wait_for_log("blocks: GET /long: the app returned more than its Content-Length");
    let response = client.get("/zero");
    assert_eq!(
        (response.header("Content-Length"), response.text().as_str()),
        (Some("0"), "")
    );
    assert_eq!(client.get("/three").text(), "onetwothree");
    assert_eq!(steps(&server, "/zero").1, 1);
}

#[test]
fn what_is_less_than_the_length_ends_the_connection() {
    let server = start();
    for version in ["1.1", "1.0"] {
        let response = request(&mut server.client(), "GET", "/short", version);
        assert_eq!(response.header("Content-Length"), Some("20"));
        assert_eq!((response.text().as_str(), response.complete), ("onetwothree", false));
    }
    server.wait_for_log_times("blocks: GET /short: the app's body ended 9 bytes short", 2);
    let response = request(&mut server.client(), "GET", "/nothing-of-5", "1.1");
    assert_eq!((response.text().as_str(), response.complete), ("", false));
    server.wait_for_log("blocks: GET /nothing-of-5: the app's body ended 5 bytes short");
    assert_eq!(steps(&server, "/nothing-of-5"), (1, 1));
}

#[test]
fn a_failure_before_the_first_block_is_an_error_page() {
    let server = start();
    let mut client = server.client();
    let response = client.get("/break-at-once");
    assert_eq!(
        (response.status(), response.text().as_str()),
        (500, "Internal Server Error\n")
    );
    server.wait_for_log("blocks: GET /break-at-once: broken at once");
    assert_eq!(steps(&server, "/break-at-once"), (1, 1));
}

#[test]
fn a_failure_after_the_first_block_is_never_a_clean_end() {
    let server = start();
    for (version, target) in [
        ("1.1", "/break"),
        ("1.0", "/break"),
        ("1.1", "/break-of-20"),
        ("1.0", "/break-of-20"),
    ] {
        let response = request(&mut server.client(), "GET", target, version);
        assert_eq!(response.status(), 200);
        // For HTTP/1.0 the body's end is the connection's, so only a reset tells; it may overtake the bytes before it.
        assert!("onetwo".starts_with(&response.text()), "{}", response.text());
        assert!(!response.complete, "HTTP/{version} {target}");
    }
    for line in ["blocks: GET /break: broken", "blocks: GET /break: in the middle"] {
        server.wait_for_log_times(line, 2);
    }
    server.wait_for_log_times("/break-of-20: wsgi.errors: closed", 2);
    assert_eq!(steps(&server, "/break-of-20"), (6, 2));
}

#[test]
fn each_block_is_sent_before_the_next_is_asked_for() {
    for app in [app(), guest("rust")] {
        let server = Server::start(&[&app, "-w", "1"]);
        let mut client = server.client();
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for index in 0..20 {
            // The app has nothing to say until this has come, and this is not sent until the app's answer has come.
            let block = format!("block {index}");
            client.send(format!("{:x}\r\n{block}\r\n", block.len()).as_bytes());
            client.fill_until(format!("\r\n{block}\r\n").as_bytes());
        }
        client.send(b"0\r\n\r\n");
        let response = client.response("POST");
        assert!(
            response.complete && response.text().ends_with("block 18block 19"),
            "{}",
            response.text()
        );
    }
}

#[test]
fn a_client_that_does_not_read_slows_the_app_down() {
    let server = Server::start(&[&app(), "-w", "1", "--limit-request-log", "1G"]);
    let mut client = server.client();
    client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    client.fill_until(b"\r\n\r\n");
    let asked = || count(&server, "/endless: wsgi.errors: asked") as u64;
    let mut before = 0;
    // Until the app stands still: the kernel's buffers are full.
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = asked();
        assert!(
            now * 65536 < KERNEL_BYTES,
            "the app was asked for {now} blocks that nobody read"
        );
        if now > 0 && now == before {
            break;
        }
        before = now;
    }
    let resident = resident_bytes(server.worker());
    assert!(resident < WORKER_BYTES, "the worker took {resident} bytes");
    // It goes on when the client does.
    client
        .stream()
        .read_exact(&mut vec![0; 4 << 20])
        .expect("the server sends");
    let times = usize::try_from(before).expect("a small number") + 20;
    server.wait_for_log_times("/endless: wsgi.errors: asked", times);
    drop(client);
    assert_eq!(steps(&server, "/endless").1, 1);
}

#[test]
fn a_client_that_goes_away_ends_the_stream() {
    const SIZE: u64 = 1 << 33;
    let server = Server::start(&[&guest("rust"), "-w", "1"]);
    let mut stream = server.client().stream();
    stream
        .write_all(format!("GET /stream/{SIZE} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .expect("the server reads");
    let read = 3 << 20;
    stream.read_exact(&mut vec![0; read]).expect("the server sends");
    drop(stream);
    let line = server.wait_for_log("wsgi.errors: stream closed after");
    let sent: u64 = line
        .split_once("closed after ")
        .and_then(|(_, rest)| rest.strip_suffix(&format!(" of {SIZE} bytes"))?.parse().ok())
        .expect("a number");
    assert!(
        sent >= read as u64 - 1000 && sent < read as u64 + KERNEL_BYTES,
        "{sent}"
    );
    assert_eq!(server.get("/stream/10").body, b"0123456789");
    server.wait_for_log("stream closed after 10 of 10 bytes");
    assert_eq!(count(&server, &format!("of {SIZE} bytes")), 1);
}

#[test]
fn an_app_that_is_busy_when_its_client_goes_is_ended() {
    let server = Server::start(&[&app(), "-w", "1", "--timeout", "0"]);
    let mut client = server.client();
    client.send(b"GET /spin HTTP/1.1\r\nHost: a\r\n\r\n");
    // The block before is still being sent when the client goes.
    server.wait_for_log("/spin: wsgi.errors: spinning");
    drop(client);
    server.wait_for_log("blocks: GET /spin: the client has gone, and the app did not stop");
    assert_eq!(server.get("/three").text(), "onetwothree");
}

#[test]
fn a_large_download_takes_no_memory() {
    const SIZE: usize = 300 << 20;
    let server = Server::start(&[&guest("rust"), "-w", "1"]);
    let mut client = server.client();
    client.send(format!("GET /stream/{SIZE} HTTP/1.0\r\n\r\n").as_bytes());
    let mut stream = client.stream();
    let (mut block, mut received, mut peak, mut reads) = (vec![0; 1 << 20], 0, 0, 0);
    loop {
        let length = stream.read(&mut block).expect("the server sends");
        if length == 0 {
            break;
        }
        received += length;
        reads += 1;
        if reads % 100 == 0 {
            peak = peak.max(resident_bytes(server.worker()));
        }
    }
    // With the head.
    assert!((SIZE + 1..SIZE + 1000).contains(&received), "{received}");
    assert!(peak > 0 && peak < WORKER_BYTES, "the worker took {peak} bytes");
    server.wait_for_log(&format!("stream closed after {SIZE} of {SIZE} bytes"));
}
