//! What an app gets and gives over HTTP/2.

use std::process::{Command, Stdio};

use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Outcome, RST_STREAM, SETTINGS, WINDOW_UPDATE, encode,
    fields, request,
};
use crate::harness::{Server, curl, curled, guest, tools_path, wait_until, wat};

const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

fn server() -> Server {
    Server::start(&[&guest("rust"), "-w", "1"])
}

fn url(server: &Server, target: &str) -> String {
    format!("http://{}{target}", server.address())
}

#[test]
fn curl_is_served_and_the_app_knows_how() {
    let server = server();
    let said = curled(&[
        "--http2-prior-knowledge",
        "-w",
        "%{http_version}\n",
        &url(&server, "/hello/caf%C3%A9"),
    ]);
    assert_eq!(said, "Hello, café!\n2\n");
    let environ = curled(&[
        "--http2-prior-knowledge",
        "-H",
        "Cookie: a=b",
        "-H",
        "Cookie: c=d",
        "-H",
        "X_Under: score",
        &url(&server, "/environ?a=%20"),
    ]);
    let authority = format!("HTTP_HOST: {}", server.address());
    for line in [
        "SERVER_PROTOCOL: HTTP/2.0",
        "REQUEST_METHOD: GET",
        "PATH_INFO: /environ",
        "QUERY_STRING: a=%20",
        "REQUEST_URI: /environ?a=%20",
        "HTTP_COOKIE: a=b; c=d",
        "wsgi.url_scheme: http",
        &authority,
    ] {
        assert!(
            environ.lines().any(|found| found == line),
            "{line} is not in\n{environ}"
        );
    }
    assert!(!environ.contains("SCORE") && !environ.contains("HTTPS"), "{environ}");
    let head = curled(&["--http2-prior-knowledge", "-I", &url(&server, "/stream/1000000000000")]);
    assert!(
        head.starts_with("HTTP/2 200") && head.contains("content-length: 1000000000000"),
        "{head}"
    );
    assert!(
        head.contains("\r\nserver: wsgi-host\r\n") && head.contains("\r\ndate: "),
        "{head}"
    );
}

#[test]
fn an_answer_that_did_not_wait_for_a_small_body_reaches_its_client() {
    let server = server();
    let url = url(&server, "/hello/x");
    // The body is on its way when the answer comes, or is not; every time it is an answer.
    for _ in 0..30 {
        for body in [&b"x"[..], &[b'x'; 100_000]] {
            let status = ["-w", "%{http_code}", "-o", "/dev/null"];
            let answer = curl(&[&post()[..], &status, &[&url]].concat(), body);
            let error = String::from_utf8_lossy(&answer.stderr);
            assert!(answer.status.success() && answer.stdout == b"405", "{error}");
        }
    }
}

fn post() -> [&'static str; 3] {
    ["--http2-prior-knowledge", "--data-binary", "@-"]
}

/// hyper sends no interim responses in HTTP/2, and no client may wait for one without end (RFC 9110, 10.1.1).
#[test]
fn a_client_that_expects_to_be_asked_for_its_body_sends_it_unasked() {
    let server = server();
    let url = url(&server, "/count");
    let expect = ["-H", "Expect: 100-continue", "--expect100-timeout", "0.1"];
    let answer = curl(&[&post()[..], &expect, &[&url]].concat(), &[b'x'; 100_000]);
    assert_eq!(answer.stdout, b"100000 bytes\n");
    let wrong = ["-w", "%{http_code}", "-o", "/dev/null", "-H", "Expect: 200-ok"];
    let answer = curl(&[&post()[..], &wrong, &[&url]].concat(), b"x");
    assert_eq!(answer.stdout, b"417");
}

#[test]
fn bodies_go_both_ways() {
    let server = server();
    let body: Vec<u8> = (0..5_000_000).map(|index| (index % 251) as u8).collect();
    let output = curl(
        &["--http2-prior-knowledge", "--data-binary", "@-", &url(&server, "/echo")],
        &body,
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == body, "{} bytes came back", output.stdout.len());
    // Of unknown length.
    let output = curl(
        &[
            "--http2-prior-knowledge",
            "-T",
            "-",
            "-X",
            "POST",
            &url(&server, "/count"),
        ],
        &body,
    );
    assert_eq!(output.stdout, b"5000000 bytes\n");
    let size = ["--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{size_download}"];
    assert_eq!(
        curled(&[&size[..], &[&url(&server, "/stream/50000000")]].concat()),
        "50000000"
    );
}

#[test]
fn many_streams_share_a_connection() {
    let server = Server::start(&[&guest("rust"), "-w", "1", "--access-logfile", "-"]);
    let output = Command::new("h2load")
        .env("PATH", tools_path())
        .args(["-n", "2000", "-c", "4", "-m", "50", &url(&server, "/hello/many")])
        .stdin(Stdio::null())
        .output()
        .expect("h2load is installed: tests/install does that");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        report.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{report}"
    );
    let line = server.wait_for_log_times("\"GET /hello/many HTTP/2.0\" 200 ", 2000);
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
}

