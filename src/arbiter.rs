//! The arbiter: the process that the operator talks to. It binds, starts workers, replaces those that die, and ends
//! them in order. It never looks at a request.
//!
//! A worker is this program again, with its orders as a line on its standard input; the arbiter keeps that pipe open, and
//! closing it tells the worker to finish. So no worker outlives its arbiter, however that ends.

use std::collections::{HashMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::balance::Balance;
use crate::fault::{Fault, Kind, Result};
use crate::identity::{self, Identity};
use crate::listener::Listener;
use crate::worker::Orders;
use crate::{glibc, log, units};

/// The name of the hidden command that a worker is started with.
pub const WORKER_COMMAND: &str = "worker";

/// What a worker is sent after its orders: that it opens its logs anew.
const REOPEN: &[u8] = b"\n";

/// A worker that lived at least this long was a good one: its successor starts at once.
const GOOD_LIFE: Duration = Duration::from_secs(5);
/// If no worker can start in the arbiter's first seconds, none ever will: that ends the arbiter too.
const BOOT_TIME: Duration = Duration::from_secs(30);
/// The pause before the successor of one that did not, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long after the graceful timeout a worker may take to be gone by itself: to say what it cuts off, and to write its log to
/// the end, on a machine that is busy.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// The most workers that SIGTTIN can ask for.
const WORKERS: usize = 1_024;

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Worker processes; the default is one for each core that this process may use.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=WORKERS as i64))]
    pub workers: Option<u16>,

    /// Seconds that requests in flight are given to finish when the server stops or reloads.
    #[arg(long, default_value = "30", value_parser = units::seconds, value_name = "SECONDS")]
    pub graceful_timeout: Duration,

    /// Refused: workers are processes with one thread each.
    #[arg(long, hide = true, value_name = "N")]
    pub threads: Option<String>,

    /// Write the arbiter's process ID to this file, and remove it at the end.
    #[arg(short, long, value_name = "FILE")]
    pub pid: Option<std::path::PathBuf>,

    #[command(flatten)]
    pub identity: identity::Options,
}

impl Options {
    pub fn worker_count(&self) -> Result<usize> {
        if self.threads.is_some() {
            return Err(Fault::new(
                Kind::Usage,
                "--threads: a worker has one thread, because threads that share an address space make each other's sandboxes slower; use --workers N",
            ));
        }
        Ok(match self.workers {
            Some(workers) => usize::from(workers),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        })
    }
}

/// Makes the orders for workers to come; called again for a reload.
pub type Prepare = Arc<dyn Fn() -> Result<Orders> + Send + Sync>;

/// Runs until told to stop.
pub fn run(options: &Options, listeners: Vec<Listener>, orders: Orders, prepare: Prepare) -> Result<()> {
    let workers = options.worker_count()?;
    let pid_file = options.pid.as_deref().map(PidFile::write).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let mut arbiter = Arbiter {
            balance: balance()?,
            wanted: workers,
            graceful_timeout: options.graceful_timeout,
            identity: options.identity.identity()?,
            listeners,
            orders,
            workers: HashMap::new(),
            exits: JoinSet::new(),
            generation: 0,
            pause: FIRST_PAUSE,
            next_start: None,
            born: Instant::now(),
            heal: false,
        };
        arbiter.rule(prepare).await
    });
    drop(pid_file);
    result
}

struct Arbiter {
    /// How many workers there should be.
    wanted: usize,
    graceful_timeout: Duration,
    /// Who the workers are, if they are somebody else.
    identity: Option<Identity>,
    listeners: Vec<Listener>,
    orders: Orders,
    /// Of the workers of this generation.
    balance: Balance,
    workers: HashMap<u32, Worker>,
    exits: JoinSet<Exit>,
    /// Counts reloads: workers of an earlier generation are on their way out.
    generation: u64,
    pause: Duration,
    /// Not before this is another worker started.
    next_start: Option<Instant>,
    born: Instant,
    /// Whether a worker could not start with these orders, which may be mended by new ones: compiled code that was thrown
    /// out of the cache is compiled again.
    heal: bool,
}

/// A running worker.
struct Worker {
    generation: u64,
    /// Among those of its generation.
    place: usize,
    started: Instant,
    /// Written to when its logs are to be opened anew, and dropped to tell it to finish.
    tie: Option<ChildStdin>,
    /// Sent to kill it.
    kill: Option<oneshot::Sender<()>>,
}

struct Exit {
    pid: u32,
    status: std::io::Result<ExitStatus>,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    more: Signal,
    fewer: Signal,
    reopen: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            // Linux's SIGTTIN and SIGTTOU, which tokio has no names for.
            more: signal(SignalKind::from_raw(rustix::process::Signal::TTIN.as_raw()))?,
            fewer: signal(SignalKind::from_raw(rustix::process::Signal::TTOU.as_raw()))?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }
}

