//! A page for people instead of a failure of what is inside: the app's exception, its time or memory used up, or no
//! room for it. What happened is for the operator's log; the page tells no more than the status, unless it is to.
//!
//! Environment: `ERROR_PAGE_DETAILS=1` shows the failure's text too, `ERROR_PAGE_EMPTY=1` also makes a page of the
//! app's own 5xx responses that have no body.

wit_bindgen::generate!({
    path: "../wit",
    world: "middleware",
    generate_all,
    merge_structurally_equal_types: true,
});

use std::cell::Cell;

use exports::wsgi::gateway::application::{Chunks, Environ, Failure, Guest, GuestChunks, Response, ResponseBody};
use wasi::cli::environment;
use wsgi::gateway::{application as inner, io};

struct ErrorPage;

impl Guest for ErrorPage {
    type Chunks = Peeked;

    fn call(environ: Environ) -> Result<Response, Failure> {
        let var = |name| {
            let found = environ.vars.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        };
        let is_head = var("REQUEST_METHOD").as_deref() == Some("HEAD");
        let is_html = var("HTTP_ACCEPT").is_none_or(|accept| accepts_html(&accept));
        let page = |status, details: &str| Ok(page(status, details, is_html));
        let response = match inner::call(environ) {
            Ok(response) => response,
            Err(failure) => {
                let (status, details) = explain(failure);
                io::errors(&format!("a page instead of the failure: {}\n", details.trim_end()));
                return page(status, &details);
            }
        };
        let body = match response.body {
            inner::ResponseBody::Bytes(bytes)
                if bytes.is_empty() && response.status >= 500 && is_set("ERROR_PAGE_EMPTY") =>
            {
                return page(response.status, "");
            }
            inner::ResponseBody::Bytes(bytes) => ResponseBody::Bytes(bytes),
            inner::ResponseBody::Chunks(chunks) => {
                // Nothing is sent before the first block, so that until then a failure can be a page. Of a HEAD's
                // response, none is asked for.
                let first = if is_head { None } else { Some(chunks.next()) };
                if let Some(Err(details)) = first {
                    chunks.close();
                    io::errors(&format!("a page instead of the failure: {}\n", details.trim_end()));
                    return page(500, &details);
                }
                ResponseBody::Chunks(Chunks::new(Peeked {
                    chunks,
                    first: Cell::new(first),
                }))
            }
        };
        Ok(Response {
            status: response.status,
            reason: response.reason,
            headers: response.headers,
            body,
        })
    }
}

type Block = Result<Option<Vec<u8>>, String>;

/// The inner iterable, whose first block may be here already.
struct Peeked {
    chunks: inner::Chunks,
    first: Cell<Option<Block>>,
}

impl GuestChunks for Peeked {
    fn next(&self) -> Block {
        self.first.take().unwrap_or_else(|| self.chunks.next())
    }

    fn close(&self) {
        self.chunks.close();
    }
}

fn explain(failure: Failure) -> (u16, String) {
    match failure {
        Failure::Exception(text) => (500, text),
        Failure::Timeout => (504, "no sign of life within the time limit".into()),
        Failure::ResourceLimit(which) => (500, format!("exhausted a limit: {which}")),
        Failure::Unavailable(why) => (503, format!("unavailable: {why}")),
    }
}

fn page(status: u16, details: &str, is_html: bool) -> Response {
    let (reason, sentence) = match status {
        500 => (
            "Internal Server Error",
            "Something went wrong here. It is not your fault, and it was noted.",
        ),
        502 => ("Bad Gateway", "Something behind this page went wrong."),
        503 => (
            "Service Unavailable",
            "There are too many requests at this moment. Please try again soon.",
        ),
        504 => ("Gateway Timeout", "This took too long. Please try again later."),
        _ => ("Error", "Something went wrong here."),
    };
    let details = if is_set("ERROR_PAGE_DETAILS") {
        details.trim_end()
    } else {
        ""
    };
    let (content_type, text) = if is_html {
        let title = format!("{status} {reason}");
        let details = match details {
            "" => String::new(),
            details => format!("<pre>{}</pre>\n", escape(details)),
        };
        let page = include_str!("page.html");
        let page = page.replace("{title}", &title).replace("{sentence}", sentence);
        ("text/html; charset=utf-8", page.replace("{details}\n", &details))
    } else {
        let details = if details.is_empty() {
            String::new()
        } else {
            format!("\n{details}\n")
        };
        (
            "text/plain; charset=utf-8",
            format!("{status} {reason}\n{sentence}\n{details}"),
        )
    };
    let mut headers = vec![
        ("Content-Type".to_owned(), content_type.to_owned()),
        ("Cache-Control".to_owned(), "no-store".to_owned()),
    ];
    if status == 503 {
        headers.push(("Retry-After".to_owned(), "1".to_owned()));
    }
    Response {
        status,
        reason: reason.into(),
        headers,
        body: ResponseBody::Bytes(text.into_bytes()),
    }
}

/// Whether a browser asks: everything else can do with plain text.
fn accepts_html(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let is_html = matches!(parts.next().as_deref(), Some("text/html" | "text/*" | "*/*"));
        let is_refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32)));
        is_html && !is_refused
    })
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

fn is_set(name: &str) -> bool {
    let environment = environment::get_environment();
    environment.iter().any(|(key, value)| key == name && value == "1")
}

export!(ErrorPage);
