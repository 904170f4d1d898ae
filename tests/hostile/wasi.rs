//! An app that tries what WASI has: it can do what it was given, and nothing else.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{FileType, Mode};

use super::{Attack, CPU, End};
use crate::harness::{Server, guest, write_files};

fn attack(path: &str, arguments: &[&str], end: End, log: &str) {
    let app = guest("hostile");
    Attack {
        app,
        path,
        arguments,
        end,
        log,
    }
    .prove();
}

#[test]
fn sleeps_on_a_clock() {
    attack(
        "/sleep/1000000",
        &["--timeout", "1"],
        End::Status(504),
        "hostile: POST /sleep/1000000: no sign of life within --timeout 1 s",
    );
}

#[test]
fn sleeps_for_longer_than_a_request_may_take() {
    attack(
        "/sleep/1000000",
        &["--limit-request-time", "1"],
        End::Status(504),
        "hostile: POST /sleep/1000000: it took longer than --limit-request-time 1 s",
    );
}

#[test]
fn has_nothing_that_it_was_not_given() {
    let denied = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = denied.local_addr().expect("an address").port();
    let server = Server::start(&[&guest("hostile"), "-w", "1"]);
    for (path, answer) in [
        ("/environment", "[] []".to_owned()),
        ("/input", "it could not: StreamError::Closed".to_owned()),
        ("/look/etc/passwd", "it could not: no-entry".to_owned()),
        ("/write/tmp/owned", "it could not: no-entry".to_owned()),
        (
            &format!("/connect/127.0.0.1:{port}"),
            "it could not: access-denied".to_owned(),
        ),
        ("/listen/127.0.0.1:0", "it could not: access-denied".to_owned()),
        (
            &format!("/send/127.0.0.1:{port}"),
            "it could not: access-denied".to_owned(),
        ),
    ] {
        assert_eq!(server.get(path).text(), answer, "{path}");
    }
    assert!(server.get("/resolve/localhost").text().starts_with("it could not: "));
    denied.set_nonblocking(true).expect("a socket");
    assert!(denied.accept().is_err(), "a connection arrived");
}

/// With a directory of its own, in which there are so many files.
fn attack_files(files: usize, path: &str, arguments: &[&str], end: End, log: &str) {
    let data = tempfile::tempdir().expect("a temporary directory");
    write_files(data.path(), &[("file", "text")]);
    for number in 1..files {
        std::fs::write(data.path().join(format!("file-{number}")), "").expect("a temporary directory can be written");
    }
    let grant = format!("{}::/data", data.path().display());
    attack(path, &[&["--dir", &grant], arguments].concat(), end, log);
}

#[test]
fn holds_files_without_end() {
    let log = "hostile: POST /files: exhausted a limit: --max-handles 256";
    attack_files(1, "/files", &[], End::Status(500), log);
}

#[test]
fn fills_its_directory() {
    for how in WAYS_TO_FILL {
        let log = format!("hostile: POST /fill/{how}: it has written --limit-request-writes 1.0 MiB to files");
        let limit = ["--limit-request-writes", "1M"];
        attack_files(1, &format!("/fill/{how}"), &limit, End::Status(200), &log);
    }
}

const WAYS_TO_FILL: [&str; 6] = ["at-once", "length", "stream", "append", "holes", "writes"];

#[test]
fn makes_files_without_end() {
    let log = "hostile: POST /make: it has made --limit-request-files 100 files";
    let limit = ["--limit-request-files", "100"];
    attack_files(1, "/make", &limit, End::Status(200), log);
}

