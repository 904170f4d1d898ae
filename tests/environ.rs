//! The environ: what an app is told of a request.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::harness::{Client, Response, Server, target, wat};

/// An app that answers any request with its environ: `NAME: value`, a variable a line, in the host's order.
fn show() -> String {
    wat(
        "show",
        r#"
        (global $cursor (mut i32) (i32.const 0))
        (func $put (param $text i32) (param $length i32)
          (memory.copy (global.get $cursor) (local.get $text) (local.get $length))
          (global.set $cursor (i32.add (global.get $cursor) (local.get $length))))
        (func $put_string (param i32)
          (call $put (i32.load (local.get 0)) (i32.load offset=4 (local.get 0))))
        (func $call (local $var i32) (local $start i32)
          (local.set $start (call $letters (i32.const 100000)))
          (global.set $cursor (local.get $start))
          (local.set $var (global.get $vars))
          (loop $next
            (call $put_string (local.get $var))
            (call $put ": ")
            (call $put_string (i32.add (local.get $var) (i32.const 8)))
            (call $put "\n")
            (local.set $var (i32.add (local.get $var) (i32.const 16)))
            (br_if $next (i32.ne (local.get $var) (global.get $vars_end))))
          (call $body (local.get $start) (i32.sub (global.get $cursor) (local.get $start))))"#,
    )
}

type Environ = BTreeMap<String, String>;

fn environ(response: &Response) -> Environ {
    assert_eq!(response.status(), 200, "{}", response.text());
    let text = response.text();
    let vars: Vec<_> = text
        .split_terminator('\n')
        .map(|line| line.split_once(": ").expect("a name and a value"))
        .collect();
    let environ: Environ = vars
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(environ.len(), vars.len(), "a name stands twice:\n{text}");
    environ
}

/// The environ of a request with this head, which lacks its last empty line.
fn of(server: &Server, head: impl AsRef<[u8]>) -> Environ {
    environ(&exchange(&mut server.client(), head.as_ref()))
}

fn exchange(client: &mut Client, head: &[u8]) -> Response {
    client.send(&[head, b"\r\n\r\n"].concat());
    let method = head.split(|byte| *byte == b' ').next().expect("a method");
    client.response(std::str::from_utf8(method).expect("a method is ASCII"))
}

