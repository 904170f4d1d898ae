//! A directory as an app reads it: `directory-entry-stream` of `wasi:filesystem`. Wasmtime's own gathers all entries of
//! a directory at once, which is as much memory as somebody has made files; this one holds some at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, openat, statat};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};
use wasmtime_wasi::runtime::spawn_blocking;

/// Entries that are read in one go: few enough to be nothing, many enough that a disk is not waited for at each.
const ENTRIES: usize = 64;

pub struct Listing {
    /// None at the end, and while somebody reads it.
    directory: Option<Dir>,
    read: VecDeque<Result<DirectoryEntry, ErrorCode>>,
}

impl Listing {
    pub async fn open(directory: Arc<File>) -> io::Result<Self> {
        let directory = spawn_blocking(move || {
            // Once more, to have a position of its own; an app's directory may also be one that cannot be read from.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Dir::new(openat(&*directory, ".", flags, Mode::empty())?)
        })
        .await?;
        Ok(Self {
            directory: Some(directory),
            read: VecDeque::new(),
        })
    }

    pub async fn next(&mut self) -> Result<Option<DirectoryEntry>, ErrorCode> {
        if self.read.is_empty()
            && let Some(directory) = self.directory.take()
        {
            (self.directory, self.read) = spawn_blocking(move || read(directory)).await;
        }
        self.read.pop_front().transpose()
    }
}

/// The next entries, and the directory again if there may be more.
fn read(mut directory: Dir) -> (Option<Dir>, VecDeque<Result<DirectoryEntry, ErrorCode>>) {
    let mut entries = VecDeque::new();
    while entries.len() < ENTRIES {
        match directory.read() {
            None => return (None, entries),
            Some(Err(error)) => {
                entries.push_back(Err(io::Error::from(error).into()));
                return (None, entries);
            }
            Some(Ok(entry)) => {
                let name = entry.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                let kind = match entry.file_type() {
                    // Not every file system says it here.
                    FileType::Unknown => kind(&directory, name),
                    known => known,
                };
                let name = name.to_str().map_err(|_| ErrorCode::IllegalByteSequence);
                entries.push_back(name.map(|name| DirectoryEntry {
                    type_: in_wasi(kind),
                    name: name.to_owned(),
                }));
            }
        }
    }
    (Some(directory), entries)
}

fn kind(directory: &Dir, name: &std::ffi::CStr) -> FileType {
    let stat = directory
        .fd()
        .and_then(|directory| statat(directory, name, AtFlags::SYMLINK_NOFOLLOW));
    stat.map_or(FileType::Unknown, |stat| {
        FileType::from_raw_mode(stat.st_mode as RawMode)
    })
}

fn in_wasi(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Unknown => DescriptorType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::ffi::OsStrExt;

    #[tokio::test]
    async fn every_entry_is_listed_once_and_few_are_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for number in 0..3 * ENTRIES {
            std::fs::write(path(&format!("file-{number}")), "").unwrap();
        }
        std::fs::create_dir(path("directory")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
        std::fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();

        let mut listing = Listing::open(Arc::new(File::open(directory.path()).unwrap()))
            .await
            .unwrap();
        let (mut found, mut illegal) = (BTreeMap::new(), 0);
        loop {
            match listing.next().await {
                Ok(None) => break,
                Ok(Some(entry)) => assert!(found.insert(entry.name, entry.type_).is_none()),
                Err(error) => illegal += usize::from(error == ErrorCode::IllegalByteSequence),
            }
            assert!(listing.read.len() < ENTRIES);
        }
        assert_eq!((found.len(), illegal), (3 * ENTRIES + 2, 1));
        assert_eq!(found.get("directory"), Some(&DescriptorType::Directory));
        assert_eq!(found.get("link"), Some(&DescriptorType::SymbolicLink));
        assert_eq!(found.get("file-7"), Some(&DescriptorType::RegularFile));
        assert!(listing.next().await.is_ok_and(|entry| entry.is_none()));
    }
}
