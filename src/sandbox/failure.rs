//! Why a guest gave no response, or no whole one.

use std::fmt;

use super::contract::{Failure as Told, inner};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The guest said so: an exception that nothing caught, with its traceback.
    Exception(String),
    /// The guest ended in a trap; the reason and its call stack.
    Trap(String),
    /// It took longer than it may: which limit of time.
    Timeout(String),
    /// It asked for more than it may have: of what.
    ResourceLimit(String),
    /// It could not be started, or may not be called now.
    Unavailable(String),
}

impl Failure {
    /// As the link around the failed one is told of it: a trap is an exception to it.
    pub fn told(self) -> Self {
        match self {
            Self::Trap(_) => Self::Exception(self.to_string()),
            Self::Timeout(_) => Told::Timeout.into(),
            other => other,
        }
    }

    /// The same in words, for one that asked for a block.
    pub fn words(self) -> String {
        match self {
            Self::Exception(text) => text,
            other => other.to_string(),
        }
    }
}

impl From<Told> for Failure {
    fn from(failure: Told) -> Self {
        match failure {
            Told::Exception(text) => Self::Exception(text),
            Told::Timeout => Self::Timeout("it says that its time is up".into()),
            Told::ResourceLimit(which) => Self::ResourceLimit(which),
            Told::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl From<Failure> for inner::Failure {
    fn from(failure: Failure) -> Self {
        match failure.told() {
            Failure::Exception(text) | Failure::Trap(text) => Self::Exception(text),
            Failure::Timeout(_) => Self::Timeout,
            Failure::ResourceLimit(which) => Self::ResourceLimit(which),
            Failure::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exception(text) => f.write_str(text.trim_end()),
            Self::Trap(text) => write!(f, "trapped: {}", text.trim_end()),
            Self::Timeout(which) => f.write_str(which),
            Self::ResourceLimit(which) => write!(f, "exhausted a limit: {which}"),
            Self::Unavailable(why) => write!(f, "unavailable: {why}"),
        }
    }
}
