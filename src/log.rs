//! The operator's log: a line an event, `[date] [pid] [LEVEL] message`, as gunicorn writes it.
//!
//! A slow disk or a full pipe must not stall requests: lines go through a bounded queue to a thread that writes them.
//! When the queue is full, lines are dropped and counted, and the count is written when there is room again.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// How long the end of the process waits for the last lines.
const FLUSH_TIME: Duration = Duration::from_secs(2);
/// How long lines are gathered after a write. To wake the thread for each of them would cost its worker more than the line: two
/// threads that run at the same time make every change of their page tables dearer.
const GATHER_TIME: Duration = Duration::from_millis(5);
/// How many bytes are gathered into one write.
const BATCH_BYTES: usize = 64 << 10;

const QUEUE_LINES: usize = 8192;
/// What is logged of a text of several lines.
const TEXT_LINES: usize = 200;
const TEXT_LINE_BYTES: usize = 4 << 10;

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Logging")]
pub struct Options {
    /// What is worth a line in the error log.
    #[arg(long, value_enum, default_value_t = Level::Info, value_name = "LEVEL")]
    pub log_level: Level,

    /// Where the error log goes: a file that is appended to, or - for standard error. SIGUSR1 opens it anew.
    #[arg(long, visible_alias = "log-file", default_value = "-", value_name = "FILE")]
    pub error_logfile: Destination,

    /// How many lines may wait for a slow log file before lines are dropped, and counted.
    #[arg(long, default_value_t = QUEUE_LINES, value_name = "LINES")]
    pub log_queue: usize,
}

