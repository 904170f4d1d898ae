//! Clients that people use: curl, and Python's http.client.

use std::process::Command;

use crate::harness::{Server, curl, curled, guest};

/// More than curl sends before it asks whether it may.
const BIG: usize = 5_000_000;

fn server() -> Server {
    Server::start(&[&guest("rust")])
}

fn url(server: &Server, target: &str) -> String {
    format!("http://{}{target}", server.address())
}

#[test]
fn curl_says_hello() {
    let server = server();
    assert_eq!(curled(&[&url(&server, "/hello/caf%C3%A9")]), "Hello, café!\n");
    // One connection for several requests.
    let (one, two) = (url(&server, "/hello/one"), url(&server, "/hello/two"));
    assert_eq!(
        curled(&["-w", "%{num_connects}\n", &one, &two]),
        "Hello, one!\n1\nHello, two!\n0\n"
    );
}

#[test]
fn curl_speaks_http_1_0() {
    let server = server();
    let environ = curled(&["--http1.0", &url(&server, "/environ")]);
    assert!(environ.contains("SERVER_PROTOCOL: HTTP/1.0\n"), "{environ}");
    let size = curled(&[
        "--http1.0",
        "-o",
        "/dev/null",
        "-w",
        "%{size_download}",
        &url(&server, "/stream/1000000"),
    ]);
    assert_eq!(size, "1000000");
    // A body whose end is the connection's.
    let output = curl(
        &["--http1.0", "--data-binary", "@-", &url(&server, "/echo")],
        b"some text",
    );
    assert!(output.status.success());
    assert_eq!(output.stdout, b"some text");
}

#[test]
fn curl_uploads_what_it_does_not_know_the_length_of() {
    let server = server();
    let body: Vec<u8> = (0..BIG).map(|index| (index % 251) as u8).collect();
    let output = curl(&["-T", "-", "-X", "POST", &url(&server, "/echo")], &body);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == body, "{} bytes came back", output.stdout.len());
    let environ = curl(&["-T", "-", "-X", "GET", &url(&server, "/environ")], b"x").stdout;
    let environ = String::from_utf8(environ).unwrap();
    assert!(
        environ.contains("HTTP_TRANSFER_ENCODING: chunked\n") && !environ.contains("CONTENT_LENGTH"),
        "{environ}"
    );
}

#[test]
fn curl_asks_before_it_sends_much() {
    let server = server();
    let body = vec![b'x'; BIG];
    let arguments = [
        "-v",
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        "60",
        "--data-binary",
        "@-",
    ];
    let upload = |target: &str| {
        let url = url(&server, target);
        let output = curl(&[&arguments[..], &[&url]].concat(), &body);
        let trace = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{trace}");
        (String::from_utf8(output.stdout).unwrap(), trace)
    };
    let (answer, trace) = upload("/count");
    assert_eq!(answer, format!("{BIG} bytes\n"));
    assert!(trace.contains("< HTTP/1.1 100 Continue"), "{trace}");
    // An app that does not want the body is not sent it.
    let (answer, trace) = upload("/nowhere");
    assert_eq!(answer, "Not Found\n");
    assert!(!trace.contains("100 Continue"), "{trace}");
}

#[test]
fn curl_reads_an_answer_that_comes_before_it_has_sent_all() {
    let server = server();
    let body = vec![b'x'; 10 * BIG];
    let output = curl(
        &[
            "-H",
            "Expect:",
            "--data-binary",
            "@-",
            "-w",
            "%{http_code}",
            &url(&server, "/nowhere"),
        ],
        &body,
    );
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Not Found\n404");
}

#[test]
fn curl_asks_for_the_head_only() {
    let server = server();
    let head = curled(&["-I", &url(&server, "/hello/x")]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("\r\ncontent-length: 10\r\n"),
        "{head}"
    );
    let head = curled(&["-I", &url(&server, "/stream/1000000000000")]);
    assert!(
        head.to_ascii_lowercase()
            .contains("\r\ncontent-length: 1000000000000\r\n"),
        "{head}"
    );
}

