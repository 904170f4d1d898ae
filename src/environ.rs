//! From a request head to PEP 3333's environ. Pure: no clock, no input or output.
//!
//! Sources: PEP 3333 (environ variables, unicode issues), RFC 3875 (CGI), RFC 9110 and 9112 (fields, targets).

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Version, header};
use percent_encoding::percent_decode;

use crate::listener::Endpoint;
use crate::strict::Underscores;
use crate::vars::Vars;

const SOFTWARE: &str = concat!("wsgi-host/", env!("CARGO_PKG_VERSION"));

/// What the environ says beside the request itself.
pub struct Setting<'a> {
    pub local: &'a Endpoint,
    pub peer: &'a Endpoint,
    /// How the client came here: `http` or `https`.
    pub scheme: &'a str,
    pub multiprocess: bool,
    pub run_once: bool,
    /// What becomes of names with `_`.
    pub header_map: Underscores,
}

/// What the variables besides the fields take, about; they are mostly short.
const COMMON_COUNT: usize = 20;
const COMMON_BYTES: usize = 512;
/// What a field takes beside its value, about.
const FIELD_BYTES: usize = 64;

/// The environ's strings, each name once.
pub fn variables(parts: &Parts, setting: &Setting<'_>) -> Vars {
    let fields = parts.headers.keys_len();
    let (path, query) = split(parts);
    let mut vars = Vars::with_capacity(
        COMMON_COUNT + fields,
        COMMON_BYTES + 4 * (path.len() + query.len()) + fields * FIELD_BYTES,
    );

    vars.set("REQUEST_METHOD", parts.method.as_str());
    // An app is mounted at the root. `OPTIONS *` is about the server as a whole: the root without a path.
    vars.set("SCRIPT_NAME", "");
    vars.write(
        |name| name.push_str("PATH_INFO"),
        |value| push_native(value, &Cow::from(percent_decode(path.as_bytes()))),
    );
    vars.write(
        |name| name.push_str("QUERY_STRING"),
        |value| push_native(value, query.as_bytes()),
    );
    for name in ["RAW_URI", "REQUEST_URI"] {
        vars.write(
            |text| text.push_str(name),
            |value| push_native(value, target(parts).as_bytes()),
        );
    }
    vars.set("SERVER_PROTOCOL", protocol(parts.version));
    vars.set("SERVER_SOFTWARE", SOFTWARE);

    let (name, port) = server(parts, setting.local);
    vars.set("SERVER_NAME", &name);
    vars.set("SERVER_PORT", &port);
    match setting.peer {
        Endpoint::Inet(peer) => {
            vars.set("REMOTE_ADDR", &peer.ip().to_string());
            vars.set("REMOTE_PORT", &peer.port().to_string());
        }
        // As in gunicorn: there is an address, and it says nothing.
        Endpoint::Unix(_) => vars.set("REMOTE_ADDR", ""),
    }

    let boolean = |value: bool| if value { "true" } else { "false" };
    vars.set("wsgi.url_scheme", setting.scheme);
    if setting.scheme == "https" {
        vars.set("HTTPS", "on");
    }
    vars.set("wsgi.multithread", boolean(false));
    vars.set("wsgi.multiprocess", boolean(setting.multiprocess));
    vars.set("wsgi.run_once", boolean(setting.run_once));

    if let Some(authority) = parts.uri.authority() {
        vars.set("HTTP_HOST", authority.as_str());
    }
    for name in parts.headers.keys() {
        // The authority of an absolute-form target replaces Host (RFC 9112, 3.2.2).
        let replaced = name == header::HOST && parts.uri.authority().is_some();
        if !replaced && reaches_apps(name, setting.header_map) {
            set_field(&mut vars, &parts.headers, name, setting.header_map);
        }
    }
    vars
}

fn set_field(vars: &mut Vars, headers: &HeaderMap, name: &HeaderName, map: Underscores) {
    if map != Underscores::Dangerous {
        return vars.write(
            |text| push_variable(text, name),
            |text| push_values(text, headers, name),
        );
    }
    // Only names that are let through at the operator's risk can share a variable: the first of them stands for all.
    let twins = || {
        headers
            .keys()
            .filter(|other| is_twin(name, other) && reaches_apps(other, map))
    };
    if twins().next() == Some(name) {
        vars.write(
            |text| push_variable(text, name),
            |text| {
                for (index, twin) in twins().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    push_values(text, headers, twin);
                }
            },
        );
    }
}

/// The target as the client sent it.
pub fn target(parts: &Parts) -> Cow<'_, str> {
    match (parts.uri.scheme(), parts.uri.authority(), parts.uri.path_and_query()) {
        (None, Some(authority), _) => authority.as_str().into(),
        (None, None, Some(path)) => path.as_str().into(),
        _ => parts.uri.to_string().into(),
    }
}