#[test]
fn is_told_that_there_is_no_room_and_the_next_request_has_its_own() {
    let data = tempfile::tempdir().expect("a temporary directory");
    write_files(data.path(), &[("file", "text")]);
    let grant = format!("{}::/data", data.path().display());
    for kept in ["1", "0"] {
        let server = Server::start(&[
            &guest("hostile"),
            "-w",
            "1",
            "--dir",
            &grant,
            "--max-requests",
            kept,
            "--limit-request-writes",
            "1M",
            "--limit-request-files",
            "100",
        ]);
        let large = data.path().join("large");
        for how in WAYS_TO_FILL {
            assert_eq!(server.get(&format!("/fill/{how}")).text(), NO_ROOM, "{how}");
            let blocks = std::fs::metadata(&large)
                .map(|file| file.blocks())
                .expect("it is there");
            // With what the file system needs to find them.
            assert!(blocks * 512 <= (1 << 20) + (64 << 10), "{how}: {blocks} blocks");
            assert_eq!(server.get("/write/data/new").text(), "it could: ()", "after {how}");
        }
        assert_eq!(server.get("/make").text(), NO_ROOM);
        assert_eq!(server.get("/write/data/new").text(), "it could: ()");
    }
    let made = std::fs::read_dir(data.path()).expect("it is there").count();
    assert_eq!(made, 100 + ["file", "large", "new"].len());
}

const NO_ROOM: &str = "it could not: insufficient-space";

#[test]
fn lists_a_large_directory_without_end() {
    let log = "hostile: POST /lists: exhausted a limit: --max-handles 256";
    attack_files(20_000, "/lists", &[], End::Status(500), log);
}

#[test]
fn lists_all_of_a_directory() {
    attack_files(20_000, "/list", &[], End::Status(200), "");
    let data = tempfile::tempdir().expect("a temporary directory");
    for number in 0..1_000 {
        write_files(data.path(), &[(&format!("{number}"), "")]);
    }
    for mode in ["", ":ro"] {
        let grant = format!("{}::/data{mode}", data.path().display());
        let server = Server::start(&[&guest("hostile"), "-w", "1", "--dir", &grant]);
        assert_eq!(server.get("/list").text(), "it could: 1000");
    }
}

#[test]
fn opens_a_pipe_that_nobody_writes_to() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let pipe = data.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe is made");
    symlink("pipe", data.path().join("link")).expect("a temporary directory can be written");
    let grant = format!("{}::/data", data.path().display());
    attack("/look/data/pipe", &["--dir", &grant], End::Status(200), "");
    let server = Server::start(&[&guest("hostile"), "-w", "1", "--dir", &grant]);
    for path in [
        "/look/data/pipe",
        "/look/data/link",
        "/write/data/pipe",
        "/write/data/link",
    ] {
        assert_eq!(server.get(path).text(), "it could not: access", "{path}");
    }
}

#[test]
fn waits_for_one_clock_a_million_times() {
    let log = "hostile: POST /poll: exhausted a limit: --max-handles 256";
    attack("/poll", &[], End::Status(500), log);
}

#[test]
fn asks_without_end_whether_a_time_has_come() {
    let log = "hostile: POST /wait: exhausted a limit: --limit-request-cpu 0.05 s";
    attack("/wait", &CPU, End::Status(500), log);
}

#[test]
fn sleeps_for_longer_than_there_are_numbers() {
    let log = "hostile: POST /sleep/18446744073709551615: no sign of life within --timeout 0.5 s";
    let path = "/sleep/18446744073709551615";
    attack(path, &["--timeout", "0.5"], End::Status(504), log);
}

#[test]
fn asks_for_more_random_numbers_than_there_is_memory() {
    let log = "hostile: POST /random: trapped: requested len 18446744073709551615 exceeds limit";
    attack("/random", &[], End::Status(500), log);
}

#[test]
fn asks_for_random_numbers_without_end() {
    let log = "hostile: POST /random-without-end: exhausted a limit: --limit-request-cpu 0.05 s";
    attack("/random-without-end", &CPU, End::Status(500), log);
}

#[test]
fn writes_more_zeroes_than_there_is_memory() {
    let log = "hostile: POST /zeroes: trapped: cannot write more zeroes";
    attack("/zeroes", &[], End::Status(500), log);
}

