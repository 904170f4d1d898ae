//! The request body, as an app reads it.

use std::io::{Read, Write};

use crate::harness::{PATIENCE, Response, Server, guest, resident_bytes, wat};

/// More than this is no constant memory.
const WORKER_BYTES: u64 = 100 << 20;
const LARGE_BYTES: u64 = 300 << 20;

/// An app that reads in pieces of three bytes until the end, and again at the end; `/none` reads nothing.
fn reader() -> String {
    wat(
        "reader",
        r#"
        (global $sum (mut i32) (i32.const 0))
        (func $call (local $length i32)
          (if (call $at "/none") (then (call $body "not read") (return)))
          ;; Says nothing about the end.
          (if (call $read (i32.const 0)) (then (unreachable)))
          (block $end (loop $next
            (local.set $length (call $read (i32.const 3)))
            (if (i32.gt_s (local.get $length) (i32.const 3)) (then (unreachable)))
            (if (i32.lt_s (local.get $length) (i32.const 0)) (then
              ;; An error stays.
              (if (i32.ne (call $read (i32.const 3)) (i32.const -1)) (then (unreachable)))
              (call $fail (global.get $data) (global.get $data_length))
              (return)))
            (br_if $end (i32.eqz (local.get $length)))
            (global.set $sum (i32.add (global.get $sum) (local.get $length)))
            (br $next)))
          ;; The end stays.
          (if (call $read (i32.const 3)) (then (unreachable)))
          (call $number (global.get $sum)))"#,
    )
}

fn head(target: &str, fields: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").into_bytes()
}

fn post(server: &Server, fields: &str, body: &[u8]) -> Response {
    let mut client = server.client();
    client.send(&[&head("/", fields), body].concat());
    client.response("POST")
}

#[test]
fn a_body_ends_at_its_length() {
    let server = Server::start(&[&reader()]);
    for (length, body) in [(0, ""), (1, "a"), (10, "0123456789")] {
        let response = post(&server, &format!("Content-Length: {length}\r\n"), body.as_bytes());
        assert_eq!((response.status(), response.text()), (200, length.to_string()));
    }
    // No body at all.
    assert_eq!(server.get("/").text(), "0");
    // The next request is not part of it.
    let mut client = server.client();
    client.send(
        &[
            head("/", "Content-Length: 5\r\n"),
            b"12345".to_vec(),
            head("/", "Content-Length: 2\r\n"),
            b"67".to_vec(),
        ]
        .concat(),
    );
    assert_eq!(client.response("POST").text(), "5");
    assert_eq!(client.response("POST").text(), "2");
}