pub fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        // With the dot that RFC 3875, 4.1.16 asks for, as in gunicorn, nginx and Apache.
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

fn split(parts: &Parts) -> (&str, &str) {
    let path = match parts.uri.path() {
        "*" => "",
        path => path,
    };
    (path, parts.uri.query().unwrap_or_default())
}

/// Where the request came in; over a Unix socket, what the client thinks it was.
fn server(parts: &Parts, local: &Endpoint) -> (String, String) {
    match local {
        Endpoint::Inet(address) => (address.ip().to_string(), address.port().to_string()),
        Endpoint::Unix(_) => {
            let mut host = String::new();
            if let Some(field) = parts.headers.get(header::HOST) {
                push_native(&mut host, field.as_bytes());
            }
            if host.is_empty() {
                host.push_str("localhost");
            }
            match host.rsplit_once(':') {
                Some((name, port))
                    if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() =>
                {
                    (name.to_owned(), port.to_owned())
                }
                _ => (host, "80".to_owned()),
            }
        }
    }
}

/// Whether an app may see a field.
fn reaches_apps(name: &HeaderName, map: Underscores) -> bool {
    match name.as_str() {
        // PEP 3333 knows no such variables, and a CGI program could take them for those without HTTP_.
        "content_type" | "content_length" => false,
        // Programs that an app starts would take HTTP_PROXY for their own configuration (CVE-2016-5385).
        "proxy" => false,
        // A name's twin with a `-` has the same variable, and may be one that a proxy vouches for.
        other => map == Underscores::Dangerous || !other.contains('_'),
    }
}

/// Whether two names have the same variable.
fn is_twin(one: &HeaderName, other: &HeaderName) -> bool {
    let (one, other) = (one.as_str().bytes(), other.as_str().bytes());
    let variable = |byte| if byte == b'-' { b'_' } else { byte };
    one.map(variable).eq(other.map(variable))
}

/// The name of a field in the environ.
fn push_variable(text: &mut String, name: &HeaderName) {
    match *name {
        header::CONTENT_TYPE => text.push_str("CONTENT_TYPE"),
        header::CONTENT_LENGTH => text.push_str("CONTENT_LENGTH"),
        _ => {
            text.push_str("HTTP_");
            text.extend(name.as_str().chars().map(|character| match character {
                '-' => '_',
                other => other.to_ascii_uppercase(),
            }));
        }
    }
}

fn push_values(text: &mut String, headers: &HeaderMap, name: &HeaderName) {
    let separator = match *name {
        header::COOKIE => "; ",
        // No lists: a request with several of them that differ has been refused by then.
        header::CONTENT_LENGTH | header::CONTENT_TYPE => {
            return headers
                .get(name)
                .map_or((), |value| push_native(text, value.as_bytes()));
        }
        _ => ",",
    };
    for (index, value) in headers.get_all(name).iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        push_native(text, value.as_bytes());
    }
}

