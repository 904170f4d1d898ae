//! `wsgi-host serve`: from the command line to a running arbiter.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::arbiter::{self, Prepare};
use crate::component::{self, Cache, Prepared, Source};
use crate::fault::{Fault, Kind, Result};
use crate::python::{AppSpec, Build};
use crate::sandbox::{self, GrantOptions, Grants, Limits};
use crate::worker::Orders;
use crate::{access_log, connection, listener, log, proxy, strict};

/// The page that is served when no app is named, in the text format, so that the first try needs no toolchain.
const WELCOME: Source = Source::Embedded {
    name: "welcome",
    text: include_bytes!("welcome.wat"),
};

#[derive(Args)]
pub struct Options {
    /// A component (app.wasm), or a Python app as gunicorn names it (module:callable). Without it: a welcome page.
    #[arg(value_name = "APP")]
    app: Option<String>,

    #[command(flatten)]
    listener: listener::Options,

    #[command(flatten)]
    arbiter: arbiter::Options,

    #[command(flatten)]
    http: connection::Options,

    #[command(flatten)]
    requests: strict::Options,

    #[command(flatten)]
    proxy: proxy::Options,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    grants: GrantOptions,

    #[command(flatten)]
    python: PythonOptions,

    #[command(flatten)]
    access_log: access_log::Options,

    #[command(flatten)]
    log: log::Options,

    #[command(flatten)]
    cache: CacheOptions,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Python apps")]
pub struct PythonOptions {
    /// A directory to look for modules in, before the current one; may be repeated.
    #[arg(long, alias = "pythonpath", value_name = "DIR")]
    pub path: Vec<PathBuf>,

    /// Install these requirements (a pip requirements file) into the component.
    #[arg(short, long, value_name = "FILE")]
    pub requirements: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cache")]
pub struct CacheOptions {
    /// Where compiled code and unpacked files are kept; the default is wsgi-host in the user's cache directory.
    #[arg(long, env = "WSGI_HOST_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

impl CacheOptions {
    pub fn open(&self) -> Result<Cache> {
        Cache::open(self.cache_dir.as_deref())
    }
}

pub fn run(options: Options) -> Result<()> {
    let Options {
        app,
        listener,
        arbiter,
        http,
        requests,
        proxy,
        limits,
        grants,
        python,
        access_log,
        log,
        cache,
    } = options;
    let workers = arbiter.worker_count()?;
    if let Some(log::Destination::File(path)) = &access_log.access_logfile {
        writable("--access-logfile", path)?;
    }
    log::start(&log).map_err(|error| {
        Fault::new(
            Kind::Resource,
            format!("--error-logfile {}: {error}", log.error_logfile),
        )
    })?;
    let listeners = listener::bind_all(&listener)?;
    let graceful_timeout = arbiter.graceful_timeout;
    let cache = cache.open()?;
    let prepare: Prepare = Arc::new(move || {
        let source = source(app.as_deref(), &python, &grants, &cache)?;
        let app = component::prepare(&source, &cache, &sandbox::fits)?;
        check_memory(&app, &limits)?;
        let multiprocess = workers > 1 || limits.max_instances > 1;
        Ok(Orders {
            listeners: Vec::new(),
            grants: Grants::new(&grants, &app.bundle)?,
            app,
            limits: limits.clone(),
            requests: requests.clone(),
            http: http.clone(),
            proxy: proxy.clone(),
            log: log.clone(),
            access_log: access_log.clone(),
            multiprocess,
            graceful_timeout,
        })
    });
    let mut orders = prepare()?;
    // Whoever waits for the port waits for a server that can answer.
    for bound in &listeners {
        bound.listen(&listener)?;
    }
    orders.listeners = listeners
        .iter()
        .map(listener::Listener::hand_over)
        .collect::<Result<_>>()?;
    log::info(format_args!("Starting wsgi-host {}", env!("CARGO_PKG_VERSION")));
    for listener in &listeners {
        log::info(format_args!(
            "Listening at: {} ({})",
            listener.endpoint,
            std::process::id()
        ));
    }
    let instances = match orders.limits.max_requests {
        0 => "instances are kept".to_owned(),
        1 => "a fresh instance for every request".to_owned(),
        requests => format!("instances serve {requests} requests each"),
    };
    log::info(format_args!(
        "Serving: {} in {workers} workers, {instances}",
        orders.app.name
    ));
    arbiter::run(&arbiter, listeners, orders, prepare)
}

/// What APP stands for: a file, a Python app that is built first, or nothing.
fn source(app: Option<&str>, python: &PythonOptions, grants: &GrantOptions, cache: &Cache) -> Result<Source> {
    let Some(app) = app else { return Ok(WELCOME) };
    match AppSpec::of_argument(app)? {
        None => Ok(Source::File(app.into())),
        Some(spec) => {
            let build = Build {
                spec,
                paths: python.path.clone(),
                requirements: python.requirements.clone(),
                env: grants.env.clone(),
            };
            Ok(Source::Built {
                path: build.cached(cache.directory())?,
                name: app.to_owned(),
            })
        }
    }
}

/// An app that asks for too much from the start is refused here, before every worker fails at it.
fn check_memory(app: &Prepared, limits: &Limits) -> Result<()> {
    let asked = app.needs.largest_initial_memory_bytes;
    if asked <= limits.max_memory {
        return Ok(());
    }
    Err(Fault::new(
        Kind::TooLarge,
        format!(
            "{} starts with {asked} bytes of memory, and --max-memory allows {}; raise it",
            app.name, limits.max_memory
        ),
    ))
}

/// Tries a log file here, where the operator sees the error, before every worker fails at it.
fn writable(flag: &str, path: &Path) -> Result<()> {
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map(drop)
        .map_err(|error| Fault::new(Kind::Resource, format!("{flag} {}: {error}", path.display())))
}
