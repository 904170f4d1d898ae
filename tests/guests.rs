//! One app in every language of guest-apps: the same requests get the same bytes.

use std::collections::BTreeMap;
use std::io::Write;

use crate::harness::{Client, Response, Server, command, guest, resident_bytes, wait_until_resident};

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const BINARY: &str = "application/octet-stream";
const PATTERN: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

pub fn stream(size: usize) -> Vec<u8> {
    PATTERN.iter().copied().cycle().take(size).collect()
}

/// Status, content type and body; no body stands for one that differs between the languages.
type Answer = (u16, &'static str, Option<Vec<u8>>);

fn plain(status: u16, body: &str) -> Answer {
    (status, TEXT, Some(body.as_bytes().to_vec()))
}

/// Method, target, header fields, body, and what comes back.
pub fn table() -> Vec<(&'static str, &'static str, String, Vec<u8>, Answer)> {
    let get = |target, answer| ("GET", target, String::new(), Vec::new(), answer);
    let length = |body: &[u8]| format!("Content-Length: {}\r\n", body.len());
    let post = |target, body: &[u8], answer| ("POST", target, length(body), body.to_vec(), answer);
    let large: Vec<u8> = (0..300_000_usize).map(|index| (index % 251) as u8).collect();
    let chunked = b"5\r\nhello\r\n8;x=y\r\n, world!\r\n0\r\n\r\n".to_vec();
    vec![
        get("/", (200, HTML, None)),
        get("/hello/world", plain(200, "Hello, world!\n")),
        get("/hello/caf%C3%A9", plain(200, "Hello, café!\n")),
        get("/hello/a%20b?query", plain(200, "Hello, a b!\n")),
        get("/hello/%3Cb%3E", plain(200, "Hello, <b>!\n")),
        get("/nowhere", plain(404, "Not Found\n")),
        get("/hello/", plain(404, "Not Found\n")),
        get("/echo", plain(405, "Method Not Allowed\n")),
        post("/hello/world", b"x", plain(405, "Method Not Allowed\n")),
        post("/count", b"", plain(200, "0 bytes\n")),
        post("/count", &large, plain(200, "300000 bytes\n")),
        post("/echo", b"", (200, BINARY, Some(Vec::new()))),
        post("/echo", &large, (200, BINARY, Some(large.clone()))),
        (
            "POST",
            "/echo",
            "Content-Type: text/x-own\r\nTransfer-Encoding: chunked\r\n".into(),
            chunked.clone(),
            (200, "text/x-own", Some(b"hello, world!".to_vec())),
        ),
        (
            "POST",
            "/count",
            "Transfer-Encoding: chunked\r\n".into(),
            chunked,
            plain(200, "13 bytes\n"),
        ),
        get("/stream/0", (200, BINARY, Some(Vec::new()))),
        get("/stream/10", (200, BINARY, Some(stream(10)))),
        get("/stream/1000000", (200, BINARY, Some(stream(1_000_000)))),
        get("/stream/-1", plain(404, "Not Found\n")),
        get("/stream/x", plain(404, "Not Found\n")),
        get("/stream/99999999999999999999", plain(404, "Not Found\n")),
    ]
}

/// The suite of one guest.
fn answers(name: &str) {
    // A fresh instance each time, and one that is kept, have to answer alike.
    for requests in ["1", "0"] {
        let server = Server::start(&[&guest(name), "-w", "1", "--max-requests", requests]);
        Subject::new(name, &server).answers_alike();
    }
}

/// An app that is served, perhaps with something around it.
pub struct Subject<'a> {
    pub name: &'a str,
    pub server: &'a Server,
    /// Header fields of every request.
    pub fields: &'a str,
    /// Undoes what is around the app does to each response, and looks whether it has done so.
    pub undo: fn(&mut Response),
}

impl<'a> Subject<'a> {
    pub fn new(name: &'a str, server: &'a Server) -> Self {
        Self {
            name,
            server,
            fields: "",
            undo: |_| {},
        }
    }

    pub fn request(&self, client: &mut Client, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
        client.send(&[self.head(method, target, fields).as_bytes(), body].concat());
        let mut response = client.response(method);
        (self.undo)(&mut response);
        response
    }

    fn get(&self, client: &mut Client, target: &str) -> Response {
        self.request(client, "GET", target, "", b"")
    }

