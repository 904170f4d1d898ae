//! What each app of guest-apps/hostile gets: its request ends with a definite status or a cut connection, the log says
//! which limit that was, whoever else is served at the time notices nothing, and the worker is afterwards what it was.

mod abi;
mod below;
mod compiling;
mod grants;
mod memory;
mod secrets;
mod wasi;

use crate::harness::{PATIENCE, Resources, Response, Server, hostile, wait_until};

/// Hostile requests at the same time.
const AT_ONCE: usize = 8;
/// Rounds before the worker is looked at first: what it keeps for reuse is there then.
const WARM_UP: usize = 2;
const ROUNDS: usize = 4;
/// How much more may be resident afterwards: what the allocator has not given back, and the queue of the log.
const SLACK_BYTES: u64 = 6 << 20;

/// How a hostile request ends.
enum End {
    /// With this status, and a body that the server made or that is whole.
    Status(u16),
    /// After the head, without the end of the body.
    Cut,
}

struct Attack<'a> {
    app: String,
    path: &'a str,
    arguments: &'a [&'a str],
    end: End,
    /// What stands in the log, once for each request; nothing if there is nothing to say.
    log: &'a str,
}

impl Attack<'_> {
    fn prove(&self) {
        let mut arguments = vec![self.app.as_str(), "-w", "1"];
        // One slot that was not given back would be missed.
        let slots = (AT_ONCE + 1).to_string();
        arguments.extend(["--max-instances", &slots]);
        // The good request waits for the hostile ones in the middle of its body.
        arguments.extend(["--body-timeout", "600"]);
        arguments.extend(self.arguments);
        let server = Server::start(&arguments);
        let worker = server.worker();
        for _ in 0..WARM_UP {
            self.round(&server);
        }
        let before = Resources::of(worker);
        for _ in 0..ROUNDS {
            self.round(&server);
        }
        if !self.log.is_empty() {
            server.wait_for_log_times(self.log, AT_ONCE * (WARM_UP + ROUNDS));
        }
        wait_until(&format!("the worker is what it was: {before:?}"), || {
            let now = Resources::of(worker);
            now.resident_bytes <= before.resident_bytes + SLACK_BYTES
                && now.descriptors <= before.descriptors
                && now.threads <= before.threads
        });
        assert_eq!(server.worker(), worker);
    }

    fn round(&self, server: &Server) {
        // In flight before the others come and after they have gone.
        let mut good = server.client();
        good.send(b"POST /good HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nfi");
        let mut hostile: Vec<_> = (0..AT_ONCE).map(|_| server.client()).collect();
        for client in &mut hostile {
            let head = format!(
                "POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n12345",
                self.path
            );
            client.send(head.as_bytes());
        }
        for client in &mut hostile {
            self.check(&client.response("POST"));
        }
        good.send(b"ne");
        let answer = good.response("POST");
        assert_eq!(
            (answer.status(), answer.text().as_str(), answer.complete),
            (200, "fine", true)
        );
    }

    fn check(&self, response: &Response) {
        match self.end {
            End::Status(status) => assert_eq!((response.status(), response.complete), (status, true)),
            End::Cut => assert_eq!((response.status(), response.complete), (200, false)),
        }
    }
}

/// A test for each attack.
macro_rules! attacks {
    ($($name:ident: $app:literal $path:literal $arguments:expr => $end:expr, $log:literal;)*) => {
        $(
            #[test]
            fn $name() {
                let attack = Attack { app: hostile($app), path: $path, arguments: &$arguments, end: $end, log: $log };
                attack.prove();
            }
        )*
    };
}

const CPU: [&str; 2] = ["--limit-request-cpu", "0.05"];

