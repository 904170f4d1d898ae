//! What it tries with directories and files.

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags, filesystem_error_code};
use wasip2::io::streams::StreamError;

use crate::Outcome;

fn name(error: ErrorCode) -> String {
    error.name().into()
}

fn stream_name(error: StreamError) -> String {
    match &error {
        StreamError::LastOperationFailed(cause) => filesystem_error_code(cause).map_or_else(|| error.to_string(), name),
        StreamError::Closed => "closed".into(),
    }
}

/// The directory that a path is in, of those that it was given, and the rest of the path.
fn place(path: &str) -> Outcome<(Descriptor, String)> {
    let mut given = get_directories().into_iter();
    let place = given.find_map(|(directory, root)| {
        let rest = path.strip_prefix(root.trim_end_matches('/'))?.strip_prefix('/')?;
        Some((directory, rest.to_owned()))
    });
    place.ok_or_else(|| name(ErrorCode::NoEntry))
}

fn data() -> Outcome<Descriptor> {
    place("/data/").map(|(directory, _)| directory)
}

fn create(directory: &Descriptor, path: &str) -> Outcome<Descriptor> {
    let (how, rights) = (OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE);
    directory
        .open_at(PathFlags::SYMLINK_FOLLOW, path, how, rights)
        .map_err(name)
}

fn open(directory: &Descriptor, path: &str) -> Outcome<Descriptor> {
    let (how, rights) = (OpenFlags::empty(), DescriptorFlags::READ);
    directory
        .open_at(PathFlags::SYMLINK_FOLLOW, path, how, rights)
        .map_err(name)
}

pub fn read(path: &str) -> Outcome<String> {
    let (directory, path) = place(path)?;
    read_all(&open(&directory, &path)?)
}

fn read_all(file: &Descriptor) -> Outcome<String> {
    let mut all = Vec::new();
    loop {
        // More than there is, and than anybody could hand over.
        let (block, end) = file.read(u64::MAX, all.len() as u64).map_err(name)?;
        all.extend(block);
        if end {
            return Ok(String::from_utf8_lossy(&all).into_owned());
        }
    }
}

pub fn write(path: &str) -> Outcome<()> {
    let (directory, path) = place(path)?;
    let file = create(&directory, &path)?;
    let stream = file.write_via_stream(0).map_err(name)?;
    stream.blocking_write_and_flush(b"written").map_err(stream_name)
}

/// Makes a link in its directory to a path, and reads through it.
pub fn link(to: &str) -> Outcome<String> {
    let data = data()?;
    let _ = data.unlink_file_at("link");
    data.symlink_at(to, "link").map_err(name)?;
    read_all(&open(&data, "link")?)
}

/// Opens a file again and again, and closes none.
pub fn hold() -> Outcome<()> {
    let data = data()?;
    let mut held = Vec::new();
    loop {
        held.push(open(&data, "file")?);
    }
}

const BLOCK: usize = 4096;

/// Writes until there is no more room, in one of the ways that there are.
pub fn fill(how: &str) -> Outcome<()> {
    let directory = data()?;
    let file = create(&directory, "large")?;
    let block = [b'x'; BLOCK];
    match how {
        "at-once" => file.write(&vec![b'x'; 4 << 20], 0).map(drop).map_err(name),
        "length" => file.set_size(1 << 40).map_err(name),
        "stream" => {
            let stream = file.write_via_stream(0).map_err(name)?;
            loop {
                stream.blocking_write_and_flush(&block).map_err(stream_name)?;
            }
        }
        "append" => loop {
            // A stream for each block: what it has written is not forgotten with it.
            let stream = file.append_via_stream().map_err(name)?;
            stream
                .blocking_write_zeroes_and_flush(BLOCK as u64)
                .map_err(stream_name)?;
        },
        // A byte here and there, each of which takes a whole block.
        "holes" => (0..).try_for_each(|at| file.write(b"x", at << 20).map(drop).map_err(name)),
        _ => (0..).try_for_each(|at| file.write(&block, at * BLOCK as u64).map(drop).map_err(name)),
    }
}

/// Makes files, directories and links, one after the other.
pub fn make_without_end() -> Outcome<()> {
    let data = data()?;
    (0u64..).try_for_each(|number| {
        let path = format!("made-{number}");
        let made = match number % 4 {
            0 => create(&data, &path).map(drop),
            1 => data.create_directory_at(&path).map_err(name),
            2 => data.symlink_at("file", &path).map_err(name),
            _ => data.link_at(PathFlags::empty(), "file", &data, &path).map_err(name),
        };
        // Others may be at it too.
        made.or_else(|why| if why == "exist" { Ok(()) } else { Err(why) })
    })
}

pub fn list(path: &str) -> Outcome<Vec<String>> {
    let (directory, _) = place(&format!("{path}/"))?;
    let listing = directory.read_directory().map_err(name)?;
    let mut names = Vec::new();
    while let Some(entry) = listing.read_directory_entry().map_err(name)? {
        names.push(entry.name);
    }
    names.sort();
    Ok(names)
}

/// Begins to list a directory again and again, and ends none of it.
pub fn hold_listings() -> Outcome<()> {
    let data = data()?;
    let mut held = Vec::new();
    loop {
        let listing = data.read_directory().map_err(name)?;
        listing.read_directory_entry().map_err(name)?;
        held.push(listing);
    }
}