#[test]
fn passes_on_more_than_there_is() {
    attack("/splice", &[], End::Status(200), "");
}

#[test]
fn exits() {
    let log = "hostile: POST /exit: trapped: Exited with i32 exit status 0";
    attack("/exit", &[], End::Status(500), log);
}

/// A directory with a secret beside it, and links that lead out of it.
fn beside_a_secret(root: &Path) -> std::path::PathBuf {
    write_files(
        root,
        &[("secret", "secret"), ("data/file", "text"), ("data/inner/file", "text")],
    );
    let data = root.join("data");
    for (to, link) in [
        ("../secret", "up"),
        ("inner/../../secret", "around"),
        ("..", "parent"),
        ("up", "twice"),
        ("/", "root"),
    ] {
        symlink(to, data.join(link)).expect("a temporary directory can be written");
    }
    symlink(root.join("secret"), data.join("absolute")).expect("a temporary directory can be written");
    data
}

#[test]
fn does_not_get_out_of_its_directory() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let data = beside_a_secret(root.path());
    for mode in ["", ":ro"] {
        let server = Server::start(&[
            &guest("hostile"),
            "-w",
            "1",
            "--dir",
            &format!("{}::/data{mode}", data.display()),
        ]);
        assert_eq!(server.get("/look/data/file").text(), "it could: \"text\"");
        assert_eq!(server.get("/look/data/inner/../file").text(), "it could: \"text\"");
        for path in [
            "../secret",
            "inner/../../secret",
            "inner/../../data/../secret",
            "up",
            "around",
            "twice",
            "parent/secret",
            "root/etc/passwd",
            "absolute",
        ] {
            let answer = server.get(&format!("/look/data/{path}")).text();
            assert!(answer.starts_with("it could not: "), "{path}{mode}: {answer}");
            let answer = server.get(&format!("/write/data/{path}")).text();
            assert!(answer.starts_with("it could not: "), "{path}{mode}: {answer}");
        }
        for to in ["/../secret", "/etc/passwd"] {
            let answer = server.get(&format!("/link{to}")).text();
            assert!(answer.starts_with("it could not: "), "{to}{mode}: {answer}");
        }
        let written = server.get("/write/data/new").text();
        if mode.is_empty() {
            assert_eq!(written, "it could: ()");
        } else {
            assert!(written.starts_with("it could not: "), "{written}");
        }
    }
    assert_eq!(
        std::fs::read_to_string(root.path().join("secret")).expect("it is there"),
        "secret"
    );
}

/// Somebody who swaps a directory for a link while it is walked through: it is one of the two, and never the way out.
#[test]
fn does_not_get_out_by_a_race() {
    let root = tempfile::tempdir().expect("a temporary directory");
    write_files(root.path(), &[("outside/file", "secret"), ("data/real/file", "text")]);
    let data = root.path().join("data");
    let server = Server::start(&[
        &guest("hostile"),
        "-w",
        "1",
        "--dir",
        &format!("{}::/data", data.display()),
    ]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::sync::atomic::Ordering;
            let (path, aside, link) = (data.join("real"), data.join("aside"), data.join("link"));
            symlink(root.path().join("outside"), &link).expect("a link");
            while !stop.load(Ordering::Relaxed) {
                let _ = std::fs::rename(&path, &aside);
                let _ = std::fs::rename(&link, &path);
                let _ = std::fs::rename(&path, &link);
                let _ = std::fs::rename(&aside, &path);
            }
        });
        let mut client = server.client();
        let mut read = 0;
        let answers: Vec<String> = std::iter::from_fn(|| {
            let answer = client.get("/look/data/real/file").text();
            read += usize::from(answer.starts_with("it could: "));
            (read < 200).then_some(answer)
        })
        .take(20_000)
        .collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for answer in answers {
            assert!(!answer.contains("secret"), "{answer}");
        }
        assert!(read > 0, "the directory was never there");
    });
}
