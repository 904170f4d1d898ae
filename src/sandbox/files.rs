//! `wasi:filesystem` as an app gets it: what a request may write and make there is limited, and nothing is opened, read
//! or closed that could keep the worker waiting. The functions that matter for that stand in the place of wasmtime's own, and call these.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use clap::Args;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, DirectoryEntry, ErrorCode, Host, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsResult, OutputStream, Pollable, StreamError, StreamResult};

use super::held::{Held, Reading};
use super::listing::Listing;
use super::notes::Notes;
use super::state::State;
use crate::units;

/// What one request may do to the files that its app was granted.
#[derive(Args, Clone, Copy, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Sandbox")]
pub struct Limits {
    /// What one request may write to files, each write counted as 4 KiB at least; what it makes a file longer by counts too.
    #[arg(long, default_value = "1G", value_parser = units::bytes, value_name = "BYTES")]
    pub limit_request_writes: u64,

    /// Files, directories and links that one request may make. Opening a file that is made if it is missing counts.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub limit_request_files: u64,
}

/// What a file system gives out at least, however little is written.
const BLOCK_BYTES: u64 = 4 << 10;

/// What an instance has done to files for the request that it is at work on; its streams count in the same place.
#[derive(Clone)]
pub struct Spending(Arc<Mutex<Spent>>);

struct Spent {
    limits: Limits,
    notes: Notes,
    bytes: u64,
    files: u64,
    /// Whether the log has a line of it already.
    said: bool,
}

impl Spending {
    pub fn new(limits: Limits, notes: Notes) -> Self {
        Self(Arc::new(Mutex::new(Spent {
            limits,
            notes,
            bytes: 0,
            files: 0,
            said: false,
        })))
    }

    /// The next request: nothing is spent.
    pub fn begin(&self) {
        let mut spent = self.spent();
        (spent.bytes, spent.files, spent.said) = (0, 0, false);
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before so many bytes are written.
    fn write(&self, bytes: usize) -> Result<(), Full> {
        self.lengthen((bytes as u64).max(BLOCK_BYTES))
    }

    /// Before a file becomes so much longer.
    fn lengthen(&self, bytes: u64) -> Result<(), Full> {
        let mut spent = self.spent();
        let limit = spent.limits.limit_request_writes;
        match spent.bytes.checked_add(bytes) {
            Some(sum) if sum <= limit => {
                spent.bytes = sum;
                Ok(())
            }
            _ => {
                let limit = units::size(limit);
                Err(spent.full(format_args!("it has written --limit-request-writes {limit} to files")))
            }
        }
    }

    /// Before something is made.
    fn make(&self) -> Result<(), Full> {
        let mut spent = self.spent();
        let limit = spent.limits.limit_request_files;
        if spent.files < limit {
            spent.files += 1;
            return Ok(());
        }
        Err(spent.full(format_args!("it has made --limit-request-files {limit} files")))
    }
}

impl Spent {
    fn full(&mut self, why: std::fmt::Arguments<'_>) -> Full {
        if !self.said {
            self.said = true;
            self.notes
                .remark(format_args!("{why}; what it tries beyond that is an error to it"));
        }
        Full
    }
}

/// What an app is told at its limit: that there is no room, which apps know how to deal with.
struct Full;

impl From<Full> for io::Error {
    fn from(_: Full) -> Self {
        Errno::NOSPC.into()
    }
}

impl From<Full> for ErrorCode {
    fn from(_: Full) -> Self {
        Self::InsufficientSpace
    }
}

impl From<Full> for StreamError {
    fn from(full: Full) -> Self {
        Self::LastOperationFailed(io::Error::from(full).into())
    }
}

/// The interface as wasmtime offers it; a guest that was built for an older 0.2 gets the same.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// Puts what is here in the place of wasmtime's own.
pub fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    macro_rules! replace {
        ($($name:literal: $function:ident;)*) => {
            $(types.func_wrap_async($name, |mut store: StoreContextMut<'_, State>, arguments| {
                Box::new(async move {
                    let state = store.data_mut();
                    let result = $function(state, arguments).await;
                    Ok((answer(state, result)?,))
                })
            })?;)*
        };
    }
    replace! {
        "[method]descriptor.write": write;
        "[method]descriptor.read-via-stream": read_via_stream;
        "[method]descriptor.write-via-stream": write_via_stream;
        "[method]descriptor.append-via-stream": append_via_stream;
        "[method]descriptor.set-size": set_size;
        "[method]descriptor.open-at": open_at;
        "[method]descriptor.create-directory-at": create_directory_at;
        "[method]descriptor.symlink-at": symlink_at;
        "[method]descriptor.link-at": link_at;
        "[method]descriptor.read-directory": read_directory;
        "[method]directory-entry-stream.read-directory-entry": read_directory_entry;
    }
    let descriptor = ResourceType::host::<Descriptor>();
    types.resource("descriptor", descriptor, |mut store, handle| {
        let state = store.data_mut();
        state.table.delete(Resource::<Descriptor>::new_own(handle))?;
        state.opened.remove(handle);
        Ok(())
    })?;
    let listing = ResourceType::host::<Listing>();
    types.resource("directory-entry-stream", listing, |mut store, handle| {
        store.data_mut().table.delete(Resource::<Listing>::new_own(handle))?;
        Ok(())
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// An error of the app's goes to the app, others end it.
fn answer<T>(state: &mut State, result: FsResult<T>) -> wasmtime::Result<Result<T, ErrorCode>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => state.filesystem().convert_error_code(error).map(Err),
    }
}

