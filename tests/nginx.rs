//! Behind nginx, as it is deployed: over TCP and over a Unix socket, with nginx's buffers and without.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::harness::{Client, Server, guest, tools_path, wait_until};

const UPLOAD: usize = 50_000_000;
static HOSTS: AtomicU8 = AtomicU8::new(0);

/// A server behind nginx, and how a location of nginx's reaches it.
struct Proxied {
    /// Dropped first: nginx before the server.
    nginx: Nginx,
    server: Server,
}

struct Nginx {
    master: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

/// A location for every way: `/tcp-1.1-buffered/`.
fn ways() -> Vec<String> {
    let mut ways = Vec::new();
    for upstream in ["tcp", "unix"] {
        for version in ["1.0", "1.1"] {
            for buffers in ["buffered", "direct"] {
                ways.push(format!("{upstream}-{version}-{buffers}"));
            }
        }
    }
    ways
}

impl Proxied {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let bind = format!("unix:{}", socket.display());
        let server = Server::start(&[&guest("rust"), "--bind", "127.0.0.1:0", "--bind", &bind]);
        // Another process may take the port between the look and the use.
        let nginx = (0..5).find_map(|_| Nginx::start(server.address(), &socket, &directory));
        let (master, address) = nginx.unwrap_or_else(|| {
            panic!(
                "nginx does not start: {}",
                std::fs::read_to_string(directory.path().join("error.log")).unwrap_or_default()
            )
        });
        Self {
            nginx: Nginx {
                master,
                address,
                directory,
            },
            server,
        }
    }

    fn client(&self) -> Client {
        Client::connect(self.nginx.address)
    }
}

impl Nginx {
    fn start(app: SocketAddr, socket: &Path, directory: &tempfile::TempDir) -> Option<(Child, SocketAddr)> {
        // An address of its own: no server of another test may be taken for it.
        let host = 2 + HOSTS.fetch_add(1, Ordering::Relaxed);
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 77, host), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, configuration(address, app, socket)).unwrap();
        let mut master = Command::new("nginx")
            .env("PATH", tools_path())
            .arg("-p")
            .arg(directory.path())
            .arg("-e")
            .arg(directory.path().join("error.log"))
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed: tests/install does that");
        let mut started = false;
        wait_until("nginx", || {
            started = TcpStream::connect(address).is_ok();
            started || master.try_wait().unwrap().is_some()
        });
        started.then_some((master, address))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its worker when it is told to, not when it is killed.
        let _ = Command::new("kill").arg(self.master.id().to_string()).status();
        let _ = self.master.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("error.log"));
            eprintln!("nginx's log:\n{}", log.unwrap_or_default());
        }
    }
}

fn configuration(address: SocketAddr, app: SocketAddr, socket: &Path) -> String {
    let mut locations = String::new();
    for way in ways() {
        let mut parts = way.split('-');
        let (upstream, version) = (parts.next().unwrap(), parts.next().unwrap());
        let buffering = if parts.next() == Some("buffered") { "on" } else { "off" };
        write!(
            locations,
            r#"
        location /{way}/ {{
            proxy_pass http://{upstream}/;
            proxy_http_version {version};
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering {buffering};
            proxy_request_buffering {buffering};
        }}"#
        )
        .unwrap();
    }
    // Started by root, nginx would give its work to a user who cannot read a temporary directory.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        r#"{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path client;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 0;
    proxy_max_temp_file_size 0;
    upstream tcp {{ server {app}; keepalive 4; }}
    upstream unix {{ server unix:{}; keepalive 4; }}
    server {{
        listen {address};{locations}
    }}
}}
"#,
        socket.display()
    )
}

#[test]
fn an_app_is_served_and_knows_how_it_was_reached() {
    let proxied = Proxied::start();
    let mut client = proxied.client();
    for way in ways() {
        let hello = client.get(&format!("/{way}/hello/caf%C3%A9"));
        assert_eq!(
            (hello.status(), hello.text().as_str()),
            (200, "Hello, café!\n"),
            "{way}"
        );
        assert_eq!(hello.header("Content-Length"), Some("14"), "{way}");
        let environ = client.get(&format!("/{way}/environ?a=b")).text();
        let version = way.split('-').nth(1).unwrap();
        for line in [
            "wsgi.url_scheme: https",
            "HTTP_X_FORWARDED_FOR: 127.0.0.1",
            "HTTP_HOST: test",
            "PATH_INFO: /environ",
            "QUERY_STRING: a=b",
            &format!("SERVER_PROTOCOL: HTTP/{version}"),
        ] {
            assert!(
                environ.lines().any(|found| found == line),
                "{way}: {line} is not in\n{environ}"
            );
        }
        assert_eq!(client.get(&format!("/{way}/nowhere")).status(), 404, "{way}");
        assert_eq!(client.get(&format!("/{way}/fail")).status(), 500, "{way}");
        client.send(format!("HEAD /{way}/hello/x HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        assert_eq!(client.response("HEAD").header("Content-Length"), Some("10"), "{way}");
        assert_eq!(
            client.post(&format!("/{way}/echo"), b"some text").text(),
            "some text",
            "{way}"
        );
    }
}

#[test]
fn uploads_arrive_whole() {
    let proxied = Proxied::start();
    let body = vec![b'x'; UPLOAD];
    for way in ways() {
        let answer = proxied.client().post(&format!("/{way}/count"), &body);
        assert_eq!(answer.text(), format!("{UPLOAD} bytes\n"), "{way}");
    }
    for way in ways() {
        // nginx tells the app a length only if it has buffered the body, so this is chunked on both sides.
        let mut client = proxied.client();
        let head = format!("POST /{way}/count HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(head.as_bytes());
        for _ in 0..10 {
            client.send(b"186a0\r\n");
            client.send(&body[..100_000]);
            client.send(b"\r\n");
        }
        client.send(b"0\r\n\r\n");
        assert_eq!(client.response("POST").text(), "1000000 bytes\n", "{way}");
    }
}

#[test]
fn downloads_arrive_whole() {
    let proxied = Proxied::start();
    for way in ways() {
        let answer = proxied.client().get(&format!("/{way}/stream/{UPLOAD}"));
        assert!(answer.complete, "{way}");
        assert_eq!(answer.body.len(), UPLOAD, "{way}");
        let pattern = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
        assert!(answer.body.chunks(64).all(|block| pattern.starts_with(block)), "{way}");
    }
}

#[test]
fn a_client_that_leaves_ends_a_response_that_would_not_end() {
    let proxied = Proxied::start();
    for (index, way) in ways().iter().enumerate() {
        let mut client = proxied.client();
        client.send(format!("GET /{way}/stream/1000000000000 HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        let mut received = 0;
        while received < 1_000_000 {
            let block = client.read_some();
            assert!(!block.is_empty(), "{way}");
            received += block.len();
        }
        drop(client);
        proxied.server.wait_for_log_times("stream closed after ", index + 1);
    }
}

#[test]
fn nginx_keeps_its_connections_to_the_server() {
    let proxied = Proxied::start();
    let mut client = proxied.client();
    let mut port = |way: &str| {
        let environ = client.get(&format!("/{way}/environ")).text();
        let line = environ
            .lines()
            .find_map(|line| line.strip_prefix("REMOTE_PORT: "))
            .map(str::to_owned);
        line.expect("a client has a port")
    };
    // One worker of nginx's has the connection that it used last at hand.
    assert_eq!(port("tcp-1.1-buffered"), port("tcp-1.1-direct"));
    assert_ne!(port("tcp-1.0-direct"), port("tcp-1.0-direct"));
}
