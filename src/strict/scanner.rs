//! The framing of everything that a client sends over a connection: heads, bodies, and the next heads. Pure: bytes in,
//! bytes out.

use super::chunked::Chunked;
use super::fields::Framing;
use super::head::Head;
use super::options::Options;
use super::refusal::Refusal;
use super::window::Window;

/// Empty lines that are ignored before a request (RFC 9112, 2.2, asks for one at least).
const EMPTY_LINES: usize = 8;
/// How much of a refused request line is kept for the log.
const LINE_BYTES: usize = 400;

pub struct Scanner {
    options: Options,
    part: Part,
}

enum Part {
    /// Between two requests, after so many empty lines.
    Between(usize),
    Head(Box<Head>),
    Length(u64),
    Chunked(Box<Chunked>),
}

/// What came of the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// So many bytes have passed, and are at the front.
    pub passed: usize,
    /// From here on they have to be looked at again, with more after them.
    pub rest: usize,
    /// How many requests have passed with their heads.
    pub heads: u64,
    /// Nothing passes after this.
    pub end: Option<End>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The request after those that have passed is not served.
    Refused(Refused),
    /// The body of the last request that passed is broken.
    Broken(Refusal),
}

/// A request that is answered with an error page.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    /// The request line, as far as it has arrived, and not more than the log needs.
    pub line: Vec<u8>,
    /// Whether it is a request for a head only.
    pub head_only: bool,
    /// Whether it is of HTTP/1.0.
    pub old: bool,
}

impl Refused {
    fn new(refusal: Refusal, message: &[u8], old: bool) -> Self {
        let end = message.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let line = &message[..end.unwrap_or(message.len()).min(LINE_BYTES)];
        Self {
            refusal,
            line: line.to_vec(),
            head_only: line.starts_with(b"HEAD "),
            old,
        }
    }
}

impl Scanner {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            part: Part::Between(0),
        }
    }

    /// Looks at bytes that come after those that have passed or were left out. Whether a request passes does not
    /// depend on how its bytes are split; a body that is found broken together with its head is refused as a whole.
    pub fn scan(&mut self, bytes: &mut [u8]) -> Scanned {
        let mut window = Window::new(bytes);
        let mut scanned = Scanned::default();
        // Where the request starts whose body is being looked at, if its head has only now passed.
        let mut start = None;
        if let Err(refusal) = self.advance(&mut window, &mut scanned.heads, &mut start) {
            scanned.end = Some(match (&self.part, start) {
                (Part::Between(_), _) => End::Refused(Refused::new(refusal, window.rest(), false)),
                (Part::Head(head), _) => End::Refused(Refused::new(refusal, window.rest(), head.is_old())),
                (_, Some(start)) => {
                    scanned.heads -= 1;
                    End::Refused(Refused::new(refusal, window.take_back(start), false))
                }
                (_, None) => End::Broken(refusal),
            });
        }
        (scanned.passed, scanned.rest) = window.position();
        scanned
    }

    fn advance(&mut self, window: &mut Window<'_>, heads: &mut u64, start: &mut Option<usize>) -> Result<(), Refusal> {
        loop {
            self.part = match &mut self.part {
                Part::Between(empty) => match window.rest() {
                    [] | [b'\r'] => return Ok(()),
                    [b'\r', b'\n', ..] if *empty < EMPTY_LINES => {
                        window.leave_out("\r\n".len());
                        Part::Between(*empty + 1)
                    }
                    _ => Part::Head(Box::default()),
                },
                Part::Head(head) => {
                    let Some((length, framing)) = head.check(window.rest(), &self.options)? else {
                        return Ok(());
                    };
                    *start = Some(window.position().0);
                    *heads += 1;
                    window.pass(length);
                    match framing {
                        Framing::Length(length) => Part::Length(length),
                        Framing::Chunked => Part::Chunked(Box::default()),
                    }
                }
                Part::Length(0) => Part::Between(0),
                Part::Length(left) => {
                    let there = window.rest().len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if there == 0 {
                        return Ok(());
                    }
                    window.pass(there);
                    Part::Length(*left - there as u64)
                }
                Part::Chunked(chunked) => {
                    if !chunked.check(window, &self.options)? {
                        return Ok(());
                    }
                    Part::Between(0)
                }
            };
        }
    }

    /// What is to be said when the client sends no more, and this is the rest of what it sent.
    pub fn finish(&mut self, rest: &[u8]) -> Option<End> {
        let Part::Head(head) = &self.part else { return None };
        let refusal = Refusal::bad("the connection ended within a request's head (RFC 9112, 8)");
        Some(End::Refused(Refused::new(refusal, rest, head.is_old())))
    }
}