/// PEP 3333's native string: a character for each byte.
fn push_native(text: &mut String, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(ascii) if ascii.is_ascii() => text.push_str(ascii),
        _ => text.extend(bytes.iter().map(|byte| char::from(*byte))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(request: http::request::Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    fn inet(address: &str) -> Endpoint {
        Endpoint::Inet(address.parse().unwrap())
    }

    fn vars(request: http::request::Builder) -> std::collections::HashMap<String, String> {
        let (local, peer) = (inet("127.0.0.1:8000"), inet("127.0.0.2:4711"));
        let setting = Setting {
            local: &local,
            peer: &peer,
            scheme: "http",
            multiprocess: true,
            run_once: true,
            header_map: Underscores::Drop,
        };
        let vars = variables(&parts(request), &setting);
        let count = vars.iter().count();
        let map: std::collections::HashMap<_, _> = vars
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(map.len(), count, "a name stands twice");
        map
    }

    #[test]
    fn the_path_is_decoded_a_character_a_byte() {
        let vars = vars(Request::get("/caf%C3%A9%2Fx//../y%zz?q=%20"));
        assert_eq!(vars["PATH_INFO"], "/caf\u{c3}\u{a9}/x//../y%zz");
        assert_eq!(vars["QUERY_STRING"], "q=%20");
        assert_eq!(vars["REQUEST_URI"], "/caf%C3%A9%2Fx//../y%zz?q=%20");
    }

    #[test]
    fn targets_of_every_form() {
        let absolute = vars(Request::get("http://example.org:81/a?b").header("host", "other"));
        assert_eq!(absolute["PATH_INFO"], "/a");
        assert_eq!(absolute["HTTP_HOST"], "example.org:81");
        assert_eq!(absolute["REQUEST_URI"], "http://example.org:81/a?b");
        let asterisk = vars(Request::options("*"));
        assert_eq!(
            (asterisk["PATH_INFO"].as_str(), asterisk["REQUEST_URI"].as_str()),
            ("", "*")
        );
    }

    #[test]
    fn fields_join_and_some_are_dropped() {
        let request = Request::get("/")
            .header("accept", "a")
            .header("accept", "b")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("proxy", "evil")
            .header("x_real", "evil")
            .header("x-real", b"\xe9".as_slice())
            .header("content-type", "text/plain")
            .header("content-length", "3");
        let vars = vars(request);
        assert_eq!(vars["HTTP_ACCEPT"], "a,b");
        assert_eq!(vars["HTTP_COOKIE"], "a=1; b=2");
        assert_eq!(vars["HTTP_X_REAL"], "\u{e9}");
        assert_eq!(
            (vars["CONTENT_TYPE"].as_str(), vars["CONTENT_LENGTH"].as_str()),
            ("text/plain", "3")
        );
        for absent in ["HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"] {
            assert!(!vars.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn over_a_unix_socket_the_server_is_whom_the_client_means() {
        let local = Endpoint::Unix("/run/app".into());
        let server = |host: &str| server(&parts(Request::get("/").header("host", host)), &local);
        assert_eq!(server("example.org:81"), ("example.org".into(), "81".into()));
        assert_eq!(server("example.org"), ("example.org".into(), "80".into()));
        assert_eq!(server("[::1]:81"), ("[::1]".into(), "81".into()));
        assert_eq!(server(""), ("localhost".into(), "80".into()));
    }

    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Requests as a parser may let them through: any token, any target, any value.
    fn heads() -> impl Strategy<Value = Parts> {
        let targets = [
            "(/[!-~é€]{0,40}){1,3}",
            "https?://[a-z.]{1,10}(:[0-9]{1,5})?(/[!-~]{0,20})?",
            "\\*",
        ]
        .map(|pattern| proptest::string::string_regex(pattern).expect("a regular expression"));
        let [origin, absolute, asterisk] = targets;
        let name = prop_oneof![
            "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}",
            "(Content|content|CONTENT)[_-](Type|LENGTH)",
            "[Pp]roxy|Host|Cookie|X[_-]Real[_-]Ip",
        ];
        let value = vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..20);
        let request = (
            prop_oneof![3 => "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,10}", 1 => "OPTIONS|CONNECT"],
            prop_oneof![8 => origin, 2 => absolute, 1 => asterisk],
            vec((name, value), 0..12),
            any::<bool>(),
        );
        request.prop_filter_map("no request", |(method, target, fields, new)| {
            let version = if new { Version::HTTP_11 } else { Version::HTTP_10 };
            let start = Request::builder().method(method.as_str()).uri(target).version(version);
            let request = fields
                .into_iter()
                .fold(start, |request, (name, value)| request.header(name, value));
            Some(request.body(()).ok()?.into_parts().0)
        })
    }

    proptest! {
        #[test]
        fn every_head_keeps_the_contract(
            parts in heads(),
            (unix, secure, multiprocess, run_once, dangerous) in any::<(bool, bool, bool, bool, bool)>(),
        ) {
            let local = if unix { Endpoint::Unix("/run/app".into()) } else { inet("[::1]:8000") };
            let peer = if unix { Endpoint::Unix("".into()) } else { inet("[::1]:4711") };
            let header_map = if dangerous { Underscores::Dangerous } else { Underscores::Drop };
            let scheme = if secure { "https" } else { "http" };
            let setting = Setting { local: &local, peer: &peer, scheme, multiprocess, run_once, header_map };
            let vars = variables(&parts, &setting);
            let map: std::collections::HashMap<&str, &str> = vars.iter().collect();
            prop_assert_eq!(map.len(), vars.iter().count(), "a name stands twice: {:?}", vars);
            for name in ["REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "wsgi.url_scheme"] {
                prop_assert!(!map[name].is_empty(), "{name}");
            }
            for name in ["SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "RAW_URI"] {
                prop_assert!(map.contains_key(name), "{name}");
            }
            for name in ["HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"] {
                prop_assert!(!map.contains_key(name), "{name}");
            }
            for (name, value) in &map {
                prop_assert!(value.chars().all(|character| u32::from(character) <= 0xff), "{name}: {value:?}");
                prop_assert!(name.is_ascii(), "{name}");
            }
            prop_assert_eq!(map["REQUEST_METHOD"], parts.method.as_str());
            let path: Vec<u8> = map["PATH_INFO"].chars().map(|character| character as u8).collect();
            let sent: Vec<u8> = percent_decode(parts.uri.path().as_bytes()).collect();
            prop_assert!(path == sent || (path.is_empty() && sent == b"*"), "{path:?}");
        }
    }
}
