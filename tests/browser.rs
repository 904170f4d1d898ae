//! A browser: headless Chromium, as Debian packages it.

use std::process::{Command, Output, Stdio};

use crate::harness::{Certificate, Server, guest};

/// A browser is a large program, and may fail by itself. What it shows is not asked for again.
const ATTEMPTS: usize = 3;

fn browse(url: &str) -> Output {
    let profile = tempfile::tempdir().expect("a temporary directory can be made");
    Command::new("timeout")
        .args(["300", "chromium", "--headless", "--no-sandbox", "--disable-gpu"])
        // Containers have little of it.
        .arg("--disable-dev-shm-usage")
        // Nothing but this page is asked for, and nobody but this server.
        .args([
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
        ])
        // The test's certificate is signed by itself.
        .arg("--ignore-certificate-errors")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", url])
        .stdin(Stdio::null())
        .output()
        .expect("timeout is there")
}

/// What a page is once the browser has it.
fn document(url: &str) -> String {
    let mut output = browse(url);
    for _ in 1..ATTEMPTS {
        if !output.status.success() {
            output = browse(url);
        }
    }
    assert!(
        output.status.success(),
        "{url}: chromium is installed by tests/install: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn contains(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
}

#[test]
fn a_page_is_shown() {
    let server = Server::start(&[]);
    let page = document(&format!("http://{}/a/path?query", server.address()));
    contains(&page, &["</html>", "/a/path", "QUERY_STRING"]);
}

#[test]
fn a_browser_chooses_http_2_where_there_is_tls() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let certificate = Certificate::make(directory.path(), "browser");
    let [certfile, its_path, keyfile, key_path] = certificate.arguments();
    let server = Server::start(&[&guest("rust"), &certfile, &its_path, &keyfile, &key_path]);
    let page = document(&format!("https://{}/environ?query", server.address()));
    contains(
        &page,
        &[
            "SERVER_PROTOCOL: HTTP/2.0",
            "wsgi.url_scheme: https",
            "QUERY_STRING: query",
            "Chrome/",
        ],
    );
    let page = document(&format!("https://{}/hello/caf%C3%A9", server.address()));
    contains(&page, &["Hello, café!"]);
}
