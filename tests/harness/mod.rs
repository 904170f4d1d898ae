//! Starts the program, talks to it, reads its log, and leaves nothing running.

mod certificates;
mod client;
mod curl;
mod files;
pub mod frames;
mod guests;
mod waiting;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use certificates::{Certificate, Secure};
pub use client::{Client, Response};
pub use curl::{curl, curled};
pub use files::{copy_directory, inodes, write_files};
pub use guests::{guest, hostile, wat, wat_middleware};
pub use waiting::{alive, wait_for_line, wait_until};

/// How long anything may take on a machine that is busy with other things. No test passes by waiting this long.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Seconds that a connection without a request is kept, where a test does not say otherwise: longer than anything may take.
const KEEP_ALIVE: &str = "1200";
/// What is shown of the log of a test that has failed.
const LAST_LINES: usize = 100;

/// The program, with a cache of its own that all tests share and nobody else.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsgi-host"));
    command
        .args(arguments)
        .env("WSGI_HOST_CACHE_DIR", target().join("test-cache"))
        .stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program starts")
}

/// The build directory, which everything that tests make is in.
pub fn target() -> PathBuf {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_wsgi-host"));
    let profile = binary.parent().expect("a binary is in a directory");
    profile
        .parent()
        .expect("a profile is in the target directory")
        .to_owned()
}

/// PATH with what `tests/install` puts beside the build, for the programs that tests run.
pub fn tools_path() -> OsString {
    let tools = target().join("tools");
    let own = std::env::var_os("PATH").unwrap_or_default();
    let all = [tools.join("python/bin"), tools.join("nginx/usr/sbin")]
        .into_iter()
        .chain(std::env::split_paths(&own))
        .chain(["/usr/sbin".into()]);
    std::env::join_paths(all).expect("no directory has a colon in its name")
}

/// A running server. It is killed when it is dropped.
pub struct Server {
    child: Child,
    lines: Arc<Lines>,
    /// Where it listens, in the order of `--bind`; Unix sockets are left out.
    pub addresses: Vec<SocketAddr>,
}

/// What it has written so far, to standard output and standard error.
#[derive(Default)]
struct Lines {
    text: Mutex<Vec<String>>,
    more: Condvar,
}

impl Lines {
    /// Also after a test has failed while it held the lock: what it prints then is the log.
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// `wsgi-host serve ARGUMENTS`, at a free port unless they say where.
    pub fn start(arguments: &[&str]) -> Self {
        Self::from_command(arguments, |command| command)
    }

    /// The same, with changes to the command: a directory, an environment.
    pub fn from_command(arguments: &[&str], change: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut all = vec!["serve"];
        all.extend(arguments);
        if !arguments
            .iter()
            .any(|argument| argument.starts_with("-b") || argument.starts_with("--bind"))
        {
            all.extend(["--bind", "127.0.0.1:0"]);
        }
        // On a machine that stands still for some seconds, a client's next request would come too late.
        if !arguments.iter().any(|argument| argument.starts_with("--keep-alive")) {
            all.extend(["--keep-alive", KEEP_ALIVE]);
        }
        let mut command = command(&all);
        change(&mut command);
        let mut server = Self::launch(&mut command);
        server.find_addresses();
        server
    }

    /// Waits until it serves, and reads in the log where.
    pub fn find_addresses(&mut self) {
        self.wait_for_log("Serving: ");
        self.addresses = self
            .log()
            .iter()
            .filter_map(|line| {
                let url = line.split_once("Listening at: http")?.1;
                let address = url.trim_start_matches('s').strip_prefix("://")?;
                address.split(' ').next()?.parse().ok()
            })
            .collect();
    }

    /// Starts a command, and leaves it to the caller to find out when it is ready.
    pub fn launch(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = Arc::new(Lines::default());
        follow(child.stdout.take().expect("a pipe"), lines.clone());
        follow(child.stderr.take().expect("a pipe"), lines.clone());
        Self {
            child,
            lines,
            addresses: Vec::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        *self.addresses.first().expect("the server listens at a TCP address")
    }

    /// The arbiter's process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process IDs of the workers that were ever started, in order; at least as many as it serves in.
    pub fn workers(&self) -> Vec<u32> {
        const BOOTING: &str = "Booting worker with pid: ";

        let serving = self.wait_for_log("Serving: ");
        let workers = serving
            .split_once(" in ")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        // A worker may have answered before its first line was read.
        self.wait_for_log_times(BOOTING, workers.expect("it says in how many"));
        self.log()
            .iter()
            .filter_map(|line| line.split_once(BOOTING)?.1.parse().ok())
            .collect()
    }

    /// The only worker of a server that has one.
    pub fn worker(&self) -> u32 {
        let workers = self.workers();
        assert_eq!(workers.len(), 1, "the worker is still the first one");
        workers[0]
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        signal_process(self.pid(), signal);
    }

    /// Waits for the server to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server did not end; its log:\n{}", self.log().join("\n"));
    }

    /// SIGTERM, and the exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// What it has written so far, and has been read.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// All that it has written, when there is nobody left who could write more.
    pub fn whole_log(&self) -> Vec<String> {
        wait_until("the end of the log", || Arc::strong_count(&self.lines) == 1);
        self.log()
    }

    /// Waits for a line that contains the text, and returns it.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_log_times(text, 1)
    }

    /// Waits for as many lines that contain the text, and returns the last.
    pub fn wait_for_log_times(&self, text: &str, times: usize) -> String {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock();
        loop {
            // The readers have let go of it: there is nobody left to write.
            let ended = Arc::strong_count(&self.lines) == 1;
            let mut found = lines.iter().filter(|line| line.contains(text));
            if let Some(line) = found.nth(times - 1) {
                return line.clone();
            }
            assert!(
                !ended,
                "the server has ended without {times} lines with {text:?} in the log"
            );
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {times} lines with {text:?} in the log");
            let waited = self.lines.more.wait_timeout(lines, left.min(Duration::from_secs(1)));
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// One GET on a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// Sends these bytes and returns everything that comes back until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut client = self.client();
        client.send(bytes);
        client.read_to_end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let last = log.len().saturating_sub(LAST_LINES);
            eprintln!("the server's log:\n{}", log[last..].join("\n"));
        }
    }
}

pub fn signal_process(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process ID");
    rustix::process::kill_process(pid, signal).expect("the process is there");
}

/// What a process has of its machine.
#[derive(Debug)]
pub struct Resources {
    pub resident_bytes: u64,
    pub descriptors: usize,
    pub threads: u64,
}

impl Resources {
    pub fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
        let number = |name| {
            let line = status.lines().find(|line| line.starts_with(name));
            let words = line.expect("a process has it").split_whitespace();
            words
                .skip(1)
                .find_map(|word| word.parse::<u64>().ok())
                .expect("a number")
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there");
        Self {
            resident_bytes: number("VmRSS:") * 1024,
            descriptors: descriptors.count(),
            threads: number("Threads:"),
        }
    }
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    Resources::of(pid).resident_bytes
}

/// Waits until a process takes no more than this: what the last requests held is given back a little later.
pub fn wait_until_resident(pid: u32, most: u64) {
    wait_until(&format!("no more than {most} bytes of process {pid}"), || {
        resident_bytes(pid) <= most
    });
}

fn follow(stream: impl Read + Send + 'static, lines: Arc<Lines>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().push(line);
            lines.more.notify_all();
        }
    });
}
