//! Whether a component in the cache is still what a build would make.
//!
//! Of each app there is a list of what it was made from ([`Sources`]). A component's name in the cache is a digest of
//! the state in which all this was; where the state of today gives the same name, nothing has changed.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Build;
use super::contents::Contents;
use super::freeze::{ADAPTER, EXTENSIONS, WIT};
use super::layout::Layout;
use super::project;
use super::tools::Tools;
use crate::fault::{Fault, Kind, Result};

/// The part of the environment that decides where Python finds modules.
const DECISIVE: &[&str] = &[
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
    "PYTHONUSERBASE",
];

/// What an app was made from.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sources {
    /// Directories whose every file counts.
    own: Vec<PathBuf>,
    /// Files and directories that count by themselves: a directory changes when something is installed into it.
    single: Vec<PathBuf>,
    /// The state in which the own directories were before the build: what is saved during it counts as a change.
    #[serde(skip)]
    before: Vec<(PathBuf, String)>,
}

impl Sources {
    /// What is known before the build.
    pub fn of(build: &Build, tools: &Tools, layout: &Layout) -> Result<Self> {
        let own: Vec<PathBuf> = layout
            .roots
            .iter()
            .filter(|root| root.is_certain)
            .map(|root| root.host.clone())
            .collect();
        let mut single: Vec<PathBuf> = tools.programs().into_iter().map(Path::to_owned).collect();
        single.extend(
            layout
                .places
                .iter()
                .filter(|place| !place.is_whole)
                .map(|place| place.host.clone()),
        );
        single.extend(build.requirements.clone());
        let mut before = Vec::new();
        for directory in &own {
            before.push((directory.clone(), state_of_directory(directory)?));
        }
        Ok(Self { own, single, before })
    }

    /// What is known only after it.
    pub fn with(mut self, contents: &Contents) -> Self {
        self.own.clone_from(&contents.own);
        self.single.extend(contents.installed.iter().cloned());
        self
    }

    /// A digest of the state of today. None if something is gone.
    fn state(&self) -> Option<String> {
        let mut digest = Sha256::new();
        for directory in &self.own {
            let state = match self.before.iter().find(|(known, _)| known == directory) {
                Some((_, state)) => state.clone(),
                None => state_of_directory(directory).ok()?,
            };
            add(&mut digest, directory.as_os_str());
            add(&mut digest, &state);
        }
        for path in &self.single {
            add(&mut digest, path.as_os_str());
            add_metadata(&mut digest, &fs::metadata(path).ok()?);
        }
        Some(hex(digest))
    }
}

fn state_of_directory(directory: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    for (name, item) in project::list(directory)? {
        add(&mut digest, &name);
        // A directory changes with every file that is left out.
        if item.metadata.is_file() {
            add_metadata(&mut digest, &item.metadata);
        }
    }
    Ok(hex(digest))
}

/// An app's place in the cache.
pub struct Entry {
    directory: PathBuf,
    key: String,
}

impl Entry {
    pub fn of(build: &Build, tools: &Tools, cache: &Path) -> Result<Self> {
        let current = env::current_dir()
            .map_err(|error| Fault::new(Kind::BuildFailed, format!("the current directory: {error}")))?;
        let mut digest = Sha256::new();
        add(&mut digest, env!("CARGO_PKG_VERSION"));
        for (name, text) in ADAPTER.iter().chain(WIT) {
            add(&mut digest, name);
            add(&mut digest, text);
        }
        for (name, code) in EXTENSIONS {
            add(&mut digest, name);
            add(&mut digest, OsStr::from_bytes(code));
        }
        add(&mut digest, build.spec.role.name());
        add(&mut digest, &build.spec.to_string());
        add(&mut digest, current.as_os_str());
        for path in build.paths.iter().chain(&build.requirements) {
            add(&mut digest, path.as_os_str());
        }
        for target in &build.warm_up {
            add(&mut digest, "--warm-up");
            add(&mut digest, target);
        }
        for (name, value) in &build.env {
            add(&mut digest, name);
            add(&mut digest, value);
        }
        for name in DECISIVE {
            add(&mut digest, &env::var_os(name).unwrap_or_default());
        }
        for program in tools.programs() {
            add(&mut digest, program.as_os_str());
        }
        let mut key = hex(digest);
        key.truncate(32);
        Ok(Self {
            directory: cache.to_owned(),
            key,
        })
    }

