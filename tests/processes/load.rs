//! Clients that keep a server busy, and know of every request what became of it.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, wait_until};

/// Half of them keep their connection, half take a new one for every request.
pub const CLIENTS: usize = 8;
/// How long a client tries to connect. The kernel's own attempts are 1, 3 and 7 s after the first.
const CONNECT: Duration = Duration::from_secs(10);
/// Of the upload and the download.
const BIG: usize = 100_000;

pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    pub answered: usize,
    /// Connections that were not to be had. Nothing had been sent then.
    pub refused: usize,
    /// Requests that had been sent, at least in part, and were not answered in full.
    pub lost: Vec<String>,
    /// The most that any one client lost.
    pub most_lost: usize,
}

impl Load {
    /// Returns when the load is there.
    pub fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let clients = (0..CLIENTS)
            .map(|number| {
                let (stop, answered) = (stop.clone(), answered.clone());
                std::thread::spawn(move || client(number, address, &stop, &answered))
            })
            .collect();
        let load = Self {
            stop,
            answered,
            clients,
        };
        load.wait_for_more(50);
        load
    }

    /// Waits until so many further requests have been answered.
    pub fn wait_for_more(&self, requests: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_until("answers under load", || {
            self.answered.load(Ordering::Relaxed) >= before + requests
        });
    }

    /// Ends the load, and waits for what is under way.
    pub fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Waits until every client has found that the server takes no more connections.
    pub fn join(self) -> Tally {
        let mut all = Tally::default();
        for client in self.clients {
            let tally = client.join().expect("a client does not panic");
            all.answered += tally.answered;
            all.refused += tally.refused;
            all.most_lost = all.most_lost.max(tally.lost.len());
            all.lost.extend(tally.lost);
        }
        all
    }
}

fn client(number: usize, address: SocketAddr, stop: &AtomicBool, answered: &AtomicUsize) -> Tally {
    let keeps = number.is_multiple_of(2);
    let end = Instant::now() + PATIENCE;
    let mut tally = Tally::default();
    let mut kept = None;
    let mut turn = number;
    while !stop.load(Ordering::Relaxed) && Instant::now() < end {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => stream,
                Err(_) => {
                    tally.refused += 1;
                    break;
                }
            },
        };
        turn += 1;
        match exchange(&mut stream, turn, keeps) {
            Ok(last) => {
                tally.answered += 1;
                answered.fetch_add(1, Ordering::Relaxed);
                kept = (keeps && !last).then_some(stream);
            }
            Err(error) => tally.lost.push(format!("client {number}: {error}")),
        }
    }
    tally
}

/// One request and its whole answer; whether that was the connection's last.
fn exchange(stream: &mut TcpStream, turn: usize, keeps: bool) -> Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = if keeps { "keep-alive" } else { "close" };
    let (line, body, expected) = match turn % 3 {
        0 => ("GET /hello/load".to_owned(), Vec::new(), b"Hello, load!\n".len()),
        1 => (format!("GET /stream/{BIG}"), Vec::new(), BIG),
        _ => (
            "POST /count".to_owned(),
            vec![b'x'; BIG],
            format!("{BIG} bytes\n").len(),
        ),
    };
    let mut request = format!(
        "{line} HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    stream.write_all(&request)?;
    let mut answer = Vec::new();
    let mut block = [0; 16 << 10];
    loop {
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            if !head.starts_with("http/1.1 200 ") {
                return Err(Error::other(format!("{line}: {head}")));
            }
            if answer.len() == end + 4 + expected {
                return Ok(head.contains("connection: close"));
            }
        }
        match stream.read(&mut block)? {
            0 => {
                let text = format!("{line}: the connection ended after {} bytes", answer.len());
                return Err(Error::new(ErrorKind::UnexpectedEof, text));
            }
            length => answer.extend_from_slice(&block[..length]),
        }
    }
}
