//! Workers: how many, and what happens when one dies.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::load::Load;
use super::{Unfinished, wait_until_gone};
use crate::harness::{Server, alive, command, guest, signal_process, wait_until};

const PAUSE: &str = "the next one starts in ";
const BOOTING: &str = "Booting worker with pid: ";

fn start(arguments: &[&str]) -> Server {
    let guest = guest("rust");
    let mut all = vec![guest.as_str()];
    all.extend(arguments);
    Server::start(&all)
}

fn alive_workers(server: &Server) -> Vec<u32> {
    server.workers().into_iter().filter(|pid| alive(*pid)).collect()
}

#[test]
fn as_many_as_asked_for() {
    let server = start(&["--workers", "3"]);
    server.wait_for_log_times(BOOTING, 3);
    let mut workers = server.workers();
    for pid in &workers {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains(&format!("\nPPid:\t{}\n", server.pid())), "{status}");
    }
    workers.dedup();
    assert_eq!(workers.len(), 3);
    let line = server.wait_for_log("Listening at: ");
    let expected = format!("Listening at: http://{} ({})", server.address(), server.pid());
    assert!(line.ends_with(&expected), "{line}");
    assert!(server.address().ip().is_loopback() && server.address().port() != 0);
}

#[test]
fn one_for_each_core_if_not_asked() {
    let server = start(&[]);
    let cores = std::thread::available_parallelism().unwrap().get();
    server.wait_for_log_times(BOOTING, cores);
    server.wait_for_log(&format!("in {cores} workers"));
    // One more would have been started at the same time as the others.
    assert_eq!(server.get("/hello/x").status(), 200);
    assert_eq!(server.workers().len(), cores);
}

/// What a worker's glibc was told when it started. It takes the list apart where it is, at its colons.
fn tunables(value: Option<&str>) -> Vec<String> {
    let guest = guest("rust");
    let server = Server::from_command(&[&guest, "--workers", "1"], |command| match value {
        Some(value) => command.env("GLIBC_TUNABLES", value),
        None => command.env_remove("GLIBC_TUNABLES"),
    });
    server.wait_for_log_times(BOOTING, 1);
    assert_eq!(server.get("/hello/x").status(), 200);
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", server.workers()[0])).unwrap();
    let words = environment
        .split(['\0', ':'])
        .map(|word| word.trim_start_matches("GLIBC_TUNABLES="));
    words
        .filter(|word| word.starts_with("glibc."))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_processor_that_copies_slowly_by_one_instruction_is_not_asked_to() {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let mut ours = vec!["glibc.cpu.x86_rep_movsb_threshold=1099511627776"];
    ours.retain(|_| processor.contains("AuthenticAMD"));
    assert_eq!(tunables(None), ours);
    // What a person sets stays, and wins.
    let given = "glibc.malloc.arena_max=2";
    assert_eq!(tunables(Some(given)), [&[given], &*ours].concat());
    let given = "glibc.cpu.x86_rep_movsb_threshold=8192";
    assert_eq!(tunables(Some(given)), [given]);
}

/// How many connections to this port a process holds.
fn connections(pid: u32, port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let inodes: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // Established, at our end.
        .filter(|fields| fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "01")
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect();
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
        .count()
}

#[test]
fn connections_that_come_all_at_once_are_shared() {
    let server = start(&["--workers", "2", "--keep-alive", "300"]);
    server.wait_for_log_times(BOOTING, 2);
    let mut clients: Vec<_> = (0..64).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/hello/x").status(), 200);
    }
    let port = server.address().port();
    let counts: Vec<_> = server.workers().iter().map(|pid| connections(*pid, port)).collect();
    assert_eq!(counts.iter().sum::<usize>(), clients.len());
    assert!(counts.iter().all(|count| *count >= clients.len() / 4), "{counts:?}");
}

#[test]
fn a_killed_one_takes_its_own_connections_with_it_and_no_others() {
    let server = start(&["--workers", "2", "--keep-alive", "300"]);
    server.wait_for_log_times(BOOTING, 2);
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/hello/x").status(), 200);
    }
    let (victim, port) = (server.workers()[0], server.address().port());
    let mut taken = 0;
    // The kernel's table may be read while it changes, and then has gaps.
    wait_until("every connection is one of a worker's", || {
        taken = connections(victim, port);
        taken + connections(server.workers()[1], port) == clients.len()
    });
    signal_process(victim, Signal::KILL);
    server.wait_for_log(&format!("Worker (pid: {victim}) ended by signal 9"));
    let mut lost = 0;
    for client in &mut clients {
        let request = b"GET /hello/again HTTP/1.1\r\nHost: test\r\n\r\n";
        if client.try_send(request).is_err() || client.try_fill_until(b"Hello, again!\n").is_err() {
            lost += 1;
        }
    }
    assert_eq!(lost, taken);
    server.wait_for_log_times(BOOTING, 3);
    assert_eq!(server.get("/hello/x").status(), 200);
}