    fn head(&self, method: &str, target: &str, fields: &str) -> String {
        format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\n{}{fields}\r\n",
            self.fields
        )
    }

    /// Everything that the apps have in common.
    pub fn answers_alike(&self) {
        let name = self.name;
        let mut client = self.server.client();
        for (method, target, fields, body, (status, content_type, expected)) in table() {
            let what = format!("{name}: {method} {target} {fields:?}");
            let response = self.request(&mut client, method, target, &fields, &body);
            assert_eq!(response.status(), status, "{what}: {}", response.text());
            assert_eq!(response.header("Content-Type"), Some(content_type), "{what}");
            assert!(response.complete, "{what}");
            if let Some(expected) = expected {
                assert!(response.body == expected, "{what}: {:?}", response.text().get(..200));
            }
            if status == 405 {
                assert!(response.header("Allow").is_some(), "{what}");
                // The body was not read, which may be the connection's end.
                client = self.server.client();
            }
        }
        self.streams();
        self.fails();
        self.shows_its_environ();
    }

    fn streams(&self) {
        let (name, server) = (self.name, self.server);
        let mut client = server.client();
        let response = self.get(&mut client, "/stream/65537");
        assert_eq!(response.header("Content-Length"), Some("65537"), "{name}");
        server.wait_for_log("stream closed after 65537 of 65537 bytes");
        let response = self.request(&mut client, "HEAD", "/stream/1234567", "", b"");
        assert_eq!(
            (response.status(), response.header("Content-Length")),
            (200, Some("1234567")),
            "{name}"
        );
        // The connection is at its next response, so that there was no body.
        assert_eq!(self.get(&mut client, "/hello/you").text(), "Hello, you!\n", "{name}");
        // The server asks for nothing, though an adapter that has to look for the first block has it by then.
        server.wait_for_log(" of 1234567 bytes");

        // A client that goes away.
        let mut client = server.client();
        client.send(self.head("GET", "/stream/1000000000", "").as_bytes());
        client.fill_until(b"\r\n\r\n0123456789");
        drop(client);
        server.wait_for_log(" of 1000000000 bytes");
    }

    fn fails(&self) {
        let name = self.name;
        let response = self.get(&mut self.server.client(), "/fail");
        assert_eq!(response.status(), 500, "{name}");
        assert!(!response.text().contains("deliberate"), "{name}: {}", response.text());
        self.server.wait_for_log("deliberate failure");
        let response = self.get(&mut self.server.client(), "/hello/again");
        assert_eq!(response.text(), "Hello, again!\n");
    }

    fn shows_its_environ(&self) {
        let name = self.name;
        let fields = "Cookie: a=1\r\nCookie: b=2\r\n";
        let response = self.request(&mut self.server.client(), "GET", "/environ?a=%C3%A9", fields, b"");
        assert_eq!(response.status(), 200, "{name}");
        let text = response.text();
        let vars: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once(": ")).collect();
        for (variable, value) in [
            ("REQUEST_METHOD", "GET"),
            ("PATH_INFO", "/environ"),
            ("QUERY_STRING", "a=%C3%A9"),
            ("REQUEST_URI", "/environ?a=%C3%A9"),
            ("SERVER_NAME", "127.0.0.1"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("HTTP_HOST", "test"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("wsgi.url_scheme", "http"),
        ] {
            assert_eq!(vars.get(variable), Some(&value), "{name}: {text}");
        }
    }

    /// A long body in each direction, through instances that never take much: the worker's peak in bytes.
    pub fn long_bodies(&self, size: usize) -> u64 {
        const BLOCK: usize = 1 << 20;

        let name = self.name;
        let block = stream(BLOCK);
        let mut peak = 0;
        let own = self.fields;
        let download = format!("GET /stream/{size} HTTP/1.0\r\nHost: test\r\n{own}\r\n");
        let upload = format!("POST /echo HTTP/1.0\r\nHost: test\r\n{own}Content-Length: {size}\r\n\r\n");
        for (head, is_upload) in [(download, false), (upload, true)] {
            let mut client = self.server.client();
            client.send(head.as_bytes());
            let mut sink = client.stream();
            let body = block.clone();
            let sender = std::thread::spawn(move || {
                (0..size / BLOCK)
                    .take_while(|_| is_upload && sink.write_all(&body).is_ok())
                    .count()
            });
            client.fill_until(b"\r\n\r\n");
            let mut bytes = client.read_some();
            let end_of_head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
            bytes.drain(..end_of_head + 4);
            let mut received = 0;
            loop {
                let expected = &block[received % PATTERN.len()..];
                assert!(expected.starts_with(&bytes), "{name}: other bytes after {received}");
                if received / BLOCK != (received + bytes.len()) / BLOCK {
                    peak = peak.max(resident_bytes(self.server.worker()));
                }
                received += bytes.len();
                bytes = client.read_some();
                if bytes.is_empty() {
                    break;
                }
            }
            assert_eq!(received, size, "{name}");
            sender.join().expect("the sender ends");
        }
        assert!(peak > 0);
        peak
    }

    /// Instances that are kept take no more for the last of so many responses than for the first ones.
    pub fn many_bodies(&self, rounds: usize) {
        const SIZE: usize = 200_000;
        const GROWTH: u64 = 16 << 20;

        let name = self.name;
        let mut client = self.server.client();
        let body = stream(SIZE);
        let length = format!("Content-Length: {SIZE}\r\n");
        let mut before = 0;
        for round in 0..rounds {
            // Blocks; the same from a body; one block alone.
            let response = self.get(&mut client, &format!("/stream/{SIZE}"));
            assert!(response.body == body, "{name}: {round}");
            // An answer before the body was read is the connection's last.
            let response = self.request(&mut self.server.client(), "POST", "/echo", &length, &body);
            assert!(response.body == body, "{name}: {round}");
            let response = self.get(&mut client, "/nowhere");
            assert_eq!(response.text(), "Not Found\n", "{name}: {round}");
            if round == rounds / 10 {
                before = resident_bytes(self.server.worker());
            }
        }
        wait_until_resident(self.server.worker(), before + GROWTH);
    }
}

