//! A client that sends what it is told to, and reads a response without trusting it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response as it came.
#[derive(Debug)]
pub struct Response {
    /// `HTTP/1.1 200 OK`
    pub status_line: String,
    pub headers: Vec<(String, String)>,
    /// Decoded, if it was chunked.
    pub body: Vec<u8>,
    /// Whether the body came to its end in good order.
    pub complete: bool,
}

impl Response {
    pub fn status(&self) -> u16 {
        let code = self.status_line.split(' ').nth(1).expect("a status line has a code");
        code.parse().expect("a code is a number")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} stands twice");
        value
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Like [`Client::send`], for a server that may close before it has read all.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The connection itself, for another thread or a body too large to keep.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be shared")
    }

    /// No more will be sent.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the socket is open");
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        self.response("GET")
    }

    pub fn post(&mut self, target: &str, body: &[u8]) -> Response {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(head.as_bytes());
        self.send(body);
        self.response("POST")
    }

    /// Reads one response to a request of this method.
    pub fn response(&mut self, method: &str) -> Response {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            assert!(
                self.fill(),
                "no whole head: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status_line = lines.next().expect("a head has a line").to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").expect("a field has a colon and a space");
                (name.to_owned(), value.to_owned())
            })
            .collect();
        let mut response = Response {
            status_line,
            headers,
            body: Vec::new(),
            complete: true,
        };
        let bodiless = method == "HEAD" || matches!(response.status(), 100..=199 | 204 | 304);
        if !bodiless {
            (response.body, response.complete) = self.body(&response);
        }
        response
    }

    fn body(&mut self, response: &Response) -> (Vec<u8>, bool) {
        if response.header("Transfer-Encoding").is_some() {
            return self.chunked();
        }
        match response.header("Content-Length") {
            Some(length) => self.take(length.parse().expect("a length is a number")),
            None => {
                let complete = self.fill_to_end();
                (std::mem::take(&mut self.buffer), complete)
            }
        }
    }

    fn chunked(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                    break end;
                }
                if !self.fill() {
                    return (body, false);
                }
            };
            let size = std::str::from_utf8(&self.buffer[..end]).expect("a chunk size is ASCII");
            let size = usize::from_str_radix(size, 16).expect("a chunk size is a number");
            self.buffer.drain(..end + 2);
            let (chunk, complete) = self.take(size + 2);
            if !complete {
                body.extend_from_slice(&chunk);
                return (body, false);
            }
            assert_eq!(&chunk[size..], b"\r\n");
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return (body, true);
            }
        }
    }

    /// So many bytes, or those that there are.
    fn take(&mut self, length: usize) -> (Vec<u8>, bool) {
        while self.buffer.len() < length {
            if !self.fill() {
                return (std::mem::take(&mut self.buffer), false);
            }
        }
        (self.buffer.drain(..length).collect(), true)
    }

    /// Everything until the server closes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        self.fill_to_end();
        std::mem::take(&mut self.buffer)
    }

    /// Whether the end came in good order, and not by a reset.
    fn fill_to_end(&mut self) -> bool {
        loop {
            let mut block = [0; 65536];
            match self.stream.read(&mut block) {
                Ok(0) => return true,
                Ok(length) => self.buffer.extend_from_slice(&block[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("cannot read: {error}"),
            }
        }
    }

    /// Reads until this has come, and keeps it for whoever reads next.
    pub fn fill_until(&mut self, bytes: &[u8]) {
        let filled = self.try_fill_until(bytes);
        assert!(
            filled.is_ok(),
            "it ended with {:?}",
            String::from_utf8_lossy(&self.buffer)
        );
    }

    /// Like [`Client::fill_until`], for a server that may close first.
    pub fn try_fill_until(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        while !self.buffer.windows(bytes.len()).any(|window| window == bytes) {
            if !self.fill() {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Reads some bytes of a response that goes on; empty at its end.
    pub fn read_some(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.fill();
        }
        std::mem::take(&mut self.buffer)
    }

    fn fill(&mut self) -> bool {
        let mut block = [0; 65536];
        match self.stream.read(&mut block) {
            Ok(length) => {
                self.buffer.extend_from_slice(&block[..length]);
                length > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("cannot read: {error}"),
        }
    }
}
