//! Chains of middleware around an app, each link in a sandbox of its own.

mod blame;
mod closing;
mod composed;
mod configuration;
mod odd;
mod passing;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::harness::Server;

/// Serves an app behind these middleware, the first of which is the outermost.
fn chain(app: &str, middleware: &[&str], more: &[&str]) -> Server {
    let mut arguments = vec![app];
    for file in middleware {
        arguments.extend(["--middleware", file]);
    }
    arguments.extend(["-w", "1"]);
    arguments.extend(more);
    Server::start(&arguments)
}

/// A configuration file with these links, each a file and more lines for its table.
fn configuration(directory: &Path, first: &str, links: &[(&str, &str)]) -> PathBuf {
    let mut text = format!("{first}\n");
    for (file, more) in links {
        write!(text, "[[middleware]]\nfile = '{file}'\n{more}\n").expect("a string can be written to");
    }
    let path = directory.join("wsgi-host.toml");
    std::fs::write(&path, text).expect("a temporary directory can be written");
    path
}
