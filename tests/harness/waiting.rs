//! Waits for what happens outside of the test, without guessing how long that takes.

use std::path::Path;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Looks again and again until it holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a file has a line that contains the text, and returns that line.
pub fn wait_for_line(path: &Path, text: &str) -> String {
    let mut found = None;
    wait_until(&format!("{text:?} in {}", path.display()), || {
        let content = std::fs::read_to_string(path).unwrap_or_default();
        // A line without its end may still be growing.
        let whole = content.rsplit_once('\n').map_or("", |(whole, _)| whole);
        found = whole.lines().find(|line| line.contains(text)).map(str::to_owned);
        found.is_some()
    });
    found.expect("it was found")
}

/// Whether a process still runs; one that ended and was not waited for does not.
pub fn alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name before it is in parentheses, and may contain anything.
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
