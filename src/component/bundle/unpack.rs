//! Reading: a section becomes files in the cache, and nothing outside of it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::{
    Bundle, Header, MAX_BYTES, MAX_ENTRIES, Mount, find_section, is_relative_name, malformed, parse, too_large,
};
use crate::fault::{Fault, Kind, Result};

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
    use std::collections::BTreeMap;
    use std::io::{Read, Seek};

    use super::super::pack::padded_leb128;
    use super::super::{MAX_ROOTS, Root, SECTION, VERSION, append};
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
