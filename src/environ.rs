//! From a request head to PEP 3333's environ. Pure: no clock, no input or output.
//!
//! Sources: PEP 3333 (environ variables, unicode issues), RFC 3875 (CGI), RFC 9110 and 9112 (fields, targets).

use http::request::Parts;
use http::{HeaderMap, HeaderName, Version, header};
use percent_encoding::percent_decode;

use crate::listener::Endpoint;
use crate::strict::Underscores;

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

/// The environ's strings, each name once.
pub fn variables(parts: &Parts, setting: &Setting<'_>) -> Vec<(String, String)> {
    let mut vars = Vec::with_capacity(24 + parts.headers.keys_len());
    let mut set = |name: &str, value: String| vars.push((name.to_owned(), value));

    set("REQUEST_METHOD", parts.method.as_str().to_owned());
    // An app is mounted at the root. `OPTIONS *` is about the server as a whole: the root without a path.
    set("SCRIPT_NAME", String::new());
    let (path, query) = split(parts);
    set(
        "PATH_INFO",
        native_from_bytes(&percent_decode(path.as_bytes()).collect::<Vec<u8>>()),
    );
    set("QUERY_STRING", native_from_bytes(query.as_bytes()));
    let target = native_from_bytes(target(parts).as_bytes());
    set("RAW_URI", target.clone());
    set("REQUEST_URI", target);
    set("SERVER_PROTOCOL", protocol(parts.version).to_owned());
    set("SERVER_SOFTWARE", SOFTWARE.to_owned());

    let (name, port) = server(parts, setting.local);
    set("SERVER_NAME", name);
    set("SERVER_PORT", port);
    match setting.peer {
        Endpoint::Inet(peer) => {
            set("REMOTE_ADDR", peer.ip().to_string());
            set("REMOTE_PORT", peer.port().to_string());
        }
        // As in gunicorn: there is an address, and it says nothing.
        Endpoint::Unix(_) => set("REMOTE_ADDR", String::new()),
    }

    let boolean = |value: bool| if value { "true" } else { "false" }.to_owned();
    set("wsgi.url_scheme", setting.scheme.to_owned());
    if setting.scheme == "https" {
        set("HTTPS", "on".to_owned());
    }
    set("wsgi.multithread", boolean(false));
    set("wsgi.multiprocess", boolean(setting.multiprocess));
    set("wsgi.run_once", boolean(setting.run_once));

    let mut fields: Vec<(String, String)> = Vec::with_capacity(parts.headers.keys_len());
    for name in parts.headers.keys() {
        if let Some(variable) = variable(name, setting.header_map) {
            let value = match name {
                // The authority of an absolute-form target replaces Host (RFC 9112, 3.2.2).
                &header::HOST if parts.uri.authority().is_some() => continue,
                &header::COOKIE => joined(&parts.headers, name, "; "),
                &header::CONTENT_LENGTH | &header::CONTENT_TYPE => joined_once(&parts.headers, name),
                _ => joined(&parts.headers, name, ","),
            };
            // Only names that are let through at the operator's risk can share a variable.
            let dangerous = setting.header_map == Underscores::Dangerous;
            match fields.iter_mut().find(|(known, _)| dangerous && *known == variable) {
                Some((_, known)) => *known = format!("{known},{value}"),
                None => fields.push((variable, value)),
            }
        }
    }
    if let Some(authority) = parts.uri.authority() {
        set("HTTP_HOST", authority.as_str().to_owned());
    }
    vars.append(&mut fields);
    vars
}

/// The target as the client sent it.
pub fn target(parts: &Parts) -> String {
    match (parts.uri.scheme(), parts.uri.authority()) {
        (None, Some(authority)) => authority.to_string(),
        _ => parts.uri.to_string(),
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
            let host = parts
                .headers
                .get(header::HOST)
                .map(|host| native_from_bytes(host.as_bytes()));
            let host = host
                .filter(|host| !host.is_empty())
                .unwrap_or_else(|| "localhost".to_owned());
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

/// The name of a field in the environ, or none for those that no app may see.
fn variable(name: &HeaderName, map: Underscores) -> Option<String> {
    match name.as_str() {
        "content-type" => return Some("CONTENT_TYPE".into()),
        "content-length" => return Some("CONTENT_LENGTH".into()),
        // PEP 3333 knows no such variables, and a CGI program could take them for those without HTTP_.
        "content_type" | "content_length" => return None,
        // Programs that an app starts would take HTTP_PROXY for their own configuration (CVE-2016-5385).
        "proxy" => return None,
        _ => {}
    }
    let mut variable = String::with_capacity("HTTP_".len() + name.as_str().len());
    variable.push_str("HTTP_");
    for character in name.as_str().chars() {
        match character {
            // Its twin with a `-` has the same variable, and may be one that a proxy vouches for.
            '_' if map != Underscores::Dangerous => return None,
            '-' => variable.push('_'),
            other => variable.push(other.to_ascii_uppercase()),
        }
    }
    Some(variable)
}

fn joined(headers: &HeaderMap, name: &HeaderName, separator: &str) -> String {
    let mut value = String::new();
    for (index, one) in headers.get_all(name).iter().enumerate() {
        if index > 0 {
            value.push_str(separator);
        }
        push_native(&mut value, one.as_bytes());
    }
    value
}

/// A field that is no list: a request with several has been refused by then.
fn joined_once(headers: &HeaderMap, name: &HeaderName) -> String {
    headers
        .get(name)
        .map(|value| native_from_bytes(value.as_bytes()))
        .unwrap_or_default()
}

fn native_from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    push_native(&mut text, bytes);
    text
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
        let count = vars.len();
        let map: std::collections::HashMap<_, _> = vars.into_iter().collect();
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
            let map: std::collections::HashMap<&str, &str> =
                vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            prop_assert_eq!(map.len(), vars.len(), "a name stands twice: {:?}", vars);
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