impl Arbiter {
    async fn rule(&mut self, prepare: Prepare) -> Result<()> {
        let mut signals = Signals::catch().context("cannot catch signals")?;
        let mut reload: Option<oneshot::Receiver<Result<Orders>>> = None;
        loop {
            self.adjust().await?;
            let start = self.next_start;
            tokio::select! {
                Some(exit) = self.exits.join_next() => {
                    if let Ok(exit) = exit {
                        self.buried(&exit)?;
                    }
                }
                () = sleep_until(start.unwrap_or_else(Instant::now)), if start.is_some() => {
                    if std::mem::take(&mut self.heal) && reload.is_none() {
                        reload = Some(again(&prepare));
                    }
                }
                _ = signals.terminate.recv() => return self.stop("term", &mut signals).await,
                _ = signals.interrupt.recv() => return self.stop("int", &mut signals).await,
                _ = signals.quit.recv() => return self.stop("quit", &mut signals).await,
                _ = signals.hangup.recv() => {
                    log::info(format_args!("Handling signal: hup"));
                    reload = Some(again(&prepare));
                }
                Some(prepared) = finished(&mut reload) => {
                    reload = None;
                    self.reload(prepared).await?;
                }
                _ = signals.more.recv() => {
                    self.wanted = (self.wanted + 1).min(WORKERS);
                    log::info(format_args!("Handling signal: ttin, {} workers", self.wanted));
                }
                _ = signals.fewer.recv() => {
                    self.wanted = self.wanted.saturating_sub(1).max(1);
                    log::info(format_args!("Handling signal: ttou, {} workers", self.wanted));
                }
                _ = signals.reopen.recv() => self.reopen_logs().await,
            }
        }
    }

