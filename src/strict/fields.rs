//! Field lines (RFC 9110, 5; RFC 9112, 5), and what those say that a message is framed by (RFC 9112, 6).

use std::ops::Range;

use http::StatusCode;

use super::grammar::{Authority, TOKEN, is_token, trimmed};
use super::refusal::Refusal;
use super::request_line::RequestLine;

/// The longest name that the parser behind can hold.
const NAME_BYTES: usize = 65_000;

/// Fields that may not be in a trailer section: they frame or route the message, are about the connection, say who asks,
/// or change what is asked for (RFC 9110, 6.5.1). What describes the content comes too late to be of use, and is only
/// dropped: clients are known to send it there.
const NO_TRAILERS: [&str; 26] = [
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "pragma",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-proto",
];

/// How a message's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

/// What a header section has said so far about framing and routing.
#[derive(Debug, Default)]
pub struct Fields {
    count: usize,
    /// Where the value of Host is in the head.
    host: Option<Range<usize>>,
    length: Option<u64>,
    codings: Option<Codings>,
    expects_more: bool,
}

/// The transfer codings of a message, in the order in which they were applied.
#[derive(Clone, Copy, Debug, Default)]
struct Codings {
    chunked_last: bool,
    unknown: bool,
}

/// `field-name ":" OWS field-value OWS` (RFC 9112, 5), without its end.
fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let end = line
        .iter()
        .position(|byte| !TOKEN[usize::from(*byte)])
        .unwrap_or(line.len());
    match (end, line.get(end)) {
        (0, Some(b' ' | b'\t')) => Err(Refusal::bad(
            "white space before a field's name, or a folded line (RFC 9112, 2.2 and 5.2)",
        )),
        (0, _) => Err(Refusal::bad("a field without a name (RFC 9112, 5)")),
        (NAME_BYTES.., _) => Err(too_large("a field's name is too long (RFC 6585, 5)")),
        (_, Some(b':')) => Ok((&line[..end], trimmed(&line[end + 1..]))),
        (_, Some(b' ' | b'\t')) => Err(Refusal::bad("white space in or after a field's name (RFC 9112, 5.1)")),
        (_, Some(_)) => Err(Refusal::bad(
            "a character that a field's name may not have (RFC 9110, 5.1)",
        )),
        (_, None) => Err(Refusal::bad("a field line without a colon (RFC 9112, 5)")),
    }
}

pub const fn too_large(why: &'static str) -> Refusal {
    Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why)
}

pub const TOO_MANY: Refusal = too_large("more fields than --limit-request-fields (RFC 6585, 5)");

/// The line of a trailer field. It is dropped all the same: it never becomes a part of the header section.
pub fn check_trailer(line: &[u8]) -> Result<(), Refusal> {
    let (name, _) = split(line)?;
    let forbidden = NO_TRAILERS.iter().any(|one| name.eq_ignore_ascii_case(one.as_bytes()));
    if forbidden {
        return Err(Refusal::bad(
            "a field that may not be in a trailer section (RFC 9110, 6.5.1)",
        ));
    }
    Ok(())
}

impl Fields {
    /// Looks at the next line, which starts at this offset of the head.
    pub fn add(&mut self, line: &[u8], start: usize, limit: usize) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > limit {
            return Err(TOO_MANY);
        }
        let (name, value) = split(line)?;
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.is_some() {
                return Err(Refusal::bad("several Host fields (RFC 9112, 3.2)"));
            }
            if Authority::parse(value).is_none() {
                return Err(Refusal::bad("a malformed Host (RFC 9112, 3.2)"));
            }
            let colon_and_blanks = line[name.len()..]
                .iter()
                .take_while(|byte| b": \t".contains(byte))
                .count();
            let at = start + (name.len() + colon_and_blanks).min(line.len());
            self.host = Some(at..at + value.len());
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(Refusal::bad("several Content-Length fields (RFC 9112, 6.3)"));
            }
            self.length = Some(length(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings.get_or_insert_default().add(value)?;
        } else if name.eq_ignore_ascii_case(b"expect") {
            self.expects_more |= !is_continue(value);
        }
        Ok(())
    }

    /// What the whole section says. `head` is what the offsets count in.
    pub fn framing(&self, head: &[u8], line: &RequestLine) -> Result<Framing, Refusal> {
        let host = self.host.clone().and_then(|range| Authority::parse(head.get(range)?));
        if host.is_none() && !line.old {
            return Err(Refusal::bad("an HTTP/1.1 request without Host (RFC 9112, 3.2)"));
        }
        if let (Some(host), Some((range, port))) = (host, line.authority.clone()) {
            let target = head.get(range).and_then(Authority::parse);
            if target.is_none_or(|target| !target.is_same(&host, port)) {
                return Err(Refusal::bad("Host is not the target's (RFC 9112, 3.2)"));
            }
        }
        let framing = match (self.codings, self.length) {
            (Some(_), Some(_)) => {
                return Err(Refusal::bad("Content-Length beside Transfer-Encoding (RFC 9112, 6.3)"));
            }
            (Some(_), None) if line.old => {
                return Err(Refusal::bad("Transfer-Encoding in HTTP/1.0 (RFC 9112, 6.1)"));
            }
            (Some(codings), None) => codings.framing()?,
            (None, length) => Framing::Length(length.unwrap_or(0)),
        };
        if self.expects_more && !line.old {
            return Err(UNMET);
        }
        Ok(framing)
    }
}

/// For an Expect of anything but a continuation.
pub const UNMET: Refusal = Refusal::new(
    StatusCode::EXPECTATION_FAILED,
    "an expectation that is not 100-continue (RFC 9110, 10.1.1)",
);

/// Whether a value of Expect asks for no more than a continuation.
pub fn is_continue(value: &[u8]) -> bool {
    let mut all = value.split(|byte| *byte == b',').map(trimmed);
    all.all(|one| one.is_empty() || one.eq_ignore_ascii_case(b"100-continue"))
}

/// 1*DIGIT (RFC 9110, 8.6).
fn length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::bad("a malformed Content-Length (RFC 9110, 8.6)"));
    }
    let number = value.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    number
        .filter(|number| i64::try_from(*number).is_ok())
        .ok_or(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "a Content-Length that nobody can count to (RFC 9110, 8.6)",
        ))
}

impl Codings {
    /// `1#transfer-coding` (RFC 9112, 6.1), strictly: an empty element is a way to hide one.
    fn add(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for coding in value.split(|byte| *byte == b',').map(trimmed) {
            let name = coding.split(|byte| *byte == b';').next().unwrap_or_default();
            if self.chunked_last {
                return Err(Refusal::bad("a transfer coding after chunked (RFC 9112, 6.1)"));
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.chunked_last = true;
            } else if trimmed(name).eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::bad("chunked has no parameters (RFC 9112, 7.1)"));
            } else if is_token(trimmed(name)) {
                self.unknown = true;
            } else {
                return Err(Refusal::bad("a malformed Transfer-Encoding (RFC 9112, 6.1)"));
            }
        }
        Ok(())
    }

    fn framing(self) -> Result<Framing, Refusal> {
        match (self.chunked_last, self.unknown) {
            (false, _) => Err(Refusal::bad(
                "a Transfer-Encoding that does not end in chunked (RFC 9112, 6.3)",
            )),
            (true, true) => Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "a transfer coding other than chunked (RFC 9112, 6.1)",
            )),
            (true, false) => Ok(Framing::Chunked),
        }
    }
}
