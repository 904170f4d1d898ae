//! Every way to fail before the first request: one line that names what is wrong, and an exit status of its own.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use super::{fails, fails_as, run, says, text, without_capabilities, write};
use crate::harness::{command, guest, wat};

/// A file that is refused by every command that would use it.
fn refused(directory: &Path, name: &str, content: impl AsRef<[u8]>, status: i32, names: &[&str]) {
    let path = write(directory, name, content);
    let path = text(&path);
    let mut all = vec![path];
    all.extend(names);
    for command in ["serve", "check", "compile"] {
        fails(&[command, path], status, &all);
    }
    // 14 to 16 are components, of which there is something to tell all the same.
    if (14..17).contains(&status) {
        let page = says(&["inspect", path]);
        assert!(
            page.contains("would not be served") && all.iter().all(|name| page.contains(name)),
            "{page}"
        );
    } else {
        fails(&["inspect", path], status, &all);
    }
}

#[test]
fn there_is_no_such_file() {
    for command in ["serve", "check", "inspect", "compile"] {
        fails(&[command, "/nowhere/app.wasm"], 10, &["/nowhere/app.wasm"]);
    }
}

#[test]
fn a_directory_is_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let app = directory.path().join("app.wasm");
    std::fs::create_dir(&app).unwrap();
    for command in ["serve", "check", "inspect", "compile"] {
        fails(&[command, text(&app)], 11, &[text(&app)]);
    }
    fails(&["serve", text(directory.path())], 11, &[text(directory.path())]);
}

#[test]
fn a_file_that_may_not_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let app = write(directory.path(), "app.wasm", "");
    std::fs::set_permissions(&app, std::fs::Permissions::from_mode(0o0)).unwrap();
    let served = without_capabilities(&command(&["serve", text(&app)]), &["dac_override", "dac_read_search"]);
    fails_as(&served, 11, &[text(&app), "ermission"]);
}

#[test]
fn no_webassembly() {
    let directory = tempfile::tempdir().unwrap();
    let whole = std::fs::read(guest("rust")).unwrap();
    refused(directory.path(), "empty.wasm", "", 12, &[]);
    refused(directory.path(), "text.wasm", "print('hello')\n", 12, &[]);
    refused(directory.path(), "text.wat", "(component (import", 12, &[]);
    refused(directory.path(), "half.wasm", &whole[..whole.len() / 2], 12, &[]);
    refused(directory.path(), "head.wasm", &whole[..8], 14, &["nothing"]);
    let mut broken = whole.clone();
    let middle = broken.len() / 2;
    broken[middle..middle + 100].fill(0xff);
    refused(directory.path(), "broken.wasm", broken, 12, &[]);
}

#[test]
fn a_core_module() {
    let directory = tempfile::tempdir().unwrap();
    refused(directory.path(), "core.wasm", b"\0asm\x01\0\0\0", 13, &["component"]);
    refused(directory.path(), "core.wat", "(module)", 13, &["component"]);
}

/// A component that exports an interface of this name, without anything in it.
fn exporting(interface: &str) -> String {
    format!("(component (instance $i) (export \"{interface}\" (instance $i)))")
}

#[test]
fn a_component_of_another_world() {
    let directory = tempfile::tempdir().unwrap();
    let expected = "wsgi:gateway/application@0.1.0";
    refused(directory.path(), "nothing.wat", "(component)", 14, &[expected]);
    let other = "wasi:http/incoming-handler@0.2.0";
    refused(directory.path(), "http.wat", exporting(other), 14, &[expected, other]);
    // The right name, and something else behind it.
    refused(directory.path(), "empty.wat", exporting(expected), 14, &[expected]);
}

#[test]
fn another_version_of_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    for version in ["0.2.0", "0.0.9", "1.0.0", "0.1.1"] {
        let interface = format!("wsgi:gateway/application@{version}");
        refused(
            directory.path(),
            "app.wat",
            exporting(&interface),
            15,
            &[version, "0.1.0"],
        );
    }
}

#[test]
fn an_import_that_is_not_offered() {
    let directory = tempfile::tempdir().unwrap();
    let import = "acme:store/rows@1.2.3";
    let text = std::fs::read_to_string(wat("unknown-import", "(func $call)")).unwrap();
    let with_import = format!("(component (import \"{import}\" (instance (export \"get\" (func))))");
    let text = text.replacen("(component", &with_import, 1);
    refused(directory.path(), "app.wat", text, 16, &[import]);
}

#[test]
fn more_than_the_limits_allow() {
    fails(
        &["serve", &guest("rust"), "--max-memory", "64K"],
        17,
        &["rust", "--max-memory", "65536"],
    );
}

#[test]
fn an_address_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    fails(
        &["serve", &guest("rust"), "--bind", &address],
        30,
        &[&address, "in use"],
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let address = format!("unix:{}", path.display());
    fails(
        &["serve", &guest("rust"), "--bind", &address],
        30,
        &[&address, "in use"],
    );
    assert!(path.exists(), "another server's socket is left alone");
}

