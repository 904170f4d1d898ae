//! From the head of an HTTP/2 request to the form that it has in HTTP/1.1, so that what comes after sees one kind only.
//! Pure. h2 has refused by then what it can: names in upper case, fields of the connection, pseudo-header fields that are
//! missing, repeated or out of order, and a length that the body does not have.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri, header};

/// The authority becomes Host, and the target its path and query (RFC 9113, 8.3.1). What is wrong otherwise.
pub fn of_http2(parts: &mut Parts) -> Result<(), &'static str> {
    if parts.method == http::Method::CONNECT {
        return Ok(());
    }
    if !matches!(parts.uri.scheme_str(), Some("http" | "https")) {
        return Err("the scheme is neither http nor https (RFC 9113, 8.3.1)");
    }
    let padded = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        let blank = |edge: Option<&u8>| matches!(edge, Some(b' ' | b'\t'));
        blank(bytes.first()) || blank(bytes.last())
    };
    if parts.headers.values().any(padded) {
        return Err("a field's value starts or ends with white space (RFC 9113, 8.2.1)");
    }
    if let Some(authority) = parts.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| "the authority is malformed")?;
        let named = parts.headers.get_all(header::HOST).iter();
        if named
            .into_iter()
            .any(|name| !name.as_bytes().eq_ignore_ascii_case(host.as_bytes()))
        {
            return Err("Host is not the authority (RFC 9113, 8.3.1)");
        }
        parts.headers.insert(header::HOST, host);
    } else if !parts.headers.contains_key(header::HOST) {
        return Err("there is no authority (RFC 9113, 8.3.1)");
    }
    let path = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn formed(request: http::request::Builder) -> Result<Parts, &'static str> {
        let mut parts = request.body(()).unwrap().into_parts().0;
        of_http2(&mut parts).map(|()| parts)
    }

    #[test]
    fn the_authority_becomes_host() {
        let parts = formed(Request::get("https://example.org:81/a?b")).unwrap();
        assert_eq!(parts.uri, "/a?b");
        assert_eq!(parts.headers["host"], "example.org:81");
        let parts = formed(Request::get("https://example.org/").header("host", "EXAMPLE.org")).unwrap();
        assert_eq!(parts.headers.get_all("host").iter().count(), 1);
        let parts = formed(Request::options("http://example.org")).unwrap();
        assert_eq!(parts.uri, "/");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let get = || Request::get("https://example.org/");
        assert!(formed(get().header("host", "other.org")).is_err());
        assert!(formed(get().header("host", "example.org").header("host", "other.org")).is_err());
        assert!(formed(Request::get("ftp://example.org/")).is_err());
        assert!(formed(Request::get("/")).is_err());
        for value in [" a", "a ", "\ta"] {
            assert!(formed(get().header("x", value)).is_err(), "{value:?}");
        }
        assert!(formed(get().header("x", "a b").header("y", "")).is_ok());
    }
}
