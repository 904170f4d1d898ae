//! The files that a component brings along, so that one app is one file to ship: a custom section at the end of the
//! component, unpacked into the cache and granted to the app read-only.
//!
//! The section's name is [`SECTION`]. Its content: the length of a JSON header (4 bytes, little-endian), the header
//! ([`Header`]), and a tar archive whose entries are regular files and directories named `INDEX/PATH`, INDEX being
//! the place in the header's list of roots. A component is not trusted: whatever else the section holds is refused.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fault::{Fault, Kind, Result};

/// The custom section's name.
pub const SECTION: &str = "wsgi-host:bundle";

/// How many files and directories a bundle may have.
pub const MAX_ENTRIES: usize = 200_000;
/// How much a bundle may hold, in bytes.
pub const MAX_BYTES: u64 = 1 << 30;
/// How many directories of the app's file system a bundle may fill. Each is opened for every fresh instance.
const MAX_ROOTS: usize = 64;
/// How long a name in a bundle may be, in bytes.
const MAX_NAME: usize = 4096;
/// How long the header may be, in bytes.
const MAX_HEADER: usize = 1 << 20;

/// A directory of the cache that the app sees, read-only, under a name of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub guest: String,
    pub host: PathBuf,
}

/// What a component brought along; nothing, for most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    pub mounts: Vec<Mount>,
    /// The app's own directory, as the app sees it: what relative paths start from.
    pub home: Option<String>,
}

/// What goes into a bundle under one guest name.
#[derive(Debug, Default)]
pub struct Root {
    pub guest: String,
    /// By the path below the root, `/` between its parts: where the content is. A directory stands for itself, not
    /// for what is in it.
    pub entries: BTreeMap<String, PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    /// The version of this format.
    version: u32,
    roots: Vec<String>,
    home: Option<String>,
}

const VERSION: u32 = 1;

/// Appends the roots to the component in `file`, whose cursor may be anywhere.
pub fn append(file: &mut File, roots: &[Root], home: Option<&str>) -> io::Result<()> {
    let header = serde_json::to_vec(&Header {
        version: VERSION,
        roots: roots.iter().map(|root| root.guest.clone()).collect(),
        home: home.map(str::to_owned),
    })?;
    let header_length = u32::try_from(header.len()).map_err(io::Error::other)?;
    file.seek(SeekFrom::End(0))?;
    // Sizes stand before what they count, so room is left for the largest: a LEB128 number may be padded.
    file.write_all(&[0])?;
    let size_at = file.stream_position()?;
    file.write_all(&padded_leb128(0))?;
    file.write_all(&padded_leb128(SECTION.len() as u32))?;
    file.write_all(SECTION.as_bytes())?;
    file.write_all(&header_length.to_le_bytes())?;
    file.write_all(&header)?;
    let mut archive = tar::Builder::new(io::BufWriter::with_capacity(1 << 18, &mut *file));
    for (index, root) in roots.iter().enumerate() {
        for (name, path) in &root.entries {
            append_entry(&mut archive, &format!("{index}/{name}"), path)?;
        }
    }
    archive.into_inner()?.flush()?;
    let end = file.stream_position()?;
    let size = u32::try_from(end - size_at - 5).map_err(|_| io::Error::other("more than 4 GiB of files"))?;
    file.seek(SeekFrom::Start(size_at))?;
    file.write_all(&padded_leb128(size))?;
    file.seek(SeekFrom::Start(end))?;
    Ok(())
}

fn append_entry(archive: &mut tar::Builder<impl Write>, name: &str, path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let modified = metadata
        .modified()?
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut header = tar::Header::new_gnu();
    header.set_mtime(modified.as_secs());
    if metadata.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        return archive.append_data(&mut header, name, io::empty());
    }
    // A file that grows or shrinks meanwhile (a log) must not break the archive's framing.
    let size = metadata.len();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    let padding = io::repeat(0);
    archive.append_data(
        &mut header,
        name,
        File::open(path)?.take(size).chain(padding).take(size),
    )
}

