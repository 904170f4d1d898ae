//! Clients that are slow, many, or up to no good, and the others, who are served all the same.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, RST_STREAM, SETTINGS, encode, fields, request,
};
use crate::harness::{Client, PATIENCE, Server, command, guest, resident_bytes, wait_until, wait_until_resident};

/// What an idle connection may take: 5 to 8 KiB, and what the allocator keeps of what it needed before.
const IDLE_BYTES: u64 = 16 << 10;
/// What good clients ask for beside an attack.
const REQUESTS: usize = 20;

fn start(more: &[&str]) -> Server {
    Server::start(&[&[guest("rust").as_str(), "-w", "1"], more].concat())
}

/// Good clients, each with a connection of its own.
fn good_clients_are_served(server: &Server) {
    for _ in 0..REQUESTS {
        assert_eq!(server.get("/hello/x").text(), "Hello, x!\n");
    }
}

/// Repeats an attack, connection after connection, until good clients have been served beside it.
fn beside(server: &Server, attack: impl Fn(SocketAddr, &AtomicBool) + Sync) {
    let over = AtomicBool::new(false);
    let address = server.address();
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let mut rounds = 0;
            while rounds == 0 || !over.load(Ordering::Relaxed) {
                attack(address, &over);
                rounds += 1;
            }
        });
        good_clients_are_served(server);
        over.store(true, Ordering::Relaxed);
        attacker.join().expect("an attack does not panic");
    });
    good_clients_are_served(server);
    server.worker();
}

#[test]
fn slow_heads_take_no_places_from_others() {
    let server = start(&["--worker-connections", "50", "--header-timeout", "600"]);
    let mut slow: Vec<Client> = Vec::new();
    for index in 0..200 {
        let mut client = server.client();
        let starts: [&[u8]; 4] = [
            b"",
            b"P",
            b"GET / HTTP/1.1\r\nHost: ",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ];
        let _ = client.try_send(starts[index % 4]);
        slow.push(client);
    }
    good_clients_are_served(&server);
    // A byte now and then is no request.
    for client in &mut slow {
        let _ = client.try_send(b"x");
    }
    good_clients_are_served(&server);
    server.wait_for_log("all --worker-connections 50 are in use: those that wait longest for a request are closed");
}

#[test]
fn connections_that_are_kept_make_way() {
    let server = start(&["--worker-connections", "2", "--keep-alive", "600"]);
    let mut kept: Vec<Client> = (0..2).map(|_| server.client()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/hello/x").status(), 200);
    }
    assert_eq!(server.get("/hello/x").status(), 200);
    // Who has waited longest has gone.
    assert_eq!(kept[0].read_to_end(), b"");
    assert_eq!(kept[1].get("/hello/x").status(), 200);
}

