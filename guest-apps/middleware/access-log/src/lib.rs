//! A line in the server's error log for every request: what came in, what went out, and how long that took.

wit_bindgen::generate!({
    path: "../wit",
    world: "middleware",
    generate_all,
    merge_structurally_equal_types: true,
});

use std::cell::RefCell;

use exports::wsgi::gateway::application::{Chunks, Environ, Failure, Guest, GuestChunks, Response, ResponseBody};
use wasi::clocks::monotonic_clock;
use wsgi::gateway::{application as inner, io};

struct AccessLog;

impl Guest for AccessLog {
    type Chunks = Counted;

    fn call(environ: Environ) -> Result<Response, Failure> {
        let mut record = Record::begin(&environ.vars);
        let response = inner::call(environ).inspect_err(|failure| record.end(name(failure), ""))?;
        record.status = response.status;
        record.length = length(&response.headers);
        let body = match response.body {
            inner::ResponseBody::Bytes(bytes) => {
                record.bytes = bytes.len() as u64;
                record.end_of_body(true);
                ResponseBody::Bytes(bytes)
            }
            inner::ResponseBody::Chunks(chunks) => ResponseBody::Chunks(Chunks::new(Counted {
                chunks,
                record: RefCell::new(record),
            })),
        };
        Ok(Response {
            status: response.status,
            reason: response.reason,
            headers: response.headers,
            body,
        })
    }
}

/// The inner iterable, and what has come out of it so far.
struct Counted {
    chunks: inner::Chunks,
    record: RefCell<Record>,
}

impl GuestChunks for Counted {
    fn next(&self) -> Result<Option<Vec<u8>>, String> {
        let block = self.chunks.next();
        let mut record = self.record.borrow_mut();
        match &block {
            Ok(Some(block)) => record.bytes += block.len() as u64,
            Ok(None) => record.is_whole = true,
            Err(_) => {}
        }
        block
    }

    fn close(&self) {
        self.chunks.close();
        let record = self.record.borrow();
        // The server asks for no more than the length that was given.
        record.end_of_body(record.is_whole || record.length == Some(record.bytes));
    }
}

struct Record {
    request: String,
    is_head: bool,
    started: u64,
    status: u16,
    length: Option<u64>,
    bytes: u64,
    is_whole: bool,
}

impl Record {
    fn begin(vars: &[(String, String)]) -> Self {
        let var = |name| {
            let found = vars.iter().find(|(key, _)| key == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let (method, uri, protocol) = (var("REQUEST_METHOD"), var("REQUEST_URI"), var("SERVER_PROTOCOL"));
        Record {
            request: format!("{method} {uri} {protocol}"),
            is_head: method == "HEAD",
            started: monotonic_clock::now(),
            status: 0,
            length: None,
            bytes: 0,
            is_whole: false,
        }
    }

    /// A response without a body is none that was cut off: the server asks for no block of it.
    fn end_of_body(&self, is_whole: bool) {
        let has_body = !self.is_head && !matches!(self.status, 204 | 304);
        let end = if is_whole || !has_body { "" } else { ", cut off" };
        self.end(&self.status.to_string(), end);
    }

    fn end(&self, outcome: &str, end: &str) {
        let Self { request, bytes, .. } = self;
        let micros = monotonic_clock::now().saturating_sub(self.started) / 1000;
        let (millis, micros) = (micros / 1000, micros % 1000);
        io::errors(&format!(
            "{request} -> {outcome}, {bytes} bytes{end}, {millis}.{micros:03} ms\n"
        ));
    }
}

/// `Content-Length`, where the app gives it.
fn length(headers: &[(String, String)]) -> Option<u64> {
    let mut found = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("Content-Length"));
    found.next()?.1.parse().ok()
}

fn name(failure: &Failure) -> &'static str {
    match failure {
        Failure::Exception(_) => "exception",
        Failure::Timeout => "timeout",
        Failure::ResourceLimit(_) => "resource limit",
        Failure::Unavailable(_) => "unavailable",
    }
}

export!(AccessLog);
