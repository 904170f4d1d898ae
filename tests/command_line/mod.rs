//! What the person at the command line gets to see.

mod cache;
mod faults;
mod tools;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::command;

/// Runs the program to its end; a server that starts after all is stopped after some minutes, and is then the wrong answer.
fn run(program: &Command) -> Output {
    let mut bounded = Command::new("timeout");
    bounded.arg("300").arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    if let Some(directory) = program.get_current_dir() {
        bounded.current_dir(directory);
    }
    bounded.output().expect("timeout, of coreutils, is there")
}

/// What it wrote to standard error, but for the note that it is compiling, which only a slow machine gets.
fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    error
        .split_inclusive('\n')
        .filter(|line| !line.contains("[INFO] Compiling "))
        .collect()
}

/// Standard output of a command that ends well and says nothing else.
fn says(arguments: &[&str]) -> String {
    let output = run(&command(arguments));
    let error = said(&output);
    assert!(
        output.status.success() && error.is_empty(),
        "{arguments:?}: {}: {error}",
        output.status
    );
    String::from_utf8(output.stdout).expect("text")
}

/// The one line that a command fails with, which has the status and names all of this.
pub fn fails(arguments: &[&str], status: i32, names: &[&str]) -> String {
    fails_as(&command(arguments), status, names)
}

fn fails_as(program: &Command, status: i32, names: &[&str]) -> String {
    let output = run(program);
    let error = said(&output);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{:?}: {error}",
        program.get_args().collect::<Vec<_>>()
    );
    assert!(
        output.stdout.is_empty(),
        "{:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(
        error.starts_with("wsgi-host: ") && error.ends_with('\n') && error.lines().count() == 1,
        "{error}"
    );
    assert!(!error.contains("panicked"), "{error}");
    for name in names {
        assert!(error.contains(name), "{name:?} is not in {error}");
    }
    error
}

/// The program without these capabilities, which root has and which would spare it a failure.
fn without_capabilities(program: &Command, capabilities: &[&str]) -> Command {
    if !rustix::process::geteuid().is_root() {
        let mut same = Command::new(program.get_program());
        same.args(program.get_args());
        copy_environment(program, &mut same);
        return same;
    }
    let dropped: Vec<String> = capabilities.iter().map(|name| format!("-{name}")).collect();
    let dropped = dropped.join(",");
    let mut limited = Command::new("setpriv");
    limited
        .args(["--bounding-set", &dropped, "--inh-caps", &dropped])
        .arg(program.get_program())
        .args(program.get_args());
    copy_environment(program, &mut limited);
    limited
}

fn copy_environment(from: &Command, to: &mut Command) {
    for (name, value) in from.get_envs() {
        if let Some(value) = value {
            to.env(name, value);
        }
    }
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).expect("a temporary directory can be written");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary directory's name is text")
}
