//! Tries everything that WASI has, whether it was given or not, and answers with what came of it: a path for each try.

mod files;
mod sockets;

wit_bindgen::generate!({ path: "../../../wit", world: "app" });

use wasip2::cli::{environment, exit, stdin, stdout};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::io::poll::{Pollable, poll};
use wasip2::random::random;

use exports::wsgi::gateway::application::{Environ, Failure, Guest, GuestChunks, RequestBody, Response, ResponseBody};

struct App;

/// What came of a try: a value, or the name of the error.
type Outcome<T> = Result<T, String>;

impl Guest for App {
    type Chunks = None;

    fn call(environ: Environ) -> Result<Response, Failure> {
        let path = environ.vars.iter().find(|(name, _)| name == "PATH_INFO");
        let path = path.map(|(_, value)| value.clone()).unwrap_or_default();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let rest = |first: &str| path[1 + first.len()..].to_owned();
        let answer = match parts[..] {
            ["good"] => return Ok(answer(read(environ.input))),
            ["environment"] => format!(
                "{:?} {:?}",
                environment::get_environment(),
                environment::get_arguments()
            ),
            ["input"] => say(stdin::get_stdin().blocking_read(10).map_err(|error| error.to_string())),
            ["files"] => say(files::hold()),
            ["fill", how] => say(files::fill(how)),
            ["make"] => say(files::make_without_end()),
            ["list"] => say(files::list("/data").map(|names| names.len())),
            ["lists"] => say(files::hold_listings()),
            ["look", ..] => say(files::read(&rest("look"))),
            ["write", ..] => say(files::write(&rest("write"))),
            ["link", ..] => say(files::link(&rest("link"))),
            ["connect", address] => say(sockets::connect(address)),
            ["listen", address] => say(sockets::listen(address)),
            ["send", address] => say(sockets::send(address)),
            ["resolve", name] => say(sockets::resolve(name).map(|all| format!("{all:?}"))),
            ["sleep", seconds] => {
                sleep(seconds.parse::<u64>().unwrap_or_default().saturating_mul(1_000_000_000));
                "awake".into()
            }
            ["poll"] => poll_many().to_string(),
            ["wait"] => poll_without_end(),
            ["random"] => random::get_random_bytes(u64::MAX).len().to_string(),
            ["random-without-end"] => loop {
                random::get_random_bytes(64 << 10);
            },
            ["zeroes"] => say(stdout::get_stdout()
                .write_zeroes(u64::MAX)
                .map_err(|error| error.to_string())),
            ["splice"] => say(splice()),
            ["exit"] => {
                exit::exit(Ok(()));
                "still here".into()
            }
            ["eat"] => eat().to_string(),
            ["recurse"] => recurse(0).to_string(),
            ["flood"] => say(flood()),
            ["spin"] => loop {
                std::hint::black_box(());
            },
            ["panic"] => panic!("deliberate"),
            ["clock"] => format!("{:?} {}", wall_clock::now(), monotonic_clock::now()),
            ["clock-twice"] => clock_twice(),
            _ => "nothing".into(),
        };
        Ok(self::answer(answer.into_bytes()))
    }
}

fn answer(body: Vec<u8>) -> Response {
    Response {
        status: 200,
        reason: String::new(),
        headers: Vec::new(),
        body: ResponseBody::Bytes(body),
    }
}

fn say<T: std::fmt::Debug>(outcome: Outcome<T>) -> String {
    match outcome {
        Ok(value) => format!("it could: {value:?}"),
        Err(error) => format!("it could not: {error}"),
    }
}

fn read(input: RequestBody) -> Vec<u8> {
    match input {
        RequestBody::Bytes(bytes) => bytes,
        RequestBody::Reader(reader) => {
            let mut all = Vec::new();
            while let Ok(block) = reader.read(65_536)
                && !block.is_empty()
            {
                all.extend(block);
            }
            all
        }
    }
}

fn sleep(nanoseconds: u64) {
    monotonic_clock::subscribe_duration(nanoseconds).block();
}

/// Waits for one clock a million times, in one call.
fn poll_many() -> usize {
    let clock = monotonic_clock::subscribe_duration(0);
    let all: Vec<&Pollable> = std::iter::repeat_n(&clock, 1_000_000).collect();
    poll(&all).len()
}

/// Asks on and on whether a time has come that never does.
fn poll_without_end() -> ! {
    let never = monotonic_clock::subscribe_instant(u64::MAX);
    let now = monotonic_clock::subscribe_duration(0);
    loop {
        poll(&[&never, &now]);
    }
}

/// Passes on what there is not, as much of it as there can be.
fn splice() -> Outcome<u64> {
    let (to, from) = (stdout::get_stdout(), stdin::get_stdin());
    to.blocking_splice(&from, u64::MAX).map_err(|error| error.to_string())
}

/// Takes memory, and writes to all of it, until there is no more.
fn eat() -> usize {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1; 1 << 20]));
    }
}

fn recurse(depth: u64) -> u64 {
    match std::hint::black_box(depth) {
        u64::MAX => 0,
        depth => 1 + recurse(depth + 1),
    }
}

/// Writes to the log without end, as far as it is let.
fn flood() -> Outcome<()> {
    let stream = stdout::get_stdout();
    (0..100_000).try_for_each(|_| {
        let line = b"what nobody wants to read\n";
        stream.blocking_write_and_flush(line).map_err(|error| error.to_string())
    })
}

/// Whether its two clocks show the same after a while that it can count without them.
fn clock_twice() -> String {
    let shown = || (format!("{:?}", wall_clock::now()), monotonic_clock::now());
    let before = shown();
    sleep(150_000_000);
    let after = shown();
    format!("{} {}", before.0 == after.0, before.1 == after.1)
}

/// It never returns an iterable.
enum None {}

impl GuestChunks for None {
    fn next(&self) -> Result<Option<Vec<u8>>, String> {
        match *self {}
    }

    fn close(&self) {}
}

export!(App);
