//! The thread that advances the epochs of a worker's engines, so that a guest that computes lets others run and can be ended.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use anyhow::Context;
use wasmtime::{Engine, EngineWeak};

/// Ticks without any guest at work, after which the thread sleeps until there is one. Waking it costs a
/// system call, so a pause between two requests is not enough.
const IDLE_TICKS: u32 = 1_000;

/// One for all guests of all links: a thread or a timer for each request would cost more than the request, and every thread
/// that runs on another core has to be told of each change that an instance makes to the worker's memory.
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    engines: Mutex<Vec<EngineWeak>>,
    guests: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
}

impl Shared {
    fn tick(&self) {
        let engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        for engine in engines.iter().filter_map(EngineWeak::upgrade) {
            engine.increment_epoch();
        }
    }
}

impl Ticker {
    pub fn start(tick: Duration) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            engines: Mutex::new(Vec::new()),
            guests: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let state = shared.clone();
        let thread = std::thread::Builder::new()
            .name("epoch".into())
            .spawn(move || {
                let mut idle = 0;
                while !state.ended.load(Ordering::SeqCst) {
                    state.tick();
                    idle = match state.guests.load(Ordering::SeqCst) {
                        0 => idle + 1,
                        _ => 0,
                    };
                    if idle >= IDLE_TICKS {
                        state.asleep.store(true, Ordering::SeqCst);
                        if state.guests.load(Ordering::SeqCst) == 0 {
                            std::thread::park();
                        }
                        state.asleep.store(false, Ordering::SeqCst);
                        idle = 0;
                    }
                    std::thread::sleep(tick);
                }
            })
            .context("cannot start the epoch thread")?
            .thread()
            .clone();
        Ok(Self { shared, thread })
    }

    /// Advances this engine's epoch as well, for as long as there is the engine.
    pub fn add(&self, engine: &Engine) {
        let mut engines = self.shared.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.push(engine.weak());
    }

    /// Keeps the ticker awake while a guest is at work.
    pub fn running(&self) -> Running {
        self.shared.guests.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(self.shared.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

pub struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, Ordering::SeqCst);
    }
}