attacks! {
    computes_for_ever: "spin" "/" CPU
        => End::Status(500), "hostile-spin: POST /: exhausted a limit: --limit-request-cpu 0.05 s";
    recurses_without_end: "recursion" "/" [] => End::Status(500), "exhausted a limit: --max-stack 512.0 KiB";
    recurses_on_a_small_stack: "recursion" "/" ["--max-stack", "64K"]
        => End::Status(500), "exhausted a limit: --max-stack 64.0 KiB";
    takes_all_memory_at_once: "gulp" "/" [] => End::Status(500), "exhausted a limit: --max-memory 256.0 MiB";
    takes_memory_page_by_page: "nibble" "/" ["--max-memory", "32M"]
        => End::Status(500), "exhausted a limit: --max-memory 32.0 MiB";
    takes_memory_as_a_table: "table" "/" [] => End::Status(500), "trapped: wasm trap: wasm `unreachable`";
    takes_handles_without_end: "handles" "/" [] => End::Status(500), "exhausted a limit: --max-handles 256";
    calls_the_host_for_ever: "calls" "/" CPU
        => End::Status(500), "exhausted a limit: --limit-request-cpu 0.05 s";
    traps_before_its_head: "trap" "/" [] => End::Status(500), "trapped: wasm trap: wasm `unreachable`";
    traps_in_its_body: "trap" "/body" [] => End::Cut, "trapped: wasm trap: wasm `unreachable`";
    traps_in_close: "trap" "/close" [] => End::Status(200), "in close(): trapped: wasm trap";
    returns_status_99: "status" "/" [] => End::Status(500), "the app returned status 99";
    returns_status_1000: "status" "/1000" [] => End::Status(500), "the app returned status 1000";
    splits_a_value: "split" "/" [] => End::Status(500), "characters that HTTP forbids";
    splits_a_name: "split" "/name" [] => End::Status(500), "not a token";
    splits_the_reason: "split" "/reason" [] => End::Status(500), "the reason phrase";
    puts_nul_into_a_value: "split" "/nul" [] => End::Status(500), "characters that HTTP forbids";
    returns_hop_by_hop_fields: "hop" "/" [] => End::Status(500), "hop-by-hop";
    returns_ten_thousand_fields: "fields" "/" []
        => End::Status(500), "10000 header fields, more than --limit-response-fields 1000";
    returns_a_field_of_64_megabytes: "header" "/" [] => End::Status(500), "more than --limit-response-head 256.0 KiB";
    returns_two_of_them: "header" "/twice" [] => End::Status(500), "exhausted a limit: --limit-response-block 64.0 MiB";
    returns_less_than_its_length: "length" "/" [] => End::Cut, "95 bytes short of its Content-Length";
    returns_more_than_its_length: "length" "/more" [] => End::Status(200), "more than its Content-Length";
    never_ends_its_body: "endless" "/" CPU => End::Cut, "exhausted a limit: --limit-request-cpu 0.05 s";
    returns_empty_blocks_for_ever: "empty" "/" CPU
        => End::Status(500), "exhausted a limit: --limit-request-cpu 0.05 s";
    returns_a_block_of_100_megabytes: "block" "/" []
        => End::Status(500), "exhausted a limit: --limit-response-block 64.0 MiB";
    returns_a_block_that_it_has_not: "block" "/claimed" [] => End::Status(500), "trapped: ";
    reads_past_the_end_of_its_input: "overread" "/" CPU
        => End::Status(500), "exhausted a limit: --limit-request-cpu 0.05 s";
    never_reads_its_input: "unread" "/" [] => End::Status(200), "";
    keeps_its_input: "keep" "/" [] => End::Status(200), "";
    floods_the_log: "flood" "/" ["--limit-request-log", "1K"]
        => End::Status(200), "the rest of what this request writes to the log is dropped";
    forges_lines_of_the_log: "forge" "/" []
        => End::Status(200), "hostile-forge: POST /: wsgi.errors: [2026-01-01 00:00:00 +0000] [1] [INFO] Shutting down: arbiter";
}

#[test]
fn a_start_function_that_does_not_end_is_ended() {
    let app = hostile("start");
    for (arguments, status, why) in [
        (CPU, 500, "exhausted a limit: --limit-request-cpu 0.05 s"),
        (["--timeout", "0.5"], 504, "no sign of life within --timeout 0.5 s"),
    ] {
        let server = Server::start(&[&[app.as_str(), "-w", "1"], &arguments[..]].concat());
        assert_eq!(server.get("/").status(), status);
        server.wait_for_log(&format!("[ERROR] hostile-start: GET /: {why}"));
    }
}

/// Those that compute, wait, and take memory, all at once, beside those who want to be served: for a while, each of whom is.
#[test]
fn good_requests_do_not_notice_hostile_ones() {
    let apps = ["spin", "nibble", "endless", "handles", "flood"];
    for app in apps {
        let server = Server::start(&[
            &hostile(app),
            "-w",
            "1",
            "--limit-request-cpu",
            "0.5",
            "--max-memory",
            "64M",
        ]);
        let end = std::time::Instant::now() + PATIENCE;
        let attackers: Vec<_> = (0..4)
            .map(|_| {
                let mut client = server.client();
                client.send(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
                std::thread::spawn(move || client.read_to_end())
            })
            .collect();
        let mut served = 0;
        while served < 100 || attackers.iter().any(|attacker| !attacker.is_finished()) {
            assert!(std::time::Instant::now() < end, "{app}: the attackers are not ended");
            let answer = server.client().post("/good", b"fine");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "fine"), "beside {app}");
            served += 1;
        }
        for attacker in attackers {
            let answer = attacker.join().expect("a client does not panic");
            assert!(answer.starts_with(b"HTTP/1.1 "), "{app}: no answer");
        }
    }
}