#[test]
fn a_chunked_body_arrives_decoded() {
    let server = Server::start(&[&reader()]);
    for (body, length) in [
        ("0\r\n\r\n", 0),
        ("1\r\na\r\n0\r\n\r\n", 1),
        ("a\r\n0123456789\r\n5\r\n01234\r\n0\r\n\r\n", 15),
        ("5;name=\"value\"\r\n01234\r\n0\r\n\r\n", 5),
        ("0005\r\n01234\r\n0\r\nTrailer: value\r\n\r\n", 5),
        ("A\r\n0123456789\r\n0\r\n\r\n", 10),
    ] {
        let mut client = server.client();
        let next = head("/", "Content-Length: 1\r\n");
        client.send(
            &[
                &head("/", "Transfer-Encoding: chunked\r\n"),
                body.as_bytes(),
                &next,
                b"x",
            ]
            .concat(),
        );
        assert_eq!(client.response("POST").text(), length.to_string(), "{body:?}");
        assert_eq!(client.response("POST").text(), "1", "after {body:?}");
    }
    let server = Server::start(&[&guest("rust")]);
    let mut client = server.client();
    client.send(&head("/echo", "Transfer-Encoding: chunked\r\n"));
    client.send(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    assert_eq!(client.response("POST").text(), "abcdefg");
}

#[test]
fn a_broken_chunk_is_an_error_in_the_apps_read() {
    let server = Server::start(&[&reader()]);
    let cases = [
        "zz\r\nab\r\n0\r\n\r\n",
        "3\r\nabcdef\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\na\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
    ];
    for (index, body) in cases.iter().enumerate() {
        let mut client = server.client();
        client.send(&head("/", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"));
        // The app reads.
        assert_eq!(client.response("POST").status(), 100);
        client.send(body.as_bytes());
        let response = client.response("POST");
        assert_eq!(response.status(), 400, "{body:?}");
        assert_eq!(client.read_to_end(), b"");
        server.wait_for_log_times("reader: POST /: the request body is malformed", index + 1);
        server.wait_for_log_times("a broken request body: ", index + 1);
    }
}

#[test]
fn a_client_that_goes_away_is_an_error_in_the_apps_read() {
    let server = Server::start(&[&reader()]);
    let gone = "reader: POST /: the client went away before the end of its request body";
    for (index, start) in [
        [head("/", "Content-Length: 10\r\n"), b"abc".to_vec()].concat(),
        [head("/", "Transfer-Encoding: chunked\r\n"), b"a\r\nabc".to_vec()].concat(),
        [head("/", "Transfer-Encoding: chunked\r\n"), b"3\r\nabc\r\n".to_vec()].concat(),
    ]
    .iter()
    .enumerate()
    {
        let mut client = server.client();
        client.send(start);
        client.half_close();
        let answer = client.read_to_end();
        // It may still read, and the app is not to blame.
        assert!(
            answer.starts_with(b"HTTP/1.1 400 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        server.wait_for_log_times(gone, 2 * index + 1);

        let mut client = server.client();
        client.send(start);
        drop(client);
        server.wait_for_log_times(gone, 2 * index + 2);
    }
}

#[test]
fn an_app_that_echoes_a_broken_body_is_cut() {
    let server = Server::start(&[&guest("rust")]);
    let mut client = server.client();
    client.send(&head("/echo", "Transfer-Encoding: chunked\r\n"));
    client.send(b"3\r\nabc\r\n");
    client.fill_until(b"abc\r\n");
    client.send(b"zz\r\n");
    let response = client.response("POST");
    assert_eq!((response.text().as_str(), response.complete), ("abc", false));
    server.wait_for_log("rust: POST /echo: the request body is malformed");
}

#[test]
fn a_client_that_sends_nothing_is_waited_for_only_so_long() {
    let server = Server::start(&[&reader(), "--body-timeout", "0.3"]);
    let mut client = server.client();
    client.send(&head("/", "Content-Length: 10\r\n"));
    client.send(b"abc");
    assert_eq!(client.response("POST").status(), 408);
    server.wait_for_log("reader: POST /: the client sent nothing of its request body for 0.3 s");
}

#[test]
fn waiting_for_the_client_is_not_the_apps_time() {
    let server = Server::start(&[&reader(), "--timeout", "3"]);
    let mut client = server.client();
    client.send(&head("/", "Content-Length: 2\r\n"));
    for byte in b"ab" {
        std::thread::sleep(std::time::Duration::from_millis(3_200));
        client.send(&[*byte]);
    }
    assert_eq!(client.response("POST").text(), "2");
}

#[test]
fn continue_is_sent_when_the_app_reads() {
    let server = Server::start(&[&reader()]);
    let expect = "Content-Length: 3\r\nExpect: 100-continue\r\n";
    let mut client = server.client();
    client.send(&head("/", expect));
    assert_eq!(client.response("POST").status_line, "HTTP/1.1 100 Continue");
    client.send(b"abc");
    assert_eq!(client.response("POST").text(), "3");

    let mut client = server.client();
    client.send(&head("/none", expect));
    assert_eq!(client.response("POST").text(), "not read");

    // A client that does not wait for it.
    let mut client = server.client();
    client.send(&[head("/", expect), b"abc".to_vec()].concat());
    let mut response = client.response("POST");
    if response.status() == 100 {
        response = client.response("POST");
    }
    assert_eq!(response.text(), "3");
}

#[test]
fn http_1_0_knows_no_continue() {
    let server = Server::start(&[&reader()]);
    let mut client = server.client();
    client.send(b"POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    // Whoever is asked for a 100 sends it before this arrives.
    std::thread::sleep(std::time::Duration::from_millis(200));
    client.send(b"abc");
    let response = client.response("POST");
    assert_eq!((response.status(), response.text().as_str()), (200, "3"));
}

#[test]
fn what_the_app_does_not_read_is_not_the_next_request() {
    let server = Server::start(&[&reader()]);
    let inner = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    for fields in [
        format!("Content-Length: {}\r\n", inner.len()),
        "Transfer-Encoding: chunked\r\n".into(),
    ] {
        let body = match fields.starts_with("T") {
            true => format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()),
            false => inner.to_owned(),
        };
        let mut client = server.client();
        client.send(&[&head("/none", &fields), body.as_bytes()].concat());
        assert_eq!(client.response("POST").text(), "not read");
        // Either the connection goes on after the body, or it ends.
        let _ = client.try_send(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let rest = String::from_utf8_lossy(&client.read_to_end()).into_owned();
        assert!(
            rest.is_empty() || (rest.matches("HTTP/1.1 ").count() == 1 && rest.ends_with("\r\n0")),
            "{rest}"
        );
    }
}

#[test]
fn an_answer_to_an_upload_that_nobody_reads_arrives() {
    let server = Server::start(&[&reader()]);
    let length = 8 << 20;
    let mut client = server.client();
    client.send(&head("/none", &format!("Content-Length: {length}\r\n")));
    let block = vec![b'x'; 1 << 20];
    for _ in 0..length / block.len() {
        if client.try_send(&block).is_err() {
            break;
        }
    }
    assert_eq!(client.response("POST").text(), "not read");
}

/// Sends blocks, and looks meanwhile at the worker; returns the most that it took.
fn upload(stream: &mut impl Write, worker: u32) -> u64 {
    let block: Vec<u8> = (0..1 << 20).map(pattern).collect();
    let mut peak = 0;
    for index in 0..LARGE_BYTES >> 20 {
        stream.write_all(&block).expect("the server reads");
        if index % 16 == 0 {
            peak = peak.max(resident_bytes(worker));
        }
    }
    peak
}

fn pattern(index: usize) -> u8 {
    (index % 251) as u8
}

#[test]
fn a_large_upload_takes_no_memory() {
    let server = Server::start(&[&guest("rust"), "-w", "1"]);
    let mut client = server.client();
    client.send(&head("/count", &format!("Content-Length: {LARGE_BYTES}\r\n")));
    let peak = upload(&mut client.stream(), server.worker());
    assert_eq!(client.response("POST").text(), format!("{LARGE_BYTES} bytes\n"));
    assert!(peak < WORKER_BYTES, "the worker took {peak} bytes");
}

#[test]
fn a_large_echo_takes_no_memory() {
    let server = Server::start(&[&guest("rust"), "-w", "1"]);
    let worker = server.worker();
    let mut client = server.client();
    client.send(b"POST /echo HTTP/1.0\r\n");
    client.send(format!("Content-Length: {LARGE_BYTES}\r\n\r\n").as_bytes());
    let (mut up, mut down) = (client.stream(), client.stream());
    down.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let sender = std::thread::spawn(move || upload(&mut up, worker));
    let mut block = vec![0; 1 << 20];
    // The head has no length, so that the body is the rest of the connection.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        down.read_exact(&mut block[..1]).expect("the server answers");
        head.push(block[0]);
    }
    let expected: Vec<u8> = (0..1 << 20).map(pattern).collect();
    let mut received = 0;
    loop {
        let length = down.read(&mut block).expect("the server sends");
        if length == 0 {
            break;
        }
        let mut checked = 0;
        while checked < length {
            let start = (received + checked) % expected.len();
            let piece = (length - checked).min(expected.len() - start);
            assert!(
                block[checked..checked + piece] == expected[start..start + piece],
                "other bytes came back"
            );
            checked += piece;
        }
        received += length;
    }
    assert_eq!(received as u64, LARGE_BYTES);
    let peak = sender.join().expect("the sender does not panic");
    assert!(peak < WORKER_BYTES, "the worker took {peak} bytes");
}

#[test]
fn a_long_body_that_is_not_read_ends_the_connection_and_says_so() {
    let server = Server::start(&[&reader()]);
    let mut client = server.client();
    let length = 1 << 20;
    client.send(&head("/none", &format!("Content-Length: {length}\r\n")));
    // The answer comes before all of the body has been sent, and reaches a client that goes on sending.
    let _ = client.try_send(&vec![b'x'; length]);
    let response = client.response("POST");
    assert_eq!(
        (response.text().as_str(), response.header("Connection")),
        ("not read", Some("close"))
    );
    assert!(client.read_to_end().is_empty());

    let mut client = server.client();
    client.send(&[&head("/none", "Content-Length: 4\r\n"), b"body".as_slice()].concat());
    let response = client.response("POST");
    assert_eq!(
        (response.text().as_str(), response.header("Connection")),
        ("not read", None)
    );
    assert_eq!(client.get("/").status(), 200);
}
