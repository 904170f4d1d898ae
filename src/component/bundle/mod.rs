//! The files that a component brings along, so that one app is one file to ship: a custom section at the end of the
//! component, unpacked into the cache and granted to the app read-only.
//!
//! The section's name is [`SECTION`]. Its content: the length of a JSON header (4 bytes, little-endian), the header
//! ([`Header`]), and a tar archive whose entries are regular files and directories named `INDEX/PATH`, INDEX being
//! the place in the header's list of roots. A component is not trusted: whatever else the section holds is refused.

mod pack;
mod unpack;

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind, Result};

pub use pack::{Root, append};

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

#[derive(Serialize, Deserialize)]
struct Header {
    /// The version of this format.
    version: u32,
    roots: Vec<String>,
    home: Option<String>,
}

const VERSION: u32 = 1;

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
