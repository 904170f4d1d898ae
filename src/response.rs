//! Checks what an app returned before any of it reaches a client. Pure.
//!
//! An app's mistake is an error that names it, never a repair: PEP 3333 wants headers to be right, and a
//! client behind a proxy may understand a repaired one differently.

use std::borrow::Cow;

use clap::Args;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use hyper::ext::ReasonPhrase;
use serde::{Deserialize, Serialize};

use crate::units;

/// What an app may return as a head.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Sandbox")]
pub struct Limits {
    /// Header fields of one response.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u16).range(..=MOST_FIELDS))]
    pub limit_response_fields: u16,

    /// Names and values of one response's header fields, together.
    #[arg(long, default_value = "256K", value_parser = units::bytes, value_name = "BYTES")]
    pub limit_response_head: u64,
}

/// What hyper's map of headers can hold with ease.
const MOST_FIELDS: i64 = 20_000;

/// PEP 3333, "Other HTTP Features": these are the server's own (RFC 2616, 13.5.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// A head that may be sent.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    /// None for the status's own.
    pub reason: Option<ReasonPhrase>,
    pub headers: HeaderMap,
    /// The length that the app gave its body.
    pub length: Option<u64>,
    /// Whether a body goes with this head, to this method.
    pub has_body: bool,
}

/// Takes what `start_response` was called with; the error says what is wrong with it, for the log.
pub fn check(
    method: &Method,
    status: u16,
    reason: &str,
    headers: &[(String, String)],
    limits: &Limits,
) -> Result<Head, String> {
    let status = final_status(status)?;
    let reason = phrase(status, reason)?;
    let fields = usize::from(limits.limit_response_fields);
    if headers.len() > fields {
        return Err(format!(
            "the app returned {} header fields, more than --limit-response-fields {fields}",
            headers.len()
        ));
    }
    let mut map = HeaderMap::with_capacity(headers.len() + 2);
    let mut length = None;
    let mut size = 0;
    for (name, value) in headers {
        size += name.len() + value.len();
        if size as u64 > limits.limit_response_head {
            return Err(format!(
                "the app returned a head of more than --limit-response-head {}",
                units::size(limits.limit_response_head)
            ));
        }
        let (name, value) = field(name, value)?;
        if name == CONTENT_LENGTH {
            let given = content_length(&value)?;
            if length.is_some_and(|known| known != given) {
                return Err("the app returned two different Content-Length fields".into());
            }
            length = Some(given);
            continue;
        }
        map.try_append(name, value)
            .map_err(|_| format!("the app returned more header fields than {fields}"))?;
    }
    let body_forbidden = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // A 204 has no length (RFC 9110, 8.6), though apps like to say 0.
    if let Some(length) = length
        && status != StatusCode::NO_CONTENT
    {
        map.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Head {
        status,
        reason,
        headers: map,
        length,
        has_body: !body_forbidden && method != Method::HEAD,
    })
}

impl Head {
    /// Makes this the connection's last response.
    pub fn close_connection(&mut self) {
        self.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn final_status(status: u16) -> Result<StatusCode, String> {
    match StatusCode::from_u16(status) {
        Ok(code) if status >= 200 => Ok(code),
        _ => Err(format!(
            "the app returned status {status}; it has to be between 200 and 999"
        )),
    }
}

fn phrase(status: StatusCode, reason: &str) -> Result<Option<ReasonPhrase>, String> {
    let own = status.canonical_reason();
    if own == Some(reason) || (own.is_some() && reason.is_empty()) {
        return Ok(None);
    }
    let reason = if reason.is_empty() { "Unknown" } else { reason };
    let wrong =
        || format!("the app returned the reason phrase {reason:?}, which has characters that HTTP forbids there");
    let phrase = ReasonPhrase::try_from(bytes(reason).ok_or_else(wrong)?.as_ref());
    phrase.map(Some).map_err(|_| wrong())
}

fn field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let key = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("the app returned the header name {name:?}, which is not a token (RFC 9110, 5.6.2)"))?;
    if HOP_BY_HOP.contains(&key.as_str()) {
        return Err(format!(
            "the app returned the hop-by-hop field {name:?}; these are the server's (PEP 3333)"
        ));
    }
    let wrong = || format!("the app returned {name}: {value:?}, which has characters that HTTP forbids there");
    let value = HeaderValue::from_bytes(&bytes(value).ok_or_else(wrong)?).map_err(|_| wrong())?;
    Ok((key, value))
}

/// A native string as its bytes; none if one of its characters is no byte.
fn bytes(text: &str) -> Option<Cow<'_, [u8]>> {
    if text.is_ascii() {
        return Some(text.as_bytes().into());
    }
    text.chars()
        .map(|character| u8::try_from(u32::from(character)).ok())
        .collect()
}

