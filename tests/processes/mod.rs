//! The process model: workers come, die, are replaced and retired, and no request is lost that did not have to be.

mod addresses;
mod load;
mod logs;
mod reloading;
mod stopping;
mod workers;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use crate::harness::{Client, PATIENCE, Server, alive, wait_until};

/// A request whose end the test decides: the app sends back what it reads, as it reads it.
struct Unfinished {
    client: Client,
    sent: Vec<u8>,
}

impl Unfinished {
    /// Starts the request, and returns when its response has started.
    fn start(server: &Server) -> Self {
        let mut client = server.client();
        client.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut request = Self {
            client,
            sent: Vec::new(),
        };
        request.send("first ");
        request.client.fill_until(b"first ");
        request
    }

    fn send(&mut self, text: &str) {
        self.client.send(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
        self.sent.extend_from_slice(text.as_bytes());
    }

    /// Sends the rest, and reads the response to its end.
    fn finish(mut self) {
        self.send("and last");
        self.client.send(b"0\r\n\r\n");
        let response = self.client.response("POST");
        assert!(response.complete);
        assert_eq!(response.body, self.sent);
    }

    /// The response ends, and the client can tell that it is not whole.
    fn expect_cut(mut self) {
        assert!(!self.client.response("POST").complete);
    }
}

/// Waits until none of the processes is left.
fn wait_until_gone(pids: &[u32]) {
    wait_until(&format!("the end of {pids:?}"), || pids.iter().all(|pid| !alive(*pid)));
}

/// What an HTTP request with `Connection: close` is answered, by whoever is there.
fn answer(address: SocketAddr, target: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )?;
    std::io::read_to_string(stream)
}
