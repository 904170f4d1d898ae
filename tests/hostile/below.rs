//! What a worker has given up below the sandbox: who gets out of it finds little.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::harness::{Server, guest, run, wait_until, wat};

fn status(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .expect("a process has it");
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_worker_gains_no_rights_and_is_filtered() {
    let app = wat("hardened", "(func $call (call $body \"fine\"))");
    let server = Server::start(&[&app, "-w", "1"]);
    let pid = server.worker();
    assert_eq!(server.get("/").text(), "fine");
    if server.log().iter().any(|line| line.contains("--harden: ")) {
        // This kernel has not all of it; the log says so, and requests are served.
        return;
    }
    assert_eq!(status(pid, "NoNewPrivs:"), "1");
    assert_eq!(status(pid, "Seccomp:"), "2");
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there") {
        let status = std::fs::read_to_string(thread.expect("a thread").path().join("status")).expect("a thread");
        assert!(
            status.contains("\nSeccomp:\t2\n") && status.contains("\nNoNewPrivs:\t1\n"),
            "{status}"
        );
    }
    let server = Server::start(&[&app, "-w", "1", "--harden", "require"]);
    assert_eq!(server.get("/").text(), "fine");
    let server = Server::start(&[&app, "-w", "1", "--harden", "off"]);
    assert_eq!(server.get("/").text(), "fine");
    assert_eq!(status(server.worker(), "Seccomp:"), "0");
}

/// Starts something as if the kernel had not this system call: a filter answers in its place, for one thread and the
/// processes that it starts.
fn without<T: Send + 'static>(call: i64, start: impl FnOnce() -> T + Send + 'static) -> T {
    let apart = std::thread::spawn(move || {
        let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let arch = std::env::consts::ARCH
            .try_into()
            .expect("an architecture that is known");
        let filter = SeccompFilter::new([(call, Vec::new())].into(), SeccompAction::Allow, absent, arch);
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
        seccompiler::apply_filter(&program).map(|()| start())
    });
    apart.join().expect("nothing panics").expect("a filter can be applied")
}

#[test]
fn a_kernel_that_lacks_a_wall_is_named_and_is_enough_unless_told_otherwise() {
    for (call, wall) in [
        (libc::SYS_landlock_create_ruleset, "Landlock"),
        (libc::SYS_seccomp, "seccomp"),
    ] {
        let start = |harden: &'static str| {
            move || {
                Server::start(&[
                    &wat("unwalled", "(func $call (call $body \"fine\"))"),
                    "-w",
                    "1",
                    "--harden",
                    harden,
                ])
            }
        };
        let server = without(call, start("try"));
        let line = server.wait_for_log(&format!("--harden: {wall}: "));
        assert!(
            line.contains("[WARNING]") && line.ends_with("; going on without it"),
            "{line}"
        );
        assert_eq!(server.get("/").text(), "fine");
        let server = without(call, start("off"));
        assert_eq!(server.get("/").text(), "fine");
        assert!(!server.log().iter().any(|line| line.contains("--harden")));

        let mut server = without(call, start("require"));
        let line = server.wait_for_log(&format!("Worker failed to boot: {wall}: "));
        assert!(line.contains("[ERROR]"), "{line}");
        assert_eq!(server.wait().code(), Some(3));
    }
}

#[test]
fn a_hardened_worker_opens_its_logs_anew() {
    let logs = tempfile::tempdir().expect("a temporary directory");
    let access_log = logs.path().join("access.log");
    let server = Server::from_command(
        &[
            &wat("rotated", "(func $call (call $log \"said\"))"),
            "-w",
            "1",
            "--access-logfile",
            &access_log.display().to_string(),
        ],
        |command| command,
    );
    server.get("/before");
    wait_until("the first line", || {
        std::fs::read(&access_log).is_ok_and(|log| !log.is_empty())
    });
    std::fs::rename(&access_log, logs.path().join("access.log.1")).expect("a file can be renamed");
    server.signal(rustix::process::Signal::USR1);
    wait_until("a new file", || access_log.exists());
    wait_until("a line in the new file", || {
        server.get("/after");
        std::fs::read_to_string(&access_log).is_ok_and(|log| log.contains("GET /after"))
    });
}

/// Only root can become somebody else.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

const NOBODY: u32 = 65_534;

#[test]
fn workers_run_as_the_user_that_was_named() {
    if !is_root() {
        let output = run(&["serve", "--user", "nobody"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("only root can"));
        return;
    }
    // Not in the target directory, which others may not be able to come to.
    let place = tempfile::tempdir().expect("a temporary directory");
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let path = |name: &str| place.path().join(name).display().to_string();
    let (cache, log, socket) = (path("cache"), path("access.log"), path("socket"));
    let app = guest("rust");
    let server = Server::from_command(
        &[
            &app,
            "-w",
            "1",
            "--user",
            &NOBODY.to_string(),
            "--group",
            &NOBODY.to_string(),
            "--cache-dir",
            &cache,
            "--access-logfile",
            &log,
            "--bind",
            "127.0.0.1:0",
            "--bind",
            &format!("unix:{socket}"),
        ],
        |command| command,
    );
    let pid = server.worker();
    assert_eq!(server.get("/hello/x").text(), "Hello, x!\n");
    let all = format!("{NOBODY} {NOBODY} {NOBODY} {NOBODY}");
    assert_eq!(
        (status(pid, "Uid:"), status(pid, "Gid:"), status(pid, "Groups:")),
        (all.clone(), all, String::new())
    );
    assert_eq!(status(server.pid(), "Uid:"), "0 0 0 0");
    let owner = |path: &str| std::fs::metadata(path).map(|metadata| metadata.uid()).ok();
    assert_eq!(
        (owner(&cache), owner(&log), owner(&socket)),
        (Some(0), Some(NOBODY), Some(NOBODY))
    );
    std::fs::rename(&log, path("access.log.1")).expect("a file can be renamed");
    server.signal(rustix::process::Signal::USR1);
    wait_until("a new file that is theirs", || owner(&log) == Some(NOBODY));
    // The arbiter makes it, before the worker is told of it.
    wait_until("a line in the new file", || {
        server.get("/hello/again");
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("/hello/again"))
    });
}

#[test]
fn a_cache_that_the_user_cannot_come_to_is_found_out_at_the_start() {
    if !is_root() {
        return;
    }
    let closed = tempfile::tempdir().expect("a temporary directory");
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let cache = closed.path().join("cache").display().to_string();
    let output = run(&[
        "serve",
        &guest("rust"),
        "--bind",
        "127.0.0.1:0",
        "--user",
        "nobody",
        "--cache-dir",
        &cache,
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(33), "{said}");
    assert!(
        said.contains(&format!("{} is closed to it", closed.path().display())),
        "{said}"
    );
}