type File = Resource<Descriptor>;

async fn write(state: &mut State, (file, bytes, offset): (File, Vec<u8>, u64)) -> FsResult<u64> {
    state.spending.write(bytes.len()).map_err(ErrorCode::from)?;
    HostDescriptor::write(&mut state.filesystem(), file, bytes, offset).await
}

async fn read_via_stream(state: &mut State, (file, offset): (File, u64)) -> FsResult<Resource<DynInputStream>> {
    let held = state.opened.share(file.rep());
    let stream = state.filesystem().read_via_stream(file, offset)?;
    let Some(_held) = held else { return Ok(stream) };
    let stream = state.table.delete(stream)?;
    let reading: DynInputStream = Box::new(Reading { stream, _held });
    Ok(state.table.push(reading)?)
}

async fn write_via_stream(state: &mut State, (file, offset): (File, u64)) -> FsResult<Resource<DynOutputStream>> {
    let held = state.opened.share(file.rep());
    let stream = state.filesystem().write_via_stream(file, offset)?;
    count(state, stream, held)
}

async fn append_via_stream(state: &mut State, (file,): (File,)) -> FsResult<Resource<DynOutputStream>> {
    let held = state.opened.share(file.rep());
    let stream = state.filesystem().append_via_stream(file)?;
    count(state, stream, held)
}

/// The stream, with what goes through it counted.
fn count(
    state: &mut State,
    stream: Resource<DynOutputStream>,
    held: Option<Held>,
) -> FsResult<Resource<DynOutputStream>> {
    let stream = state.table.delete(stream)?;
    let counted: DynOutputStream = Box::new(Counted {
        stream,
        spending: state.spending.clone(),
        _held: held,
    });
    Ok(state.table.push(counted)?)
}

async fn set_size(state: &mut State, (file, size): (File, u64)) -> FsResult<()> {
    let known = Resource::new_borrow(file.rep());
    let before = state.filesystem().stat(known).await?.size;
    let more = size.saturating_sub(before);
    state.spending.lengthen(more).map_err(ErrorCode::from)?;
    state.filesystem().set_size(file, size).await
}

type Opening = (File, PathFlags, String, OpenFlags, DescriptorFlags);

async fn open_at(state: &mut State, (at, follow, path, how, rights): Opening) -> FsResult<File> {
    if how.contains(OpenFlags::CREATE) {
        state.spending.make().map_err(ErrorCode::from)?;
    }
    // Opening a pipe waits for its other end, in a thread that nobody could end.
    let place = Resource::new_borrow(at.rep());
    let there = state.filesystem().stat_at(place, follow, path.clone()).await;
    let refused = there.is_ok_and(|there| {
        !matches!(
            there.type_,
            DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink
        )
    });
    if refused {
        return Err(ErrorCode::Access.into());
    }
    let file = state.filesystem().open_at(at, follow, path, how, rights).await?;
    state.opened.add(file.rep(), state.table.get(&file)?);
    Ok(file)
}

async fn create_directory_at(state: &mut State, (at, path): (File, String)) -> FsResult<()> {
    state.spending.make().map_err(ErrorCode::from)?;
    state.filesystem().create_directory_at(at, path).await
}

async fn symlink_at(state: &mut State, (at, to, path): (File, String, String)) -> FsResult<()> {
    state.spending.make().map_err(ErrorCode::from)?;
    state.filesystem().symlink_at(at, to, path).await
}

async fn link_at(
    state: &mut State,
    (from, how, old, to, new): (File, PathFlags, String, File, String),
) -> FsResult<()> {
    state.spending.make().map_err(ErrorCode::from)?;
    state.filesystem().link_at(from, how, old, to, new).await
}

async fn read_directory(state: &mut State, (directory,): (File,)) -> FsResult<Resource<Listing>> {
    let Descriptor::Dir(directory) = state.table.get(&directory)? else {
        return Err(ErrorCode::NotDirectory.into());
    };
    let listing = Listing::open(directory.dir.clone()).await?;
    Ok(state.table.push(listing)?)
}

async fn read_directory_entry(state: &mut State, (listing,): (Resource<Listing>,)) -> FsResult<Option<DirectoryEntry>> {
    Ok(state.table.get_mut(&listing)?.next().await?)
}

/// A stream into a file.
struct Counted {
    stream: DynOutputStream,
    spending: Spending,
    // After the stream.
    _held: Option<Held>,
}

#[async_trait]
impl OutputStream for Counted {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.spending.write(bytes.len())?;
        self.stream.write(bytes)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.spending.write(bytes.len())?;
        self.stream.blocking_write_and_flush(bytes).await
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.stream.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.stream.check_write()
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

#[async_trait]
impl Pollable for Counted {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::label::Label;

    #[test]
    fn small_writes_count_as_blocks_and_each_request_begins_anew() {
        let limits = Limits {
            limit_request_writes: 10 * BLOCK_BYTES,
            limit_request_files: 2,
        };
        let spending = Spending::new(limits, Notes::new(Label::start(&"app".into()), 100));
        assert!((0..10).all(|_| spending.write(1).is_ok()));
        assert!(spending.write(1).is_err() && spending.lengthen(1).is_err() && spending.lengthen(0).is_ok());
        assert!(spending.make().is_ok() && spending.make().is_ok() && spending.make().is_err());
        spending.begin();
        assert!(spending.write(9 << 12).is_ok() && spending.lengthen(u64::MAX).is_err() && spending.make().is_ok());
    }
}
