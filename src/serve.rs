//! `wsgi-host serve`: from the command line to a running arbiter.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::arbiter::{self, Prepare};
use crate::component::{self, Cache, Role, Source};
use crate::fault::{Fault, Kind, Result};
use crate::identity::Identity;
use crate::links::{self, App, Middleware};
use crate::python::Options as PythonOptions;
use crate::sandbox::{ChainOptions, GrantOptions, Limits, LinkOrders};
use crate::tls::Credentials;
use crate::worker::{self, Orders};
use crate::{
    access_log, connection, descriptors, gate, harden, listener, log, proxy, proxy_protocol, response, strict, tls,
};

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

    /// A file (TOML) whose keys are these options, `bind = "unix:app.sock"` say; what the command line says wins. A
    /// [[middleware]] table is a link with limits and grants of its own. SIGHUP reads the file again.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The middleware, the outermost first.
    #[arg(skip)]
    pub links: Vec<Middleware>,

    #[command(flatten)]
    listener: listener::Options,

    #[command(flatten)]
    arbiter: arbiter::Options,

    #[command(flatten)]
    tls: tls::Options,

    #[command(flatten)]
    gate: gate::Options,

    #[command(flatten)]
    http: connection::Options,

    #[command(flatten)]
    requests: strict::Options,

    #[command(flatten)]
    proxy: proxy::Options,

    #[command(flatten)]
    proxy_protocol: proxy_protocol::Options,

    #[command(flatten)]
    pub limits: Limits,

    #[command(flatten)]
    response_limits: response::Limits,

    #[command(flatten)]
    grants: GrantOptions,

    #[command(flatten)]
    pub chain: ChainOptions,

    #[command(flatten)]
    python: PythonOptions,

    #[command(flatten)]
    worker: worker::Options,

    #[command(flatten)]
    harden: harden::Options,

    #[command(flatten)]
    access_log: access_log::Options,

    #[command(flatten)]
    log: log::Options,

    #[command(flatten)]
    cache: CacheOptions,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cache")]
pub struct CacheOptions {
    /// Where compiled code and unpacked files are kept; the default is wsgi-host in the user's cache directory.
    #[arg(long, env = "WSGI_HOST_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,

    #[command(flatten)]
    pub limits: component::Limits,

    #[command(flatten)]
    pub compile_limits: component::CompileLimits,
}

impl CacheOptions {
    pub fn open(&self) -> Result<Cache> {
        Cache::open(
            self.cache_dir.as_deref(),
            self.limits.clone(),
            self.compile_limits.clone(),
        )
    }
}

/// Puts the options together, from the command line and from a file.
pub type Read = Arc<dyn Fn() -> Result<Options> + Send + Sync>;

pub fn run(read: Read) -> Result<()> {
    let options = read()?;
    let workers = options.arbiter.worker_count()?;
    let connections = options.gate.worker_connections;
    let identity = options.arbiter.identity.identity()?;
    if let Some(log::Destination::File(path)) = &options.access_log.access_logfile {
        writable("--access-logfile", path)?;
    }
    log::start(&options.log).map_err(|error| {
        Fault::new(
            Kind::Resource,
            format!("--error-logfile {}: {error}", options.log.error_logfile),
        )
    })?;
    let scheme = if options.tls.certfile.is_some() {
        "https"
    } else {
        "http"
    };
    // A certificate that is missing is found out before an app is compiled.
    Credentials::read(&options.tls)?;
    // An address that is in use is found out before a long compilation, and told after what is wrong with the app itself.
    let listeners = listener::bind_all(&options.listener).or_else(|taken| look(&options).and(Err(taken)))?;
    let instances = match options.limits.max_requests {
        0 => "instances are kept".to_owned(),
        1 => "a fresh instance for every request".to_owned(),
        requests => format!("instances serve {requests} requests each"),
    };
    let Options { listener, arbiter, .. } = options;
    let prepare: Prepare = Arc::new(move || orders(read()?, workers, identity));
    let mut orders = prepare()?;
    if let Some(identity) = identity {
        give(identity, &orders, &listeners)?;
    }
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
            listener.endpoint.url(scheme),
            std::process::id()
        ));
    }
    log::info(format_args!(
        "Serving: {} in {workers} workers, {instances}",
        orders.names()
    ));
    descriptors::raise_for(connections);
    arbiter::run(&arbiter, listeners, orders, prepare)
}