#[test]
fn what_is_wrong_with_an_app_is_told_before_an_address_in_use_and_that_before_compiling() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let core = write(directory.path(), "core.wasm", b"\0asm\x01\0\0\0");
    let other = write(
        directory.path(),
        "other.wat",
        exporting("wasi:http/incoming-handler@0.2.0"),
    );
    let (app, log) = (guest("rust"), guest("middleware/access-log"));
    for (arguments, status) in [
        (&["/nowhere/app.wasm"][..], 10),
        (&[text(directory.path())], 11),
        (&[text(&core)], 13),
        (&[text(&other)], 14),
        (&[&log], 18),
        (&["my-app"], 20),
        (&[&app, "--middleware", "/nowhere/log.wasm"], 10),
        (&[&app, "--middleware", &app], 18),
    ] {
        fails(&[&["serve", "--bind", &address], arguments].concat(), status, &[]);
    }
    let cache = directory.path().join("cache");
    let arguments = ["serve", &app, "--bind", &address, "--cache-dir", text(&cache)];
    fails(&arguments, 30, &[&address, "in use"]);
    assert!(!cache.exists(), "it has compiled first");
}

#[test]
fn an_address_that_is_not_allowed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    let address = format!("unix:{}/socket", directory.path().display());
    let served = command(&["serve", &guest("rust"), "--bind", &address]);
    fails_as(
        &without_capabilities(&served, &["dac_override", "dac_read_search"]),
        31,
        &[&address],
    );
    // Containers often allow every port to everybody.
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim().parse().unwrap_or(1024) > 1 {
        let served = command(&["serve", &guest("rust"), "--bind", "127.0.0.1:1"]);
        let limited = without_capabilities(&served, &["net_bind_service"]);
        fails_as(&limited, 31, &["127.0.0.1:1", "CAP_NET_BIND_SERVICE"]);
    }
}

#[test]
fn an_address_that_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "file", "text");
    let (file, missing) = (format!("unix:{}", file.display()), "unix:/nowhere/socket");
    for address in [
        "nonsense",
        "127.0.0.1",
        "127.0.0.1:http",
        "127.0.0.1:65536",
        "[::1:8000",
        "::1:8000",
        // For documentation (RFC 5737), so not of this machine.
        "192.0.2.1:8000",
        "no.such.host.invalid:8000",
        "unix:",
        &file,
        missing,
    ] {
        fails(&["serve", &guest("rust"), "--bind", address], 32, &[address]);
    }
}

#[test]
fn grants_that_cannot_be_had() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "file", "text");
    let app = guest("rust");
    fails(
        &["serve", &app, "--dir", "/nowhere::/data"],
        33,
        &["--dir /nowhere::/data"],
    );
    fails(&["serve", &app, "--dir", text(&file)], 33, &["--dir", text(&file)]);
    let twice = format!("{}::/data", directory.path().display());
    fails(
        &["serve", &app, "--dir", &twice, "--dir", &twice],
        2,
        &["--dir", "/data"],
    );
}

#[test]
fn files_that_cannot_be_written() {
    let app = guest("rust");
    for flag in ["--access-logfile", "--error-logfile", "--pid"] {
        let output = run(&command(&[
            "serve",
            &app,
            "--bind",
            "127.0.0.1:0",
            flag,
            "/nowhere/file",
        ]));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(33), "{error}");
        let last = error.lines().last().unwrap();
        assert!(
            last.starts_with("wsgi-host: ") && last.contains(flag) && last.contains("/nowhere/file"),
            "{error}"
        );
    }
}

#[test]
fn threads_are_refused_with_a_reason() {
    fails(
        &["serve", &guest("rust"), "--threads", "2"],
        2,
        &["--threads", "one thread", "--workers"],
    );
}

#[test]
fn flags_that_are_none() {
    let app = guest("rust");
    for arguments in [
        &["--frobnicate"][..],
        &["--workers", "0"],
        &["--workers", "many"],
        &["--workers", "100000"],
        &["--timeout=-1"],
        &["--graceful-timeout", "soon"],
        &["--max-requests", "1.5"],
        &["--env", "=value"],
        &["--env", "SURELY_NOT_SET_ANYWHERE"],
        &["--max-memory", "much"],
        &["--log-level", "loud"],
        &["--forwarded-allow-ips", "localhost"],
        &["--bind"],
        &["another", "app"],
    ] {
        let flag = arguments[0].split('=').next().unwrap();
        fails(&[&["serve", &app], arguments].concat(), 2, &[flag]);
    }
    fails(&["frobnicate"], 2, &["frobnicate"]);
}

#[test]
fn a_python_app_without_the_tools() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        "app.py",
        "def application(environ, start_response): pass\n",
    );
    for arguments in [&["serve", "app"][..], &["build", "app:application"]] {
        let mut command = command(arguments);
        command.current_dir(directory.path()).env("PATH", directory.path());
        // `timeout` is found on this process's own PATH, before the other one counts.
        let mut direct = Command::new("/usr/bin/env");
        direct
            .arg("-C")
            .arg(directory.path())
            .arg(format!("PATH={}", directory.path().display()));
        direct.arg(command.get_program()).args(command.get_args());
        fails_as(&direct, 22, &["Python"]);
    }
}

#[test]
fn a_name_that_is_no_python_app() {
    fails(&["serve", "my-app"], 20, &["my-app"]);
    fails(&["build", "app.py:main"], 20, &["app:main"]);
    fails(&["build", "app.wasm"], 2, &["app.wasm"]);
}
