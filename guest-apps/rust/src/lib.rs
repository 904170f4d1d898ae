//! A small web app: what it answers is in `call`, how it says so to the server in the rest.

wit_bindgen::generate!({ path: "../../wit", world: "app" });

use std::cell::RefCell;

use exports::wsgi::gateway::application::{
    Chunks, Environ, Failure, Guest, GuestChunks, RequestBody, Response, ResponseBody,
};
use wsgi::gateway::io;

const BLOCK: usize = 64 * 1024;
const LONGEST_STREAM: u64 = 1 << 40;
const PATTERN: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
const INDEX: &str = include_str!("index.html");
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const BINARY: &str = "application/octet-stream";

struct App;

impl Guest for App {
    type Chunks = Body;

    fn call(environ: Environ) -> Result<Response, Failure> {
        let path = var(&environ, "PATH_INFO").unwrap_or_default().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let allow = match segments[..] {
            ["echo" | "count"] => "POST",
            [""] | ["environ" | "fail"] => "GET, HEAD",
            ["hello", name] if !name.is_empty() => "GET, HEAD",
            ["stream", size] if stream_size(size).is_some() => "GET, HEAD",
            _ => return Ok(text(404, "Not Found\n")),
        };
        let method = var(&environ, "REQUEST_METHOD").unwrap_or_default();
        if !allow.split(", ").any(|allowed| allowed == method) {
            let mut response = text(405, "Method Not Allowed\n");
            response.headers.push(("Allow".into(), allow.into()));
            return Ok(response);
        }
        match segments[..] {
            ["hello", name] => Ok(text(200, [b"Hello, ", &*native(name), b"!\n"].concat())),
            ["environ"] => Ok(text(200, listing(environ.vars))),
            ["echo"] => {
                let content_type = var(&environ, "CONTENT_TYPE").filter(|given| !given.is_empty());
                let content_type = content_type.unwrap_or(BINARY).to_owned();
                Ok(response(200, &content_type, stream(blocks(environ.input))))
            }
            ["count"] => {
                let sizes = blocks(environ.input).map(|block| Ok(block?.len() as u64));
                let size: u64 = sizes.sum::<Result<_, _>>().map_err(Failure::Exception)?;
                Ok(text(200, format!("{size} bytes\n")))
            }
            ["stream", size] => {
                let pattern = Pattern::new(stream_size(size).unwrap_or_default());
                let length = ("Content-Length".into(), pattern.size.to_string());
                let mut response = response(200, BINARY, stream(pattern));
                response.headers.push(length);
                Ok(response)
            }
            ["fail"] => Err(Failure::Exception("deliberate failure".into())),
            _ => Ok(response(200, HTML, ResponseBody::Bytes(INDEX.into()))),
        }
    }
}

fn var<'a>(environ: &'a Environ, name: &str) -> Option<&'a str> {
    environ
        .vars
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// The bytes that a native string stands for.
fn native(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

fn listing(mut vars: Vec<(String, String)>) -> Vec<u8> {
    vars.sort();
    vars.iter()
        .flat_map(|(key, value)| native(&format!("{key}: {value}\n")))
        .collect()
}

fn stream_size(digits: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    let decimal = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&size| decimal && size <= LONGEST_STREAM)
}

fn response(status: u16, content_type: &str, body: ResponseBody) -> Response {
    let headers = vec![("Content-Type".into(), content_type.into())];
    Response {
        status,
        reason: String::new(),
        headers,
        body,
    }
}

fn text(status: u16, body: impl Into<Vec<u8>>) -> Response {
    response(status, TEXT, ResponseBody::Bytes(body.into()))
}

type Block = Result<Vec<u8>, String>;

/// The request body, block by block as it arrives.
fn blocks(body: RequestBody) -> impl Iterator<Item = Block> {
    let mut body = Some(body);
    std::iter::from_fn(move || match body.take()? {
        RequestBody::Bytes(bytes) => Some(Ok(bytes)),
        RequestBody::Reader(reader) => {
            let block = reader.read(BLOCK as u32);
            if block.as_ref().is_ok_and(Vec::is_empty) {
                return None;
            }
            body = Some(RequestBody::Reader(reader));
            Some(block)
        }
    })
}

fn stream(blocks: impl Iterator<Item = Block> + 'static) -> ResponseBody {
    ResponseBody::Chunks(Chunks::new(Body(RefCell::new(Some(Box::new(blocks))))))
}

/// Any iterator of blocks, as the iterable that the server asks for one block after the other.
struct Body(RefCell<Option<Box<dyn Iterator<Item = Block>>>>);

impl GuestChunks for Body {
    fn next(&self) -> Result<Option<Vec<u8>>, String> {
        self.0.borrow_mut().as_mut().and_then(Iterator::next).transpose()
    }

    fn close(&self) {
        self.0.take();
    }
}

/// `size` bytes of the repeated pattern.
struct Pattern {
    block: Vec<u8>,
    sent: u64,
    size: u64,
}

impl Pattern {
    fn new(size: u64) -> Self {
        Pattern {
            block: PATTERN.repeat(BLOCK / PATTERN.len()),
            sent: 0,
            size,
        }
    }
}

impl Iterator for Pattern {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let length = (self.size - self.sent).min(self.block.len() as u64);
        self.sent += length;
        (length > 0).then(|| Ok(self.block[..length as usize].to_vec()))
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        io::errors(&format!("stream closed after {} of {} bytes\n", self.sent, self.size));
    }
}

export!(App);
