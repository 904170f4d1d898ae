//! TLS: real clients over it, certificates that change, handshakes that do not end.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Certificate, PATIENCE, Secure, Server, alive, curl, curled, guest, run, wait_until, wat};

fn start(certificate: &Certificate, more: &[&str]) -> Server {
    let arguments = certificate.arguments();
    let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
    all.extend(more);
    Server::start(&all)
}

fn rust(certificate: &Certificate) -> Server {
    start(certificate, &[&guest("rust"), "-w", "1"])
}

fn url(server: &Server, target: &str) -> String {
    format!("https://localhost:{}{target}", server.address().port())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is text")
}

fn ask(stream: &mut Secure, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends in good order");
    answer
}

#[test]
fn curl_is_served_over_both_protocols() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(directory.path(), "one");
    let server = rust(&certificate);
    server.wait_for_log(&format!("Listening at: https://{} (", server.address()));
    let trust = ["--cacert", text(&certificate.certfile)];
    for (flag, version, protocol) in [("--http2", "2", "HTTP/2.0"), ("--http1.1", "1.1", "HTTP/1.1")] {
        let (one, two) = (url(&server, "/hello/one"), url(&server, "/hello/two"));
        let written = ["-w", "%{http_version} %{num_connects}\n", flag];
        let said = curled(&[&trust[..], &written, &[&one, &two]].concat());
        assert_eq!(said, format!("Hello, one!\n{version} 1\nHello, two!\n{version} 0\n"));
        let environ = curled(&[&trust[..], &[flag, &url(&server, "/environ")]].concat());
        for line in [
            "wsgi.url_scheme: https",
            "HTTPS: on",
            &format!("SERVER_PROTOCOL: {protocol}"),
        ] {
            assert!(
                environ.lines().any(|found| found == line),
                "{line} is not in\n{environ}"
            );
        }
        let body = vec![b'x'; 3_000_000];
        let count = curl(
            &[&trust[..], &[flag, "--data-binary", "@-", &url(&server, "/count")]].concat(),
            &body,
        );
        assert_eq!(
            count.stdout,
            b"3000000 bytes\n",
            "{}",
            String::from_utf8_lossy(&count.stderr)
        );
        let size = [
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            flag,
            &url(&server, "/stream/20000000"),
        ];
        assert_eq!(curled(&[&trust[..], &size].concat()), "20000000");
    }
    // Who does not trust the certificate does not send a request.
    assert!(!curl(&[&url(&server, "/")], b"").status.success());
}

#[test]
fn http_client_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(directory.path(), "one");
    let server = rust(&certificate);
    let script = r#"
import http.client, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
connection = http.client.HTTPSConnection("localhost", int(sys.argv[1]), timeout=60, context=context)
for _ in range(2):
    connection.request("POST", "/count", b"x" * 1_000_000)
    response = connection.getresponse()
    assert response.read() == b"1000000 bytes\n" and not response.will_close
connection.request("GET", "/stream/1000000")
assert len(connection.getresponse().read()) == 1_000_000
print("all is well")
"#;
    let port = server.address().port().to_string();
    let output = Command::new("python3")
        .args(["-I", "-c", script, &port, text(&certificate.certfile)])
        .output()
        .expect("python3 is installed: tests/install does that");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"all is well\n", "{error}");
}

#[test]
fn the_certificate_may_change() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(directory.path(), "one");
    let server = start(&certificate, &[&guest("rust"), "-w", "1"]);
    let first = server.worker();
    let mut kept = certificate
        .connect(server.address(), &[])
        .expect("the certificate is trusted");
    let head =
        b"POST /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    kept.write_all(head).expect("the server reads");
    let mut begun = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    kept.read_exact(&mut begun).expect("the app reads");
    let renewed = Certificate::make(directory.path(), "one");
    assert!(
        renewed.connect(server.address(), &[]).is_err(),
        "nobody has told the server yet"
    );
    server.signal(Signal::HUP);
    server.wait_for_log("Reloaded: rust");
    wait_until("the new certificate", || renewed.connect(server.address(), &[]).is_ok());
    // The connection that was there is served to its end.
    kept.write_all(b"body").expect("the server reads");
    let mut answer = String::new();
    kept.read_to_string(&mut answer).expect("it ends in good order");
    assert!(answer.ends_with("4 bytes\n"), "{answer}");
    wait_until("the first worker's end", || !alive(first));

    // A certificate that cannot be used changes nothing.
    std::fs::write(&renewed.keyfile, "no key").unwrap();
    server.signal(Signal::HUP);
    server.wait_for_log("--keyfile");
    let mut stream = renewed
        .connect(server.address(), &[])
        .expect("the certificate is trusted");
    assert!(ask(&mut stream, "/hello/x").ends_with("Hello, x!\n"));
}