#[test]
fn the_whole_environ_of_a_plain_request() {
    let server = Server::start(&[&show()]);
    let mut vars = of(
        &server,
        "GET /a?b=%20&c HTTP/1.1\r\nHost: example.org\r\nUser-Agent: test",
    );
    let port = vars.remove("REMOTE_PORT").expect("a port");
    assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{port}");
    let software = vars.remove("SERVER_SOFTWARE").expect("a name");
    assert!(software.starts_with("wsgi-host/"), "{software}");
    let port = server.address().port().to_string();
    let expected = [
        ("HTTP_HOST", "example.org"),
        ("HTTP_USER_AGENT", "test"),
        ("PATH_INFO", "/a"),
        ("QUERY_STRING", "b=%20&c"),
        ("RAW_URI", "/a?b=%20&c"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/a?b=%20&c"),
        ("SCRIPT_NAME", ""),
        ("SERVER_NAME", "127.0.0.1"),
        ("SERVER_PORT", &port),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("wsgi.multiprocess", "true"),
        ("wsgi.multithread", "false"),
        ("wsgi.run_once", "true"),
        ("wsgi.url_scheme", "http"),
    ];
    let expected: Environ = expected
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    assert_eq!(vars, expected);
}

#[test]
fn methods_are_the_clients_own() {
    let server = Server::start(&[&show()]);
    for method in [
        "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X-OWN!",
    ] {
        let vars = of(&server, format!("{method} / HTTP/1.1\r\nHost: a"));
        assert_eq!(vars["REQUEST_METHOD"], method);
    }
}

#[test]
fn the_path_is_decoded_and_nothing_else_is_done_to_it() {
    let server = Server::start(&[&show()]);
    for (target, path, query) in [
        ("/", "/", ""),
        ("/a%2Fb", "/a/b", ""),
        ("//a//b/", "//a//b/", ""),
        ("/a/../b/./c/..", "/a/../b/./c/..", ""),
        ("/%2e%2E/x", "/../x", ""),
        // One character for each byte.
        ("/caf%C3%A9/%FF", "/caf\u{c3}\u{a9}/\u{ff}", ""),
        ("/a+b%2Bc;d=e", "/a+b+c;d=e", ""),
        ("/a%3Fb?c?d%3F", "/a?b", "c?d%3F"),
        ("/?", "/", ""),
        // Browsers encode less in a query, and nobody decodes it here.
        ("/?a[]={b}|c%&d=%zz", "/", "a[]={b}|c%&d=%zz"),
        ("/a%00b%0D", "/a\0b\r", ""),
    ] {
        let vars = of(&server, format!("GET {target} HTTP/1.1\r\nHost: a"));
        assert_eq!(
            (vars["PATH_INFO"].as_str(), vars["QUERY_STRING"].as_str()),
            (path, query),
            "{target}"
        );
        assert_eq!(
            (vars["REQUEST_URI"].as_str(), vars["RAW_URI"].as_str()),
            (target, target)
        );
        assert_eq!(vars["SCRIPT_NAME"], "");
    }
}

#[test]
fn the_other_forms_of_a_target() {
    let server = Server::start(&[&show()]);
    let absolute = of(
        &server,
        "GET http://example.org:81/a/b?c HTTP/1.1\r\nHost: EXAMPLE.org:81",
    );
    assert_eq!(absolute["PATH_INFO"], "/a/b");
    assert_eq!(absolute["QUERY_STRING"], "c");
    assert_eq!(absolute["HTTP_HOST"], "example.org:81");
    assert_eq!(absolute["REQUEST_URI"], "http://example.org:81/a/b?c");
    // What the client thinks the server is called is in HTTP_HOST. This is where it was reached.
    assert_eq!(absolute["SERVER_NAME"], "127.0.0.1");

    let asterisk = of(&server, "OPTIONS * HTTP/1.1\r\nHost: a");
    assert_eq!(asterisk["REQUEST_METHOD"], "OPTIONS");
    assert_eq!(
        (asterisk["PATH_INFO"].as_str(), asterisk["REQUEST_URI"].as_str()),
        ("", "*")
    );
}

#[test]
fn a_target_of_no_known_form_is_refused() {
    let server = Server::start(&[&show()]);
    for target in ["example.org", "*"] {
        let answer = server.raw(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert!(
            answer.starts_with(b"HTTP/1.1 400 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    server.wait_for_log("the target is neither a path nor an http URL");
    server.wait_for_log("only OPTIONS is about *");
}

#[test]
fn connect_is_refused() {
    let server = Server::start(&[&show()]);
    let answer = server.raw(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n");
    assert!(
        answer.starts_with(b"HTTP/1.1 405 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    server.wait_for_log("refused with 405");
}

#[test]
fn fields_become_variables() {
    let server = Server::start(&[&show()]);
    let head: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: x\r\naccept: y;q=1\r\nCookie: a=1\r\nCookie: b=2; c=3\r\n\
        X-Bytes: \xe9\t\xff\r\nX-Empty:\r\nX-Spaces:   b  c  \r\nContent-Type: text/plain\r\nContent-Length: 0";
    let vars = of(&server, head);
    assert_eq!(vars["HTTP_ACCEPT"], "x,y;q=1");
    assert_eq!(vars["HTTP_COOKIE"], "a=1; b=2; c=3");
    assert_eq!(vars["HTTP_X_BYTES"], "\u{e9}\t\u{ff}");
    assert_eq!(vars["HTTP_X_EMPTY"], "");
    assert_eq!(vars["HTTP_X_SPACES"], "b  c");
    assert_eq!(
        (vars["CONTENT_TYPE"].as_str(), vars["CONTENT_LENGTH"].as_str()),
        ("text/plain", "0")
    );
    assert!(
        !vars.contains_key("HTTP_CONTENT_TYPE") && !vars.contains_key("HTTP_CONTENT_LENGTH"),
        "{vars:?}"
    );
}

#[test]
fn no_field_takes_the_variable_of_another() {
    let server = Server::start(&[&show()]);
    let before = "GET / HTTP/1.1\r\nHost: a\r\nX-Real-Ip: real\r\n";
    for forged in [
        "X_Real_Ip: evil\r\nx-real_ip: evil",
        "Content_Type: evil\r\nContent_Length: 9",
        "Proxy: evil\r\nPROXY: evil",
    ] {
        let vars = of(&server, format!("{before}{forged}"));
        assert_eq!(vars["HTTP_X_REAL_IP"], "real");
        assert!(
            !vars.values().any(|value| value.contains("evil") || value == "9"),
            "{forged}: {vars:?}"
        );
    }
}

#[test]
fn a_client_cannot_set_what_the_server_says() {
    let server = Server::start(&[&show()]);
    let vars = of(
        &server,
        "GET / HTTP/1.1\r\nHost: a\r\nREMOTE_ADDR: evil\r\nwsgi.url_scheme: evil\r\nServer-Name: b\r\nX-Forwarded-For: c",
    );
    assert_eq!(vars["REMOTE_ADDR"], "127.0.0.1");
    assert_eq!(vars["wsgi.url_scheme"], "http");
    assert_eq!(vars["SERVER_NAME"], "127.0.0.1");
    assert_eq!(vars["HTTP_SERVER_NAME"], "b");
}

#[test]
fn only_a_trusted_proxy_changes_the_scheme() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https";
    for (arguments, scheme) in [
        (&[][..], "https"),
        (&["--forwarded-allow-ips", "10.0.0.1,::1"], "http"),
        (&["--forwarded-allow-ips", "10.0.0.1,127.0.0.0/8"], "https"),
        (&["--forwarded-allow-ips", "*"], "https"),
    ] {
        let server = Server::start(&[&[show().as_str()], arguments].concat());
        let vars = of(&server, head);
        assert_eq!(vars["wsgi.url_scheme"], scheme, "{arguments:?}");
        assert_eq!(vars["HTTP_X_FORWARDED_PROTO"], "https");
        assert_eq!(
            of(&server, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: ftp")["wsgi.url_scheme"],
            "http"
        );
    }
}

#[test]
fn http_1_0_stays_http_1_0_and_ends_its_connection() {
    let server = Server::start(&[&show()]);
    let mut client = server.client();
    let response = exchange(&mut client, b"GET / HTTP/1.0");
    let vars = environ(&response);
    assert_eq!(vars["SERVER_PROTOCOL"], "HTTP/1.0");
    assert_eq!(vars["SERVER_NAME"], "127.0.0.1");
    assert!(!vars.contains_key("HTTP_HOST"));
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn http_1_0_may_ask_for_the_connection_to_be_kept() {
    let server = Server::start(&[&show()]);
    let mut client = server.client();
    for _ in 0..3 {
        let response = exchange(&mut client, b"GET / HTTP/1.0\r\nConnection: keep-alive");
        assert_eq!(
            response.header("Connection").map(str::to_lowercase).as_deref(),
            Some("keep-alive")
        );
        assert_eq!(environ(&response)["SERVER_PROTOCOL"], "HTTP/1.0");
    }
}

#[test]
fn http_1_1_keeps_the_connection_until_told_otherwise() {
    let server = Server::start(&[&show()]);
    let mut client = server.client();
    for count in 0..20 {
        let response = client.get(&format!("/{count}"));
        assert_eq!(environ(&response)["PATH_INFO"], format!("/{count}"));
    }
    let last = exchange(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close");
    assert_eq!(
        last.header("Connection").map(str::to_lowercase).as_deref(),
        Some("close")
    );
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[&show()]);
    let mut client = server.client();
    let requests: String = (0..50)
        .map(|index| format!("GET /{index} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    client.send(requests.as_bytes());
    for index in 0..50 {
        assert_eq!(environ(&client.response("GET"))["PATH_INFO"], format!("/{index}"));
    }
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let server = Server::start(&[&show()]);
    let mut client = server.client();
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    client.half_close();
    for path in ["/1", "/2"] {
        assert_eq!(environ(&client.response("GET"))["PATH_INFO"], path);
    }
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let server = Server::start(&[&show()]);
    let mut client = server.client();
    for byte in b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" {
        client.send(&[*byte]);
    }
    assert_eq!(environ(&client.response("GET"))["PATH_INFO"], "/slow");
}

#[test]
fn over_a_unix_socket_the_server_is_whom_the_client_means() {
    let directory = tempfile::tempdir_in(target()).expect("the target directory can be written");
    let path = directory.path().join("socket");
    let server = Server::start(&[&show(), "--bind", &format!("unix:{}", path.display())]);
    let ask = |head: &str| {
        let mut stream = UnixStream::connect(&path).expect("the server accepts");
        stream
            .write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())
            .expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the server answers");
        answer
    };
    let answer = ask("GET / HTTP/1.1\r\nHost: example.org:81\r\nX-Forwarded-Proto: https");
    for line in [
        "SERVER_NAME: example.org\n",
        "SERVER_PORT: 81\n",
        "REMOTE_ADDR: \n",
        "wsgi.url_scheme: https\n",
    ] {
        assert!(answer.contains(line), "{line:?} is not in {answer}");
    }
    let answer = ask("GET / HTTP/1.0");
    for line in [
        "SERVER_NAME: localhost\n",
        "SERVER_PORT: 80\n",
        "wsgi.url_scheme: http\n",
    ] {
        assert!(answer.contains(line), "{line:?} is not in {answer}");
    }
    drop(server);
}

#[test]
fn over_ipv6_the_server_is_its_address() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let server = Server::start(&[&show(), "--bind", "[::1]:0"]);
    let vars = of(&server, "GET / HTTP/1.1\r\nHost: [::1]");
    assert_eq!(
        (vars["SERVER_NAME"].as_str(), vars["REMOTE_ADDR"].as_str()),
        ("::1", "::1")
    );
    assert_eq!(vars["SERVER_PORT"], server.address().port().to_string());
}

#[test]
fn who_else_runs_and_for_how_long() {
    for (arguments, multiprocess, run_once) in [
        (&["-w", "1"][..], "true", "true"),
        (&["-w", "1", "--max-instances", "1"], "false", "true"),
        (&["-w", "2", "--max-instances", "1"], "true", "true"),
        (&["-w", "1", "--max-requests", "0"], "true", "false"),
        (
            &["-w", "1", "--max-instances", "1", "--max-requests", "2"],
            "false",
            "false",
        ),
    ] {
        let server = Server::start(&[&[show().as_str()], arguments].concat());
        let vars = of(&server, "GET / HTTP/1.1\r\nHost: a");
        assert_eq!(vars["wsgi.multithread"], "false");
        assert_eq!(vars["wsgi.multiprocess"], multiprocess, "{arguments:?}");
        assert_eq!(vars["wsgi.run_once"], run_once, "{arguments:?}");
    }
}
