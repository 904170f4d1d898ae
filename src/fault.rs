//! What went wrong before a request was ever served, said to the person at the command line: one line,
//! and an exit status of its own. The table in the README lists them all.

use std::fmt;

use crate::log::printable;

/// The kinds of failure that a script may want to tell apart, each with its exit status.
///
/// 2 is clap's own, for a bad command line; 1 stands for what has no better name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Something that should not happen: an operating system error with no better place.
    Internal = 1,
    /// A flag or an argument that clap could not refuse by itself.
    Usage = 2,
    /// The workers cannot start, so starting more of them would not help.
    WorkerBoot = 3,
    /// The configuration file cannot be read, or something in it is wrong.
    Configuration = 4,
    /// The app's file is not there.
    NotFound = 10,
    /// The app's file is there but may not be read, or is no file.
    Unreadable = 11,
    /// The file is no WebAssembly, or broken WebAssembly.
    Malformed = 12,
    /// The file is a core module, not a component.
    CoreModule = 13,
    /// A component, but for another world.
    OtherWorld = 14,
    /// A component for a version of the contract that this host does not offer.
    OtherVersion = 15,
    /// A component that imports what this host does not offer.
    UnknownImport = 16,
    /// A component that asks for more than the limits allow.
    TooLarge = 17,
    /// A middleware where an app belongs, or an app where a middleware belongs.
    OtherRole = 18,
    /// Components that are a chain, and cannot be linked into one component.
    NoComposition = 19,
    /// `module:attribute` names no module or no attribute, or what it names is not callable.
    PythonNotFound = 20,
    /// The Python app raised while it was imported, or warmed up.
    PythonImport = 21,
    /// A build tool is missing, or of another version.
    ToolMissing = 22,
    /// The build of a Python app failed for another reason.
    BuildFailed = 23,
    /// The address is in use.
    AddressInUse = 30,
    /// No permission to bind the address.
    AddressDenied = 31,
    /// The address cannot be bound for another reason.
    AddressInvalid = 32,
    /// A log file, a granted directory or the cache cannot be opened.
    Resource = 33,
    /// The certificate, its key, or the authorities of clients cannot be read, or not be used.
    Certificate = 34,
}

/// A failure that ends the command.
#[derive(Debug)]
pub struct Fault {
    pub kind: Kind,
    /// One line: what was wrong, where, and what to do.
    pub message: String,
    /// More than a line, where somebody else's words are the help: a Python traceback.
    pub detail: Option<String>,
}

pub type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
        }
    }

    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn exit_status(&self) -> u8 {
        self.kind as u8
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names in it may be a component's own choice.
        f.write_str(&printable(&self.message))
    }
}

impl std::error::Error for Fault {}

impl From<anyhow::Error> for Fault {
    /// Only for what has no kind: the whole chain of causes, on one line.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Fault>() {
            Ok(fault) => fault,
            Err(error) => Self::new(Kind::Internal, format!("{error:#}").replace('\n', " ")),
        }
    }
}

/// What clap says over several lines, without the usage.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let end = |line: &&str| line.starts_with("Usage:") || line.starts_with("For more information");
    let lines = text.lines().map(str::trim).take_while(|line| !end(line));
    let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let text = words.join(" ");
    let text = text
        .strip_prefix("error: ")
        .unwrap_or(&text)
        .replace(" tip: ", "; tip: ");
    format!("{text}; `wsgi-host help` and `wsgi-host serve --help` say what there is")
}