/// Finds out what is wrong with the app and its middleware, as far as that takes no time.
fn look(options: &Options) -> Result<()> {
    let limits = &options.cache.limits;
    for link in &options.links {
        links::look(Role::Middleware, &link.file, &options.python, &link.grants, limits)?;
    }
    match &options.app {
        Some(app) => links::look(Role::App, Path::new(app), &options.python, &options.grants, limits),
        None => Ok(()),
    }
}

/// What workers are told. Addresses, the number of workers and the arbiter's own files are not in it: a reload leaves these
/// as they are.
fn orders(options: Options, workers: usize, identity: Option<Identity>) -> Result<Orders> {
    let cache = options.cache.open()?;
    let (limits, grants) = (options.limits, options.grants);
    let app = App {
        source: source(options.app.as_deref(), &options.python, &grants, &cache)?,
        limits: &limits,
        grants: &grants,
    };
    let links = links::prepare(&options.links, &app, &options.chain, &options.python, &cache)?;
    if let Some(identity) = identity {
        let_through(identity, &links, &cache)?;
    }
    Ok(Orders {
        listeners: Vec::new(),
        balance: None,
        links,
        chain: options.chain,
        requests: options.requests,
        response_limits: options.response_limits,
        gate: options.gate,
        http: options.http,
        proxy: options.proxy,
        proxy_protocol: options.proxy_protocol,
        tls: Credentials::read(&options.tls)?,
        log: options.log,
        access_log: options.access_log,
        harden: options.harden,
        options: options.worker,
        multiprocess: workers > 1 || limits.max_instances > 1,
        graceful_timeout: options.arbiter.graceful_timeout,
    })
}

/// What APP stands for: a file, a Python app that is built first, or nothing.
fn source(app: Option<&str>, python: &PythonOptions, grants: &GrantOptions, cache: &Cache) -> Result<Source> {
    match app {
        None => Ok(WELCOME),
        Some(app) => links::source(Role::App, Path::new(app), python, grants, cache),
    }
}

/// Lets workers that are somebody else come to the compiled code, and to what it brought along.
fn let_through(identity: Identity, links: &[LinkOrders], cache: &Cache) -> Result<()> {
    let directory = cache.directory();
    let refused = |why: String| {
        Fault::new(
            Kind::Resource,
            format!(
                "the workers' user cannot use the cache directory {}: {why}; name another with --cache-dir, such as /var/cache/wsgi-host",
                directory.display()
            ),
        )
    };
    identity
        .let_through(directory)
        .map_err(|error| refused(error.to_string()))?;
    let stopped = links.iter().find_map(|link| identity.stopped_at(&link.component.code));
    match stopped {
        None => Ok(()),
        Some(stopped) => Err(refused(format!("{} is closed to it", stopped.display()))),
    }
}

/// Gives workers that are somebody else the log files that they open anew, and the Unix sockets.
fn give(identity: Identity, orders: &Orders, listeners: &[listener::Listener]) -> Result<()> {
    let explain = |path: &Path, error| Fault::new(Kind::Resource, format!("{}: {error}", path.display()));
    for path in orders.log_files() {
        identity.give_file(path).map_err(|error| explain(path, error))?;
    }
    for listener in listeners {
        if let listener::Endpoint::Unix(path) = &listener.endpoint {
            identity.give_socket(path).map_err(|error| explain(path, error))?;
        }
    }
    Ok(())
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
