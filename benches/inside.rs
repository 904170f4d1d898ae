//! The steps of a request inside a worker, without a network: `guest-apps/build bench/rust bench/pass && cargo bench`.
//!
//! The guests are those of benches/guests. A call with a fresh instance makes one and ends it; with a kept one it does not.

use std::path::PathBuf;

use divan::Bencher;
use wsgi_host::bench::{COMPILER_COMMAND, Rooms};

const FRESH: &[&str] = &[];
const KEPT: &[&str] = &["--max-requests", "0"];
/// What wrk sends, and what a browser sends.
const FEW_FIELDS: &[(&str, &str)] = &[("Host", "127.0.0.1:8000")];
const MANY_FIELDS: &[(&str, &str)] = &[
    ("Host", "127.0.0.1:8000"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "http://127.0.0.1:8000/somewhere/else"),
    ("Connection", "keep-alive"),
    (
        "Cookie",
        "session=eyJ1c2VyIjoxfQ.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb; theme=dark",
    ),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Priority", "u=0, i"),
];

/// Compiling is done by a process of its own, which is this program again.
fn main() -> std::process::ExitCode {
    if std::env::args().nth(1).as_deref() == Some(COMPILER_COMMAND) {
        return wsgi_host::main();
    }
    divan::main();
    std::process::ExitCode::SUCCESS
}

fn guest(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("target/guests/bench")
        .join(name)
        .with_extension("wasm")
}

fn rooms(app: &str, links: usize, options: &[&str], fields: &[(&str, &str)]) -> Rooms {
    let middleware = vec![guest("pass"); links];
    Rooms::open(&guest(app), &middleware, options, fields).expect("guest-apps/build has made the guests of the bench")
}

#[divan::bench]
fn environ_of_few_fields(bencher: Bencher) {
    let rooms = rooms("rust", 0, FRESH, FEW_FIELDS);
    bencher.bench_local(|| rooms.environ());
}

#[divan::bench]
fn environ_of_many_fields(bencher: Bencher) {
    let rooms = rooms("rust", 0, FRESH, MANY_FIELDS);
    bencher.bench_local(|| rooms.environ());
}

#[divan::bench]
fn response_check(bencher: Bencher) {
    let rooms = rooms("rust", 0, FRESH, FEW_FIELDS);
    bencher.bench_local(|| rooms.check().expect("the response is good"));
}

#[divan::bench(args = ["rust", "c", "javascript", "python", "flask"])]
fn instantiate(bencher: Bencher, app: &str) {
    if let Some(rooms) = built(app, FRESH) {
        bencher.bench_local(|| rooms.instantiate().expect("it can be instantiated"));
    }
}

#[divan::bench(args = ["rust", "c", "javascript", "python", "flask"])]
fn call_fresh(bencher: Bencher, app: &str) {
    if let Some(rooms) = built(app, FRESH) {
        bencher.bench_local(|| rooms.call().expect("it answers"));
    }
}

#[divan::bench(args = ["rust", "c", "javascript", "python", "flask"])]
fn call_kept(bencher: Bencher, app: &str) {
    if let Some(rooms) = built(app, KEPT) {
        bencher.bench_local(|| rooms.call().expect("it answers"));
    }
}

/// Not every machine has every toolchain.
fn built(app: &str, options: &[&str]) -> Option<Rooms> {
    guest(app).exists().then(|| rooms(app, 0, options, FEW_FIELDS))
}

#[divan::bench(args = [0, 1, 4])]
fn links_fresh(bencher: Bencher, links: usize) {
    let rooms = rooms("rust", links, FRESH, FEW_FIELDS);
    bencher.bench_local(|| rooms.call().expect("it answers"));
}

#[divan::bench(args = [0, 1, 4])]
fn links_kept(bencher: Bencher, links: usize) {
    let rooms = rooms("rust", links, KEPT, FEW_FIELDS);
    bencher.bench_local(|| rooms.call().expect("it answers"));
}
