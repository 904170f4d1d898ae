//! A middleware that only passes on: what a link costs by itself.

wit_bindgen::generate!({ path: "../../../wit", world: "middleware", merge_structurally_equal_types: true });

use exports::wsgi::gateway::application::{Chunks, Environ, Failure, Guest, GuestChunks, Response, ResponseBody};
use wsgi::gateway::application as inner;

struct Pass;

impl Guest for Pass {
    type Chunks = Passed;

    fn call(environ: Environ) -> Result<Response, Failure> {
        let response = inner::call(environ)?;
        let body = match response.body {
            inner::ResponseBody::Bytes(bytes) => ResponseBody::Bytes(bytes),
            inner::ResponseBody::Chunks(chunks) => ResponseBody::Chunks(Chunks::new(Passed(chunks))),
        };
        Ok(Response {
            status: response.status,
            reason: response.reason,
            headers: response.headers,
            body,
        })
    }
}

struct Passed(inner::Chunks);

impl GuestChunks for Passed {
    fn next(&self) -> Result<Option<Vec<u8>>, String> {
        self.0.next()
    }

    fn close(&self) {
        self.0.close();
    }
}

export!(Pass);
