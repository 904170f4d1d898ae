//! Directories, as a test sets them up and looks at them afterwards.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Every file below a directory, with its inode, which changes when the file is replaced, and its size.
pub fn inodes(directory: &Path) -> BTreeMap<PathBuf, (u64, u64)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory can be read") {
            let path = entry.expect("a directory can be read").path();
            let metadata = std::fs::symlink_metadata(&path).expect("a file stays there");
            if metadata.is_dir() {
                directories.push(path);
            } else {
                found.insert(path, (metadata.ino(), metadata.len()));
            }
        }
    }
    found
}

/// Writes files below a directory, and the directories that they are in.
pub fn write_files(directory: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = directory.join(name);
        let parent = path.parent().expect("a file is in a directory");
        std::fs::create_dir_all(parent).expect("a temporary directory can be written");
        std::fs::write(path, content).expect("a temporary directory can be written");
    }
}

/// Copies a directory and everything in it.
pub fn copy_directory(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("-R")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp is there");
    assert!(copied.success(), "{} cannot be copied", from.display());
}
