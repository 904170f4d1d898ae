//! The clocks of one request in one guest: how long it is silent, how long it takes in all, and how much it computes.
//!
//! They are read from two sides: by a timer, for a guest that waits in a host call, and at every tick of the epoch, for
//! one that computes and lets no timer fire.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

use super::turns::{self, Turn};
use super::usual::Usual;

/// How much a guest may compute for a request before it has to take turns with others that did, as of the next tick: so much
/// at least, and twice as much as the requests of its link usually do. To stop nearly each of them would only make all of them
/// later.
const UNDISTURBED: Duration = Duration::from_millis(1);
const TIMES_USUAL: u32 = 2;
/// How often a stopped clock is looked at again.
const PAUSED_LOOK: Duration = Duration::from_secs(1);

/// Which of its limits a guest has reached, and how much that was: what the epoch's callback raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// `--timeout`
    Silence(Duration),
    /// `--limit-request-time`
    Time(Duration),
    /// `--limit-request-cpu`
    Cpu(Duration),
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence(limit) => write!(f, "no sign of life within --timeout {} s", limit.as_secs_f64()),
            Self::Time(limit) => write!(f, "it took longer than --limit-request-time {} s", limit.as_secs_f64()),
            Self::Cpu(limit) => write!(f, "--limit-request-cpu {} s", limit.as_secs_f64()),
        }
    }
}

impl std::error::Error for Over {}

pub struct Watch {
    timeout: Duration,
    time: Duration,
    cpu: Duration,
    usual: Arc<Usual>,
    clocks: Mutex<Clocks>,
}

/// [`Duration::MAX`] stands for a limit that there is none of.
struct Clocks {
    silence_left: Duration,
    time_left: Duration,
    /// None while they stand still.
    running_since: Option<Instant>,
    cpu_used: Duration,
    /// The right to compute although it has computed for long, until it lets others run.
    turn: Option<Turn>,
}

impl Clocks {
    fn stop(&mut self) {
        if let Some(since) = self.running_since.take() {
            let passed = since.elapsed();
            for left in [&mut self.silence_left, &mut self.time_left] {
                if *left != Duration::MAX {
                    *left = left.saturating_sub(passed);
                }
            }
        }
    }
}

/// Zero on the command line is no limit.
fn limit(option: Duration) -> Duration {
    if option.is_zero() { Duration::MAX } else { option }
}

impl Watch {
    /// Stopped clocks.
    pub fn new(timeout: Duration, time: Duration, cpu: Duration, usual: Arc<Usual>) -> Self {
        let (timeout, time) = (limit(timeout), limit(time));
        Self {
            timeout,
            time,
            cpu: limit(cpu),
            usual,
            clocks: Mutex::new(Clocks {
                silence_left: timeout,
                time_left: time,
                running_since: None,
                cpu_used: Duration::ZERO,
                turn: None,
            }),
        }
    }

    fn clocks(&self) -> MutexGuard<'_, Clocks> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request: nothing of its time is used.
    pub fn begin(&self) {
        let mut clocks = self.clocks();
        self.usual.add(clocks.cpu_used);
        (clocks.silence_left, clocks.time_left) = (self.timeout, self.time);
        clocks.cpu_used = Duration::ZERO;
    }

    /// A sign of life: it may be silent for its whole time again.
    pub fn alive(&self) {
        let mut clocks = self.clocks();
        let running = clocks.running_since.is_some();
        clocks.stop();
        clocks.silence_left = self.timeout;
        clocks.running_since = running.then(Instant::now);
    }

    /// The guest is waited for; its clocks go on where they stopped.
    pub fn resume(&self) {
        let mut clocks = self.clocks();
        clocks.stop();
        clocks.running_since = Some(Instant::now());
    }

    /// Somebody else is waited for.
    pub fn pause(&self) {
        self.clocks().stop();
    }