#[test]
fn the_key_may_be_in_the_certificates_file() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(directory.path(), "one");
    let both = [&certificate.keyfile, &certificate.certfile].map(|path| std::fs::read(path).unwrap());
    let file = directory.path().join("both.pem");
    std::fs::write(&file, both.concat()).unwrap();
    let server = Server::start(&[&guest("rust"), "--certfile", text(&file)]);
    let mut stream = certificate
        .connect(server.address(), &[b"http/1.1"])
        .expect("the certificate is trusted");
    assert!(ask(&mut stream, "/hello/x").ends_with("Hello, x!\n"));
}

/// Whether a client that shows this certificate, or none, gets its answer.
fn served(server: &Server, trust: &Certificate, shown: Option<&Certificate>) -> bool {
    let url = url(server, "/hello/x");
    let mut arguments = vec!["--cacert", text(&trust.certfile), &url];
    if let Some(shown) = shown {
        arguments.extend(["--cert", text(&shown.certfile), "--key", text(&shown.keyfile)]);
    }
    let answer = curl(&arguments, b"");
    assert!(answer.stdout == b"Hello, x!\n" || answer.stdout.is_empty());
    answer.status.success()
}

#[test]
fn clients_show_a_certificate_where_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let own = Certificate::make(directory.path(), "server");
    let [known, stranger] = ["known", "stranger"].map(|name| Certificate::make(directory.path(), name));
    let authorities = directory.path().join("authorities.pem");
    std::fs::copy(&known.certfile, &authorities).unwrap();
    let (rust, asks) = (guest("rust"), ["--ca-certs", text(&authorities), "--cert-reqs"]);

    let server = start(&own, &[&[&*rust, "-w", "1"], &asks[..], &["required"]].concat());
    assert!(served(&server, &own, Some(&known)));
    assert!(!served(&server, &own, None));
    server.wait_for_log("not ready for HTTP: peer sent no certificates");
    assert!(!served(&server, &own, Some(&stranger)));
    server.wait_for_log("not ready for HTTP: invalid peer certificate");

    // Who is known may change.
    std::fs::copy(&stranger.certfile, &authorities).unwrap();
    server.signal(Signal::HUP);
    server.wait_for_log("Reloaded: rust");
    wait_until("the new authorities", || served(&server, &own, Some(&stranger)));
    wait_until("the end of the old ones", || !served(&server, &own, Some(&known)));

    // As gunicorn counts them.
    let server = start(&own, &[&[&*rust, "-w", "1"], &asks[..], &["1"]].concat());
    assert!(served(&server, &own, None));
    assert!(served(&server, &own, Some(&stranger)));
    assert!(!served(&server, &own, Some(&known)));
}

