//! The hello that all contestants say, in Rust.

wit_bindgen::generate!({ path: "../../../wit", world: "app" });

use exports::wsgi::gateway::application::{Environ, Failure, Guest, GuestChunks, Response, ResponseBody};

struct Hello;

impl Guest for Hello {
    type Chunks = None;

    fn call(_: Environ) -> Result<Response, Failure> {
        Ok(Response {
            status: 200,
            reason: String::new(),
            headers: vec![("Content-Type".into(), "text/plain; charset=utf-8".into())],
            body: ResponseBody::Bytes(b"hello world\n".into()),
        })
    }
}

/// The body is one block.
struct None;

impl GuestChunks for None {
    fn next(&self) -> Result<Option<Vec<u8>>, String> {
        Ok(Option::None)
    }

    fn close(&self) {}
}

export!(Hello);