#[test]
fn curl_uses_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let address = format!("unix:{}", socket.display());
    let _server = Server::start(&[&guest("rust"), "--bind", &address]);
    let environ = curled(&["--unix-socket", socket.to_str().unwrap(), "http://some.host:81/environ"]);
    assert!(environ.contains("HTTP_HOST: some.host:81\n"), "{environ}");
    assert!(environ.contains("REMOTE_ADDR: \n"), "{environ}");
}

#[test]
fn curl_takes_the_server_for_a_proxy() {
    let server = server();
    let proxy = url(&server, "");
    // The absolute form is served (RFC 9112, 3.2.2), a tunnel is not.
    assert_eq!(
        curled(&["--proxy", &proxy, "http://some.host/hello/proxy"]),
        "Hello, proxy!\n"
    );
    let output = curl(&["--proxy", &proxy, "https://some.host/"], b"");
    assert!(!output.status.success());
    assert_eq!(server.get("/hello/x").status(), 200);
}

#[test]
fn curl_offers_http_2() {
    let server = server();
    let protocol = curled(&[
        "--http2",
        "-o",
        "/dev/null",
        "-w",
        "%{http_version} %{http_code}",
        &url(&server, "/hello/x"),
    ]);
    assert_eq!(protocol, "1.1 200");
}

#[test]
fn curl_asks_for_paths_as_they_are() {
    let server = server();
    let answer = curled(&[
        "--path-as-is",
        "-w",
        "%{http_code}",
        &url(&server, "/environ/../environ"),
    ]);
    assert_eq!(answer, "Not Found\n404");
    let url = url(&server, "/environ?a=%20&b=c%2Fd");
    let environ = curled(&["--path-as-is", "-A", "", "-b", "a=b; c=d", "-e", "http://other/", &url]);
    for line in [
        "QUERY_STRING: a=%20&b=c%2Fd\n",
        "REQUEST_URI: /environ?a=%20&b=c%2Fd\n",
        "HTTP_COOKIE: a=b; c=d\n",
        "HTTP_REFERER: http://other/\n",
    ] {
        assert!(environ.contains(line), "{environ}");
    }
    assert!(!environ.contains("HTTP_USER_AGENT"), "{environ}");
}

#[test]
fn http_client_keeps_its_connection_and_sends_iterables() {
    let server = server();
    let script = r#"
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
connection.connect()
port = connection.sock.getsockname()[1]

def ask(method, target, body=None, headers={}, **more):
    connection.request(method, target, body, headers, **more)
    response = connection.getresponse()
    body = response.read()
    assert response.version == 11 and not response.will_close, response.headers
    return response, body

for name in ("one", "two"):
    response, body = ask("GET", "/hello/" + name)
    assert (response.status, response.reason, body) == (200, "OK", b"Hello, %s!\n" % name.encode())

blocks = [b"%06d" % number * 1000 for number in range(200)]
response, body = ask("POST", "/echo", iter(blocks), {"Content-Type": "text/x-test"}, encode_chunked=True)
assert body == b"".join(blocks), len(body)
assert response.headers["Content-Type"] == "text/x-test"

response, body = ask("POST", "/count", b"x" * 1_000_000)
assert body == b"1000000 bytes\n"
response, body = ask("HEAD", "/hello/x")
assert (response.status, body, response.headers["Content-Length"]) == (200, b"", "10")
response, body = ask("GET", "/nowhere")
assert (response.status, response.reason) == (404, "Not Found")
response, body = ask("GET", "/fail")
assert (response.status, response.reason) == (500, "Internal Server Error")

connection.request("GET", "/stream/1000000")
response = connection.getresponse()
size = 0
while block := response.read(65536):
    size += len(block)
assert size == 1_000_000

_, environ = ask("GET", "/environ")
assert f"REMOTE_PORT: {port}\n".encode() in environ, "it was another connection"
print("all is well")
"#;
    let output = Command::new("python3")
        .args(["-I", "-c", script, &server.address().port().to_string()])
        .output()
        .expect("python3 is installed: tests/install does that");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"all is well\n", "{error}");
}
