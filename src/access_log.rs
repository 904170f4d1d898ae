//! A line for each request, in the combined format, when its response has ended.

use std::fmt::Write;
use std::rc::Rc;

use clap::Args;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
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
}

impl AccessLog {
    pub fn open(options: &Options, queue_lines: usize) -> std::io::Result<Self> {
        let sink = options
            .access_logfile
            .as_ref()
            .map(|destination| Sink::open(destination, Standard::Output, queue_lines))
            .transpose()?;
        Ok(Self { sink })
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
        Some(Record {
            log: self.clone(),
            host: address(peer),
            request: format!(
                "{} {} {}",
                parts.method,
                environ::target(parts),
                environ::protocol(parts.version)
            ),
            referer: field(&parts.headers, header::REFERER),
            agent: field(&parts.headers, header::USER_AGENT),
        })
    }

    /// The same for a request that was refused before it was parsed: all that is known is its first line.
    pub fn begin_refused(self: &Rc<Self>, line: &[u8], peer: &Endpoint) -> Option<Record> {
        self.sink.as_ref()?;
        Some(Record {
            log: self.clone(),
            host: address(peer),
            request: String::from_utf8_lossy(line).into_owned(),
            referer: "-".to_owned(),
            agent: "-".to_owned(),
        })
    }
}

fn address(peer: &Endpoint) -> String {
    match peer {
        Endpoint::Inet(address) => address.ip().to_string(),
        Endpoint::Unix(_) => "-".to_owned(),
    }
}

fn field(headers: &HeaderMap, name: header::HeaderName) -> String {
    match headers.get(name) {
        Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        None => "-".to_owned(),
    }
}

/// The request's part of a line.
pub struct Record {
    log: Rc<AccessLog>,
    host: String,
    request: String,
    referer: String,
    agent: String,
}

impl Record {
    /// Writes the line; `sent` is the bytes of the response's body.
    pub fn end(self, status: StatusCode, sent: u64) {
        let Some(sink) = &self.log.sink else { return };
        let mut line = Vec::with_capacity(160);
        let mut start = String::with_capacity(64);
        let now = jiff::Zoned::now();
        // Writing to a String does not fail.
        let _ = write!(start, "{} - - [{}] \"", self.host, now.strftime("%d/%b/%Y:%H:%M:%S %z"));
        line.extend_from_slice(start.as_bytes());
        quoted(&mut line, &self.request);
        let size = match sent {
            0 => "-".to_owned(),
            sent => sent.to_string(),
        };
        line.extend_from_slice(format!("\" {} {size} \"", status.as_u16()).as_bytes());
        quoted(&mut line, &self.referer);
        line.extend_from_slice(b"\" \"");
        quoted(&mut line, &self.agent);
        line.extend_from_slice(b"\"\n");
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