fn content_length(value: &HeaderValue) -> Result<u64, String> {
    let digits = value.as_bytes();
    let number = std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("the app returned Content-Length: {value:?}, which is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(status: u16, reason: &str, headers: &[(&str, &str)]) -> Result<Head, String> {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        check(&Method::GET, status, reason, &headers, &LIMITS)
    }

    fn phrase_of(head: &Head) -> &[u8] {
        let own = head.status.canonical_reason().unwrap_or_default();
        head.reason.as_ref().map_or(own.as_bytes(), ReasonPhrase::as_bytes)
    }

    const LIMITS: Limits = Limits {
        limit_response_fields: 10,
        limit_response_head: 1_000,
    };

    #[test]
    fn a_status_is_final_and_has_three_digits() {
        for status in [0, 99, 100, 199, 1000, u16::MAX] {
            assert!(get(status, "", &[]).is_err(), "{status}");
        }
        for reason in ["", "OK"] {
            assert_eq!(get(200, reason, &[]).unwrap().reason, None);
        }
        for (status, reason, sent) in [
            (404, "Gone fishing", b"Gone fishing".as_slice()),
            (799, "", b"Unknown"),
            (200, "caf\u{e9}", b"caf\xe9"),
        ] {
            assert_eq!(phrase_of(&get(status, reason, &[]).unwrap()), sent);
        }
        for reason in ["a\r\nb", "a\0", "\u{20ac}"] {
            assert!(get(200, reason, &[]).is_err(), "{reason:?}");
        }
    }

    #[test]
    fn names_are_tokens_and_values_have_no_control_characters() {
        for (name, value) in [
            ("", "a"),
            ("a b", "a"),
            ("a:", "a"),
            ("a\n", "a"),
            ("\u{e9}", "a"),
            ("a", "b\r\nc: d"),
            ("a", "b\0"),
            ("a", "\u{20ac}"),
            ("a", "\x7f"),
        ] {
            assert!(get(200, "", &[(name, value)]).is_err(), "{name:?}: {value:?}");
        }
        let head = get(200, "", &[("Set-Cookie", "a"), ("set-cookie", "b\t\u{e9}")]).unwrap();
        let cookies: Vec<_> = head
            .headers
            .get_all("set-cookie")
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        assert_eq!(cookies, [b"a".as_slice(), b"b\t\xe9"]);
    }

    #[test]
    fn hop_by_hop_fields_are_the_servers() {
        for name in HOP_BY_HOP {
            let name = name.to_uppercase();
            assert!(
                get(200, "", &[(&name, "x")]).unwrap_err().contains("hop-by-hop"),
                "{name}"
            );
        }
    }

    #[test]
    fn a_length_is_one_number() {
        assert_eq!(get(200, "", &[("Content-Length", "5")]).unwrap().length, Some(5));
        assert_eq!(
            get(200, "", &[("Content-Length", "5"), ("content-length", "5")])
                .unwrap()
                .length,
            Some(5)
        );
        for wrong in ["", "+5", "-1", "5, 5", "0x5", "99999999999999999999"] {
            assert!(get(200, "", &[("Content-Length", wrong)]).is_err(), "{wrong:?}");
        }
        assert!(get(200, "", &[("Content-Length", "5"), ("Content-Length", "6")]).is_err());
        assert!(
            !get(204, "", &[("Content-Length", "0")])
                .unwrap()
                .headers
                .contains_key(CONTENT_LENGTH)
        );
    }

    #[test]
    fn some_responses_have_no_body() {
        assert!(get(200, "", &[]).unwrap().has_body);
        assert!(!get(204, "", &[]).unwrap().has_body);
        assert!(!get(304, "", &[]).unwrap().has_body);
        assert!(!check(&Method::HEAD, 200, "", &[], &LIMITS).unwrap().has_body);
    }

    #[test]
    fn a_head_has_bounds() {
        let field = ("a", "b");
        assert!(get(200, "", &[field; 10]).is_ok());
        assert!(get(200, "", &[field; 11]).is_err());
        assert!(get(200, "", &[("a", &"b".repeat(999))]).is_ok());
        assert!(get(200, "", &[("a", &"b".repeat(1_000))]).is_err());
    }

    use proptest::collection::vec;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[ -~]{0,20}",
            2 => "[!-~]{0,4}[\r\n\t\0 :\u{7f}\u{80}\u{e9}\u{ff}\u{100}\u{20ac}]{0,2}[!-~]{0,4}",
            1 => any::<String>(),
        ]
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![6 => "[A-Za-z][0-9A-Za-z-]{0,12}", 1 => "(content-|X-)[Ll]ength|TE|Connection|Date", 1 => text()]
    }

    /// As it goes over the wire.
    fn wire(head: &Head) -> Vec<u8> {
        let mut wire = format!("HTTP/1.1 {} ", head.status.as_str()).into_bytes();
        wire.extend_from_slice(phrase_of(head));
        for (name, value) in &head.headers {
            wire.extend_from_slice(format!("\r\n{name}: ").as_bytes());
            wire.extend_from_slice(value.as_bytes());
        }
        [wire, b"\r\n\r\n".to_vec()].concat()
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_read_back_the_same(
            status in prop_oneof![8 => 190..1_010_u16, 1 => any::<u16>()],
            reason in text(),
            headers in vec((name(), text()), 0..6),
        ) {
            let Ok(head) = check(&Method::GET, status, &reason, &headers, &LIMITS) else { return Ok(()) };
            let wire = wire(&head);
            let body = wire.len() - 4;
            prop_assert!(!wire.contains(&0));
            let ends = wire[..body].iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
            prop_assert_eq!(ends, 2 * head.headers.len());

            let mut fields = [httparse::EMPTY_HEADER; 16];
            let mut parsed = httparse::Response::new(&mut fields);
            prop_assert_eq!(parsed.parse(&wire), Ok(httparse::Status::Complete(wire.len())));
            prop_assert_eq!(parsed.code, Some(status));
            let read: Vec<_> = parsed.headers.iter().map(|field| (field.name.to_lowercase(), field.value.to_vec())).collect();
            let mut given: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.to_lowercase(), bytes(value).unwrap_or_default().trim_ascii().to_vec()))
                .filter(|(name, _)| name != "content-length")
                .collect();
            if let Some(length) = head.headers.get(CONTENT_LENGTH) {
                given.push(("content-length".into(), length.as_bytes().to_vec()));
            }
            let sorted = |mut fields: Vec<(String, Vec<u8>)>| {
                fields.sort();
                fields
            };
            prop_assert_eq!(sorted(read), sorted(given));
        }
    }
}