#[test]
fn a_slow_body_is_given_up() {
    let server = start(&["--body-timeout", "1", "--min-body-rate", "1000"]);
    let mut slow: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for client in &mut slow {
        client.send(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    }
    good_clients_are_served(&server);
    // Each of them is never silent for long, and far too slow.
    wait_until("the end of all of them", || {
        slow.retain_mut(|client| client.try_send(b"x").is_ok());
        std::thread::sleep(Duration::from_millis(100));
        slow.is_empty()
    });
    let line = server.wait_for_log_times(
        "rust: POST /count: the client sent nothing of its request body for ",
        20,
    );
    assert!(line.contains("or too little before"), "{line}");
    // Who keeps the pace may take longer than that. A machine that stands still keeps none: then it is tried again.
    wait_until("a client that keeps the pace", || {
        let mut client = server.client();
        client.send(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let start = Instant::now();
            let _ = client.try_send(&[b'x'; 1_000]);
            std::thread::sleep(Duration::from_millis(100));
            longest = longest.max(start.elapsed());
        }
        let answer = client.response("POST");
        let served = (answer.status(), answer.text().as_str()) == (200, "20000 bytes\n");
        assert!(served || longest > Duration::from_millis(500), "{answer:?}");
        served
    });
}

#[test]
fn clients_that_do_not_read_hold_nobody_up() {
    let server = start(&[]);
    let mut slow: Vec<Client> = (0..30).map(|_| server.client()).collect();
    for client in &mut slow {
        client.send(b"GET /stream/1000000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let mut streams = Frames::connect(server.address());
    for stream in 0..50 {
        streams.get(2 * stream + 1, "/stream/1000000000");
    }
    // All of them have begun.
    for client in &mut slow {
        client.fill_until(b"\r\n\r\n");
    }
    for _ in 0..50 {
        streams.find_kind(HEADERS);
    }
    good_clients_are_served(&server);
    drop((slow, streams));
    server.wait_for_log_times("stream closed after ", 80);
}

#[test]
fn many_idle_connections_hold_nobody_up() {
    // Both ends take a descriptor.
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit can be raised");
    let server = start(&[
        "--worker-connections",
        "3000",
        "--keep-alive",
        "600",
        "--header-timeout",
        "600",
    ]);
    good_clients_are_served(&server);
    let worker = server.worker();
    let before = resident_bytes(worker);
    let mut idle: Vec<Client> = Vec::new();
    for _ in 0..10 {
        for index in 0..200 {
            let mut client = server.client();
            if index % 2 == 0 {
                assert_eq!(client.get("/hello/x").status(), 200);
            }
            idle.push(client);
        }
        // What the last ones have used, the next ones find.
        std::thread::sleep(Duration::from_millis(400));
    }
    wait_until_resident(worker, before + 2_000 * IDLE_BYTES);
    good_clients_are_served(&server);
    // All of them are still there.
    for client in idle.iter_mut().step_by(100) {
        assert_eq!(client.get("/hello/x").status(), 200);
    }
}

#[test]
fn clients_that_leave_at_once_hold_nobody_up() {
    let server = start(&[]);
    beside(&server, |address, _| {
        for turn in 0..200 {
            let mut stream = TcpStream::connect(address).expect("the server accepts");
            if turn % 2 == 0 {
                let _ = stream.write_all(b"GET /hello/x HTTP/1.1\r\nHost: a\r\n\r\n");
            }
        }
    });
}

/// Sends until the server has had enough, and reads what it says, so that it has no reason to wait.
fn flood(address: SocketAddr, over: &AtomicBool, start: &[u8], mut next: impl FnMut(u32) -> Vec<u8>) {
    let mut frames = Frames::connect(address);
    let mut reader = frames.stream();
    let reading = std::thread::spawn(move || {
        let mut block = [0; 65_536];
        while reader.read(&mut block).is_ok_and(|length| length > 0) {}
    });
    let _ = frames.try_send(start);
    for turn in 0..50_000 {
        if over.load(Ordering::Relaxed) || frames.try_send(&next(turn)).is_err() {
            break;
        }
    }
    frames.close();
    reading.join().expect("a reader does not panic");
}

#[test]
fn a_flood_of_resets() {
    let server = start(&[]);
    let head = fields(&request("GET", "/stream/1000000"));
    beside(&server, |address, over| {
        flood(address, over, &[], |turn| {
            let mut bytes = Vec::new();
            for stream in (100 * turn..100 * turn + 100).map(|stream| 2 * stream + 1) {
                bytes.extend(encode(HEADERS, END_HEADERS | END_STREAM, stream, &head));
                bytes.extend(encode(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            }
            bytes
        });
    });
}

#[test]
fn a_flood_of_frames_that_say_nothing() {
    let server = start(&[]);
    let post = encode(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/count")));
    let half = encode(HEADERS, END_STREAM, 1, &fields(&request("GET", "/")));
    let floods: [(&[u8], Vec<u8>); 4] = [
        (&post, encode(DATA, 0, 1, &[])),
        (&[], encode(SETTINGS, 0, 0, &[])),
        (&[], encode(PING, 0, 0, &[0; 8])),
        (&half, encode(CONTINUATION, 0, 1, &[])),
    ];
    for (start, frame) in floods {
        let frames = frame.repeat(100);
        beside(&server, |address, over| flood(address, over, start, |_| frames.clone()));
    }
}

#[test]
fn an_address_has_only_so_many_connections() {
    let server = start(&[
        "--limit-connections-per-address",
        "3",
        "--forwarded-allow-ips",
        "192.0.2.1",
        "--keep-alive",
        "600",
    ]);
    let mut three: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut three {
        assert_eq!(client.get("/hello/x").status(), 200);
    }
    let mut fourth = server.client();
    let _ = fourth.try_send(b"GET /hello/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(fourth.read_to_end(), b"");
    server.wait_for_log("127.0.0.1: more than --limit-connections-per-address 3");
    // Another address has its own.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let mut other = TcpStream::from(socket);
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    other
        .write_all(b"GET /hello/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    // One that ends makes room.
    drop(three);
    wait_until("a place", || {
        let mut client = server.client();
        let sent = client.try_send(b"GET /hello/x HTTP/1.1\r\nHost: a\r\n\r\n");
        sent.is_ok() && client.try_fill_until(b"Hello").is_ok()
    });
    // A proxy speaks for many.
    let server = start(&["--limit-connections-per-address", "3", "--keep-alive", "600"]);
    let mut many: Vec<Client> = (0..10).map(|_| server.client()).collect();
    for client in &mut many {
        assert_eq!(client.get("/hello/x").status(), 200);
    }
}

#[test]
fn a_worker_that_is_out_of_descriptors_recovers() {
    let app = guest("rust");
    let inner = command(&[
        "serve",
        &app,
        "-w",
        "1",
        "--bind",
        "127.0.0.1:0",
        "--header-timeout",
        "600",
    ]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""]);
    limited.arg(inner.get_program()).args(inner.get_args());
    limited.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.process_group(0);
    let mut server = Server::launch(&mut limited);
    server.find_addresses();
    server.wait_for_log("--worker-connections 1000 takes 1100 file descriptors, and there may be 40");
    let mut slow: Vec<Client> = (0..100).map(|_| server.client()).collect();
    for client in &mut slow {
        let _ = client.try_send(b"GET / HTTP/1.1\r\n");
    }
    server.wait_for_log("cannot accept a connection: ");
    good_clients_are_served(&server);
    drop(slow);
    good_clients_are_served(&server);
}
