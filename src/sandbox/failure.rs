//! Why a guest gave no response, or no whole one.

use std::fmt;

use super::contract;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The guest said so: an exception that nothing caught, with its traceback.
    Exception(String),
    /// The guest ended in a trap; the reason and its call stack.
    Trap(String),
    /// No sign of life within `--timeout`.
    Timeout,
    /// It asked for more than it may have: of what.
    ResourceLimit(String),
    /// It could not be started, or may not be called now.
    Unavailable(String),
}

impl From<contract::Failure> for Failure {
    fn from(failure: contract::Failure) -> Self {
        match failure {
            contract::Failure::Exception(text) => Self::Exception(text),
            contract::Failure::Timeout => Self::Timeout,
            contract::Failure::ResourceLimit(which) => Self::ResourceLimit(which),
            contract::Failure::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exception(text) => f.write_str(text.trim_end()),
            Self::Trap(text) => write!(f, "trapped: {}", text.trim_end()),
            Self::Timeout => f.write_str("no sign of life within --timeout"),
            Self::ResourceLimit(which) => write!(f, "exhausted a limit: {which}"),
            Self::Unavailable(why) => write!(f, "unavailable: {why}"),
        }
    }
}
