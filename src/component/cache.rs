//! Compiled code on disk: compiled once, by the arbiter, and mapped by every worker.
//!
//! Mapping a file of machine code is running it, so the directory belongs to this user alone, nobody else may write to
//! anything in it, and every file has its digest beside it: what is half-written, damaged or tampered with is noticed, said,
//! and compiled again.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::compile;
use super::limits::{CompileLimits, Limits};
use crate::fault::{Fault, Kind, Result};
use crate::log;

/// More than this is thrown away, what was not used for the longest time first.
const ENTRIES: usize = 200;
const BYTES: u64 = 4 << 30;

/// Unpacked bundles, beyond which those go that were not used for this long.
const BUNDLES: usize = 20;
const BUNDLE_AGE: Duration = Duration::from_secs(24 * 3600);

/// The signature of the Cache Directory Tagging Specification.
const CACHEDIR_TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# This is the cache of wsgi-host; all of it can be made again.\n";

const CODE: &str = "cwasm";
const DIGEST: &str = "sha256";

/// A directory for what can be made again.
pub struct Cache {
    directory: PathBuf,
    /// What may be compiled into it.
    pub limits: Limits,
    pub compile_limits: CompileLimits,
}

impl Cache {
    /// The directory that was named, or the user's own for caches.
    pub fn open(named: Option<&Path>, limits: Limits, compile_limits: CompileLimits) -> Result<Self> {
        let directory = named.map_or_else(default_directory, Path::to_owned);
        let explain = |error: io::Error| {
            Fault::new(
                Kind::Resource,
                format!(
                    "cannot use the cache directory {}: {error}; name another with --cache-dir",
                    directory.display()
                ),
            )
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(explain)?;
        let directory = directory.canonicalize().map_err(explain)?;
        let metadata = fs::metadata(&directory).map_err(explain)?;
        if let Some(why) = writable_by_others(&metadata) {
            return Err(Fault::new(
                Kind::Resource,
                format!(
                    "the cache directory {} {why}, who could put code of theirs into it; `chmod go-w` it if it is yours, or name another with --cache-dir",
                    directory.display()
                ),
            ));
        }
        // Who packs or saves a directory that this is in need not take it along.
        let tag = directory.join("CACHEDIR.TAG");
        if !tag.exists() {
            let _ = fs::write(tag, CACHEDIR_TAG);
        }
        Ok(Self {
            directory,
            limits,
            compile_limits,
        })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Names what is compiled: the component, wasmtime with its settings, and this program.
    pub fn key(&self, engine: &Engine, component: &[u8]) -> String {
        let mut hasher = Fingerprint(Sha256::new());
        std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
        hasher.0.update(env!("CARGO_PKG_VERSION"));
        hasher.0.update(compile::FORM);
        hasher.0.update(component);
        format!("code-{}", hex(hasher.0))
    }

    /// The code, if it is there and whole.
    pub fn find(&self, engine: &Engine, key: &str) -> Option<Found> {
        let path = self.path(key, CODE);
        let mut file = File::open(&path).ok()?;
        let checked = self
            .check(&mut file, key)
            .and_then(|()| map(engine, &path).map_err(|error| format!("cannot be mapped: {error:#}")));
        match checked {
            Ok(component) => {
                // The time of the last use.
                let _ = file.set_modified(SystemTime::now());
                Some(Found {
                    path,
                    component,
                    compile_time: self.compile_time(key),
                })
            }
            Err(why) => {
                log::warning(format_args!(
                    "{} {why}; it is not used, and compiled again",
                    path.display()
                ));
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    fn compile_time(&self, key: &str) -> Option<Duration> {
        let noted = fs::read_to_string(self.path(key, DIGEST)).ok()?;
        noted.split_whitespace().nth(1)?.parse().ok().map(Duration::from_millis)
    }

    fn check(&self, file: &mut File, key: &str) -> std::result::Result<(), String> {
        let unreadable = |error: io::Error| format!("cannot be read: {error}");
        let metadata = file.metadata().map_err(unreadable)?;
        if let Some(why) = writable_by_others(&metadata) {
            return Err(why);
        }
        let noted = fs::read_to_string(self.path(key, DIGEST)).map_err(|error| format!("has no digest: {error}"))?;
        let mut digest = Sha256::new();
        let mut block = vec![0; 1 << 18];
        loop {
            match file.read(&mut block).map_err(unreadable)? {
                0 => break,
                length => digest.update(&block[..length]),
            }
        }
        if noted.split_whitespace().next() == Some(&hex(digest)) {
            Ok(())
        } else {
            Err("is not what was written there".into())
        }
    }

    /// Keeps compiled code, all of it or nothing; another process that does the same does no harm.
    pub fn store(&self, engine: &Engine, key: &str, code: &[u8], compile_time: Duration) -> Result<Found> {
        let path = self.path(key, CODE);
        let note = format!("{} {}\n", hex(Sha256::new_with_prefix(code)), compile_time.as_millis());
        self.write(&self.path(key, DIGEST), note.as_bytes())
            .and_then(|()| self.write(&path, code))
            .map_err(|error| {
                Fault::new(
                    Kind::Resource,
                    format!(
                        "cannot write to the cache directory {}: {error}",
                        self.directory.display()
                    ),
                )
            })?;
        self.make_room(&path);
        let component = map(engine, &path)
            .map_err(|error| Fault::new(Kind::Internal, format!("compiled code cannot be mapped: {error:#}")))?;
        Ok(Found {
            path,
            component,
            compile_time: Some(compile_time),
        })
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        // Who may read it is for the directory to say: a cache that was filled by root may be used by others.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(content)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    /// Throws away what was not used for the longest time.
    fn make_room(&self, keep: &Path) {
        let mut code = self.entries(|path| path.extension().is_some_and(|ending| ending == CODE) && path != keep);
        let mut bytes: u64 = code.iter().map(|entry| entry.bytes).sum();
        let mut count = code.len();
        code.sort_by_key(|entry| entry.used);
        for entry in code {
            if count < ENTRIES && bytes < BYTES {
                break;
            }
            let _ = fs::remove_file(entry.path.with_extension(DIGEST));
            let _ = fs::remove_file(entry.path);
            bytes -= entry.bytes;
            count -= 1;
        }
        let mut bundles = self.entries(|path| path.is_dir());
        bundles.sort_by_key(|entry| entry.used);
        let many = bundles.len().saturating_sub(BUNDLES);
        for entry in bundles.into_iter().take(many) {
            // A server may be serving from it.
            if entry.used.elapsed().is_ok_and(|age| age > BUNDLE_AGE) {
                let _ = fs::remove_dir_all(entry.path);
            }
        }
    }

    fn entries(&self, wanted: impl Fn(&Path) -> bool) -> Vec<Entry> {
        let all = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        all.map(|entry| entry.path())
            .filter(|path| wanted(path))
            .filter_map(|path| {
                let metadata = fs::metadata(&path).ok()?;
                Some(Entry {
                    used: metadata.modified().ok()?,
                    bytes: metadata.len(),
                    path,
                })
            })
            .collect()
    }

    fn path(&self, key: &str, ending: &str) -> PathBuf {
        self.directory.join(key).with_extension(ending)
    }
}

struct Entry {
    used: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// Compiled code that was in the cache.
pub struct Found {
    pub path: PathBuf,
    pub component: Component,
    /// How long compiling took, then.
    pub compile_time: Option<Duration>,
}

/// Maps compiled code.
#[allow(unsafe_code)]
pub fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file has to be what `Component::serialize` made, and has to stay that. It is in a directory that only this
    // user, or root, can write to (`Cache::open`), was written whole or not at all (`Cache::store`), and its digest was checked by
    // the arbiter (`Cache::find`) before a worker is told of it. Files are replaced by renaming, never written to in place.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Why somebody else could change this; root could change anything.
fn writable_by_others(metadata: &fs::Metadata) -> Option<String> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        Some(format!("belongs to another user ({})", metadata.uid()))
    } else if metadata.mode() & 0o022 != 0 {
        Some("can be written to by others".to_owned())
    } else {
        None
    }
}

/// The user's directory for caches, or one in the directory for temporary files for users who have no home.
fn default_directory() -> PathBuf {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let caches = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let own = caches.map(|caches| caches.join("wsgi-host"));
    let usable = |directory: &PathBuf| DirBuilder::new().recursive(true).mode(0o700).create(directory).is_ok();
    own.filter(usable).unwrap_or_else(|| {
        let user = rustix::process::geteuid().as_raw();
        std::env::temp_dir().join(format!("wsgi-host-{user}"))
    })
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lets what only knows how to be hashed go into a digest.
struct Fingerprint(Sha256);

impl std::hash::Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine;

    fn setting() -> (tempfile::TempDir, Cache, Engine, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let cache = Cache::open(Some(directory.path()), Limits::default(), CompileLimits::default()).unwrap();
        let engine = engine::compiler().unwrap();
        let code = engine
            .precompile_component(b"(component (core module (func)))")
            .unwrap();
        (directory, cache, engine, code)
    }

    #[test]
    fn what_is_stored_is_found() {
        let (_directory, cache, engine, compiled) = setting();
        let key = cache.key(&engine, b"component");
        assert!(cache.find(&engine, &key).is_none());
        let path = cache.store(&engine, &key, &compiled, Duration::ZERO).unwrap().path;
        assert_eq!(cache.find(&engine, &key).unwrap().path, path);
        assert_ne!(key, cache.key(&engine, b"another"));
    }

    #[test]
    fn what_was_changed_is_not_used() {
        let (_directory, cache, engine, compiled) = setting();
        let key = cache.key(&engine, b"component");
        let path = cache.store(&engine, &key, &compiled, Duration::ZERO).unwrap().path;
        let code = fs::read(&path).unwrap();
        let mut flipped = code.clone();
        flipped[code.len() / 2] ^= 1;
        for (what, content) in [
            ("tampered", flipped),
            ("half", code[..code.len() / 2].to_vec()),
            ("empty", Vec::new()),
        ] {
            fs::write(&path, content).unwrap();
            assert!(cache.find(&engine, &key).is_none(), "{what}");
            assert!(!path.exists(), "{what}");
        }
        cache.store(&engine, &key, &compiled, Duration::ZERO).unwrap();
        fs::remove_file(cache.path(&key, DIGEST)).unwrap();
        assert!(cache.find(&engine, &key).is_none(), "no digest");
        cache.store(&engine, &key, &compiled, Duration::ZERO).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(cache.find(&engine, &key).is_none(), "writable");
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o707, 0o777] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            let fault = Cache::open(Some(directory.path()), Limits::default(), CompileLimits::default())
                .err()
                .unwrap();
            assert_eq!(fault.kind, Kind::Resource, "{mode:o}");
        }
    }

    #[test]
    fn what_was_not_used_for_long_makes_room() {
        let (directory, cache, engine, compiled) = setting();
        let start = SystemTime::UNIX_EPOCH;
        for age in 0..=ENTRIES as u64 {
            let path = directory.path().join(format!("code-{age}")).with_extension(CODE);
            let file = File::create(&path).unwrap();
            file.set_modified(start + std::time::Duration::from_secs(age)).unwrap();
        }
        let key = cache.key(&engine, b"component");
        let path = cache.store(&engine, &key, &compiled, Duration::ZERO).unwrap().path;
        assert!(path.exists());
        assert!(!directory.path().join("code-0.cwasm").exists());
        assert!(!directory.path().join("code-1.cwasm").exists());
        assert!(directory.path().join("code-2.cwasm").exists());
    }
}