#[test]
fn what_python_returns_is_freed() {
    /// More than an instance may take.
    const SIZE: usize = 300 << 20;
    const WORKER_BYTES: u64 = 200 << 20;

    let server = Server::start(&[&guest("python"), "-w", "1"]);
    let peak = Subject::new("python", &server).long_bodies(SIZE);
    assert!(peak < WORKER_BYTES, "the worker took {peak} bytes");
    let server = Server::start(&[&guest("python"), "-w", "1", "--max-requests", "0"]);
    Subject::new("python", &server).many_bodies(500);
}

#[test]
fn rust() {
    answers("rust");
}

#[test]
fn c() {
    answers("c");
}

#[test]
fn javascript() {
    answers("javascript");
}

#[test]
fn go() {
    answers("go");
}

#[test]
fn python() {
    answers("python");
}

#[test]
fn flask() {
    answers("flask");
}

#[test]
fn django() {
    answers("django");
}

#[test]
fn modules_that_are_linked_to_each_other_are_compiled_as_one() {
    // One module with all code, its shims, a fix-up, and what componentize-qjs and wasmtime put beside them.
    for (name, modules) in [("python", 3), ("javascript", 6), ("go", 3), ("rust", 3)] {
        let cache = tempfile::tempdir().unwrap();
        let compiled = command(&["compile", &guest(name)])
            .env("WSGI_HOST_CACHE_DIR", cache.path())
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{compiled:?}");
        let files = std::fs::read_dir(cache.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut code = files.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"));
        let code = std::fs::read(code.next().unwrap()).unwrap();
        // What has no function of its own has no symbol either.
        let has = |module: usize| {
            let symbol = format!("wasm[{module}]::");
            code.windows(symbol.len()).any(|window| window == symbol.as_bytes())
        };
        assert!(has(0), "{name}");
        assert_eq!((modules..20).find(|module| has(*module)), None, "{name}");
    }
}

#[test]
fn a_guest_starts_with_the_heap_that_it_would_ask_for() {
    let rust = guest("rust");
    let page = command(&["inspect", "--json", &rust]).output().unwrap();
    let page: serde_json::Value = serde_json::from_slice(&page.stdout).unwrap();
    let starts_with = page["instance"]["initial_memory_bytes"].as_u64().unwrap();
    let mut own = None;
    for payload in wasmparser::Parser::new(0).parse_all(&std::fs::read(&rust).unwrap()) {
        if let wasmparser::Payload::MemorySection(memories) = payload.unwrap() {
            own = Some(memories.into_iter().next().unwrap().unwrap().initial * 65_536);
        }
    }
    assert!(starts_with >= own.unwrap() + (256 << 10), "{starts_with}, {own:?}");
}
