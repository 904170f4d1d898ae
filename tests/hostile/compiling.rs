//! Components that are an attack on who looks at them: each is refused with a line, and nothing of it lives on.

use crate::harness::{run, wat};

/// The exit status and the last line of `wsgi-host check`.
fn check(app: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(&[&["check", app], arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said.lines().last().unwrap_or_default().to_owned())
}

fn refused(app: &str, arguments: &[&str], status: i32, why: &str) {
    let (code, line) = check(app, arguments);
    assert!(code == Some(status) && line.contains(why), "{code:?}: {line}");
    assert!(line.starts_with("wsgi-host: ") && line.len() < 1_000, "{line}");
}

/// So many functions that compiling them takes a while.
fn many_functions(name: &str) -> String {
    let function = "(func (param i64) (result i64) (i64.mul (i64.add (local.get 0) (i64.const 7)) (local.get 0)))\n";
    wat(name, &format!("{}(func $call)", function.repeat(200_000)))
}

#[test]
fn one_that_takes_too_long_to_compile() {
    let app = many_functions("long-to-compile");
    let why = "too large: compiling it took more than --compile-timeout 0.05 s";
    refused(&app, &["--compile-timeout", "0.05"], 17, why);
}

#[test]
fn one_that_takes_too_much_memory_to_compile() {
    let app = many_functions("large-to-compile");
    let why = "too large: compiling it took more than --compile-memory 64.0 MiB";
    refused(&app, &["--compile-memory", "64M"], 17, why);
}

#[test]
fn one_that_is_too_large() {
    let app = wat("larger", &format!("(func $call) (data \"{}\")", "x".repeat(60_000)));
    refused(
        &app,
        &["--limit-component-size", "50K"],
        17,
        "and --limit-component-size is 50.0 KiB",
    );
}

#[test]
fn one_with_ten_thousand_memories() {
    let app = wat("memories", &format!("{}(func $call)", "(memory 0)".repeat(10_000)));
    refused(&app, &[], 17, "memories, and --limit-component-memories is 64");
}

#[test]
fn one_with_ten_thousand_tables() {
    let app = wat("tables", &format!("{}(func $call)", "(table 0 funcref)".repeat(10_000)));
    refused(&app, &[], 17, "tables, and --limit-component-tables is 256");
}

#[test]
fn one_whose_instance_is_too_large() {
    let globals = "(global (mut v128) (v128.const i64x2 0 0))".repeat(1_100_000);
    let app = wat("globals", &format!("{globals}(func $call)"));
    let (code, line) = check(&app, &[]);
    // Beyond what WebAssembly allows, or beyond what an instance may take: a line either way.
    assert!(matches!(code, Some(12 | 17)), "{code:?}: {line}");
}

/// The component with more in front of its end.
fn with(name: &str, more: &str) -> String {
    let path = wat(name, "(func $call)");
    let text = std::fs::read_to_string(&path).expect("a guest is there");
    let (start, end) = text.rsplit_once(')').expect("a component ends");
    std::fs::write(&path, format!("{start}\n{more}){end}")).expect("the target directory can be written");
    path
}

#[test]
fn one_whose_types_are_nested_deeply() {
    let lists: String = (1..20_000)
        .map(|depth| format!("(type $t{depth} (list $t{}))\n", depth - 1))
        .collect();
    let app = with("nested-types", &format!("(type $t0 (list u8))\n{lists}"));
    let (code, line) = check(&app, &[]);
    assert!(matches!(code, Some(0 | 12 | 17)), "{code:?}: {line}");

    let pairs: String = (1..40)
        .map(|depth| format!("(type $p{depth} (tuple $p{0} $p{0}))\n", depth - 1))
        .collect();
    let app = with("doubled-types", &format!("(type $p0 (tuple u8 u8))\n{pairs}"));
    refused(&app, &[], 12, "no valid component");

    let deep = format!("{}u8{}", "(list ".repeat(100_000), ")".repeat(100_000));
    let app = with("deep-text", &format!("(type {deep})"));
    refused(&app, &[], 12, "nesting too deep");
}

#[test]
fn one_whose_components_are_nested_deeply() {
    let nested = format!("{}{}", "(component ".repeat(50), ")".repeat(50));
    refused(&with("nested-components", &nested), &[], 17, "nested more than 16 deep");
}