#[test]
fn a_stream_that_waits_does_not_stop_the_others() {
    let server = server();
    let mut frames = Frames::connect(server.address());
    // One that nobody reads, one that is not sent whole.
    frames.get(1, "/stream/1000000000");
    frames.frame(HEADERS, END_HEADERS, 3, &fields(&request("POST", "/count")));
    frames.frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes());
    for stream in [5, 7, 9] {
        frames.get(stream, "/hello/x");
        assert_eq!(frames.outcome(stream), Outcome::Status(200));
    }
    frames.frame(DATA, END_STREAM, 3, b"12345");
    assert_eq!(frames.outcome(3), Outcome::Status(200));
}

#[test]
fn each_block_is_sent_before_the_next_is_asked_for() {
    let app = wat(
        "h2-blocks",
        r#"(func $call (call $stream))
        (func $next (call $log "asked\n") (call $block_of (i32.const 65535)))
        (func $close (call $log "closed\n"))"#,
    );
    let server = Server::start(&[&app, "-w", "1"]);
    let asked = |server: &Server| server.log().iter().filter(|line| line.contains("asked")).count();
    let mut frames = Frames::connect(server.address());
    frames.get(1, "/");
    // The first block fills the window; while it and the second are not sent, the third is not asked for.
    let mut received = 0;
    while received < 65_535 {
        received += frames.find_kind(DATA).payload.len();
    }
    server.wait_for_log_times("asked", 2);
    frames.get(3, "/");
    frames.find(|frame| frame.kind == HEADERS && frame.stream == 3);
    assert!(asked(&server) <= 5, "{} blocks were asked for", asked(&server));
    frames.frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
    server.wait_for_log_times("closed", 1);
    drop(frames);
    server.wait_for_log_times("closed", 2);
}

#[test]
fn a_body_that_fails_is_reset() {
    let app = wat(
        "h2-broken",
        r#"
        (func $call
          (if (call $at "/short") (then (call $header "Content-Length" "10") (call $body "12345") (return)))
          (call $stream))
        (func $next
          (if (i32.eq (global.get $asked) (i32.const 1)) (then (call $block "a block") (return)))
          (call $break "broken"))
        (func $close (call $log "closed\n"))"#,
    );
    let server = Server::start(&[&app, "-w", "1"]);
    let mut frames = Frames::connect(server.address());
    for (stream, path, sent) in [(1, "/stream", &b"a block"[..]), (3, "/short", b"12345")] {
        frames.get(stream, path);
        let mut body = Vec::new();
        let end = loop {
            let frame = frames.find(|frame| frame.stream == stream);
            match frame.kind {
                HEADERS => assert_eq!(frame.status(), 200),
                DATA => body.extend(frame.payload),
                _ => break frame,
            }
        };
        assert_eq!((end.kind, end.code()), (RST_STREAM, INTERNAL_ERROR));
        assert_eq!(body, sent, "{path}");
    }
    server.wait_for_log("closed");
    frames.get(5, "/stream");
    assert_eq!(frames.outcome(5), Outcome::Reset(INTERNAL_ERROR));
}

