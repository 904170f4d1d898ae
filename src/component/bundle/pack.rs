//! Writing: files become a section at the end of a component.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Header, SECTION, VERSION};

/// What goes into a bundle under one guest name.
#[derive(Debug, Default)]
pub struct Root {
    pub guest: String,
    /// By the path below the root, `/` between its parts: where the content is. A directory stands for itself, not
    /// for what is in it.
    pub entries: BTreeMap<String, PathBuf>,
}

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

pub(super) fn padded_leb128(mut value: u32) -> [u8; 5] {
    let mut bytes = [0x80; 5];
    for byte in &mut bytes {
        *byte |= (value & 0x7f) as u8;
        value >>= 7;
    }
    bytes[4] &= 0x7f;
    bytes
}
