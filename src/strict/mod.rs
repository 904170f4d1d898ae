//! The strict layer: what is no valid request never reaches an app (RFC 9110, 9112, 3986).
//!
//! For HTTP/1 it looks at the raw bytes, before hyper's parser can accept or normalise anything: [`Guard`] hands hyper
//! only what [`scanner`] has let through. What holds for HTTP/2 too is checked when a request has been parsed.

#[cfg(test)]
mod agreement;
mod chunked;
mod fields;
mod grammar;
mod guard;
mod head;
mod ledger;
mod line;
mod options;
mod parsed;
mod refusal;
mod request_line;
mod scanner;
mod window;

pub use self::guard::Guard;
pub use self::ledger::Ledger;
pub use self::options::{Options, Underscores};
pub use self::parsed::{TOO_LARGE, check, is_beyond};
pub use self::refusal::Refusal;
pub use self::scanner::Refused;