    /// The component, if nothing has changed since it was built.
    pub fn current(&self) -> Option<PathBuf> {
        let sources: Sources = serde_json::from_slice(&fs::read(self.list()).ok()?).ok()?;
        let path = self.component(&sources.state()?);
        path.is_file().then_some(path)
    }

    /// Notes what a component was made from; returns where it belongs.
    pub fn publish(&self, sources: &Sources) -> io::Result<PathBuf> {
        let state = sources
            .state()
            .ok_or_else(|| io::Error::other("something that went in is gone meanwhile"))?;
        let mut file = tempfile::Builder::new()
            .prefix("python-")
            .suffix(".new")
            .tempfile_in(&self.directory)?;
        file.write_all(&serde_json::to_vec(sources)?)?;
        file.persist(self.list()).map_err(|error| error.error)?;
        Ok(self.component(&state))
    }

    /// Removes the component that was made before this one. A server that has it open is not disturbed.
    pub fn forget_all_but(&self, path: &Path) {
        let prefix = format!("python-{}-", self.key);
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) && entry.path() != path {
                // Another process may have been faster.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn list(&self) -> PathBuf {
        self.directory.join(format!("python-{}.json", self.key))
    }

    fn component(&self, state: &str) -> PathBuf {
        self.directory
            .join(format!("python-{}-{}.wasm", self.key, &state[..32]))
    }
}

/// Adds a text so that no two lists of texts give the same digest.
fn add(digest: &mut Sha256, text: &(impl AsRef<OsStr> + ?Sized)) {
    let bytes = text.as_ref().as_encoded_bytes();
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

fn add_metadata(digest: &mut Sha256, metadata: &Metadata) {
    for number in [
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.size() as i64,
        metadata.ino() as i64,
    ] {
        digest.update(number.to_le_bytes());
    }
}

fn hex(digest: Sha256) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest.finalize() {
        // Writing to a string cannot fail.
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(directory: &Path) -> Sources {
        Sources {
            own: vec![directory.join("own")],
            single: vec![directory.join("single")],
            before: Vec::new(),
        }
    }

    #[test]
    fn every_change_that_matters_gives_another_name() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("app.py"), "1").unwrap();
        fs::write(directory.path().join("single"), "1").unwrap();
        let state = || sources(directory.path()).state();
        let mut seen = vec![state().unwrap()];
        let mut changed = |what: &str| {
            let now = state().unwrap();
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        fs::write(own.join("app.py"), "12").unwrap();
        changed("a longer file");
        fs::write(own.join("new.html"), "").unwrap();
        changed("a new file");
        fs::rename(own.join("new.html"), own.join("old.html")).unwrap();
        changed("another name");
        fs::create_dir(own.join("instance")).unwrap();
        changed("a new directory");
        fs::write(directory.path().join("single"), "12").unwrap();
        changed("a package's file");
        let last = state();
        fs::write(own.join("instance/db.sqlite"), "rows").unwrap();
        fs::write(own.join("app.log"), "line").unwrap();
        assert_eq!(state(), last, "what a running app writes is no change");
        fs::remove_file(directory.path().join("single")).unwrap();
        assert_eq!(state(), None);
    }

    #[test]
    fn an_edit_during_the_build_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("app.py"), "1").unwrap();
        fs::write(directory.path().join("single"), "1").unwrap();
        let entry = Entry {
            directory: directory.path().to_owned(),
            key: "k".into(),
        };
        assert_eq!(entry.current(), None);
        let mut built = sources(directory.path());
        built.before = vec![(own.clone(), state_of_directory(&own).unwrap())];
        let path = entry.publish(&built).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(entry.current().as_ref(), Some(&path));
        fs::write(own.join("app.py"), "12").unwrap();
        assert_eq!(entry.current(), None);
        let again = entry.publish(&built).unwrap();
        assert_eq!(again, path);
        assert_eq!(entry.current(), None);
        entry.forget_all_but(&directory.path().join("other"));
        assert!(!path.exists());
    }
}
