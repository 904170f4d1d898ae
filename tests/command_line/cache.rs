//! Compiled code is kept, and only code that this program has made is ever run.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{fails, says, text, write};
use crate::harness::{Server, guest, inodes};

fn serves(cache: &Path) {
    let server = Server::start(&[&guest("rust"), "--cache-dir", text(cache)]);
    assert_eq!(server.get("/hello/x").text(), "Hello, x!\n");
}

fn code(cache: &Path) -> PathBuf {
    let largest = inodes(cache).into_iter().max_by_key(|(_, (_, size))| *size);
    largest.expect("the cache holds something").0
}

#[test]
fn a_component_is_compiled_once() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("made/on/demand");
    serves(&cache);
    let before = inodes(&cache);
    assert!(!before.is_empty());
    serves(&cache);
    assert_eq!(inodes(&cache), before);
    // Its name and its place do not count.
    let copy = directory.path().join("copy.wasm");
    std::fs::copy(guest("rust"), &copy).unwrap();
    says(&["compile", text(&copy), "--cache-dir", text(&cache)]);
    assert_eq!(inodes(&cache), before);
}

#[test]
fn compile_fills_the_cache_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let compile = || says(&["compile", &guest("c"), "--cache-dir", text(directory.path())]);
    let (first, second) = (compile(), compile());
    assert_ne!(first, second);
    assert!(
        second.contains("compiled before") && !first.contains("compiled before"),
        "{first}{second}"
    );
    let before = inodes(directory.path());
    let _server = Server::start(&[&guest("c"), "--cache-dir", text(directory.path())]);
    assert_eq!(inodes(directory.path()), before);
}

#[test]
fn code_that_somebody_has_changed_is_not_run_but_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path();
    serves(cache);
    let code = code(cache);
    let good = std::fs::read(&code).unwrap();
    let mut tampered = good.clone();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    let half = &good[..middle];
    for wrong in [&tampered[..], half, b"", b"\x7fELF"] {
        std::fs::set_permissions(&code, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&code, wrong).unwrap();
        serves(cache);
        assert!(
            std::fs::read(&code).unwrap() != wrong,
            "{} bytes are still there",
            wrong.len()
        );
    }
}

#[test]
fn a_cache_that_others_may_write_to_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    for mode in [0o777, 0o770, 0o702] {
        std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(mode)).unwrap();
        fails(
            &["serve", &guest("rust"), "--cache-dir", text(&cache)],
            33,
            &[text(&cache)],
        );
    }
}

#[test]
fn a_cache_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "file", "text");
    fails(
        &["check", &guest("rust"), "--cache-dir", text(&file)],
        33,
        &[text(&file)],
    );
    fails(
        &["check", &guest("rust"), "--cache-dir", "/proc/cache"],
        33,
        &["/proc/cache"],
    );
}
