//! File descriptors: every connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::log;

/// What a worker needs for other things: logs, sockets, directories that are granted, files that guests have open.
const OTHERS: u64 = 100;

/// Raises the limit of this process, and of those that it starts, as far as it may; says so if that is not enough.
pub fn raise_limit(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    if let Some(now) = now.filter(|now| *now < needed) {
        log::warning(format_args!(
            "--worker-connections {connections} takes {needed} file descriptors, and there may be {now}: raise the limit \
             (ulimit -n, LimitNOFILE=), or connections will have to wait"
        ));
    }
}
