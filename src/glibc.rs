//! What glibc in a worker is told about the processor.
//!
//! From some kilobytes on, glibc copies by `rep movsb` where a processor says that it is fast at that. AMD's from Zen 3 on
//! say so, and are several times slower at it than by vectors where source and destination lie a little apart in their
//! pages (glibc's bug 30994, mended in 2.40). A guest that copies a block of 64 KiB, and a host that takes it over, do just
//! that: a stream came at 1.4 GB/s instead of 2.3.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader};

/// The variable that glibc reads when a process starts.
pub const VARIABLE: &str = "GLIBC_TUNABLES";
const NAME: &str = "glibc.cpu.x86_rep_movsb_threshold";
/// More than anybody copies.
const NEVER: &str = "1099511627776";
const AFFECTED: &str = "AuthenticAMD";

/// What the variable should be in a worker; nothing where it is well as it is.
pub fn tunables() -> Option<OsString> {
    let given = std::env::var_os(VARIABLE);
    if vendor()? != AFFECTED {
        return None;
    }
    with_threshold(given.as_deref())
}

fn with_threshold(given: Option<&OsStr>) -> Option<OsString> {
    let mut tunables = given.unwrap_or_default().to_owned();
    if tunables.to_string_lossy().contains(NAME) {
        return None;
    }
    if !tunables.is_empty() {
        tunables.push(":");
    }
    tunables.push(format!("{NAME}={NEVER}"));
    Some(tunables)
}

fn vendor() -> Option<String> {
    let lines = BufReader::new(File::open("/proc/cpuinfo").ok()?).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("vendor_id"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_before_is_kept() {
        let with = |given: Option<&str>| with_threshold(given.map(OsStr::new));
        let ours = format!("{NAME}={NEVER}");
        assert_eq!(with(None).unwrap(), *ours);
        assert_eq!(with(Some("")).unwrap(), *ours);
        let given = "glibc.malloc.arena_max=1";
        assert_eq!(with(Some(given)).unwrap(), *format!("{given}:{ours}"));
        assert_eq!(with(Some("glibc.cpu.x86_rep_movsb_threshold=4096")), None);
    }
}
