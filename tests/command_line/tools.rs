//! The commands beside `serve`.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{fails, run, says};
use crate::harness::{command, guest};

#[test]
fn a_version() {
    assert_eq!(
        says(&["--version"]),
        format!("wsgi-host {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn help_names_what_gunicorn_names() {
    let all = says(&["--help"]);
    for name in ["serve", "build", "inspect", "check", "compile", "completions"] {
        assert!(all.contains(&format!("\n  {name} ")), "{all}");
    }
    assert!(!all.contains("worker"), "a worker is not started by people: {all}");
    for help in [says(&["serve", "--help"]), says(&["serve", "-h"])] {
        for name in [
            "-b, --bind",
            "-w, --workers",
            "-t, --timeout",
            "-e, --env",
            "-p, --pid",
            "--backlog",
            "--worker-connections",
            "--max-requests",
            "--graceful-timeout",
            "--keep-alive",
            "--limit-request-line",
            "--limit-request-fields",
            "--limit-request-field-size",
            "--access-logfile",
            "--error-logfile",
            "--log-level",
            "--forwarded-allow-ips",
            "--path",
            "--dir",
        ] {
            assert!(help.contains(name), "{name} is not in {help}");
        }
        assert!(help.contains("[default: 127.0.0.1:8000]"), "{help}");
    }
}

#[test]
fn completions_for_shells() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = says(&["completions", shell]);
        assert!(
            script.contains("wsgi-host") && script.contains("graceful-timeout"),
            "{shell}: {script}"
        );
    }
    assert_eq!(run(&command(&["completions", "tcsh"])).status.code(), Some(2));
    let mut bash = Command::new("bash")
        .args(["-n"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("bash is there");
    bash.stdin
        .take()
        .unwrap()
        .write_all(says(&["completions", "bash"]).as_bytes())
        .unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn check_says_that_an_app_would_be_served() {
    for name in ["rust", "javascript", "c"] {
        let text = says(&["check", &guest(name)]);
        assert!(text.contains(&guest(name)), "{text}");
    }
    // What would not be is looked at in the tests of failures.
    fails(&["check", "/nowhere/app.wasm"], 10, &["/nowhere/app.wasm"]);
}

#[test]
fn inspect_says_what_an_app_could_ask_for() {
    let text = says(&["inspect", &guest("rust")]);
    for part in ["app", "0.1.0", "wsgi:gateway/io@0.1.0"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("wasi:"), "the Rust guest imports none of WASI: {text}");
    let text = says(&["inspect", &guest("javascript")]);
    assert!(text.contains("wasi:"), "{text}");
}

#[test]
fn inspect_writes_json() {
    let text = says(&["inspect", "--json", &guest("rust")]);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(value.is_object(), "{value}");
    assert!(text.contains("wsgi:gateway/io@0.1.0"), "{text}");
}
