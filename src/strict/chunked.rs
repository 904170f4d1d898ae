//! The chunked coding (RFC 9112, 7.1), as its bytes arrive. Sizes, data and terminators pass; extensions, trailers and
//! zeros before a size are checked and left out, so that whoever reads on has neither to understand nor to limit them.

use http::StatusCode;

use super::fields::{TOO_MANY, check_trailer, too_large};
use super::grammar::{TEXT, TOKEN, is_token};
use super::head::unexpected;
use super::line::{Found, Line};
use super::options::Options;
use super::refusal::Refusal;
use super::window::Window;

/// How many bytes of chunk extensions, and zeros before sizes, a body may have more than it has data: each costs as much as data to receive, and
/// brings nothing (RFC 9112, 7.1.1).
const EXTENSION_BYTES: u64 = 16 << 10;

#[derive(Debug, Default)]
pub struct Chunked {
    part: Part,
    line: Line,
    data: u64,
    extensions: u64,
    trailers: usize,
}

#[derive(Debug, Default)]
enum Part {
    #[default]
    Size,
    Data(u64),
    /// CR LF after a chunk's data.
    DataEnd,
    Trailers,
}

impl Chunked {
    /// Lets through what there is; whether that was the end of the body.
    pub fn check(&mut self, window: &mut Window<'_>, options: &Options) -> Result<bool, Refusal> {
        let limit = options.limit_request_field_size.saturating_sub("\r\n".len());
        loop {
            match self.part {
                Part::Size => {
                    let Some(length) = self.find(window, limit, LONG_EXTENSION)? else {
                        return Ok(false);
                    };
                    let (digits, size) = chunk_size(&window.rest()[..length])?;
                    let zeros = window.rest()[..digits - 1]
                        .iter()
                        .take_while(|digit| **digit == b'0')
                        .count();
                    self.extensions += (zeros + length - digits) as u64;
                    self.data = self.data.saturating_add(size);
                    if self.extensions > self.data.saturating_add(EXTENSION_BYTES) {
                        return Err(LONG_EXTENSION);
                    }
                    window.leave_out(zeros);
                    window.pass(digits - zeros);
                    window.leave_out(length - digits);
                    window.pass("\r\n".len());
                    self.part = if size > 0 { Part::Data(size) } else { Part::Trailers };
                }
                Part::Data(left) => {
                    let there = window.rest().len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    window.pass(there);
                    self.part = match left - there as u64 {
                        0 => Part::DataEnd,
                        _ if there == 0 => return Ok(false),
                        left => Part::Data(left),
                    };
                }
                Part::DataEnd => match window.rest() {
                    [] | [b'\r'] => return Ok(false),
                    [b'\r', b'\n', ..] => {
                        window.pass("\r\n".len());
                        self.part = Part::Size;
                    }
                    _ => return Err(Refusal::bad("no CR LF at the end of a chunk (RFC 9112, 7.1)")),
                },
                Part::Trailers => {
                    let long = too_large("a trailer longer than --limit-request-field_size (RFC 6585, 5)");
                    let Some(length) = self.find(window, limit, long)? else {
                        return Ok(false);
                    };
                    if length == 0 {
                        window.pass("\r\n".len());
                        return Ok(true);
                    }
                    self.trailers += 1;
                    if self.trailers > options.limit_request_fields {
                        return Err(TOO_MANY);
                    }
                    check_trailer(&window.rest()[..length])?;
                    window.leave_out(length + "\r\n".len());
                }
            }
        }
    }

    fn find(&mut self, window: &Window<'_>, limit: usize, long: Refusal) -> Result<Option<usize>, Refusal> {
        match self.line.find(window.rest(), &TEXT, limit) {
            Found::Part => Ok(None),
            Found::Whole(length) => Ok(Some(length)),
            Found::Byte(byte) => Err(unexpected(byte)),
            Found::TooLong => Err(long),
        }
    }
}

const LONG_EXTENSION: Refusal = Refusal::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "too much of chunk sizes and extensions (RFC 9112, 7.1.1)",
);

/// `chunk-size [ chunk-ext ]`: how many digits the size has, and the size.
fn chunk_size(line: &[u8]) -> Result<(usize, u64), Refusal> {
    let digits = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    if digits == 0 {
        return Err(Refusal::bad("a chunk without a size (RFC 9112, 7.1)"));
    }
    let size = line[..digits].iter().try_fold(0_u64, |size, digit| {
        size.checked_mul(16)?
            .checked_add(u64::from(char::from(*digit).to_digit(16)?))
    });
    let size = size.filter(|size| i64::try_from(*size).is_ok());
    let size = size.ok_or(Refusal::bad("a chunk's size that nobody can count to (RFC 9112, 7.1)"))?;
    check_extensions(&line[digits..])?;
    Ok((digits, size))
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112, 7.1.1).
fn check_extensions(mut rest: &[u8]) -> Result<(), Refusal> {
    const WRONG: Refusal = Refusal::bad("a malformed chunk size or extension (RFC 9112, 7.1.1)");
    while !rest.is_empty() {
        rest = skip_blanks(rest).strip_prefix(b";").ok_or(WRONG)?;
        let (name, after) = token(skip_blanks(rest));
        if !is_token(name) {
            return Err(WRONG);
        }
        rest = after;
        if let Some(value) = skip_blanks(rest).strip_prefix(b"=") {
            let value = skip_blanks(value);
            rest = match value.strip_prefix(b"\"") {
                Some(quoted) => after_quotes(quoted).ok_or(WRONG)?,
                None => match token(value) {
                    ([], _) => return Err(WRONG),
                    (_, after) => after,
                },
            };
        }
    }
    Ok(())
}

fn skip_blanks(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[blanks..]
}

fn token(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !TOKEN[usize::from(*byte)]);
    bytes.split_at(end.unwrap_or(bytes.len()))
}

/// What comes after a quoted string, whose first quote is past (RFC 9110, 5.6.4).
fn after_quotes(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            [] => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_starts_with_its_size_in_hexadecimal() {
        for (line, size) in [
            ("0", 0),
            ("000", 0),
            ("5", 5),
            ("aF", 0xaf),
            ("00000000000000000000005", 5),
            ("7fffffffffffffff", i64::MAX as u64),
            ("5;a", 5),
            ("5 ; a = b ; c=\"d;\\\" e\"", 5),
            ("5;a=\"\u{e9}\"", 5),
            ("5;a;b;c", 5),
        ] {
            assert_eq!(chunk_size(line.as_bytes()).map(|(_, size)| size), Ok(size), "{line}");
        }
        for line in [
            "",
            " 5",
            "5 ",
            "5\t",
            "+5",
            "-5",
            "0x5",
            "5_0",
            "5.",
            "g",
            "8000000000000000",
            "fffffffffffffffff",
            "5;",
            "5;;a",
            "5;a=",
            "5;=b",
            "5;a=\"b",
            "5;a=\"b\"c",
            "5;a b",
            "5;a;",
            "5;a ",
            "5,a",
            "5:a",
            "5 a",
            "5;a=b=c",
            "5;\"a\"",
        ] {
            assert!(chunk_size(line.as_bytes()).is_err(), "{line}");
        }
    }
}
