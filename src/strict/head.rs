//! A head, checked line by line as it arrives, so that a line that is wrong or too long is refused at once.

use http::StatusCode;

use super::fields::{Fields, Framing, too_large};
use super::grammar::{PRINTABLE, TEXT};
use super::line::{Found, Line};
use super::options::Options;
use super::refusal::Refusal;
use super::request_line::RequestLine;

/// How far a head has been checked.
#[derive(Debug, Default)]
pub struct Head {
    line: Line,
    /// Where the line that is looked at starts.
    start: usize,
    request_line: Option<RequestLine>,
    fields: Fields,
}

impl Head {
    /// Looks at a head from its start, which is where it was in the last call; the length of the head and how its body is
    /// framed, when it is whole.
    pub fn check(&mut self, bytes: &[u8], options: &Options) -> Result<Option<(usize, Framing)>, Refusal> {
        let field_limit = options.limit_request_field_size.saturating_sub("\r\n".len());
        loop {
            let rest = &bytes[self.start..];
            let found = match &self.request_line {
                None => self.line.find(rest, &PRINTABLE, options.limit_request_line),
                Some(_) => self.line.find(rest, &TEXT, field_limit),
            };
            let length = match found {
                Found::Part => return Ok(None),
                Found::Whole(length) => length,
                Found::Byte(byte) => return Err(unexpected(byte)),
                Found::TooLong if self.request_line.is_none() => return Err(LONG_LINE),
                Found::TooLong => {
                    return Err(too_large(
                        "a field longer than --limit-request-field_size (RFC 6585, 5)",
                    ));
                }
            };
            let (line, start) = (&rest[..length], self.start);
            self.start += length + "\r\n".len();
            match &self.request_line {
                None => self.request_line = Some(RequestLine::parse(line)?),
                Some(request_line) if line.is_empty() => {
                    let framing = self.fields.framing(bytes, request_line)?;
                    return Ok(Some((self.start, framing)));
                }
                Some(_) => self.fields.add(line, start, options.limit_request_fields)?,
            }
        }
    }

    /// Whether the request is known to be of HTTP/1.0.
    pub fn is_old(&self) -> bool {
        self.request_line.as_ref().is_some_and(|line| line.old)
    }
}

pub const LONG_LINE: Refusal = Refusal::new(
    StatusCode::URI_TOO_LONG,
    "the request line is longer than --limit-request-line (RFC 9112, 3)",
);

/// What is wrong with a line that has this byte.
pub fn unexpected(byte: u8) -> Refusal {
    Refusal::bad(match byte {
        b'\n' => "a line ends with LF alone (RFC 9112, 2.2)",
        b'\r' => "a CR without LF (RFC 9112, 2.2)",
        0 => "a NUL (RFC 9110, 5.5)",
        0x80.. => "a byte that is no ASCII in the request line (RFC 9112, 3)",
        _ => "a control character (RFC 9110, 5.5)",
    })
}
