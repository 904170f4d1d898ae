//! The files of a project's own directory that belong into its component.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::component::bundle;
use crate::fault::{Fault, Kind, Result};

/// Directories that tools make for themselves.
const TOOLS_OWN: &[&str] = &[
    ".bzr",
    ".cache",
    ".direnv",
    ".eggs",
    ".git",
    ".hg",
    ".idea",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".nox",
    ".pytest_cache",
    ".ruff_cache",
    ".svn",
    ".tox",
    ".vscode",
    "__pycache__",
    "node_modules",
];

/// What marks a directory as made by a tool: a virtual environment, a cache.
const MARKS: &[&str] = &["pyvenv.cfg", "CACHEDIR.TAG"];

/// What a running app writes, and another one must not find in its package: databases, logs. And what a build makes.
const NOT_SHIPPED: &[&str] = &[
    "cwasm", "db", "db3", "log", "pid", "pyc", "pyo", "sock", "sqlite", "sqlite3", "swp", "wasm",
];
const DATABASE_COMPANIONS: &[&str] = &["-journal", "-shm", "-wal"];

/// What the name of a component starts with that is being written, perhaps to the project's own directory.
pub const UNFINISHED: &str = ".wsgi-host-";

/// By the path below the root, `/` between its parts.
pub type Listing = BTreeMap<String, Item>;

#[derive(Clone, Debug)]
pub struct Item {
    pub path: PathBuf,
    pub metadata: Metadata,
}

/// Everything below `root` that is packaged, links followed.
pub fn list(root: &Path) -> Result<Listing> {
    let mut walk = Walk {
        root,
        listing: Listing::new(),
        bytes: 0,
        ancestors: Vec::new(),
    };
    walk.directory(root, "")?;
    Ok(walk.listing)
}

/// Whether what is at `path` is none of the app's business.
pub fn is_left_out(path: &Path, is_directory: bool) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if is_directory {
        return TOOLS_OWN.contains(&&*name) || MARKS.iter().any(|mark| path.join(mark).is_file());
    }
    if name.starts_with(UNFINISHED) {
        return true;
    }
    let stem = DATABASE_COMPANIONS
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(&name);
    let ending = Path::new(stem)
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    NOT_SHIPPED.contains(&&*ending)
}

struct Walk<'a> {
    root: &'a Path,
    listing: Listing,
    bytes: u64,
    /// Device and inode of the directories that the walk is in, against links that lead back.
    ancestors: Vec<(u64, u64)>,
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path, name: &str) -> Result<()> {
        let fail = |error| Fault::new(Kind::BuildFailed, format!("cannot read {}: {error}", path.display()));
        let metadata = fs::metadata(path).map_err(fail)?;
        let identity = (metadata.dev(), metadata.ino());
        if self.ancestors.contains(&identity) {
            return Ok(());
        }
        self.ancestors.push(identity);
        for entry in fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            // WASI knows no other file names than Unicode.
            let Ok(part) = entry.file_name().into_string() else {
                continue;
            };
            // A link that leads nowhere is no file.
            let Ok(metadata) = fs::metadata(entry.path()) else {
                continue;
            };
            let is_directory = metadata.is_dir();
            if !(is_directory || metadata.is_file()) || part.contains('\\') || is_left_out(&entry.path(), is_directory)
            {
                continue;
            }
            let name = if name.is_empty() {
                part
            } else {
                format!("{name}/{part}")
            };
            self.add(
                name.clone(),
                Item {
                    path: entry.path(),
                    metadata,
                },
            )?;
            if is_directory {
                self.directory(&entry.path(), &name)?;
            }
        }
        self.ancestors.pop();
        Ok(())
    }

    fn add(&mut self, name: String, item: Item) -> Result<()> {
        if item.metadata.is_file() {
            self.bytes = self.bytes.saturating_add(item.metadata.len());
        }
        self.listing.insert(name, item);
        if self.bytes <= bundle::MAX_BYTES && self.listing.len() <= bundle::MAX_ENTRIES {
            return Ok(());
        }
        Err(Fault::new(
            Kind::BuildFailed,
            format!(
                "{} holds too much for one app (over {} MiB or {} files, {}): start in the project's own directory, or \
                 keep data elsewhere and grant it with --dir",
                self.root.display(),
                bundle::MAX_BYTES >> 20,
                bundle::MAX_ENTRIES,
                self.largest(),
            ),
        ))
    }

    /// What is directly below the root and holds most of what was seen.
    fn largest(&self) -> String {
        let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, item) in &self.listing {
            let top = name.split('/').next().unwrap_or_default();
            *sizes.entry(top).or_default() += item.metadata.len();
        }
        let largest = sizes.into_iter().max_by_key(|&(_, size)| size);
        largest.map_or_else(String::new, |(top, size)| format!("{} MiB of it in {top}", size >> 20))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_belongs_to_the_app_is_listed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (file, _) in [
            ("app.py", true),
            ("static/.well-known/x", true),
            (".env", true),
            ("data/words.txt", true),
            (".git/config", false),
            ("env/pyvenv.cfg", false),
            ("env/lib/x.py", false),
            ("target/CACHEDIR.TAG", false),
            ("node_modules/x/y.js", false),
            ("__pycache__/app.pyc", false),
            ("db.sqlite3", false),
            ("db.sqlite3-journal", false),
            ("app.wasm", false),
            ("app.log", false),
            (".wsgi-host-x7.new", false),
        ] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        fs::create_dir(root.join("empty")).unwrap();
        symlink(root, root.join("data/loop")).unwrap();
        symlink(root.join("app.py"), root.join("link.py")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        let listing = list(root).unwrap();
        let names: Vec<&str> = listing.keys().map(String::as_str).collect();
        let expected = [
            ".env",
            "app.py",
            "data",
            "data/loop",
            "data/words.txt",
            "empty",
            "link.py",
            "static",
            "static/.well-known",
            "static/.well-known/x",
        ];
        assert_eq!(names, expected);
    }
}
