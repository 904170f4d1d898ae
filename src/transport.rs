//! The bytes of one connection, as they come from the socket and go there: what neither hyper nor TLS does about time
//! and endings.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::flow::Flow;
use crate::listener::Accepted;

/// How long a client that is still sending is listened to after the last response.
const LINGER: Duration = Duration::from_secs(2);

pub struct Transport {
    stream: Accepted,
    /// What has arrived and was only looked at so far.
    ahead: Vec<u8>,
    flow: Rc<Flow>,
    write_timeout: Duration,
    /// Runs while a write waits for the client to read.
    write_timer: Option<Pin<Box<Sleep>>>,
    linger: Linger,
    ended: bool,
}

enum Linger {
    No,
    Until(Pin<Box<Sleep>>),
}

impl Transport {
    pub fn new(stream: Accepted, flow: Rc<Flow>, write_timeout: Duration) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            flow,
            write_timeout,
            write_timer: None,
            linger: Linger::No,
            ended: false,
        }
    }

    /// Looks at what arrives first without taking it, until `decide` knows what it is: it is shown all that there is, up to
    /// `limit` bytes, and says nothing as long as it needs more.
    ///
    /// At the end of what the client sends, or at the limit, it is an error to need more.
    pub async fn look<T>(&mut self, limit: usize, mut decide: impl FnMut(&[u8]) -> Option<T>) -> io::Result<T> {
        loop {
            if let Some(decision) = decide(&self.ahead) {
                return Ok(decision);
            }
            let before = self.ahead.len();
            if before >= limit {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut ahead = std::mem::take(&mut self.ahead);
            let read = (&mut *self).take((limit - before) as u64).read_buf(&mut ahead).await;
            self.ahead = ahead;
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Whether anything was looked at that nobody has taken.
    pub fn has_looked(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Takes away what was looked at.
    pub fn skip(&mut self, bytes: usize) {
        self.ahead.drain(..bytes.min(self.ahead.len()));
    }

    /// A write that waits too long is an error: the client does not read.
    fn timed<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() || self.write_timeout.is_zero() {
            self.write_timer = None;
            return result;
        }
        let timeout = self.write_timeout;
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(context).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not read its response",
            ))
        })
    }
}

macro_rules! on_stream {
    ($stream:expr, $method:ident ( $($argument:expr),* )) => {
        match $stream {
            Accepted::Inet(stream) => Pin::new(stream).$method($($argument),*),
            Accepted::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..length]);
            self.skip(length);
            if self.ahead.is_empty() {
                self.ahead = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = on_stream!(&mut self.stream, poll_read(context, buffer));
        if matches!(result, Poll::Ready(Ok(()))) {
            if buffer.filled().len() > before {
                self.flow.receive();
            } else if buffer.remaining() > 0 {
                self.ended = true;
            }
        }
        result
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = on_stream!(&mut self.stream, poll_write(context, bytes));
        self.timed(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = on_stream!(&mut self.stream, poll_write_vectored(context, slices));
        self.timed(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when it has written all that it holds.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = on_stream!(&mut self.stream, poll_flush(context));
        if result.is_ready() {
            self.flow.all_sent();
        }
        result
    }

    /// Says that nothing more will come, and then listens for a while: closing a socket while the client is
    /// still sending resets the connection, and the client may lose the response it has not read yet (RFC 9112, 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Linger::No = self.linger {
            match on_stream!(&mut self.stream, poll_shutdown(context)) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            self.linger = Linger::Until(Box::pin(tokio::time::sleep_until(Instant::now() + LINGER)));
        }
        let mut waste = [0; 16 << 10];
        while !self.ended {
            if let Linger::Until(timer) = &mut self.linger
                && timer.as_mut().poll(context).is_ready()
            {
                break;
            }
            let mut buffer = ReadBuf::new(&mut waste);
            match on_stream!(&mut self.stream, poll_read(context, &mut buffer)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => self.ended = buffer.filled().is_empty(),
                Poll::Ready(Err(_)) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Transport {
    /// A body that ends with its connection (HTTP/1.0) looks whole if the connection ends in good order. A reset
    /// is the one way left to say that it is not.
    fn drop(&mut self) {
        if self.flow.is_cut()
            && let Accepted::Inet(stream) = &self.stream
        {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}
