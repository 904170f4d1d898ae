//! Closing a file that was written to may wait for a disk, seconds of it: file systems that flush then are common. Guests
//! come and go on the worker's one thread, so files are closed in another.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use wasmtime_wasi::OpenMode;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::{DynInputStream, InputStream, Pollable, StreamResult};

/// A share in an open file. It is let go of after all else that has one on this thread, and so closes the file.
#[derive(Clone)]
pub struct Held(Option<Arc<File>>);

impl Held {
    /// None for what can be closed without waiting: it was not open for writing.
    fn of(descriptor: &Descriptor) -> Option<Self> {
        match descriptor {
            Descriptor::File(file) if file.open_mode.contains(OpenMode::WRITE) => Some(Self(Some(file.file.clone()))),
            _ => None,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(file) = self.0.take().and_then(Arc::into_inner)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

/// The files of an instance that are open for writing, by their handles.
#[derive(Default)]
pub struct Opened(HashMap<u32, Held>);

impl Opened {
    pub fn add(&mut self, handle: u32, descriptor: &Descriptor) {
        if let Some(held) = Held::of(descriptor) {
            self.0.insert(handle, held);
        }
    }

    /// A share for a stream.
    pub fn share(&self, handle: u32) -> Option<Held> {
        self.0.get(&handle).cloned()
    }

    /// The handle is gone.
    pub fn remove(&mut self, handle: u32) {
        self.0.remove(&handle);
    }
}

/// A stream out of such a file, which the stream may outlive.
pub struct Reading {
    pub stream: DynInputStream,
    // After the stream.
    pub _held: Held,
}

#[async_trait]
impl InputStream for Reading {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.stream.read(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.stream.blocking_read(size).await
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

#[async_trait]
impl Pollable for Reading {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_share_closes_the_file() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let watched = Arc::downgrade(&file);
        let one = Held(Some(file));
        let two = one.clone();
        drop(one);
        assert!(watched.upgrade().is_some());
        drop(two);
        assert!(watched.upgrade().is_none());
        // Where there is no runtime any more, too.
        let alone = Held(Some(Arc::new(tempfile::tempfile().unwrap())));
        std::thread::spawn(|| drop(alone)).join().unwrap();
    }
}
