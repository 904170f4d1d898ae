//! A line for each request, in the combined format, when its response has ended.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use clap::Args;
use http::request::Parts;
use http::{StatusCode, header};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::environ;
use crate::listener::Endpoint;
use crate::log::{Destination, Sink, Standard, escape_into};

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Where the access log goes: a file that is appended to, or - for standard output. Without it there is none.
    #[arg(long, value_name = "FILE", help_heading = "Logging")]
    pub access_logfile: Option<Destination>,
}

/// The access log of a worker, if it keeps one.
pub struct AccessLog {
    sink: Option<Sink>,
    now: RefCell<Second>,
}

/// A second, and what lines call it.
#[derive(Default)]
struct Second {
    number: i64,
    text: String,
}

impl AccessLog {
    pub fn open(options: &Options, queue_lines: usize) -> std::io::Result<Self> {
        let sink = options
            .access_logfile
            .as_ref()
            .map(|destination| Sink::open(destination, Standard::Output, queue_lines))
            .transpose()?;
        Ok(Self {
            sink,
            now: RefCell::default(),
        })
    }

    pub fn reopen(&self) {
        if let Some(sink) = &self.sink {
            sink.reopen();
        }
    }

    pub fn flush(&self) {
        if let Some(sink) = &self.sink {
            sink.flush();
        }
    }

    /// Notes what the line will say of the request; none if there is no log.
    pub fn begin(self: &Rc<Self>, parts: &Parts, peer: &Endpoint) -> Option<Record> {
        self.sink.as_ref()?;
        let mut request = Vec::with_capacity(64);
        quoted(&mut request, parts.method.as_str());
        request.push(b' ');
        quoted(&mut request, &environ::target(parts));
        request.push(b' ');
        quoted(&mut request, environ::protocol(parts.version));
        let mut client = Vec::with_capacity(64);
        for name in [header::REFERER, header::USER_AGENT] {
            client.extend_from_slice(b" \"");
            match parts.headers.get(name) {
                Some(value) => quoted(&mut client, &String::from_utf8_lossy(value.as_bytes())),
                None => client.push(b'-'),
            }
            client.push(b'"');
        }
        Some(Record {
            log: self.clone(),
            peer: peer.clone(),
            request,
            client,
        })
    }

    /// The same for a request that was refused before it was parsed: all that is known is its first line.
    pub fn begin_refused(self: &Rc<Self>, line: &[u8], peer: &Endpoint) -> Option<Record> {
        self.sink.as_ref()?;
        let mut request = Vec::with_capacity(line.len());
        quoted(&mut request, &String::from_utf8_lossy(line));
        Some(Record {
            log: self.clone(),
            peer: peer.clone(),
            request,
            client: b" \"-\" \"-\"".to_vec(),
        })
    }

    /// The time, as lines have it: the calendar is asked once a second.
    fn write_now(&self, line: &mut Vec<u8>) {
        let now = Timestamp::now();
        let mut second = self.now.borrow_mut();
        if second.number != now.as_second() || second.text.is_empty() {
            let zoned = now.to_zoned(TimeZone::system());
            second.number = now.as_second();
            second.text = zoned.strftime("%d/%b/%Y:%H:%M:%S %z").to_string();
        }
        line.extend_from_slice(second.text.as_bytes());
    }
}

/// The request's part of a line.
pub struct Record {
    log: Rc<AccessLog>,
    peer: Endpoint,
    /// Its first line.
    request: Vec<u8>,
    /// Where it came from and with what, each in its quotes.
    client: Vec<u8>,
}

impl Record {
    /// Writes the line; `sent` is the bytes of the response's body.
    pub fn end(self, status: StatusCode, sent: u64) {
        let Some(sink) = &self.log.sink else { return };
        let mut line = Vec::with_capacity(96 + self.request.len() + self.client.len());
        // Writing to a Vec does not fail.
        let _ = match &self.peer {
            Endpoint::Inet(address) => write!(line, "{}", address.ip()),
            Endpoint::Unix(_) => write!(line, "-"),
        };
        line.extend_from_slice(b" - - [");
        self.log.write_now(&mut line);
        line.extend_from_slice(b"] \"");
        line.extend_from_slice(&self.request);
        let _ = match sent {
            0 => write!(line, "\" {} -", status.as_u16()),
            sent => write!(line, "\" {} {sent}", status.as_u16()),
        };
        line.extend_from_slice(&self.client);
        line.push(b'\n');
        sink.line(line);
    }
}

/// Within quotes, a quote must not end them, and a client must not forge what comes after.
fn quoted(line: &mut Vec<u8>, text: &str) {
    if text.contains(['"', '\\']) {
        escape_into(line, &text.replace('\\', "\\\\").replace('"', "\\\""));
    } else {
        escape_into(line, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_forge_what_follows_its_text() {
        let mut line = Vec::new();
        quoted(&mut line, "a\" 200 \"\\\n\u{1b}");
        assert_eq!(line, br#"a\" 200 \"\\\n\x1b"#);
    }
}
