//! Python apps as people write them, built and served as people do it: from their directory, by their name.

mod building;
mod serving;
mod small;
mod tutorials;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::{Server, command, copy_directory, tools_path};

/// A copy of one of the apps in `tests/apps/python`.
fn project(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/apps/python")
        .join(name);
    copy_directory(&source.join("."), directory.path());
    directory
}

/// The program in a project's directory, with Python and componentize-py on its path.
fn in_project(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command.current_dir(directory).env("PATH", tools_path());
    command
}

/// `wsgi-host serve` in a project's directory.
fn serve(directory: &Path, arguments: &[&str]) -> Server {
    Server::from_command(arguments, |command| {
        command.current_dir(directory).env("PATH", tools_path())
    })
}

/// `wsgi-host build` in a project's directory.
fn build(directory: &Path, arguments: &[&str]) -> Output {
    let arguments = [&["build"], arguments].concat();
    in_project(directory, &arguments).output().expect("the program starts")
}

/// The host's own Python, with the packages that the apps were built with.
fn python(directory: &Path, arguments: &[&str]) {
    let output = Command::new("python3")
        .args(arguments)
        .current_dir(directory)
        .env("PATH", tools_path())
        .stdin(Stdio::null())
        .output()
        .expect("python3 is there");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