#[test]
fn a_killed_one_under_load_costs_only_what_it_had_in_hand() {
    let server = start(&["--workers", "2"]);
    server.wait_for_log_times(BOOTING, 2);
    let load = Load::start(server.address());
    for round in 0..3 {
        let victim = server.workers()[round];
        signal_process(victim, Signal::KILL);
        server.wait_for_log(&format!("Worker (pid: {victim}) ended by signal 9"));
        // Meanwhile the other one serves.
        load.wait_for_more(50);
        server.wait_for_log_times(BOOTING, 3 + round);
        load.wait_for_more(50);
    }
    let tally = load.end();
    assert_eq!(tally.refused, 0, "{tally:?}");
    // A client has one request in hand, so a kill costs it one at most.
    assert!(tally.most_lost <= 3, "{tally:?}");
}

#[test]
fn one_that_dies_at_once_again_and_again_is_restarted_ever_more_slowly() {
    let server = start(&["--workers", "1"]);
    let mut pauses = Vec::new();
    // Rounds, and pauses that do not count any more.
    let (mut round, mut said) = (0, 0);
    while pauses.len() < 5 {
        round += 1;
        server.wait_for_log_times(BOOTING, round);
        let victim = *server.workers().last().unwrap();
        let killed = Instant::now();
        signal_process(victim, Signal::KILL);
        server.wait_for_log(&format!("Worker (pid: {victim}) ended by signal 9"));
        // What the arbiter had to say about it stands before this.
        server.signal(Signal::TTOU);
        server.wait_for_log_times("Handling signal: ttou, 1 workers", round);
        let log = server.log();
        let Some(line) = log.iter().filter(|line| line.contains(PAUSE)).nth(said + pauses.len()) else {
            // The machine stood still, and the worker lived long enough to be a good one: all starts anew.
            assert!(round < 50, "{pauses:?}");
            said += pauses.len();
            pauses.clear();
            continue;
        };
        let seconds = line.split_once(PAUSE).unwrap().1.strip_suffix(" s").unwrap();
        let pause = Duration::from_secs_f64(seconds.parse().unwrap());
        server.wait_for_log_times(BOOTING, round + 1);
        assert!(killed.elapsed() >= pause, "{:?} instead of {pause:?}", killed.elapsed());
        pauses.push(pause);
    }
    assert!(pauses.windows(2).all(|pair| pair[1] == 2 * pair[0]), "{pauses:?}");
    assert_eq!(server.get("/hello/x").status(), 200);
}

#[test]
fn if_none_can_start_the_arbiter_ends_and_says_so() {
    // Too little address space for the sandboxes, as some hosting services have it; not too little to compile.
    let served = command(&["serve", &guest("rust"), "--workers", "1", "--bind", "127.0.0.1:0"]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -v 6000000; exec \"$0\" \"$@\""])
        .arg(served.get_program())
        .args(served.get_args())
        .envs(served.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    let mut server = Server::launch(&mut limited);
    assert_eq!(server.wait().code(), Some(3), "{:?}", server.log());
    server.wait_for_log("Worker failed to boot: ");
    server.wait_for_log("wsgi-host: the workers cannot start");
}

#[test]
fn they_do_not_outlive_an_arbiter_that_is_killed() {
    let mut server = start(&["--workers", "2"]);
    server.wait_for_log_times(BOOTING, 2);
    let request = Unfinished::start(&server);
    server.signal(Signal::KILL);
    server.wait();
    // What is in flight is finished all the same.
    request.finish();
    wait_until_gone(&server.workers());
}

#[test]
fn signals_make_them_more_and_fewer() {
    let server = start(&["--workers", "1"]);
    server.wait_for_log_times(BOOTING, 1);
    let first = server.workers();
    server.signal(Signal::TTIN);
    server.wait_for_log("Handling signal: ttin, 2 workers");
    server.signal(Signal::TTIN);
    server.wait_for_log_times(BOOTING, 3);
    let request = Unfinished::start(&server);
    server.signal(Signal::TTOU);
    server.wait_for_log("Handling signal: ttou, 2 workers");
    server.signal(Signal::TTOU);
    server.wait_for_log("Handling signal: ttou, 1 workers");
    request.finish();
    // The oldest go.
    wait_until("two workers have gone", || alive_workers(&server).len() == 1);
    assert!(!alive(first[0]));
    // The last one stays.
    server.signal(Signal::TTOU);
    server.wait_for_log_times("Handling signal: ttou, 1 workers", 2);
    assert_eq!(server.get("/hello/x").status(), 200);
    assert_eq!(server.workers().len(), 3);
}