#[test]
fn half_of_what_checks_clients_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(directory.path(), "one");
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (more, status, names) in [
        (
            &["--ca-certs", text(&certificate.certfile)][..],
            2,
            ["--ca-certs", "--cert-reqs"],
        ),
        (&["--cert-reqs", "2"], 2, ["--cert-reqs", "--ca-certs"]),
        (
            &["--cert-reqs", "2", "--ca-certs", text(&empty)],
            34,
            ["empty.pem", "no certificate"],
        ),
    ] {
        let own = certificate.arguments();
        let mut arguments = vec!["serve", "--bind", "127.0.0.1:0"];
        arguments.extend(own.iter().map(String::as_str));
        arguments.extend(more);
        let output = run(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{error}");
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
}

#[test]
fn files_that_cannot_be_used_are_found_out_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let one = Certificate::make(directory.path(), "one");
    let other = Certificate::make(directory.path(), "other");
    let write = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let empty = write("empty.pem", b"");
    let broken = write(
        "broken.pem",
        b"-----BEGIN CERTIFICATE-----\nMIIB!\n-----END CERTIFICATE-----\n",
    );
    let binary = write("binary.der", &[0x30, 0x82, 0xff, 0xfe]);
    let nowhere = directory.path().join("nowhere.pem");
    for (certfile, keyfile, names) in [
        (&nowhere, &one.keyfile, ["--certfile", "nowhere.pem"]),
        (&one.certfile, &nowhere, ["--keyfile", "nowhere.pem"]),
        (&empty, &one.keyfile, ["--certfile", "no certificate"]),
        (&broken, &one.keyfile, ["--certfile", "broken.pem"]),
        (&binary, &one.keyfile, ["--certfile", "PEM"]),
        (&one.certfile, &one.certfile, ["--keyfile", "no private key"]),
        (&one.certfile, &other.keyfile, ["other.key", "not the certificate's"]),
    ] {
        let arguments = [
            "serve",
            "--bind",
            "127.0.0.1:0",
            "--certfile",
            text(certfile),
            "--keyfile",
            text(keyfile),
        ];
        let output = run(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(34), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(names.iter().all(|name| error.contains(name)), "{names:?}: {error}");
    }
    let output = run(&["serve", "--keyfile", text(&one.keyfile)]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_handshake_has_a_time_limit_and_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(directory.path(), "one");
    let server = start(&certificate, &[&guest("rust"), "-w", "1", "--handshake-timeout", "5"]);
    let mut waiting: Vec<_> = (0..50).map(|_| server.client()).collect();
    for (index, client) in waiting.iter_mut().enumerate() {
        // Nothing, or the first bytes of a record.
        if index % 2 == 0 {
            client.send(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]);
        }
    }
    let mut stream = certificate
        .connect(server.address(), &[])
        .expect("the certificate is trusted");
    assert!(ask(&mut stream, "/hello/x").ends_with("Hello, x!\n"));
    for client in &mut waiting {
        client.read_to_end();
    }
    server.wait_for_log_times("not ready for HTTP within --handshake-timeout", 50);
}

#[test]
fn who_does_not_speak_tls_is_refused_with_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(directory.path(), "one");
    let server = rust(&certificate);
    let answer = server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    server.wait_for_log("not ready for HTTP: ");
    // HTTP/2 has to be chosen in the handshake (RFC 9113, 3.2).
    let mut stream = certificate
        .connect(server.address(), &[])
        .expect("the certificate is trusted");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    server.wait_for_log("refused with 505: ");
}

#[test]
fn a_client_that_goes_away_ends_what_it_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(directory.path(), "one");
    let app = wat(
        "tls-gone",
        r#"
        (func $call
          (if (call $at "/read") (then
            (loop $more (br_if $more (i32.gt_s (call $read (i32.const 100)) (i32.const 0))))
            (call $fail (global.get $data) (global.get $data_length))
            (return)))
          (call $stream))
        (func $next (call $block_of (i32.const 65536)))
        (func $close (call $log "closed\n"))"#,
    );
    let server = start(&certificate, &[&app, "-w", "1"]);
    let connect = || {
        certificate
            .connect(server.address(), &[])
            .expect("the certificate is trusted")
    };
    for times in 1..=2 {
        let mut upload = connect();
        upload
            .write_all(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome")
            .unwrap();
        let mut download = connect();
        download.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        download.read_exact(&mut [0; 100_000]).unwrap();
        if times == 1 {
            // With a good-bye, as TLS has it.
            for stream in [&mut upload, &mut download] {
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
        drop((upload, download));
        server.wait_for_log_times("tls-gone: GET /stream: wsgi.errors: closed", times);
        let gone = |line: &String| line.contains("tls-gone: POST /read: the ");
        wait_until("the upload's end", || {
            server.log().iter().filter(|line| gone(line)).count() == times
        });
    }
}

#[test]
fn a_body_that_fails_is_not_ended_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(directory.path(), "one");
    let app = wat(
        "tls-broken",
        r#"(func $call (call $stream))
        (func $next
          (if (i32.eq (global.get $asked) (i32.const 1)) (then (call $block "a block") (return)))
          (call $break "broken"))"#,
    );
    let server = start(&certificate, &[&app]);
    for version in ["1.0", "1.1"] {
        let mut stream = certificate
            .connect(server.address(), &[])
            .expect("the certificate is trusted");
        stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.") && answer.contains("a block"), "{answer}");
        assert!(
            end.is_err() || !answer.ends_with("0\r\n\r\n"),
            "HTTP/{version}: {answer}"
        );
        assert!(version != "1.0" || end.is_err(), "HTTP/1.0: it looks whole");
    }
}
