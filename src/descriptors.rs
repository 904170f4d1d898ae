//! File descriptors: every connection takes one, and some are a worker's from the start.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::log;

/// What a worker needs for other things: logs, sockets, directories that are granted, files that guests have open.
const OTHERS: u64 = 100;

/// Raises the limit of this process, and of those that it starts, as far as it may: what is usual is a limit for programs that
/// cannot deal with large numbers. Returns what it is then, if there is one.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // The old one does as well.
        Err(_) => limit.current,
    }
}

/// The same, and says so if that is not enough.
pub fn raise_for(connections: usize) {
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    if let Some(now) = raise().filter(|now| *now < needed) {
        log::warning(format_args!(
            "--worker-connections {connections} takes {needed} file descriptors, and there may be {now}: raise the limit \
             (ulimit -n, LimitNOFILE=), or connections will have to wait"
        ));
    }
}

/// Lets the processes that are started from now on inherit it, under the number that it has here.
pub fn leave_open(descriptor: impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfd(descriptor, FdFlags::empty())?)
}

/// The worker's end: takes over what its arbiter has left open. Called once for each, before the worker opens anything.
#[allow(unsafe_code)]
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the arbiter left this descriptor open for the worker, and named it to nobody else; the worker has not opened or
    // closed anything yet that could have taken its number.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    Ok(descriptor)
}
