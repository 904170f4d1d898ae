//! The end: what is in flight is finished, and nothing is left behind.

use std::os::unix::process::CommandExt;

use rustix::process::{Pid, Signal};

use super::load::Load;
use super::{Unfinished, wait_until_gone};
use crate::harness::{Server, guest, wait_until};

/// An address that no server of another test takes the port of, once it is free: clients go on trying to connect to it.
const OWN: &str = "127.0.78.1:0";

fn start(arguments: &[&str]) -> Server {
    let guest = guest("rust");
    let mut all = vec![guest.as_str(), "--workers", "2"];
    if !arguments.contains(&"--bind") {
        all.extend(["--bind", OWN]);
    }
    all.extend(arguments);
    let server = Server::start(&all);
    server.wait_for_log_times("Booting worker with pid: ", 2);
    server
}

/// Ends a server under load by `end`, and looks at what became of the requests.
fn nothing_is_lost(mut server: Server, end: impl FnOnce(&Server)) {
    let load = Load::start(server.address());
    end(&server);
    let status = server.wait();
    let tally = load.join();
    assert_eq!(status.code(), Some(0));
    assert!(tally.lost.is_empty(), "{tally:?}");
    assert!(tally.answered >= 50 && tally.refused > 0, "{tally:?}");
    wait_until_gone(&server.workers());
    server.wait_for_log("Shutting down: arbiter");
}

#[test]
fn sigterm_under_load_loses_nothing() {
    // Several times: what could be lost is a matter of the moment.
    for _ in 0..5 {
        nothing_is_lost(start(&[]), |server| server.signal(Signal::TERM));
    }
}

#[test]
fn sigint_under_load_loses_nothing() {
    nothing_is_lost(start(&[]), |server| server.signal(Signal::INT));
}

#[test]
fn sigterm_over_the_second_address_loses_nothing() {
    let mut server = start(&["--bind", "127.0.0.1:0", "--bind", "[::1]:0"]);
    server.addresses.reverse();
    assert!(server.address().is_ipv6());
    nothing_is_lost(server, |server| server.signal(Signal::TERM));
}

#[test]
fn an_interrupt_from_the_terminal_reaches_every_process_and_loses_nothing() {
    let server = Server::from_command(&[&guest("rust"), "--workers", "2", "--bind", OWN], |command| {
        command.process_group(0)
    });
    server.wait_for_log_times("Booting worker with pid: ", 2);
    nothing_is_lost(server, |server| {
        let group = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
        rustix::process::kill_process_group(group, Signal::INT).unwrap();
    });
}

#[test]
fn a_response_under_way_is_finished() {
    let mut server = start(&[]);
    let mut request = Unfinished::start(&server);
    server.signal(Signal::TERM);
    server.wait_for_log("Handling signal: term");
    request.send("second ");
    request.finish();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn an_idle_connection_is_not_waited_for() {
    // Longer than a test may take.
    let mut server = start(&["--keep-alive", "600", "--graceful-timeout", "600"]);
    let mut client = server.client();
    assert_eq!(client.get("/hello/x").status(), 200);
    let silent = server.client();
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(client.read_to_end(), b"");
    drop(silent);
}

#[test]
fn an_idle_connection_may_still_send_one_request() {
    let mut server = start(&[]);
    let mut client = server.client();
    assert_eq!(client.get("/hello/x").header("Connection"), None);
    server.signal(Signal::TERM);
    server.wait_for_log("Handling signal: term");
    // The worker hears of it a little later than the log does.
    wait_until("the connection's last response", || {
        let response = client.get("/hello/last");
        assert_eq!(response.text(), "Hello, last!\n");
        response.header("Connection") == Some("close")
    });
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn what_does_not_finish_in_time_is_cut_and_logged() {
    let mut server = start(&["--graceful-timeout", "1"]);
    let request = Unfinished::start(&server);
    assert_eq!(server.stop().code(), Some(0));
    request.expect_cut();
    server.wait_for_log("requests were still in flight after --graceful-timeout 1 s; they are cut off");
    wait_until_gone(&server.workers());
}

#[test]
fn a_second_signal_ends_the_waiting() {
    let mut server = start(&["--graceful-timeout", "600"]);
    let request = Unfinished::start(&server);
    server.signal(Signal::TERM);
    server.wait_for_log("Handling signal: term");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    request.expect_cut();
    wait_until_gone(&server.workers());
}
