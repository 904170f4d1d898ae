//! Every middleware around every app: what the apps answer alike, they answer alike inside of it.

use super::error_page::failing;
use super::{gunzip, serve};
use crate::guests::Subject;
use crate::harness::{Response, Server, guest};

/// A middleware, what its requests have, and how its responses differ from the app's own.
pub struct Middleware {
    pub name: &'static str,
    pub fields: &'static str,
    pub undo: fn(&mut Response),
}

pub const ALL: [Middleware; 6] = [
    Middleware {
        name: "access-log",
        fields: "",
        undo: |_| {},
    },
    Middleware {
        name: "basic-auth",
        // ada:secret
        fields: "Authorization: Basic YWRhOnNlY3JldA==\r\n",
        undo: |_| {},
    },
    Middleware {
        name: "cors",
        fields: "Origin: https://a.example\r\n",
        undo: |response| {
            if response.status() < 500 {
                assert_eq!(response.header("Access-Control-Allow-Origin"), Some("*"));
            }
        },
    },
    Middleware {
        name: "error-page",
        fields: "",
        undo: |response| {
            let is_page = response.header("Content-Type") == Some("text/html; charset=utf-8");
            assert!(response.status() < 500 || is_page, "{response:?}");
        },
    },
    Middleware {
        name: "gzip",
        fields: "Accept-Encoding: gzip\r\n",
        undo: decode,
    },
    Middleware {
        name: "request-id",
        fields: "X-Request-ID: from-the-test\r\n",
        undo: |response| {
            if response.status() < 500 {
                assert_eq!(response.header("X-Request-ID"), Some("from-the-test"));
            }
        },
    },
];

/// Decodes a body that is compressed.
fn decode(response: &mut Response) {
    if response.complete && response.header("Content-Encoding") == Some("gzip") {
        assert_eq!(response.header("Vary"), Some("Accept-Encoding"));
        response.body = gunzip(&response.body).expect("the body is compressed as its head says");
    }
}

/// Fresh instances of every link, and ones that are kept, answer alike.
fn around(app: &str) {
    for middleware in &ALL {
        for requests in ["1", "0"] {
            let server = serve(&[middleware.name], &guest(app), &["--max-requests", requests]);
            let name = format!("{} around {app}", middleware.name);
            Subject {
                name: &name,
                server: &server,
                fields: middleware.fields,
                undo: middleware.undo,
            }
            .answers_alike();
        }
    }
}

#[test]
fn around_rust() {
    around("rust");
}

#[test]
fn around_c() {
    around("c");
}

#[test]
fn around_javascript() {
    around("javascript");
}

#[test]
fn around_go() {
    around("go");
}

#[test]
fn around_python() {
    around("python");
}

#[test]
fn around_flask() {
    around("flask");
}

#[test]
fn around_django() {
    around("django");
}

/// How a failure of what is inside comes out: as that kind of failure, or as a page for it.
#[test]
fn failures_keep_their_kind() {
    let app = failing();
    for middleware in &ALL {
        let patient = serve(&[middleware.name], &app, &["--max-memory", "64M"]);
        // For what does not end by itself.
        let brief = serve(&[middleware.name], &app, &["--timeout", "3"]);
        let ask = |server: &Server, target: &str| {
            let subject = Subject {
                name: middleware.name,
                server,
                fields: middleware.fields,
                undo: middleware.undo,
            };
            subject.request(&mut server.client(), "GET", target, "", b"")
        };
        for (target, status) in [
            ("/exception", 500),
            ("/trap", 500),
            ("/memory", 500),
            ("/spin", 504),
            ("/busy", 503),
            ("/fine", 200),
        ] {
            let response = ask(if target == "/spin" { &brief } else { &patient }, target);
            assert_eq!(response.status(), status, "{} {target}", middleware.name);
        }
        let late = ask(&patient, "/stream/late");
        assert!(!late.complete, "{}: {late:?}", middleware.name);
    }
}

#[test]
fn six_deep_a_long_body_streams_both_ways() {
    const SIZE: usize = 32 << 20;
    /// Two copies of the longest block in each of so many sandboxes, and what they are made of; not a whole body.
    const WORKER_BYTES: u64 = 150 << 20;

    let names = ALL.map(|middleware| middleware.name);
    let fields = ALL.map(|middleware| middleware.fields).concat();
    for app in ["c", "python"] {
        let server = serve(&names, &guest(app), &[]);
        let subject = Subject {
            fields: &fields,
            ..Subject::new(app, &server)
        };
        let peak = subject.long_bodies(SIZE);
        assert!(peak < WORKER_BYTES, "the worker took {peak} bytes");
    }
}

#[test]
fn what_a_kept_middleware_takes_it_gives_back() {
    for middleware in &ALL {
        let server = serve(&[middleware.name], &guest("rust"), &["--max-requests", "0"]);
        let subject = Subject {
            name: middleware.name,
            server: &server,
            fields: middleware.fields,
            undo: middleware.undo,
        };
        subject.many_bodies(1000);
    }
}
