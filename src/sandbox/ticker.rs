//! The thread that advances an engine's epoch, so that a guest that computes lets others run and can be ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::Engine;

/// Ticks without any guest at work, after which the thread sleeps until there is one. Waking it costs a
/// system call, so a pause between two requests is not enough.
const IDLE_TICKS: u32 = 1_000;

/// One for all guests of an engine: a thread or a timer for each request would cost more than the request.
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    guests: AtomicUsize,
    asleep: AtomicBool,
}

impl Ticker {
    pub fn start(engine: &Engine, tick: Duration) -> wasmtime::Result<Self> {
        let shared = Arc::new(Shared {
            guests: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
        });
        let (state, engine) = (shared.clone(), engine.weak());
        let thread = std::thread::Builder::new()
            .name("epoch".into())
            .spawn(move || {
                let mut idle = 0;
                while let Some(engine) = engine.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
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
            .map_err(|error| wasmtime::Error::msg(format!("cannot start the epoch thread: {error}")))?
            .thread()
            .clone();
        Ok(Self { shared, thread })
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
        self.thread.unpark();
    }
}

pub struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, Ordering::SeqCst);
    }
}
