//! The grammars that requests are made of: RFC 9110 (tokens, fields), RFC 9112 (lines), RFC 3986 (targets, hosts).

use std::net::Ipv6Addr;

/// Which bytes may be where.
pub type Class = [bool; 256];

const ALNUM: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// SP and VCHAR: what a request line is made of.
pub const PRINTABLE: Class = printable();
/// Beside these, HTAB and obs-text: what a field line or a chunk's extension is made of (RFC 9110, 5.5 and 5.6.4).
pub const TEXT: Class = text();
/// tchar (RFC 9110, 5.6.2).
pub const TOKEN: Class = class(&[ALNUM, b"!#$%&'*+-.^_`|~"]);
/// pchar and `/` (RFC 3986, 3.3); a percent sign has rules of its own.
const PATH: Class = class(&[ALNUM, b"-._~!$&'()*+,;=:@/%"]);
/// Beside pchar, `/` and `?` (RFC 3986, 3.4), what browsers send as it is: the URL Standard's query percent-encode
/// set leaves out these, and a percent sign that starts nothing.
const QUERY: Class = class(&[ALNUM, b"-._~!$&'()*+,;=:@/%?[]\\^`{|}"]);
/// reg-name (RFC 3986, 3.2.2).
const REG_NAME: Class = class(&[ALNUM, b"-._~!$&'()*+,;=%"]);

const fn class(sets: &[&[u8]]) -> Class {
    let mut class = [false; 256];
    let mut set = 0;
    while set < sets.len() {
        let mut index = 0;
        while index < sets[set].len() {
            class[sets[set][index] as usize] = true;
            index += 1;
        }
        set += 1;
    }
    class
}

const fn printable() -> Class {
    let mut class = [false; 256];
    let mut byte = 0x20;
    while byte <= 0x7e {
        class[byte] = true;
        byte += 1;
    }
    class
}

const fn text() -> Class {
    let mut class = printable();
    class[b'\t' as usize] = true;
    let mut byte = 0x80;
    while byte <= 0xff {
        class[byte] = true;
        byte += 1;
    }
    class
}

pub fn is_of(class: &Class, bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| class[usize::from(*byte)])
}

pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && is_of(&TOKEN, bytes)
}

/// Whether every percent sign starts a byte.
fn is_encoded(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| {
            let digits = bytes.get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        })
}

/// `absolute-path [ "?" query ]` (RFC 9112, 3.2.1); the path may be empty in an absolute-form.
pub fn is_path_and_query(bytes: &[u8]) -> bool {
    let (path, query) = match bytes.iter().position(|byte| *byte == b'?') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    is_of(&PATH, path) && is_encoded(path) && is_of(&QUERY, query)
}

/// `uri-host [ ":" port ]` (RFC 9110, 7.2).
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    pub host: &'a [u8],
    /// None where it is absent or empty.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// None for what is no authority, or has user information. The host may be empty only if there is no port either.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = match bytes.first() {
            Some(b'[') => bytes.iter().position(|byte| *byte == b']')? + 1,
            _ => bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len()),
        };
        let (host, rest) = bytes.split_at(end);
        let valid = match host.strip_prefix(b"[") {
            Some(literal) => is_ip_literal(literal.strip_suffix(b"]")?),
            None => is_of(&REG_NAME, host) && is_encoded(host) && (!host.is_empty() || rest.is_empty()),
        };
        let port = match rest.split_first() {
            None => None,
            Some((b':', [])) => None,
            Some((b':', digits)) => Some(port(digits)?),
            Some(_) => return None,
        };
        valid.then_some(Self { host, port })
    }

    /// Whether both name the same server, under a scheme whose port is this one by default (RFC 9110, 4.2.3).
    pub fn is_same(&self, other: &Self, default_port: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

fn is_ip_literal(literal: &[u8]) -> bool {
    let Ok(literal) = std::str::from_utf8(literal) else {
        return false;
    };
    match literal
        .strip_prefix(['v', 'V'])
        .and_then(|future| future.split_once('.'))
    {
        Some((version, address)) => {
            !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !address.is_empty()
                && address
                    .bytes()
                    .all(|byte| byte == b':' || (byte != b'%' && REG_NAME[usize::from(byte)]))
        }
        None => literal.parse::<Ipv6Addr>().is_ok(),
    }
}

fn port(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |port, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        port.checked_mul(10)?.checked_add(u16::try_from(digit).ok()?)
    })
}

/// Without the white space that may be around it (OWS, RFC 9110, 5.6.3).
pub fn trimmed(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_rfc_3986() {
        for valid in [
            "",
            "a",
            "example.org",
            "EXAMPLE.org:80",
            "a:",
            "a:65535",
            "a:00080",
            "127.0.0.1:8000",
            "[::1]",
            "[::1]:80",
            "[2001:db8::192.0.2.1]",
            "[v1.fe80:a]",
            "a_b",
            "xn--bcher-kva.example",
            "a%20b",
            "a,b",
            "-",
        ] {
            assert!(Authority::parse(valid.as_bytes()).is_some(), "{valid}");
        }
        for wrong in [
            ":80",
            "a:b",
            "a:65536",
            "a:-1",
            "a:+1",
            "a:80:81",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "user@a",
            "http://a",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "[::g]",
            "[fe80::1%25eth0]",
            "[v.a]",
            "[v1.]",
            "a%2",
            "a%zz",
            "caf\u{e9}",
            "a\"b",
            "<a>",
            "[127.0.0.1]",
            "[[::1]]",
            "a\\b",
            "{a}",
            "a|b",
            "a^b",
            "a`b",
        ] {
            assert!(Authority::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn hosts_are_the_same_whatever_their_case_and_however_their_default_port_is_written() {
        let same = |one: &str, other: &str| {
            let parse = |text: &'static str| Authority::parse(text.as_bytes()).unwrap();
            parse(one.to_owned().leak()).is_same(&parse(other.to_owned().leak()), 80)
        };
        assert!(same("Example.org", "example.ORG:80"));
        assert!(same("a:", "a"));
        assert!(same("[::A]:81", "[::a]:0081"));
        assert!(!same("a", "b"));
        assert!(!same("a", "a:443"));
        assert!(!same("a", "a."));
    }

    #[test]
    fn paths_are_strict_and_queries_as_browsers_send_them() {
        for valid in [
            "/",
            "//a/../b",
            "/%C3%a9",
            "/a;b=c,d",
            "/a:@!$&'()*+,;=-._~",
            "?",
            "/?a[]={\"a\"}".replace('"', "'").as_str(),
            "/?a=|b|&c=\\^`",
            "/?100%",
            "/?a?b/c",
            "",
        ] {
            assert!(is_path_and_query(valid.as_bytes()), "{valid}");
        }
        for wrong in [
            "/a b", "/#a", "/?a#b", "/a|b", "/a{b}", "/a^b", "/a`b", "/a\\b", "/a\"b", "/<a>", "/?<a>", "/?\"", "/%",
            "/%z0", "/%0", "/[a]", "/\u{e9}", "/?\u{e9}", "/\u{7f}",
        ] {
            assert!(!is_path_and_query(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn white_space_around_a_value_is_no_part_of_it() {
        assert_eq!(trimmed(b" \t a b\t "), b"a b");
        assert_eq!(trimmed(b" \t "), b"");
        assert_eq!(trimmed(b""), b"");
    }
}