fn padded_leb128(mut value: u32) -> [u8; 5] {
    let mut bytes = [0x80; 5];
    for byte in &mut bytes {
        *byte |= (value & 0x7f) as u8;
        value >>= 7;
    }
    bytes[4] &= 0x7f;
    bytes
}

impl Bundle {
    /// Unpacks what the component brought along into `cache`, unless it is there already. `component` need not be
    /// valid: what has no section has no bundle.
    pub fn unpack(component: &[u8], cache: &Path) -> Result<Self> {
        let Some(section) = find_section(component) else {
            return Ok(Self::default());
        };
        let (header, archive) = parse(section)?;
        let digest: String = Sha256::digest(section)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let directory = cache.join(format!("files-{digest}"));
        if !is_complete(archive, &header, &directory)? {
            unpack_to(archive, &header, cache, &directory)?;
        }
        // The time of the last use, for the cache to know what may go.
        let _ = File::open(&directory).and_then(|directory| directory.set_modified(SystemTime::now()));
        let mounts = header.roots.iter().enumerate().map(|(index, guest)| Mount {
            guest: guest.clone(),
            host: directory.join(index.to_string()),
        });
        Ok(Self {
            mounts: mounts.collect(),
            home: header.home,
        })
    }
}

/// A component without its bundle, and the bundle's section as it can be appended to another component.
pub fn split(mut component: Vec<u8>) -> (Vec<u8>, Option<Vec<u8>>) {
    let Some((place, _)) = locate(&component) else {
        return (component, None);
    };
    let section = component.drain(place).collect();
    (component, Some(section))
}

/// The content of the bundle's section, if there is one at the top level.
fn find_section(component: &[u8]) -> Option<&[u8]> {
    locate(component).map(|(_, content)| content)
}

/// Where the bundle's section is, and its content.
fn locate(component: &[u8]) -> Option<(Range<usize>, &[u8])> {
    // Magic number and version, then sections: an id, a size, and that many bytes.
    let mut rest = component.get(8..)?;
    if component.get(..4)? != b"\0asm" {
        return None;
    }
    while let Some((&id, after)) = rest.split_first() {
        let start = component.len() - rest.len();
        let (size, after) = leb128(after)?;
        let content = after.get(..size)?;
        rest = after.get(size..)?;
        if id != 0 {
            continue;
        }
        if let Some((length, named)) = leb128(content)
            && named.get(..length) == Some(SECTION.as_bytes())
        {
            return Some((start..component.len() - rest.len(), named.get(length..)?));
        }
    }
    None
}

fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (place, &byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[place + 1..]));
        }
    }
    None
}

fn malformed(what: impl std::fmt::Display) -> Fault {
    Fault::new(
        Kind::Malformed,
        format!("the files that the app brings along are not what wsgi-host build writes: {what}; build it again"),
    )
}

fn parse(section: &[u8]) -> Result<(Header, &[u8])> {
    let cut = || malformed("the header is cut short");
    let (length, rest) = section.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_HEADER {
        return Err(malformed("the header is too long"));
    }
    let (header, archive) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header: Header = serde_json::from_slice(header).map_err(malformed)?;
    if header.version != VERSION {
        return Err(Fault::new(
            Kind::OtherVersion,
            format!(
                "the app brings its files along in format {}; this wsgi-host reads format {VERSION}: build the app again",
                header.version
            ),
        ));
    }
    if header.roots.len() > MAX_ROOTS {
        return Err(too_large(format_args!(
            "{} directories, at most {MAX_ROOTS}",
            header.roots.len()
        )));
    }
    for (place, guest) in header.roots.iter().enumerate() {
        if !is_guest_name(guest) || header.roots[..place].contains(guest) {
            return Err(malformed(format_args!("{guest:?} cannot be the name of a directory")));
        }
    }
    if let Some(home) = header.home.as_deref().filter(|home| !is_guest_name(home)) {
        return Err(malformed(format_args!("{home:?} cannot be the name of a directory")));
    }
    Ok((header, archive))
}

