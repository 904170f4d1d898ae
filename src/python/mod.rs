//! Python, unmodified: any PEP 3333 callable becomes one component, with the files that it needs at run time; so does
//! what makes such a callable around another one, a middleware.
//!
//! componentize-py runs the app's import inside the sandbox's own Python and freezes the memory that this leaves
//! ([`freeze`], with the Python in `adapter/`). What the app may still open or import later, which at run time is read
//! from files, goes into the component's bundle ([`contents`]).

mod cache;
mod contents;
mod freeze;
mod layout;
mod project;
mod spec;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::component::bundle;
use crate::fault::{Fault, Kind, Result};
use crate::progress::Progress;

pub use spec::AppSpec;

use contents::Contents;
use layout::Layout;
use tools::Tools;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Python apps")]
pub struct Options {
    /// A directory to look for modules in, before the current one; may be repeated.
    #[arg(long, alias = "pythonpath", value_name = "DIR")]
    pub path: Vec<PathBuf>,

    /// Install these requirements (a pip requirements file) into the component.
    #[arg(short, long, value_name = "FILE")]
    pub requirements: Option<PathBuf>,

    /// Ask the app for this path while it is built, a few dozen times, so that no instance does for the first time what it
    /// does for a request; the app has no files, network or log then. May be repeated.
    #[arg(long, value_parser = target, value_name = "PATH")]
    pub warm_up: Vec<String>,
}

fn target(text: &str) -> std::result::Result<String, String> {
    match text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("a path starts with /, and is written as in a URL".into()),
    }
}

/// What to build, and from what.
#[derive(Clone, Debug)]
pub struct Build {
    pub spec: AppSpec,
    /// Where modules are looked for before the current directory.
    pub paths: Vec<PathBuf>,
    /// A pip requirements file, whose packages are found before the installed ones.
    pub requirements: Option<PathBuf>,
    /// Paths that an app is asked for at build time; none for a middleware, which has nothing inside it then.
    pub warm_up: Vec<String>,
    /// The environment while the app is imported.
    pub env: Vec<(String, String)>,
}

impl Build {
    /// Whether there are the tools, and a module of this name.
    pub fn look(&self) -> Result<()> {
        let tools = Tools::find()?;
        Layout::of(self, &tools).map(drop)
    }

    /// Builds, and writes the component to `out`: all of it or nothing.
    pub fn write_to(&self, out: &Path) -> Result<()> {
        let tools = Tools::find()?;
        let explain = |error| Fault::new(Kind::BuildFailed, format!("cannot write {}: {error}", out.display()));
        // In the same directory, so that it can be moved into place; and before the long work, so that it fails early.
        let directory = out
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let unfinished = tempfile::Builder::new()
            .prefix(project::UNFINISHED)
            .suffix(".new")
            .tempfile_in(directory)
            .map_err(explain)?;
        self.produce(&tools, unfinished.path())?;
        persist(unfinished, out).map_err(explain)
    }

    /// The component in the cache, built anew if something that went into it has changed.
    pub fn cached(&self, cache: &Path) -> Result<PathBuf> {
        let tools = Tools::find()?;
        let entry = cache::Entry::of(self, &tools, cache)?;
        if let Some(path) = entry.current() {
            return Ok(path);
        }
        let explain = |error| {
            Fault::new(
                Kind::Resource,
                format!("cannot write to the cache {}: {error}", cache.display()),
            )
        };
        let unfinished = tempfile::Builder::new()
            .prefix("python-")
            .suffix(".new")
            .tempfile_in(cache)
            .map_err(explain)?;
        let sources = self.produce(&tools, unfinished.path())?;
        let path = entry.publish(&sources).map_err(explain)?;
        persist(unfinished, &path).map_err(explain)?;
        entry.forget_all_but(&path);
        Ok(path)
    }

    /// Builds to a file that exists, and tells what it was made from.
    fn produce(&self, tools: &Tools, out: &Path) -> Result<cache::Sources> {
        let _progress = Progress::start(format!("Building {}", self.spec));
        let explain = |error| Fault::new(Kind::BuildFailed, format!("cannot make a temporary directory: {error}"));
        let work = tempfile::Builder::new()
            .prefix("wsgi-host-")
            .tempdir()
            .map_err(explain)?;
        let mut layout = Layout::of(self, tools)?;
        if let Some(file) = &self.requirements {
            layout.add_whole_place(&tools.install(file, work.path())?);
        }
        let before = cache::Sources::of(self, tools, &layout)?;
        let frozen = freeze::freeze(self, tools, &layout, work.path(), out)?;
        let contents = Contents::of(tools, &layout, &frozen)?;
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(out)
            .and_then(|mut file| bundle::append(&mut file, &contents.roots, Some(layout.home())))
            .map_err(|error| {
                Fault::new(
                    Kind::BuildFailed,
                    format!("cannot add the app's files to the component: {error}"),
                )
            })?;
        Ok(before.with(&contents))
    }
}

/// Moves a finished file into place, readable as any file that the person makes.
fn persist(file: tempfile::NamedTempFile, path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o666 & !mask.bits()))?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
