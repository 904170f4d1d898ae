//! What the guests of the bench answer, without a guest.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::{Method, Request, Response, StatusCode};

const HELLO: Bytes = Bytes::from_static(b"hello world\n");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");
const SOFTWARE: HeaderValue = HeaderValue::from_static("bare-hyper");
static BLOCK: [u8; 64 << 10] = [b'x'; 64 << 10];

pub async fn answer(request: Request<Incoming>) -> Response<Blocks> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => response(TEXT, Blocks::whole(HELLO)),
        (&Method::POST, "/count") => {
            let text = match count(request.into_body()).await {
                Ok(bytes) => format!("{bytes} bytes\n"),
                Err(error) => format!("{error}\n"),
            };
            response(TEXT, Blocks::whole(text.into()))
        }
        (&Method::GET, path) if let Some(size) = path.strip_prefix("/stream/").and_then(|size| size.parse().ok()) => {
            let block = Bytes::from_static(&BLOCK);
            response(BINARY, Blocks { block, left: size })
        }
        _ => {
            let mut missing = response(TEXT, Blocks::whole(Bytes::from_static(b"Not Found\n")));
            *missing.status_mut() = StatusCode::NOT_FOUND;
            missing
        }
    }
}

fn response(content_type: HeaderValue, body: Blocks) -> Response<Blocks> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(SERVER, SOFTWARE);
    response
}

async fn count(body: Incoming) -> Result<u64, hyper::Error> {
    let (mut body, mut bytes) = (pin!(body), 0);
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

/// So many bytes, the same block again and again.
pub struct Blocks {
    block: Bytes,
    left: u64,
}

impl Blocks {
    fn whole(block: Bytes) -> Self {
        let left = block.len() as u64;
        Self { block, left }
    }
}

impl Body for Blocks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = self.left.min(self.block.len() as u64);
        self.left -= length;
        // It is no longer than the block.
        let block = self.block.slice(..length as usize);
        Poll::Ready(Some(Ok(Frame::data(block))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