    /// How long a guest may go on without a sign of life; none while the clocks stand still.
    fn left(&self) -> Option<(Duration, Over)> {
        let clocks = self.clocks();
        let passed = clocks.running_since?.elapsed();
        let (left, over) = if clocks.silence_left <= clocks.time_left {
            (clocks.silence_left, Over::Silence(self.timeout))
        } else {
            (clocks.time_left, Over::Time(self.time))
        };
        Some((left.saturating_sub(passed), over))
    }

    /// Ends when the guest's time is up.
    pub async fn expiry(&self) -> Over {
        loop {
            match self.left() {
                Some((Duration::ZERO, over)) => return over,
                Some((left, _)) => tokio::time::sleep(left).await,
                None => tokio::time::sleep(PAUSED_LOOK.min(self.timeout).min(self.time)).await,
            }
        }
    }

    /// Counts what a call computes.
    pub async fn meter<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        poll_fn(|context| {
            let outer = Stint::enter();
            let polled = call.as_mut().poll(context);
            let mut clocks = self.clocks();
            clocks.cpu_used += Stint::leave(outer);
            clocks.turn = None;
            polled
        })
        .await
    }

    /// At a tick of the epoch, while the guest computes: it is ended, lets others run, or goes on.
    pub fn tick(watch: &Arc<Self>) -> wasmtime::Result<UpdateDeadline> {
        let used = watch.clocks().cpu_used + Stint::tick();
        if used >= watch.cpu {
            return Err(wasmtime::Error::new(Over::Cpu(watch.cpu)));
        }
        if let Some((Duration::ZERO, over)) = watch.left() {
            return Err(wasmtime::Error::new(over));
        }
        if used < UNDISTURBED.max(watch.usual.get() * TIMES_USUAL) {
            return Ok(UpdateDeadline::Continue(1));
        }
        let watch = watch.clone();
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                let turn = turns::next(used).await;
                watch.clocks().turn = Some(turn);
            }),
        ))
    }
}

impl Drop for Watch {
    /// The end of the last request.
    fn drop(&mut self) {
        let used = self.clocks().cpu_used;
        self.usual.add(used);
    }
}

thread_local! {
    static STINT: Cell<Stint> = Cell::new(Stint::start());
}

/// What this thread has computed since it started.
fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A guest at work on this thread, without a pause: the innermost one, where one guest calls another.
///
/// To ask what a thread has computed is a system call, and most stints end before the first tick. So up to its first tick
/// a stint counts as if it had the processor to itself, which one that is that short nearly always has.
#[derive(Clone, Copy)]
struct Stint {
    start: Instant,
    /// What it had computed at its first tick, and the thread by then.
    ticked: Option<(Duration, Duration)>,
    /// How much of it was spent in stints inside it.
    inside: Duration,
}

impl Stint {
    fn start() -> Self {
        Self {
            start: Instant::now(),
            ticked: None,
            inside: Duration::ZERO,
        }
    }

    /// What it has computed so far, those inside it included.
    fn all(&self) -> Duration {
        match self.ticked {
            Some((before, then)) => before + computed().saturating_sub(then),
            None => self.start.elapsed(),
        }
    }

    /// A stint inside another begins; that one is returned.
    fn enter() -> Self {
        STINT.replace(Self::start())
    }

    /// At a tick: what the innermost one has computed itself.
    fn tick() -> Duration {
        let mut stint = STINT.get();
        let all = stint.all();
        stint.ticked.get_or_insert_with(|| (all, computed()));
        STINT.set(stint);
        all.saturating_sub(stint.inside)
    }

