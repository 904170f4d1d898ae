//! Compresses responses for clients that ask for it, block by block: what the app sends early still arrives early.
//! When it does so is decided in `negotiation`.

wit_bindgen::generate!({
    path: "../wit",
    world: "middleware",
    generate_all,
    merge_structurally_equal_types: true,
});

mod negotiation;

use std::cell::RefCell;
use std::io::Write;

use exports::wsgi::gateway::application::{Chunks, Environ, Failure, Guest, GuestChunks, Response, ResponseBody};
use flate2::Compression;
use flate2::write::GzEncoder;
use wsgi::gateway::application as inner;

use negotiation::Request;

/// Of 0 to 9: what a higher one saves in bytes, it costs several times over in time.
const LEVEL: u32 = 4;

struct Gzip;

impl Guest for Gzip {
    type Chunks = Body;

    fn call(environ: Environ) -> Result<Response, Failure> {
        let request = Request::of(&environ.vars);
        let response = inner::call(environ)?;
        let (status, mut headers) = (response.status, response.headers);
        let body = match response.body {
            inner::ResponseBody::Bytes(bytes) if !request.wants_gzip(status, &mut headers, Some(bytes.len())) => {
                ResponseBody::Bytes(bytes)
            }
            // The head of what a GET would get.
            inner::ResponseBody::Bytes(bytes) if bytes.is_empty() => {
                negotiation::mark(&mut headers);
                ResponseBody::Bytes(bytes)
            }
            inner::ResponseBody::Bytes(bytes) => {
                let compressed = whole(&bytes)?;
                if compressed.len() < bytes.len() {
                    negotiation::mark(&mut headers);
                    ResponseBody::Bytes(compressed)
                } else {
                    ResponseBody::Bytes(bytes)
                }
            }
            inner::ResponseBody::Chunks(chunks) => {
                let encoder = if request.wants_gzip(status, &mut headers, None) {
                    negotiation::mark(&mut headers);
                    Encoder::Running(GzEncoder::new(Vec::new(), Compression::new(LEVEL)))
                } else {
                    Encoder::None
                };
                ResponseBody::Chunks(Chunks::new(Body {
                    chunks,
                    encoder: RefCell::new(encoder),
                }))
            }
        };
        Ok(Response {
            status,
            reason: response.reason,
            headers,
            body,
        })
    }
}

fn whole(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|error| Failure::Exception(error.to_string()))
}

/// The inner iterable, as it is or compressed.
struct Body {
    chunks: inner::Chunks,
    encoder: RefCell<Encoder>,
}

enum Encoder {
    None,
    Running(GzEncoder<Vec<u8>>),
    Finished,
}

impl GuestChunks for Body {
    fn next(&self) -> Result<Option<Vec<u8>>, String> {
        let mut encoder = self.encoder.borrow_mut();
        match &mut *encoder {
            Encoder::None => self.chunks.next(),
            Encoder::Finished => Ok(None),
            Encoder::Running(running) => match self.chunks.next()? {
                Some(block) => {
                    // Flushed, so that the client can decode what it has: the next block may be long in coming.
                    running
                        .write_all(&block)
                        .and_then(|()| running.flush())
                        .map_err(|error| error.to_string())?;
                    Ok(Some(std::mem::take(running.get_mut())))
                }
                None => {
                    running.try_finish().map_err(|error| error.to_string())?;
                    let end = std::mem::take(running.get_mut());
                    *encoder = Encoder::Finished;
                    Ok(Some(end))
                }
            },
        }
    }

    fn close(&self) {
        self.chunks.close();
        *self.encoder.borrow_mut() = Encoder::Finished;
    }
}

export!(Gzip);
