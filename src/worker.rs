//! A worker process: one thread that accepts connections and runs guests, until it is told to stop.
//!
//! Its standard input is its tie to the arbiter: the first line says what to do, and the end of the input,
//! however it comes about, means that it is time to finish.

use std::cell::Cell;
use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::access_log::{self, AccessLog};
use crate::fault::Kind;
use crate::gate::{self, Gate};
use crate::listener::Handover;
use crate::request::Host;
use crate::sandbox::{Chain, ChainOptions, LinkOrders};
use crate::{balance, connection, descriptors, engine, harden, log, proxy, proxy_protocol, response, strict, tls};

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Processes")]
pub struct Options {
    /// Threads of a worker that wait for disks and for name servers on behalf of apps; what finds none free waits for one.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub blocking_threads: u16,
}

/// Everything that a worker needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    pub listeners: Vec<Handover>,
    /// Only the arbiter knows, for each worker.
    pub balance: Option<balance::Handover>,
    /// The outermost middleware first, the app last.
    pub links: Vec<LinkOrders>,
    pub chain: ChainOptions,
    pub requests: strict::Options,
    pub response_limits: response::Limits,
    pub gate: gate::Options,
    pub http: connection::Options,
    pub proxy: proxy::Options,
    pub proxy_protocol: proxy_protocol::Options,
    pub tls: Option<tls::Credentials>,
    pub log: log::Options,
    pub access_log: access_log::Options,
    pub harden: harden::Options,
    pub options: Options,
    pub multiprocess: bool,
    pub graceful_timeout: Duration,
}

impl Orders {
    /// What is served.
    pub fn names(&self) -> String {
        LinkOrders::names(&self.links)
    }

    /// The files that a worker writes its logs to.
    pub fn log_files(&self) -> impl Iterator<Item = &Path> {
        let logs = [Some(&self.log.error_logfile), self.access_log.access_logfile.as_ref()];
        logs.into_iter().flatten().filter_map(|log| match log {
            log::Destination::File(path) => Some(path.as_path()),
            log::Destination::Standard => None,
        })
    }

    /// What a worker needs of the system, once it has its orders.
    fn needs(&self) -> harden::Needs {
        let mut needs = harden::Needs::default();
        for link in &self.links {
            // The directory, not the file: who compiles the same component at this moment puts another file in its place.
            needs.read.extend(link.component.code.parent().map(Path::to_owned));
            needs.add(link.grants.needs());
        }
        needs.append = self
            .log_files()
            .map(|path| match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => ".".into(),
            })
            .collect();
        needs
    }
}

/// The whole life of a worker.
pub fn run() -> ExitCode {
    match start() {
        Ok(()) => {
            log::flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error(format_args!("Worker failed to boot: {error:#}"));
            log::flush();
            ExitCode::from(Kind::WorkerBoot as u8)
        }
    }
}

fn start() -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let orders: Orders = serde_json::from_str(&line)?;
    // It holds connections, and files for its instances.
    descriptors::raise();
    engine::open_page_map();
    // Before there are threads, which would keep what this one gives up.
    let locked = orders.harden.step(|| harden::lock(&orders.needs()));
    log::start(&orders.log)?;
    orders.harden.report(locked)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(orders.options.blocking_threads.into())
        .build()?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(serve(orders)))?;
    // What is left after the graceful time is ended with the process.
    runtime.shutdown_background();
    Ok(())
}

async fn serve(orders: Orders) -> anyhow::Result<()> {
    // First, before anything is opened: the descriptors are taken over by number.
    let listeners = orders
        .listeners
        .iter()
        .map(Handover::open)
        .collect::<Result<Vec<_>, _>>()?;
    let seat = orders.balance.map(balance::Handover::open).transpose()?;
    // Before anything that takes time: one that is not caught would end a worker that is still booting.
    let signals = Signals::catch()?;
    let access_log = Rc::new(AccessLog::open(&orders.access_log, orders.log.log_queue)?);
    let needs = orders.needs();
    let chain = Chain::load(orders.links, &orders.chain)?;
    orders.harden.report(orders.harden.step(|| harden::filter(&needs)))?;
    let host = Rc::new(Host {
        chain: chain.clone(),
        requests: orders.requests,
        response_limits: orders.response_limits,
        access_log: access_log.clone(),
        multiprocess: orders.multiprocess,
        pace: orders.http.pace(),
        draining: Cell::new(false),
    });
    log::info(format_args!("Booting worker with pid: {}", std::process::id()));

    let setting = Rc::new(connection::Setting {
        host: host.clone(),
        options: orders.http,
        proxy: orders.proxy,
        proxy_protocol: orders.proxy_protocol,
        tls: orders.tls.map(|credentials| credentials.acceptor()).transpose()?,
    });
    let gate = Rc::new(Gate::new(setting, orders.gate, seat));
    let (drain, drained) = watch::channel(false);
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::task::spawn_local(gate.clone().accept(listener, drained.clone())))
        .collect();
    let tidying = chain.clone();
    tokio::task::spawn_local(async move { tidying.tidy().await });
    told_to_stop(signals, &access_log).await?;

    host.draining.set(true);
    let _ = drain.send(true);
    let finished = async {
        for task in accepting {
            let _ = task.await;
        }
        gate.empty().await;
        chain.quiet().await;
    };
    if tokio::time::timeout(orders.graceful_timeout, finished).await.is_err() {
        log::warning(format_args!(
            "requests were still in flight after --graceful-timeout {} s; they are cut off",
            orders.graceful_timeout.as_secs_f64()
        ));
    }
    log::info(format_args!("Worker exiting (pid: {})", std::process::id()));
    access_log.flush();
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    reopen: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }
}

/// Ends at the end of standard input, or at a SIGTERM; until then, opens the logs anew when it is told to. An interrupt from
/// the keyboard reaches every process of the terminal; what it means is for the arbiter to say.
async fn told_to_stop(mut signals: Signals, access_log: &AccessLog) -> anyhow::Result<()> {
    let mut orders = tokio::net::unix::pipe::Receiver::from_owned_fd(rustix::io::dup(std::io::stdin())?)?;
    let mut buffer = [0; 64];
    loop {
        tokio::select! {
            read = orders.read(&mut buffer) => {
                if matches!(read, Ok(0) | Err(_)) {
                    return Ok(());
                }
            }
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => continue,
            _ = signals.hangup.recv() => continue,
            _ = signals.reopen.recv() => {}
        }
        // All that an arbiter has to say after its orders, and all that is left of the signals.
        log::reopen();
        access_log.reopen();
    }
}