    /// The innermost one ends, and the one around it goes on. What it computed itself.
    fn leave(mut outer: Self) -> Duration {
        let stint = STINT.get();
        let all = stint.all();
        // In the outer one's own measure.
        outer.inside += match outer.ticked {
            Some(_) => all,
            None => stint.start.elapsed(),
        };
        STINT.set(outer);
        all.saturating_sub(stint.inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1_000);
    const SHORT: Duration = Duration::from_nanos(1);

    fn limited(timeout: Duration, time: Duration, cpu: Duration) -> Watch {
        Watch::new(timeout, time, cpu, Arc::default())
    }

    fn compute(time: Duration) {
        let start = computed();
        while computed() < start + time {}
    }

    #[test]
    fn a_watch_expires_only_while_it_runs() {
        let watch = limited(SHORT, LONG, LONG);
        assert_eq!(watch.left(), None);
        watch.resume();
        while watch.left() != Some((Duration::ZERO, Over::Silence(SHORT))) {}
        watch.pause();
        assert_eq!(watch.left(), None);
        watch.resume();
        assert_eq!(watch.left(), Some((Duration::ZERO, Over::Silence(SHORT))));
        let endless = limited(Duration::ZERO, Duration::ZERO, Duration::ZERO);
        endless.resume();
        assert!(endless.left().is_some_and(|(left, _)| left > LONG));
    }

    #[test]
    fn signs_of_life_do_not_prolong_a_request() {
        let watch = limited(LONG, SHORT, LONG);
        watch.resume();
        while watch.left() != Some((Duration::ZERO, Over::Time(SHORT))) {
            watch.alive();
        }
        watch.begin();
        assert_eq!(watch.clocks().time_left, SHORT);
    }

    #[tokio::test]
    async fn computing_is_counted_over_all_calls_and_limited() {
        let part = Duration::from_millis(1);
        let watch = Arc::new(limited(LONG, LONG, 3 * part));
        watch.resume();
        for calls in 1..=3 {
            watch.meter(async { compute(part) }).await;
            assert!(watch.clocks().cpu_used >= calls * part);
        }
        let ended = watch.meter(async { Watch::tick(&watch).err() }).await;
        assert_eq!(
            ended.and_then(|error| error.downcast::<Over>().ok()),
            Some(Over::Cpu(3 * part))
        );
    }

    #[tokio::test]
    async fn a_guest_does_not_pay_for_those_that_it_calls() {
        let part = Duration::from_millis(2);
        let (outer, inner) = (limited(LONG, LONG, LONG), limited(LONG, LONG, LONG));
        let before = Instant::now();
        outer
            .meter(async {
                compute(part);
                inner.meter(async { compute(10 * part) }).await;
            })
            .await;
        let all = before.elapsed();
        let (outer, inner) = (outer.clocks().cpu_used, inner.clocks().cpu_used);
        assert!(
            inner >= 10 * part && outer >= part && outer + inner <= all,
            "{outer:?} {inner:?}"
        );
    }

    #[tokio::test]
    async fn after_a_tick_only_computing_counts() {
        let watch = Arc::new(limited(LONG, LONG, LONG));
        let (before, pause) = (Instant::now(), Duration::from_millis(20));
        watch
            .meter(async {
                assert!(Watch::tick(&watch).is_ok());
                std::thread::sleep(pause);
            })
            .await;
        let used = watch.clocks().cpu_used;
        assert!(used + pause <= before.elapsed(), "{used:?}");
    }

    #[tokio::test]
    async fn who_computes_as_usual_is_not_stopped() {
        let usual = Arc::new(Usual::default());
        let begun = || {
            let watch = Arc::new(Watch::new(LONG, LONG, LONG, usual.clone()));
            watch.resume();
            watch
        };
        let goes_on = async |watch: Arc<Watch>, computed| {
            let ticked = watch.meter(async {
                compute(computed);
                Watch::tick(&watch)
            });
            matches!(ticked.await, Ok(UpdateDeadline::Continue(_)))
        };
        // Before anything is known.
        assert!(goes_on(begun(), 2 * UNDISTURBED).await);
        usual.add(SHORT);
        while usual.get() > UNDISTURBED / 2 {
            usual.add(SHORT);
        }
        assert!(!goes_on(begun(), 2 * UNDISTURBED).await);
        for _ in 0..1_000 {
            usual.add(LONG);
        }
        assert!(goes_on(begun(), 2 * UNDISTURBED).await);
        assert!(!goes_on(begun(), usual.get() * TIMES_USUAL).await);
        // The next request of an instance, and its end, tell of the one before.
        let watch = begun();
        let before = usual.get();
        watch.begin();
        let between = usual.get();
        drop(watch);
        assert!(usual.get() < between && between < before);
    }
}
