//! What is checked of a request that has been parsed, whatever the version of HTTP: all that there is for HTTP/2, whose
//! framing leaves no room for ambiguity; for HTTP/1 the guard comes before.

use http::header::{CONTENT_TYPE, EXPECT, HOST};
use http::request::Parts;
use http::{Method, StatusCode, Version};

use super::fields::{TOO_MANY, UNMET, is_continue, too_large};
use super::grammar::{Authority, is_path_and_query};
use super::head::LONG_LINE;
use super::options::{Options, Underscores};
use super::refusal::Refusal;
use super::request_line::{NO_TUNNEL, check_method};

/// `body` is the length of the body, if it is known.
pub fn check(parts: &Parts, body: Option<u64>, options: &Options) -> Result<(), Refusal> {
    check_method(parts.method.as_str().as_bytes())?;
    if parts.method == Method::CONNECT {
        return Err(NO_TUNNEL);
    }
    check_target(parts)?;
    let path = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    if parts.method.as_str().len() + path + "  HTTP/2.0".len() > options.limit_request_line {
        return Err(LONG_LINE);
    }
    check_fields(parts, options)?;
    if body.is_some_and(|length| is_beyond(length, options)) {
        return Err(TOO_LARGE);
    }
    Ok(())
}

/// Whether a body of this length is longer than it may be.
pub fn is_beyond(length: u64, options: &Options) -> bool {
    options.limit_request_body > 0 && length > options.limit_request_body
}

pub const TOO_LARGE: Refusal = Refusal::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "the request body is larger than --limit-request-body (RFC 9110, 15.5.14)",
);

/// RFC 9113, 8.3.1; RFC 9112, 3.2.
fn check_target(parts: &Parts) -> Result<(), Refusal> {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    if !(is_path_and_query(path.as_bytes()) || path == "*") {
        return Err(Refusal::bad(
            "a character that a target may not have (RFC 3986, 3.3 and 3.4)",
        ));
    }
    if path.is_empty() || (path == "*" && parts.method != Method::OPTIONS) {
        return Err(Refusal::bad(
            "the target is neither a path nor a whole URL (RFC 9112, 3.2)",
        ));
    }
    let mut hosts = parts
        .headers
        .get_all(HOST)
        .iter()
        .map(|host| Authority::parse(host.as_bytes()));
    let (host, more) = (hosts.next(), hosts.next());
    let target = parts
        .uri
        .authority()
        .map(|authority| Authority::parse(authority.as_str().as_bytes()));
    let port = if parts.uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    match (target, host) {
        _ if more.is_some() => Err(Refusal::bad("several Host fields (RFC 9112, 3.2)")),
        (Some(None), _) | (_, Some(None)) => Err(Refusal::bad("a malformed host (RFC 9112, 3.2; RFC 9113, 8.3.1)")),
        (Some(Some(target)), Some(Some(host))) if !target.is_same(&host, port) => Err(Refusal::bad(
            "Host is not the target's (RFC 9112, 3.2; RFC 9113, 8.3.1)",
        )),
        (None, None) if parts.version >= Version::HTTP_11 => Err(Refusal::bad(
            "a request that names no host (RFC 9112, 3.2; RFC 9113, 8.3.1)",
        )),
        _ => Ok(()),
    }
}

fn check_fields(parts: &Parts, options: &Options) -> Result<(), Refusal> {
    if parts.headers.len() > options.limit_request_fields {
        return Err(TOO_MANY);
    }
    let colon_and_end = ": \r\n".len();
    let limit = options.limit_request_field_size;
    // The guard has measured what was between the colon and the value, too.
    let mut sizes = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    if parts.version > Version::HTTP_11 && sizes.any(|size| size + colon_and_end > limit) {
        return Err(too_large(
            "a field longer than --limit-request-field_size (RFC 6585, 5)",
        ));
    }
    if parts.headers.get_all(CONTENT_TYPE).iter().nth(1).is_some() {
        return Err(Refusal::bad("several Content-Type fields (RFC 9110, 5.3)"));
    }
    if options.header_map == Underscores::Refuse && parts.headers.keys().any(|name| name.as_str().contains('_')) {
        return Err(Refusal::bad(
            "a field's name has _ in it, and --header-map refuse is set",
        ));
    }
    let expects_more = || {
        parts
            .headers
            .get_all(EXPECT)
            .iter()
            .any(|value| !is_continue(value.as_bytes()))
    };
    if parts.version >= Version::HTTP_11 && expects_more() {
        return Err(UNMET);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn status(request: http::request::Builder, body: Option<u64>) -> u16 {
        let options = Options {
            limit_request_line: 30,
            limit_request_fields: 2,
            limit_request_field_size: 30,
            limit_request_body: 10,
            header_map: Underscores::Refuse,
        };
        let parts = request.body(()).unwrap().into_parts().0;
        check(&parts, body, &options).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_request_of_http_2_is_held_to_the_same_rules() {
        let start = |target: &str| Request::get(target).version(Version::HTTP_2);
        let get = |target: &str| start(&format!("https://a{target}"));
        assert_eq!(status(get("/"), None), 200);
        assert_eq!(status(get("/").header("host", "A:443"), None), 200);
        assert_eq!(status(get("/").header("host", "b"), None), 400);
        assert_eq!(status(get("/").header("host", "a").header("host", "a"), None), 400);
        assert_eq!(status(start("/"), None), 400);
        assert_eq!(status(start("/").header("host", "a"), None), 200);
        assert_eq!(status(start("/").header("host", "a b"), None), 400);
        assert_eq!(status(get("/|"), None), 400);
        assert_eq!(status(get("/?|"), None), 200);
        assert_eq!(status(start("*").header("host", "a"), None), 400);
        assert_eq!(status(start("*").method("OPTIONS").header("host", "a"), None), 200);
        assert_eq!(status(start("a:1").header("host", "a"), None), 400);
        assert_eq!(status(start("a:1").method("CONNECT"), None), 405);
        assert_eq!(status(get("/").method("get"), None), 400);
        assert_eq!(status(get(&format!("/{}", "x".repeat(30))), None), 414);
        assert_eq!(
            status(get("/").header("a", "b").header("c", "d").header("e", "f"), None),
            431
        );
        assert_eq!(status(get("/").header("a", "x".repeat(30)), None), 431);
        assert_eq!(status(get("/").header("a_b", "x"), None), 400);
        assert_eq!(status(get("/").header("expect", "100-Continue"), None), 200);
        assert_eq!(status(get("/").header("expect", "more"), None), 417);
        assert_eq!(status(get("/"), Some(10)), 200);
        assert_eq!(status(get("/"), Some(11)), 413);
    }
}
