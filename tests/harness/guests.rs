//! Guests for tests: those of guest-apps, and small ones that a test writes in the text format.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::PathBuf;

use super::target;

/// A built guest of guest-apps.
pub fn guest(name: &str) -> String {
    let path = target().join("guests").join(name).with_extension("wasm");
    assert!(path.exists(), "{} is missing: tests/run builds it", path.display());
    path.display().to_string()
}

/// What every hostile app does for who asks for `/good`; otherwise it misbehaves.
const GOOD: &str = r#"
    (func $call
      (if (call $at "/good") (then
        (call $all)
        (return)))
      (call $misbehave))
    ;; Returns what it is sent, 4 bytes.
    (func $all (local $first i32)
      (if (i32.lt_s (call $read (i32.const 4)) (i32.const 4)) (then
        (local.set $first (i32.load (global.get $data)))
        (if (i32.le_s (call $read (i32.const 2)) (i32.const 0)) (then (unreachable)))
        (i32.store16 offset=2 (i32.const 0x90) (i32.load16_u (global.get $data)))
        (i32.store16 (i32.const 0x90) (local.get $first))
        (call $body (i32.const 0x90) (i32.const 4))
        (return)))
      (call $body (global.get $data) (i32.const 4)))"#;

/// An app of guest-apps/hostile that is written as its misbehaviour alone.
pub fn hostile(name: &str) -> String {
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guest-apps/hostile");
    let text = std::fs::read_to_string(sources.join(name).with_extension("wat")).expect("a hostile app is there");
    wat(&format!("hostile-{name}"), &format!("{GOOD}\n{text}"))
}

/// Where the strings of a test's functions go in the guest's memory.
const LITERALS: usize = 0x400;
const LITERALS_END: usize = 0x1_0000;

/// A file with a component of world `app` around a test's functions: see `tests/harness/guest.wat`.
///
/// `name` is the app's name in the log. `$next` and `$close` may be left out.
pub fn wat(name: &str, functions: &str) -> String {
    let functions = complete(functions, &[("$next", ""), ("$close", "")]);
    fill(name, include_str!("guest.wat"), &functions)
}

/// The same of world `middleware`, with the helpers of `tests/harness/middleware.wat`. Without `$call`, `$next` and
/// `$close` it passes everything on.
pub fn wat_middleware(name: &str, functions: &str) -> String {
    let parts = include_str!("middleware.wat");
    let mut template = include_str!("guest.wat").to_owned();
    for part in parts.split(";; INWARD ").skip(1) {
        let (marker, text) = part.split_once('\n').expect("a part has a name and a text");
        template = template.replace(&format!(";; INWARD {marker}\n"), text);
    }
    let functions = complete(
        functions,
        &[
            ("$call", "(drop (call $inward)) (call $pass)"),
            ("$next", "(drop (call $relay))"),
            ("$close", "(call $shut) (call $drop)"),
        ],
    );
    fill(name, &template, &functions)
}

fn fill(name: &str, template: &str, functions: &str) -> String {
    let (code, data) = without_literals(functions);
    let text = template.replace(";; FUNCTIONS", &code).replace(";; LITERALS", &data);
    // Tests that run at the same time may have guests of the same name.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let directory = target().join(format!("test-guests/{:016x}", hasher.finish()));
    std::fs::create_dir_all(&directory).expect("the target directory can be written");
    let path = directory.join(name).with_extension("wat");
    // And another test may read the same file at this moment.
    let mut file = tempfile::NamedTempFile::new_in(&directory).expect("the target directory can be written");
    file.write_all(text.as_bytes())
        .expect("the target directory can be written");
    file.persist(&path).expect("the target directory can be written");
    path.display().to_string()
}

/// The functions, and these where they are missing.
fn complete(functions: &str, defaults: &[(&str, &str)]) -> String {
    let mut all = functions.to_owned();
    for (function, code) in defaults {
        if !functions.contains(&format!("(func {function}")) {
            all.push_str(&format!("\n(func {function} {code})"));
        }
    }
    all
}

/// Puts address and length in the place of every string, and the strings into a data segment.
fn without_literals(functions: &str) -> (String, String) {
    let (mut code, mut data, mut end) = (String::new(), String::new(), LITERALS);
    // Between two quotes is a string; none of the guests needs an escaped quote.
    for (index, piece) in functions.split('"').enumerate() {
        if index % 2 == 0 {
            code.push_str(piece);
        } else {
            let length = literal_length(piece);
            code.push_str(&format!("(i32.const {end}) (i32.const {length})"));
            data.push_str(&format!("(data (i32.const {end}) \"{piece}\")\n"));
            end += length;
        }
    }
    assert!(end <= LITERALS_END, "the strings of a guest take {end} bytes");
    (code, data)
}

/// In bytes, with the text format's escapes: `\n` and the like, `\u{20ac}`, `\0d`.
fn literal_length(literal: &str) -> usize {
    let (mut length, mut rest) = (0, literal.chars());
    while let Some(character) = rest.next() {
        length += match character {
            '\\' => match rest.next().expect("an escape goes on") {
                't' | 'n' | 'r' | '\'' | '\\' => 1,
                'u' => {
                    let digits: String = rest
                        .by_ref()
                        .skip(1)
                        .take_while(|character| *character != '}')
                        .collect();
                    let number = u32::from_str_radix(&digits, 16).expect("an escape has hexadecimal digits");
                    char::from_u32(number).expect("an escape is a character").len_utf8()
                }
                _ => {
                    rest.next().expect("an escaped byte has two digits");
                    1
                }
            },
            other => other.len_utf8(),
        };
    }
    length
}