/// An absolute path in its shortest form, and not the root itself.
fn is_guest_name(name: &str) -> bool {
    name.strip_prefix('/').is_some_and(is_relative_name)
}

/// A path that leads down, in its shortest form.
fn is_relative_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && !name.contains(['\0', '\\'])
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

fn too_large(what: impl std::fmt::Display) -> Fault {
    Fault::new(
        Kind::TooLarge,
        format!("the files that the app brings along are too many: {what}"),
    )
}

/// One entry of the archive, checked.
struct Entry<'a> {
    /// `INDEX/PATH`, without a slash at the end.
    name: String,
    /// None for a directory.
    content: Option<&'a [u8]>,
    modified: SystemTime,
}

/// Calls `each` with the entries, until it says that this is enough.
fn entries<'a>(archive: &'a [u8], header: &Header, mut each: impl FnMut(Entry<'a>) -> Result<bool>) -> Result<()> {
    let mut total = 0u64;
    let mut reader = tar::Archive::new(archive);
    for (count, entry) in reader.entries().map_err(malformed)?.enumerate() {
        let entry = entry.map_err(malformed)?;
        if count >= MAX_ENTRIES {
            return Err(too_large(format_args!("more than {MAX_ENTRIES} files")));
        }
        total = total.saturating_add(entry.size());
        if total > MAX_BYTES {
            return Err(too_large(format_args!("more than {} MiB", MAX_BYTES >> 20)));
        }
        let path = entry.path_bytes();
        let name = std::str::from_utf8(&path).map_err(malformed)?;
        let name = name.strip_suffix('/').unwrap_or(name).to_owned();
        let root = name.split('/').next().and_then(|index| index.parse::<usize>().ok());
        if !is_relative_name(&name) || root.is_none_or(|index| index >= header.roots.len()) {
            return Err(malformed(format_args!("{name:?} is no name for a file")));
        }
        let content = match entry.header().entry_type() {
            tar::EntryType::Directory => None,
            tar::EntryType::Regular => {
                let start = usize::try_from(entry.raw_file_position()).map_err(malformed)?;
                let size = usize::try_from(entry.size()).map_err(malformed)?;
                let content = archive.get(start..).and_then(|rest| rest.get(..size));
                Some(content.ok_or_else(|| malformed("the archive is cut short"))?)
            }
            _ => return Err(malformed(format_args!("{name:?} is neither a file nor a directory"))),
        };
        let modified = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(entry.header().mtime().unwrap_or(0)))
            .unwrap_or(SystemTime::UNIX_EPOCH);
        if !each(Entry {
            name,
            content,
            modified,
        })? {
            break;
        }
    }
    Ok(())
}

/// Whether an earlier run unpacked all of it, and nobody took a file away since.
fn is_complete(archive: &[u8], header: &Header, directory: &Path) -> Result<bool> {
    if !directory.is_dir() {
        return Ok(false);
    }
    let mut complete = true;
    entries(archive, header, |entry| {
        complete = match fs::symlink_metadata(directory.join(&entry.name)) {
            Ok(found) => match entry.content {
                Some(content) => found.is_file() && found.len() == content.len() as u64,
                None => found.is_dir(),
            },
            Err(_) => false,
        };
        Ok(complete)
    })?;
    Ok(complete && (0..header.roots.len()).all(|index| directory.join(index.to_string()).is_dir()))
}

