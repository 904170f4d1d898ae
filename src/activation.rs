//! Socket activation: sockets that systemd has bound, maybe long ago, and in whose queues clients may be waiting already.
//!
//! Source: sd_listen_fds(3).

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::fault::{Fault, Kind, Result};

/// After standard input, output and error.
const FIRST: RawFd = 3;
/// The most that a service can have; it keeps a senseless number from being believed.
const MOST: RawFd = 1_024;

/// Takes over what was handed to this process, and not to one that it was started by.
pub fn sockets() -> Result<Vec<OwnedFd>> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<RawFd>().ok();
    let own = i32::try_from(std::process::id()).ok();
    match number("LISTEN_FDS") {
        Some(count) if own.is_some() && number("LISTEN_PID") == own => {
            (FIRST..FIRST + count.clamp(0, MOST)).map(take_over).collect()
        }
        _ => Ok(Vec::new()),
    }
}

#[allow(unsafe_code)]
fn take_over(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: it is borrowed no longer than this function runs, and nothing here closes it. If no such descriptor is open,
    // the calls below say so.
    let handed = unsafe { BorrowedFd::borrow_raw(fd) };
    // The original must not leak into workers and build tools.
    fcntl_setfd(handed, FdFlags::CLOEXEC)
        .map_err(std::io::Error::from)
        .and_then(|()| handed.try_clone_to_owned())
        .map_err(|error| {
            Fault::new(
                Kind::AddressInvalid,
                format!("descriptor {fd} of LISTEN_FDS cannot be used: {error}"),
            )
        })
}