impl Default for Options {
    /// For commands that have no options about the log: standard error.
    fn default() -> Self {
        Self {
            log_level: Level::Info,
            error_logfile: Destination::Standard,
            log_queue: QUEUE_LINES,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// A file to append to, or a standard stream (`-`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    Standard,
    File(PathBuf),
}

impl From<&str> for Destination {
    fn from(text: &str) -> Self {
        match text {
            "-" => Self::Standard,
            path => Self::File(path.into()),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("-"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Which standard stream [`Destination::Standard`] stands for.
#[derive(Clone, Copy, Debug)]
pub enum Standard {
    Output,
    Error,
}

enum Message {
    Line(Vec<u8>),
    Reopen,
    Flush(SyncSender<()>),
}

/// A place for lines, and the thread that brings them there.
pub struct Sink {
    queue: SyncSender<Message>,
    dropped: &'static AtomicU64,
}

impl Sink {
    /// Opens the destination, and fails if that fails: a log that cannot be written is found out at the start.
    pub fn open(destination: &Destination, standard: Standard, lines: usize) -> io::Result<Self> {
        let mut target = Target::open(destination, standard)?;
        let (queue, messages) = sync_channel(lines.max(1));
        // A sink lives as long as its process.
        let dropped: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&messages, &mut target, dropped))?;
        Ok(Self { queue, dropped })
    }

    /// Takes a line, newline included, without ever waiting.
    pub fn line(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file again, after a log rotation has moved it away.
    pub fn reopen(&self) {
        let _ = self.queue.try_send(Message::Reopen);
    }

    /// Waits, but not for ever, until what was taken so far is written.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIME);
        }
    }
}

struct Target {
    destination: Destination,
    output: Box<dyn Write + Send>,
}

impl Target {
    fn open(destination: &Destination, standard: Standard) -> io::Result<Self> {
        let output: Box<dyn Write + Send> = match (destination, standard) {
            (Destination::Standard, Standard::Output) => Box::new(io::stdout()),
            (Destination::Standard, Standard::Error) => Box::new(io::stderr()),
            (Destination::File(path), _) => Box::new(append(path)?),
        };
        Ok(Self {
            destination: destination.clone(),
            output,
        })
    }

    fn reopen(&mut self) {
        if let Destination::File(path) = &self.destination
            && let Ok(file) = append(path)
        {
            self.output = Box::new(file);
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_lines(messages: &Receiver<Message>, target: &mut Target, dropped: &AtomicU64) {
    let mut batch = Vec::new();
    let mut next = messages.recv().ok();
    while let Some(message) = next {
        let mut flushed = None;
        match message {
            Message::Line(line) => batch.extend_from_slice(&line),
            Message::Reopen => target.reopen(),
            Message::Flush(done) => flushed = Some(done),
        }
        next = messages.try_recv().ok();
        if next.is_none() || flushed.is_some() || batch.len() >= BATCH_BYTES {
            let lost = dropped.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let note = format!("{lost} lines were lost: the log could not be written fast enough");
                batch.extend_from_slice(&format_line(Level::Warning, format_args!("{note}")));
            }
            // There is nobody left to tell when the log itself cannot be written.
            let _ = target.output.write_all(&batch);
            let _ = target.output.flush();
            batch.clear();
        }
        if let Some(done) = flushed {
            let _ = done.try_send(());
        }
        if next.is_none() {
            std::thread::sleep(GATHER_TIME);
            next = messages.recv().ok();
        }
    }
}

struct Log {
    level: Level,
    sink: Sink,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Starts the log of this process; lines before that are lost, a second start changes nothing.
pub fn start(options: &Options) -> io::Result<()> {
    let sink = Sink::open(&options.error_logfile, Standard::Error, options.log_queue)?;
    let _ = LOG.set(Log {
        level: options.log_level,
        sink,
    });
    Ok(())
}

pub fn reopen() {
    if let Some(log) = LOG.get() {
        log.sink.reopen();
    }
}

pub fn flush() {
    if let Some(log) = LOG.get() {
        log.sink.flush();
    }
}

pub fn write(level: Level, message: fmt::Arguments<'_>) {
    if let Some(log) = LOG.get()
        && level >= log.level
    {
        log.sink.line(format_line(level, message));
    }
}

/// A text of several lines, a traceback say, a log line each; it is somebody else's, so only so much of it.
pub fn lines(level: Level, start: fmt::Arguments<'_>, text: &str) {
    for line in text.lines().take(TEXT_LINES) {
        let end = line.floor_char_boundary(TEXT_LINE_BYTES);
        write(level, format_args!("{start}: {}", &line[..end]));
    }
}

fn format_line(level: Level, message: fmt::Arguments<'_>) -> Vec<u8> {
    let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S %z");
    let pid = std::process::id();
    let mut line = Vec::with_capacity(128);
    let start = format!("[{now}] [{pid}] [{}] ", level.name());
    line.extend_from_slice(start.as_bytes());
    // What a client or a guest sent must not forge a second line or move the terminal's cursor.
    escape_into(&mut line, &message.to_string());
    line.push(b'\n');
    line
}

/// Text with its control characters written out.
pub fn printable(text: &str) -> String {
    let mut line = Vec::with_capacity(text.len());
    escape_into(&mut line, text);
    String::from_utf8_lossy(&line).into_owned()
}

/// Appends text with its control characters written out as `\n`, `\t`, `\x1b`.
pub fn escape_into(line: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '\n' => line.extend_from_slice(b"\\n"),
            '\r' => line.extend_from_slice(b"\\r"),
            '\t' => line.extend_from_slice(b"\\t"),
            control if control.is_control() => {
                let _ = write!(line, "\\x{:02x}", control as u32);
            }
            other => {
                let mut buffer = [0; 4];
                line.extend_from_slice(other.encode_utf8(&mut buffer).as_bytes());
            }
        }
    }
}

pub fn debug(message: fmt::Arguments<'_>) {
    write(Level::Debug, message);
}

pub fn info(message: fmt::Arguments<'_>) {
    write(Level::Info, message);
}

pub fn warning(message: fmt::Arguments<'_>) {
    write(Level::Warning, message);
}

pub fn error(message: fmt::Arguments<'_>) {
    write(Level::Error, message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        let mut line = Vec::new();
        escape_into(&mut line, "a\nb\r\tc\x1b[2J\u{85}é");
        assert_eq!(String::from_utf8(line).unwrap(), "a\\nb\\r\\tc\\x1b[2J\\x85é");
    }

    #[test]
    fn a_sink_appends_and_opens_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let sink = Sink::open(&Destination::File(path.clone()), Standard::Error, 10).unwrap();
        sink.line(b"one\n".to_vec());
        sink.flush();
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        sink.reopen();
        sink.line(b"two\n".to_vec());
        sink.flush();
        assert_eq!(std::fs::read(dir.path().join("log.1")).unwrap(), b"one\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, messages) = sync_channel(2);
        let dropped: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
        let sink = Sink { queue, dropped };
        for _ in 0..5 {
            sink.line(b"x\n".to_vec());
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        drop(sink);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut target = Target::open(&Destination::File(path.clone()), Standard::Error).unwrap();
        write_lines(&messages, &mut target, dropped);
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(
            written.starts_with("x\nx\n") && written.contains("3 lines were lost"),
            "{written}"
        );
    }
}
