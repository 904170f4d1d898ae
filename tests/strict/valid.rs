//! What is a valid request, by the section that allows it, and how many bytes of body it has.

use super::Valid;

const fn case(section: &'static str, body: usize, bytes: &'static [u8]) -> Valid {
    Valid { section, body, bytes }
}

macro_rules! chunked {
    ($rest:literal) => {
        concat!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            $rest
        )
        .as_bytes()
    };
}

pub const VALID: &[Valid] = &[
    case("RFC 9112, 2.1", 0, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9112, 2.1", 0, b"GET / HTTP/1.0\r\n\r\n"),
    case("RFC 9112, 2.1", 0, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
    // Empty lines before a request.
    case("RFC 9112, 2.2", 0, b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9112, 2.2", 0, b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case(
        "RFC 9112, 2.2",
        5,
        b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n",
    ),
    // Methods.
    case("RFC 9110, 9.1", 0, b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9110, 9.1", 0, b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9110, 9.1", 0, b"VERSION-CONTROL / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9110, 9.1", 0, b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9110, 9.1", 0, b"X / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9110, 9.1", 0, b"-BLARGH / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9110, 9.1", 0, b"A!#$%&'*+-.^_`|~9 / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case(
        "RFC 9110, 9.1",
        0,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    // Bodies with methods that seldom have one.
    case(
        "RFC 9110, 9.3.1",
        5,
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    ),
    case(
        "RFC 9110, 9.3.5",
        5,
        b"DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    ),
    case("RFC 9110, 9.3.3", 0, b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9110, 9.3.4", 0, b"PUT / HTTP/1.0\r\n\r\n"),
    // Targets.
    case("RFC 9112, 3.2.1", 0, b"GET //a//b/../c/. HTTP/1.1\r\nHost: a\r\n\r\n"),
    case(
        "RFC 9112, 3.2.1",
        0,
        b"GET /-._~!$&'()*+,;=:@%20%C3%a9 HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    case("RFC 9112, 3.2.1", 0, b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9112, 3.2.1", 0, b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n"),
    case(
        "RFC 9112, 3.2.1",
        0,
        b"GET /?a=b/c?d&e=:@!$'()*+,; HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    case("RFC 9112, 3.2.1", 0, b"GET /http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Not by the RFC, but this is what browsers send.
    case(
        "URL Standard",
        0,
        b"GET /?a[]={b}|c&d=\\^`&e=100% HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    case("RFC 9112, 3.2.2", 0, b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    case(
        "RFC 9112, 3.2.2",
        0,
        b"GET http://A.org:80/b?c HTTP/1.1\r\nHost: a.ORG\r\n\r\n",
    ),
    case("RFC 9112, 3.2.2", 0, b"GET HTTPS://a HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    case("RFC 9112, 3.2.2", 0, b"GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n"),
    case(
        "RFC 9112, 3.2.2",
        0,
        b"GET http://[::1]:8000/ HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
    ),
    case("RFC 9112, 3.2.2", 0, b"GET http://a/ HTTP/1.0\r\n\r\n"),
    case("RFC 9112, 3.2.4", 0, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    case("RFC 9112, 3.2.4", 0, b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Hosts.
    case("RFC 9112, 3.2", 0, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    case("RFC 9112, 3.2", 0, b"GET / HTTP/1.1\r\nHost: \r\n\r\n"),
    case("RFC 9110, 7.2", 0, b"GET / HTTP/1.1\r\nHOST:a\r\n\r\n"),
    case("RFC 9110, 7.2", 0, b"GET / HTTP/1.1\r\nHost:\t a \t\r\n\r\n"),
    case("RFC 9110, 7.2", 0, b"GET / HTTP/1.1\r\nX: y\r\nHost: a:8000\r\n\r\n"),
    case("RFC 9110, 7.2", 0, b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n"),
    case("RFC 9110, 7.2", 0, b"GET / HTTP/1.1\r\nHost: a_b.example.\r\n\r\n"),
    case("RFC 9110, 7.2", 0, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    case(
        "RFC 9110, 7.2",
        0,
        b"GET / HTTP/1.1\r\nHost: [2001:DB8::192.0.2.1]:80\r\n\r\n",
    ),
    case("RFC 9110, 7.2", 0, b"GET / HTTP/1.1\r\nHost: [v1.a:b]\r\n\r\n"),
    case(
        "RFC 9110, 7.2",
        0,
        b"GET / HTTP/1.1\r\nHost: xn--bcher-kva.example\r\n\r\n",
    ),
    // Fields.
    case(
        "RFC 9112, 5",
        0,
        b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \r\nZ:\t\r\n\r\n",
    ),
    case(
        "RFC 9112, 5",
        0,
        b"GET / HTTP/1.1\r\nHost: a\r\nX:y\r\nY: \t z \t \r\n\r\n",
    ),
    case(
        "RFC 9110, 5.1",
        0,
        b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^`|~1aZ: b\r\n\r\n",
    ),
    case("RFC 9110, 5.1", 0, b"GET / HTTP/1.1\r\nHost: a\r\nX_y: b\r\n\r\n"),
    case(
        "RFC 9110, 5.3",
        0,
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nx: y\r\nX: z\r\n\r\n",
    ),
    case(
        "RFC 9110, 5.5",
        0,
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\xff\x80 caf\xc3\xa9\r\n\r\n",
    ),
    case("RFC 9110, 5.5", 0, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\tb  c\r\n\r\n"),
    case(
        "RFC 9110, 5.5",
        0,
        b"GET / HTTP/1.1\r\nHost: a\r\nX: ;,:\"()<>@[]{}\\/?=\r\n\r\n",
    ),
    case(
        "RFC 9110, 5.6.4",
        0,
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \"\\\"quoted\\\"\"\r\n\r\n",
    ),
    case("RFC 9112, 9.3", 0, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    case(
        "RFC 9110, 7.8",
        0,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
    case(
        "RFC 9110, 10.1.1",
        5,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\nhello",
    ),
    case(
        "RFC 9110, 10.1.1",
        5,
        b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: more\r\n\r\nhello",
    ),
    case("RFC 9110, 10.1.1", 0, b"GET / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n"),
    // Lengths.
    case(
        "RFC 9110, 8.6",
        0,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ),
    case(
        "RFC 9110, 8.6",
        5,
        b"POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:5\r\n\r\nhello",
    ),
    case(
        "RFC 9110, 8.6",
        5,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t5 \r\n\r\nhello",
    ),
    case(
        "RFC 9110, 8.6",
        5,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00000000000000000000000000005\r\n\r\nhello",
    ),
    case("RFC 9110, 8.6", 5, b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello"),
    case(
        "RFC 9112, 6",
        9,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n\0\r\n\n\r\xff\r\n\r",
    ),
    // Chunks.
    case("RFC 9112, 7.1", 0, chunked!("0\r\n\r\n")),
    case("RFC 9112, 7.1", 5, chunked!("5\r\nhello\r\n0\r\n\r\n")),
    case("RFC 9112, 7.1", 11, chunked!("5\r\nhello\r\n6\r\n world\r\n00\r\n\r\n")),
    case("RFC 9112, 7.1", 10, chunked!("A\r\n0123456789\r\n0\r\n\r\n")),
    case("RFC 9112, 7.1", 10, chunked!("a\r\n0123456789\r\n0\r\n\r\n")),
    case(
        "RFC 9112, 7.1",
        26,
        chunked!("1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n"),
    ),
    case(
        "RFC 9112, 7.1",
        5,
        chunked!("00000000000000000000000000000005\r\nhello\r\n0\r\n\r\n"),
    ),
    case("RFC 9112, 7.1", 7, chunked!("7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n")),
    case(
        "RFC 9112, 7.1",
        5,
        b"POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-encoding:\tChunked \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    case("RFC 9112, 7.1.1", 5, chunked!("5;a\r\nhello\r\n0;b\r\n\r\n")),
    case(
        "RFC 9112, 7.1.1",
        5,
        chunked!("5;a=b;c=\"d;\\\"e\\\" f\"\r\nhello\r\n0\r\n\r\n"),
    ),
    case(
        "RFC 9112, 7.1.1",
        11,
        chunked!("5; some; parameters=stuff\r\nhello\r\n6 ; a = b\r\n world\r\n0\r\n\r\n"),
    ),
    case(
        "RFC 9112, 7.1.2",
        5,
        chunked!("5\r\nhello\r\n0\r\nDigest: abc\r\nX-Checksum:\r\n\r\n"),
    ),
    case(
        "RFC 9112, 7.1.2",
        0,
        chunked!("0\r\nX: \t\r\nX: \"y\"\r\nGrpc-Status: 0\r\n\r\n"),
    ),
    case(
        "RFC 9112, 7.1.2",
        0,
        chunked!("0\r\nVary: *\r\nContent-Type: text/plain\r\n\r\n"),
    ),
    case("RFC 9110, 6.5.1", 0, chunked!("0\r\nX_y: z\r\nETag: \"a\"\r\n\r\n")),
];
