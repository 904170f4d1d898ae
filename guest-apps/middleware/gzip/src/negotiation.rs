//! What the head of a response says about compressing it, and what compressing changes in the head (RFC 9110).

type Headers = Vec<(String, String)>;

/// A shorter body gains nothing.
const MIN_BYTES: usize = 256;
/// Besides `text/*`, and what is JSON or XML by its suffix.
const COMPRESSIBLE: &[&str] = &[
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/x-icon",
];
/// A response with one of these is about exactly the bytes that it has.
const BOUND_TO_BYTES: &[&str] = &[
    "Content-Encoding",
    "Content-Range",
    "Content-MD5",
    "Digest",
    "Content-Digest",
    "Repr-Digest",
];

/// What matters of a request.
pub struct Request {
    accepts_gzip: bool,
    is_head: bool,
    if_none_match: String,
}

impl Request {
    pub fn of(vars: &[(String, String)]) -> Self {
        let var = |name| {
            vars.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        Self {
            // Parts are counted in the bytes that the app has.
            accepts_gzip: var("HTTP_RANGE").is_none() && var("HTTP_ACCEPT_ENCODING").is_some_and(accepts_gzip),
            is_head: var("REQUEST_METHOD") == Some("HEAD"),
            if_none_match: var("HTTP_IF_NONE_MATCH").unwrap_or_default().to_owned(),
        }
    }

    /// Whether the response is to be compressed. Says so in `Vary`, where another client might get another answer.
    pub fn wants_gzip(&self, status: u16, headers: &mut Headers, size: Option<usize>) -> bool {
        if status == 304 {
            self.weaken_if_known_so(headers);
        }
        // The length that is given is a GET's, also where the body is left out.
        let size = match get(headers, "Content-Length").map(str::parse) {
            Some(Ok(length)) if self.is_head || size.is_none() => Some(length),
            _ => size,
        };
        if matches!(status, 204 | 205 | 206 | 304) || size.is_some_and(|size| size < MIN_BYTES) || !is_eligible(headers)
        {
            return false;
        }
        add_vary(headers);
        self.accepts_gzip
    }

    /// A client that has the compressed body asks by the weak tag that it got with it; the answer is about that one.
    fn weaken_if_known_so(&self, headers: &mut Headers) {
        let known = |tag: &String| self.if_none_match.contains(&format!("W/{tag}"));
        if let Some(tag) = find(headers, "ETag").filter(|tag| known(tag)) {
            weaken(tag);
        }
    }
}

/// The head of a response whose body is compressed now.
pub fn mark(headers: &mut Headers) {
    // Nobody can ask for parts of what is made anew each time; and its length is another.
    let is_gone = |name: &str| {
        ["Content-Length", "Accept-Ranges"]
            .iter()
            .any(|gone| name.eq_ignore_ascii_case(gone))
    };
    headers.retain(|(name, _)| !is_gone(name));
    headers.push(("Content-Encoding".into(), "gzip".into()));
    if let Some(tag) = find(headers, "ETag") {
        weaken(tag);
    }
}

/// RFC 9110, 12.5.3: gzip is acceptable, and not less welcome than no coding at all.
fn accepts_gzip(accept_encoding: &str) -> bool {
    let (mut gzip, mut other, mut identity) = (None, None, None);
    for element in accept_encoding.split(',') {
        let mut parts = element.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = match parts.next() {
            None => 1.0,
            Some(weight) => quality(weight).unwrap_or(0.0),
        };
        match coding.as_str() {
            "gzip" | "x-gzip" => gzip = Some(quality),
            "identity" => identity = Some(quality),
            "*" => other = Some(quality),
            _ => {}
        }
    }
    let gzip: f32 = gzip.or(other).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

fn quality(weight: &str) -> Option<f32> {
    let (name, value) = weight.split_once('=')?;
    let value: f32 = value.trim().parse().ok()?;
    (name.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&value)).then_some(value)
}

fn is_eligible(headers: &Headers) -> bool {
    let is_bound = BOUND_TO_BYTES.iter().any(|name| get(headers, name).is_some());
    let may_transform = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("Cache-Control"))
        .flat_map(|(_, value)| value.split(','))
        .all(|directive| !directive.trim().eq_ignore_ascii_case("no-transform"));
    !is_bound && may_transform && get(headers, "Content-Type").is_some_and(is_compressible)
}

fn is_compressible(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || COMPRESSIBLE.contains(&essence.as_str())
}

fn add_vary(headers: &mut Headers) {
    let is_vary = |name: &str| name.eq_ignore_ascii_case("Vary");
    let has_it = headers
        .iter()
        .filter(|(name, _)| is_vary(name))
        .flat_map(|(_, value)| value.split(',').map(str::trim))
        .any(|name| name == "*" || name.eq_ignore_ascii_case("Accept-Encoding"));
    match find(headers, "Vary") {
        _ if has_it => {}
        Some(value) => value.push_str(", Accept-Encoding"),
        None => headers.push(("Vary".into(), "Accept-Encoding".into())),
    }
}

/// RFC 9110, 8.8.1: bytes that differ may not have a strong tag in common.
fn weaken(tag: &mut String) {
    if !tag.starts_with("W/") {
        tag.insert_str(0, "W/");
    }
}

fn get<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let mut found = headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.as_str())
}

fn find<'a>(headers: &'a mut Headers, name: &str) -> Option<&'a mut String> {
    let mut found = headers.iter_mut().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value)
}