/// Unpacks beside the place where it belongs and moves it there, so that nobody ever sees half of it.
fn unpack_to(archive: &[u8], header: &Header, cache: &Path, directory: &Path) -> Result<()> {
    let explain = |path: &Path, error: io::Error| {
        Fault::new(
            Kind::Resource,
            format!(
                "cannot unpack the app's files to {}: {error}; see --cache-dir",
                path.display()
            ),
        )
    };
    let building = tempfile::Builder::new()
        .prefix("files-")
        .suffix(".new")
        .tempdir_in(cache)
        .map_err(|error| explain(cache, error))?;
    for index in 0..header.roots.len() {
        make_directory(&building.path().join(index.to_string())).map_err(|error| explain(directory, error))?;
    }
    entries(archive, header, |entry| {
        let path = building.path().join(&entry.name);
        write_entry(&path, &entry).map_err(|error| match error.kind() {
            // The names contradict each other: that is the archive's fault, not the disk's.
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                malformed(format_args!("{:?} is there twice", entry.name))
            }
            _ => explain(&path, error),
        })?;
        Ok(true)
    })?;
    if fs::rename(building.path(), directory).is_ok() {
        return Ok(());
    }
    // Somebody else was faster, or what is there is incomplete and has to make room.
    if is_complete(archive, header, directory)? {
        return Ok(());
    }
    let old = tempfile::Builder::new()
        .prefix("files-")
        .suffix(".old")
        .tempdir_in(cache)
        .map_err(|error| explain(cache, error))?;
    fs::rename(directory, old.path().join("files"))
        .and_then(|()| fs::rename(building.path(), directory))
        .map_err(|error| explain(directory, error))
}

