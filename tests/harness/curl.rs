//! curl, as a test runs it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs curl, silently and for five minutes at most, with this to read from its standard input.
pub fn curl(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "300", "--noproxy", ""])
        .args(arguments)
        // The user's proxies are none of these tests'.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl is installed: tests/install does that");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("curl ends");
    // What curl did not want to read is no error.
    let _ = writer.join().expect("the writer does not panic");
    output
}

/// Standard output of a curl that has nothing to complain about.
pub fn curled(arguments: &[&str]) -> String {
    let output = curl(arguments, b"");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", output.status);
    String::from_utf8(output.stdout).expect("text")
}
