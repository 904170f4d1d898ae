//! A request body, and what becomes of the rest that nobody reads.
//!
//! hyper resets a stream of HTTP/2 whose body is dropped early. RFC 9113, 8.1 allows it after a complete response, but
//! clients that are reset while they send (curl 7.88) take the answer for failed. So a small rest is taken off their
//! hands first. In HTTP/1 hyper does that by itself.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// As much as may be on its way without anybody having asked for it: a stream's window.
const REST_BYTES: u64 = 256 << 10;
/// A client that has not sent the rest by then is reset.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct RequestBody {
    /// None once it is dropped.
    body: Option<Incoming>,
    version: Version,
}

impl RequestBody {
    pub fn new(body: Incoming, version: Version) -> Self {
        Self {
            body: Some(body),
            version,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let small = self.version == Version::HTTP_2 && self.size_hint().lower() <= REST_BYTES && !self.is_end_stream();
        // A worker that ends has no runtime any more, and resets everything.
        if let (true, Some(body), Ok(runtime)) = (small, self.body.take(), Handle::try_current()) {
            runtime.spawn(timeout(PATIENCE, discard(body)));
        }
    }
}

/// Reads a small rest to its end, and gives up a large one.
async fn discard(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > REST_BYTES {
            return;
        }
    }
}