fn write_entry(path: &Path, entry: &Entry) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    let Some(content) = entry.content else {
        return make_directory(path);
    };
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    file.set_modified(entry.modified)
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest component there is.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn component(roots: &[Root], home: Option<&str>) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(EMPTY).unwrap();
        append(&mut file, roots, home).unwrap();
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn hostile(roots: &[&str], build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let header = serde_json::to_vec(&Header {
            version: VERSION,
            roots: roots.iter().map(|&root| root.to_owned()).collect(),
            home: None,
        })
        .unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        build(&mut archive);
        let mut content = padded_leb128(SECTION.len() as u32).to_vec();
        content.extend(SECTION.as_bytes());
        content.extend((header.len() as u32).to_le_bytes());
        content.extend(header);
        content.extend(archive.into_inner().unwrap());
        let mut bytes = EMPTY.to_vec();
        bytes.push(0);
        bytes.extend(padded_leb128(content.len() as u32));
        bytes.extend(content);
        bytes
    }

    /// An entry whose name the tar crate itself would refuse to write.
    fn raw(archive: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, link: &str, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o777);
        header.set_mtime(0);
        header.set_cksum();
        archive.append(&header, data).unwrap();
    }

    #[test]
    fn what_goes_in_comes_out() {
        let source = tempfile::tempdir().unwrap();
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(130));
        fs::create_dir_all(source.path().join(&long).parent().unwrap()).unwrap();
        fs::create_dir(source.path().join("empty")).unwrap();
        fs::write(source.path().join("a.py"), "print()").unwrap();
        fs::write(source.path().join(&long), "long").unwrap();
        let entry = |name: &str| (name.to_owned(), source.path().join(name));
        let roots = [
            Root {
                guest: "/0".into(),
                entries: [entry("a.py"), entry("empty"), entry(&long)].into(),
            },
            Root {
                guest: "/usr/share/zoneinfo".into(),
                entries: BTreeMap::new(),
            },
        ];
        let bytes = component(&roots, Some("/0"));
        let cache = tempfile::tempdir().unwrap();
        let bundle = Bundle::unpack(&bytes, cache.path()).unwrap();
        assert_eq!(bundle.home.as_deref(), Some("/0"));
        let guests: Vec<_> = bundle.mounts.iter().map(|mount| mount.guest.as_str()).collect();
        assert_eq!(guests, ["/0", "/usr/share/zoneinfo"]);
        let home = &bundle.mounts[0].host;
        assert_eq!(fs::read(home.join("a.py")).unwrap(), b"print()");
        assert_eq!(fs::read(home.join(&long)).unwrap(), b"long");
        assert!(home.join("empty").is_dir());
        assert!(bundle.mounts[1].host.is_dir());
        let modified = |path: &Path| {
            let time = fs::metadata(path).unwrap().modified().unwrap();
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
        };
        assert_eq!(modified(&home.join("a.py")), modified(&source.path().join("a.py")));

        // A second time it is there already; a file that was taken away comes back.
        assert_eq!(Bundle::unpack(&bytes, cache.path()).unwrap(), bundle);
        fs::remove_file(home.join("a.py")).unwrap();
        assert_eq!(Bundle::unpack(&bytes, cache.path()).unwrap(), bundle);
        assert_eq!(fs::read(home.join("a.py")).unwrap(), b"print()");
        let left: Vec<_> = fs::read_dir(cache.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn most_components_bring_nothing() {
        let cache = tempfile::tempdir().unwrap();
        for bytes in [
            EMPTY,
            b"",
            b"\0asm",
            b"\0asm\x0d\0\x01\0\x00\xff\xff\xff\xff\x7f",
            b"(component)",
        ] {
            assert_eq!(Bundle::unpack(bytes, cache.path()).unwrap(), Bundle::default());
        }
    }

    #[test]
    fn nothing_is_written_outside_the_cache() {
        use tar::EntryType as Type;
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().to_str().unwrap();
        let cache = outside.path().join("cache");
        fs::create_dir(&cache).unwrap();
        let refused = |build: &dyn Fn(&mut tar::Builder<Vec<u8>>)| {
            let fault = Bundle::unpack(&hostile(&["/0"], build), &cache).unwrap_err();
            assert_eq!(fault.kind, Kind::Malformed, "{fault}");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
            assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
        };
        for name in [
            "../x",
            "/x",
            "0/../../x",
            "0//x",
            "0/./x",
            "1/x",
            "x",
            "0\\..\\x",
            "-1/x",
        ] {
            refused(&|archive| raw(archive, name, Type::Regular, "", b"x"));
            refused(&|archive| raw(archive, name, Type::Directory, "", b""));
        }
        for kind in [Type::Symlink, Type::Link, Type::Fifo, Type::Char, Type::Block] {
            refused(&|archive| raw(archive, "0/x", kind, target, b""));
        }
        refused(&|archive| {
            raw(archive, "0/x", Type::Regular, "", b"x");
            raw(archive, "0/x", Type::Regular, "", b"y");
        });
        refused(&|archive| {
            raw(archive, "0/x", Type::Regular, "", b"x");
            raw(archive, "0/x/y", Type::Regular, "", b"y");
        });
    }

    #[test]
    fn names_of_directories_are_checked() {
        let cache = tempfile::tempdir().unwrap();
        for roots in [
            &["0"][..],
            &["/"],
            &[""],
            &["/a/../b"],
            &["/a//b"],
            &["/0", "/0"],
            &["/a\0"],
        ] {
            let fault = Bundle::unpack(&hostile(roots, |_| {}), cache.path()).unwrap_err();
            assert_eq!(fault.kind, Kind::Malformed, "{roots:?}");
        }
        let many: Vec<String> = (0..=MAX_ROOTS).map(|index| format!("/{index}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let fault = Bundle::unpack(&hostile(&many, |_| {}), cache.path()).unwrap_err();
        assert_eq!(fault.kind, Kind::TooLarge);
    }

    #[test]
    fn a_section_may_be_cut_anywhere() {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("a"), vec![7; 3000]).unwrap();
        let root = Root {
            guest: "/0".into(),
            entries: [("a".to_owned(), source.path().join("a"))].into(),
        };
        let bytes = component(&[root], None);
        let content = find_section(&bytes).unwrap();
        let cache = tempfile::tempdir().unwrap();
        for length in (0..content.len()).step_by(97) {
            let mut cut = EMPTY.to_vec();
            let named = [
                &padded_leb128(SECTION.len() as u32),
                SECTION.as_bytes(),
                &content[..length],
            ]
            .concat();
            cut.push(0);
            cut.extend(padded_leb128(named.len() as u32));
            cut.extend(named);
            // The end of an archive is only padding, so some cuts do no harm; none may panic.
            let _ = Bundle::unpack(&cut, cache.path());
        }
    }
}