    /// Starts workers that are missing and retires those that are too many.
    async fn adjust(&mut self) -> Result<()> {
        let now = Instant::now();
        let ready = self.next_start.is_none_or(|start| start <= now);
        let current = |worker: &Worker, generation| worker.generation == generation && worker.tie.is_some();
        let mut count = self
            .workers
            .values()
            .filter(|worker| current(worker, self.generation))
            .count();
        if ready {
            self.next_start = None;
            while count < self.wanted {
                self.start().await?;
                count += 1;
            }
        }
        while count > self.wanted {
            let oldest = self
                .workers
                .values_mut()
                .filter(|worker| current(worker, self.generation))
                .min_by_key(|worker| worker.started);
            if let Some(worker) = oldest {
                worker.tie = None;
            }
            count -= 1;
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<()> {
        let mut child = spawn(self.identity).context("cannot start a worker")?;
        let pid = child.id().unwrap_or_default();
        let mut tie = child.stdin.take().context("a worker has no standard input")?;
        let place = self.free_place();
        self.orders.balance = Some(self.balance.hand_over(place));
        let mut line = serde_json::to_vec(&self.orders).context("cannot write a worker's orders")?;
        line.push(b'\n');
        // A worker that died already is seen by its exit.
        let _ = tie.write_all(&line).await;
        let (kill, killed) = oneshot::channel();
        self.exits.spawn(watch(child, pid, killed));
        self.workers.insert(
            pid,
            Worker {
                generation: self.generation,
                place,
                started: Instant::now(),
                tie: Some(tie),
                kill: Some(kill),
            },
        );
        Ok(())
    }

    /// A place in the balance that no worker of this generation has.
    fn free_place(&self) -> usize {
        let taken: HashSet<usize> = self
            .workers
            .values()
            .filter(|worker| worker.generation == self.generation)
            .map(|worker| worker.place)
            .collect();
        (0..).find(|place| !taken.contains(place)).unwrap_or_default()
    }

    /// A worker has ended: expected, or to be replaced after a pause that grows while workers do not live long.
    fn buried(&mut self, exit: &Exit) -> Result<()> {
        let Some(worker) = self.workers.remove(&exit.pid) else {
            return Ok(());
        };
        if worker.generation == self.generation {
            self.balance.clear(worker.place);
        }
        if worker.tie.is_none() || worker.generation != self.generation {
            return Ok(());
        }
        let life = worker.started.elapsed();
        let boot_failed = matches!(&exit.status, Ok(status) if status.code() == Some(Kind::WorkerBoot as i32));
        let others = self.workers.values().any(|other| other.generation == self.generation);
        if boot_failed && !others && self.generation == 0 && self.born.elapsed() < BOOT_TIME {
            return Err(Fault::new(
                Kind::WorkerBoot,
                "the workers cannot start; the reason is in the log above",
            ));
        }
        self.heal |= boot_failed;
        log::warning(format_args!(
            "Worker (pid: {}) ended {}",
            exit.pid,
            describe(&exit.status)
        ));
        if life >= GOOD_LIFE {
            self.pause = FIRST_PAUSE;
            return Ok(());
        }
        let start = Instant::now() + self.pause;
        if self.next_start.is_none_or(|next| next < start) {
            self.next_start = Some(start);
            log::info(format_args!(
                "It lived for {:.1} s only; the next one starts in {:.1} s",
                life.as_secs_f64(),
                self.pause.as_secs_f64()
            ));
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// New workers with new orders; the old ones finish what they have.
    async fn reload(&mut self, prepared: Result<Orders>) -> Result<()> {
        let mut orders = match prepared {
            Ok(orders) => orders,
            Err(fault) => {
                if let Some(detail) = &fault.detail {
                    log::lines(log::Level::Error, format_args!("Reload"), detail);
                }
                log::error(format_args!("The reload failed, nothing has changed: {fault}"));
                return Ok(());
            }
        };
        orders.listeners.clone_from(&self.orders.listeners);
        self.orders = orders;
        self.balance = balance()?;
        self.generation += 1;
        self.next_start = None;
        self.adjust().await?;
        for worker in self
            .workers
            .values_mut()
            .filter(|worker| worker.generation != self.generation)
        {
            worker.tie = None;
        }
        log::info(format_args!("Reloaded: {}", self.orders.names()));
        Ok(())
    }

    async fn reopen_logs(&mut self) {
        // They may not be able to make a file where the old one was.
        if let Some(identity) = self.identity {
            for path in self.orders.log_files() {
                if let Err(error) = identity.give_file(path) {
                    log::error(format_args!("{}: {error}", path.display()));
                }
            }
        }
        log::reopen();
        // Not by a signal, which would end one that does not catch it yet. Those without a tie have stopped listening.
        for tie in self.workers.values_mut().filter_map(|worker| worker.tie.as_mut()) {
            let _ = tie.write_all(REOPEN).await;
        }
    }

    /// No newcomers, then every worker finishes, then the end. A second signal ends the waiting.
    async fn stop(&mut self, name: &str, signals: &mut Signals) -> Result<()> {
        log::info(format_args!("Handling signal: {name}"));
        for listener in &self.listeners {
            listener.refuse_newcomers();
        }
        for worker in self.workers.values_mut() {
            worker.tie = None;
        }
        let deadline = Instant::now() + self.graceful_timeout + KILL_GRACE;
        let gone = async {
            loop {
                tokio::select! {
                    exit = self.exits.join_next() => if exit.is_none() { break },
                    _ = signals.terminate.recv() => break,
                    _ = signals.interrupt.recv() => break,
                    _ = signals.quit.recv() => break,
                }
            }
        };
        let _ = timeout_at(deadline, gone).await;
        for worker in self.workers.values_mut() {
            if let Some(kill) = worker.kill.take() {
                let _ = kill.send(());
            }
        }
        while self.exits.join_next().await.is_some() {}
        log::info(format_args!("Shutting down: arbiter"));
        Ok(())
    }
}

fn balance() -> Result<Balance> {
    // Those that are told to finish have their places until they are gone.
    Ok(Balance::new(2 * WORKERS).context("cannot make the table of the workers' connections")?)
}

/// Makes new orders beside everything else: compiling takes seconds, and the workers are to be watched meanwhile.
fn again(prepare: &Prepare) -> oneshot::Receiver<Result<Orders>> {
    let (sender, receiver) = oneshot::channel();
    let prepare = prepare.clone();
    std::thread::spawn(move || {
        // Nobody waits any more if the arbiter is about to end.
        let _ = sender.send(prepare());
    });
    receiver
}

/// The result of a reload under way, if there is one.
async fn finished(reload: &mut Option<oneshot::Receiver<Result<Orders>>>) -> Option<Result<Orders>> {
    match reload {
        Some(receiver) => Some(
            receiver
                .await
                .unwrap_or_else(|_| Err(Fault::new(Kind::Internal, "the reload ended without a result"))),
        ),
        None => std::future::pending().await,
    }
}

/// This program once more. Its own file may have been replaced since; a worker has to fit its arbiter.
fn spawn(identity: Option<Identity>) -> std::io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("wsgi-host: worker")
        .arg(WORKER_COMMAND)
        .stdin(Stdio::piped())
        .kill_on_drop(true);
    if let Some(tunables) = glibc::tunables() {
        command.env(glibc::VARIABLE, tunables);
    }
    if let Some(identity) = identity {
        // The groups of the arbiter's user are given up with it.
        command.gid(identity.group).uid(identity.user);
    }
    command.spawn()
}

async fn watch(mut child: Child, pid: u32, mut killed: oneshot::Receiver<()>) -> Exit {
    let status = tokio::select! {
        status = child.wait() => status,
        Ok(()) = &mut killed => {
            let _ = child.start_kill();
            child.wait().await
        }
    };
    Exit { pid, status }
}

fn describe(status: &std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("with exit status {code}"),
            (_, Some(signal)) => format!("by signal {signal}"),
            _ => status.to_string(),
        },
        Err(error) => format!("and could not be waited for: {error}"),
    }
}

/// The file with the arbiter's process ID, for as long as it runs.
struct PidFile(std::path::PathBuf);

impl PidFile {
    fn write(path: &std::path::Path) -> Result<Self> {
        std::fs::write(path, format!("{}\n", std::process::id()))
            .map_err(|error| Fault::new(Kind::Resource, format!("--pid {}: {error}", path.display())))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