#[test]
fn a_client_that_goes_away_ends_what_it_asked_for() {
    let app = wat(
        "h2-gone",
        r#"
        (func $call
          (if (call $at "/spin") (then (call $log "spins\n") (loop $forever (br $forever))))
          (if (call $at "/read") (then
            (loop $more (br_if $more (i32.gt_s (call $read (i32.const 100)) (i32.const 0))))
            (call $fail (global.get $data) (global.get $data_length))
            (return)))
          (call $stream))
        (func $next
          (if (i32.eq (global.get $asked) (i32.const 1)) (then (call $block "first") (return)))
          (call $log "busy\n")
          (loop $forever (br $forever)))"#,
    );
    let server = Server::start(&[&app, "-w", "1"]);
    type Leave = fn(&mut Frames, u32);
    let leaves: [(&str, Leave); 2] = [
        ("reset", |frames, stream| {
            frames.frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
        }),
        ("closed", |frames, _| frames.close()),
    ];
    for (times, (how, leave)) in leaves.into_iter().enumerate() {
        // In the middle of an upload.
        let mut frames = Frames::connect(server.address());
        frames.frame(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/read")));
        frames.frame(DATA, 0, 1, b"some");
        frames.frame(HEADERS, END_HEADERS | END_STREAM, 3, &fields(&request("GET", "/busy")));
        // In the middle of a download, when the guest is busy.
        server.wait_for_log_times("wsgi.errors: busy", times + 1);
        leave(&mut frames, 1);
        leave(&mut frames, 3);
        server.wait_for_log_times(
            "h2-gone: GET /busy: the client has gone, and the app did not stop",
            times + 1,
        );
        server.wait_for_log_times(
            "h2-gone: POST /read: the client went away before the end of its request body",
            times + 1,
        );
        // Before there is a response at all.
        let mut frames = Frames::connect(server.address());
        frames.get(1, "/spin");
        server.wait_for_log_times("wsgi.errors: spins", times + 1);
        leave(&mut frames, 1);
        wait_until("the end of the guest", || {
            let log = server.log();
            let gone = |line: &&String| line.contains("[INFO] 127.0.0.1:") && line.contains("the app did not stop");
            log.iter().filter(gone).count() == times + 1
        });
        let mut next = Frames::connect(server.address());
        next.frame(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/read")));
        next.frame(DATA, END_STREAM, 1, b"some");
        assert_eq!(next.outcome(1), Outcome::Status(500), "after {how}");
    }
}

#[test]
fn a_client_that_does_not_open_its_window_is_given_up() {
    let server = Server::start(&[&guest("rust"), "-w", "1", "--write-timeout", "0.5"]);
    let mut frames = Frames::connect(server.address());
    frames.get(1, "/stream/1000000000");
    assert_eq!(frames.outcome(1), Outcome::Reset(CANCEL));
    server.wait_for_log("rust: GET /stream/1000000000: wsgi.errors: stream closed after");
    // Its other streams go on.
    frames.frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes());
    frames.get(3, "/hello/x");
    assert_eq!(frames.outcome(3), Outcome::Status(200));
}

#[test]
fn an_idle_connection_is_closed() {
    for idle in [
        &["--keep-alive", "0.3"][..],
        &["--keep-alive", "60", "--header-timeout", "2"],
    ] {
        let server = Server::start(&[&[guest("rust").as_str()], idle].concat());
        let mut frames = Frames::connect(server.address());
        if idle[1] == "0.3" {
            frames.get(1, "/hello/x");
            assert_eq!(frames.outcome(1), Outcome::Status(200));
        } else {
            // A head that does not end is no request.
            frames.frame(HEADERS, END_STREAM, 1, &fields(&request("GET", "/")));
        }
        let goodbye = frames.find_kind(GOAWAY);
        assert_eq!(goodbye.code(), 0);
        while frames.next().is_some() {}
    }
}

#[test]
fn the_end_of_the_server_loses_no_request() {
    let mut server = Server::start(&[&guest("rust"), "-w", "2"]);
    let mut frames = Frames::connect(server.address());
    frames.frame(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/count")));
    frames.get(3, "/hello/x");
    assert_eq!(frames.outcome(3), Outcome::Status(200));
    server.signal(rustix::process::Signal::TERM);
    // GOAWAY comes first with no last stream, and what is sent before it arrives is still served (6.8).
    let goodbye = frames.find_kind(GOAWAY);
    assert_eq!(
        (goodbye.code(), &goodbye.payload[..4]),
        (0, &[0x7f, 0xff, 0xff, 0xff][..])
    );
    frames.get(5, "/hello/late");
    assert_eq!(frames.outcome(5), Outcome::Status(200));
    frames.frame(DATA, END_STREAM, 1, b"12345");
    assert_eq!(frames.outcome(1), Outcome::Status(200));
    drop(frames);
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.whole_log().iter().any(|line| line.contains("still in flight")));
}

#[test]
fn a_head_is_held_to_its_limits() {
    let server = server();
    let large = "x".repeat(8_000);
    let many: Vec<(String, &str)> = (0..150).map(|index| (format!("x-{index}"), "y")).collect();
    let refused: [Vec<(&str, &str)>; 2] = [
        vec![("x", &large); 9],
        many.iter().map(|(name, value)| (name.as_str(), *value)).collect(),
    ];
    for more in refused {
        let mut frames = Frames::connect(server.address());
        let block = fields(&[&request("GET", "/hello/x")[..], &more].concat());
        let mut pieces = block.chunks(16_000).peekable();
        let first = pieces.next().expect("there is one");
        let flag = |last: bool| if last { END_HEADERS } else { 0 };
        let mut bytes = encode(HEADERS, END_STREAM | flag(pieces.peek().is_none()), 1, first);
        while let Some(piece) = pieces.next() {
            bytes.extend(encode(9, flag(pieces.peek().is_none()), 1, piece));
        }
        frames.send(&bytes);
        // 431, which HPACK has no number for.
        assert_eq!(frames.outcome(1), Outcome::Status(0));
        frames.get(3, "/hello/x");
        assert_eq!(frames.outcome(3), Outcome::Status(200));
    }
}

#[test]
fn an_upload_that_nobody_reads_is_not_waited_for() {
    let server = server();
    let mut frames = Frames::connect(server.address());
    frames.find(|frame| frame.kind == SETTINGS && frame.flags == 0);
    frames.frame(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/nowhere")));
    assert_eq!(frames.outcome(1), Outcome::Status(404));
    // RFC 9113, 8.1: no more of it is wanted, and that is no error.
    let reset = frames.find_kind(RST_STREAM);
    assert_eq!((reset.stream, reset.code()), (1, 0));
    frames.get(3, "/hello/x");
    assert_eq!(frames.outcome(3), Outcome::Status(200));
}
