//! Lines, found as their bytes arrive: each ends with CR LF (RFC 9112, 2.2), and nowhere else is a CR or LF.

use super::grammar::Class;

/// How far a line has been looked at. What a line turns out to be depends on its bytes, never on how they are split.
#[derive(Debug, Default)]
pub struct Line {
    seen: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The end has not arrived.
    Part,
    /// So many bytes, and then CR LF.
    Whole(usize),
    /// The first byte that may not be there: after a CR whatever is no LF makes the CR that byte.
    Byte(u8),
    /// It is longer than it may be.
    TooLong,
}

impl Line {
    /// Looks at a line from its start, which is where it was in the last call.
    pub fn find(&mut self, bytes: &[u8], class: &Class, limit: usize) -> Found {
        let fresh = &bytes[self.seen..];
        let stop = fresh.iter().position(|byte| !class[usize::from(*byte)]);
        let end = self.seen + stop.unwrap_or(fresh.len());
        if end > limit {
            return Found::TooLong;
        }
        self.seen = end;
        match (bytes.get(end), bytes.get(end + 1)) {
            (None, _) | (Some(b'\r'), None) => Found::Part,
            (Some(b'\r'), Some(b'\n')) => {
                self.seen = 0;
                Found::Whole(end)
            }
            (Some(byte), _) => Found::Byte(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::grammar::TEXT;
    use super::*;

    fn find(bytes: &[u8]) -> Found {
        let whole = Line::default().find(bytes, &TEXT, 5);
        // Byte by byte it is the same.
        let mut line = Line::default();
        let found = (0..=bytes.len()).map(|end| line.find(&bytes[..end], &TEXT, 5));
        let first = found
            .into_iter()
            .find(|found| *found != Found::Part)
            .unwrap_or(Found::Part);
        assert_eq!(first, whole, "{bytes:?}");
        whole
    }

    #[test]
    fn a_line_is_what_its_bytes_say() {
        assert_eq!(find(b""), Found::Part);
        assert_eq!(find(b"abc"), Found::Part);
        assert_eq!(find(b"abcde\r"), Found::Part);
        assert_eq!(find(b"\r\n"), Found::Whole(0));
        assert_eq!(find(b"abcde\r\nx"), Found::Whole(5));
        assert_eq!(find(b"abcdef"), Found::TooLong);
        assert_eq!(find(b"abcdefgh\0"), Found::TooLong);
        assert_eq!(find(b"abcde\0"), Found::Byte(0));
        assert_eq!(find(b"a\nb\r\n"), Found::Byte(b'\n'));
        assert_eq!(find(b"a\rb\r\n"), Found::Byte(b'\r'));
        assert_eq!(find(b"a\r\r\n"), Found::Byte(b'\r'));
        assert_eq!(find(b"a\x7f\r\n"), Found::Byte(0x7f));
    }
}
