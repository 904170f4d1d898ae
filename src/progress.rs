//! Tells a person at a terminal that something long is under way, and cleans up after itself.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::log;

/// What takes less time is not worth a line.
const PATIENCE: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_secs(1);

/// A line such as `Compiling app.wasm (26 MiB) ... 4 s` on standard error, for as long as this lives. Where standard error
/// is no terminal, one line in the log.
pub struct Progress {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    pub fn start(what: String) -> Self {
        Self {
            running: Some(follow(what, io::stderr().is_terminal())),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.running.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

fn follow(what: String, terminal: bool) -> (Sender<()>, JoinHandle<()>) {
    let (sender, done) = channel();
    let thread = std::thread::spawn(move || {
        let start = Instant::now();
        let mut wait = PATIENCE;
        let mut shown = false;
        while done.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            if !terminal {
                log::info(format_args!("{what}"));
                break;
            }
            let _ = write!(io::stderr(), "\r{what} ... {} s", start.elapsed().as_secs());
            let _ = io::stderr().flush();
            (shown, wait) = (true, STEP);
        }
        if shown {
            // Back to the start of the line, and clear it (ECMA-48: EL).
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    });
    (sender, thread)
}
