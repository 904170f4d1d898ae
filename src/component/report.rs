//! What the tools say of a component: `inspect`, `check` and `compile`.

use std::io::Write;

use serde_json::json;

use super::world::{APPLICATION, Role};
use super::{Bundle, Cache, Examined, Fits, Source, binary, examine, look, world};
use crate::fault::{Fault, Kind, Result};
use crate::units::size;

/// What a component that imports an interface could ask for, by the start of the interface's name.
struct Right {
    imports: &'static [&'static str],
    asks_for: &'static str,
    given: fn(&Granted) -> String,
}

/// What the operator grants.
#[derive(Default)]
pub struct Granted {
    pub variables: Vec<String>,
    pub directories: Vec<String>,
    pub network: Vec<String>,
    pub clock: Option<String>,
}

fn given(what: &[String], option: &str) -> String {
    match what {
        [] => format!("not granted ({option})"),
        what => what.join(", "),
    }
}

const RIGHTS: [Right; 8] = [
    Right {
        imports: &["wsgi:gateway/io"],
        asks_for: "the request body, lines in the log",
        given: |_| "always".into(),
    },
    Right {
        imports: &["wsgi:gateway/application"],
        asks_for: "calling an app inside it",
        given: |_| "it is a middleware".into(),
    },
    Right {
        imports: &["wasi:filesystem/"],
        asks_for: "files",
        given: |granted| given(&granted.directories, "--dir; what it brought along is there, read-only"),
    },
    Right {
        imports: &["wasi:cli/environment"],
        asks_for: "environment variables",
        given: |granted| given(&granted.variables, "--env"),
    },
    Right {
        imports: &["wasi:sockets/"],
        asks_for: "the network",
        given: |granted| given(&granted.network, "--allow-net"),
    },
    Right {
        imports: &["wasi:clocks/"],
        asks_for: "the time",
        given: |granted| granted.clock.clone().unwrap_or_else(|| "always".into()),
    },
    Right {
        imports: &["wasi:random/"],
        asks_for: "random numbers",
        given: |_| "always".into(),
    },
    Right {
        imports: &["wasi:cli/std", "wasi:cli/terminal", "wasi:cli/exit", "wasi:io/"],
        asks_for: "standard streams",
        given: |_| "standard output and error go to the log, standard input is empty".into(),
    },
];

/// Says whether a component would be served; if not, the error says why.
pub fn check(source: &Source, cache: &Cache, fits: Fits<'_>, out: &mut dyn Write) -> Result<()> {
    let examined = examine(look(source, None, &cache.limits)?, source, cache, fits)?;
    Bundle::unpack(&examined.bytes, cache.directory())?;
    let role = examined.contract.role.name();
    print(out, &format!("{}: ok ({role}, {APPLICATION})\n", source.name()))
}

/// Compiles a component into the cache.
pub fn compile(source: &Source, cache: &Cache, fits: Fits<'_>, out: &mut dyn Write) -> Result<()> {
    let examined = examine(look(source, None, &cache.limits)?, source, cache, fits)?;
    print(
        out,
        &format!(
            "{}: {}, {} of code in {}\n",
            source.name(),
            compiled(&examined),
            size(examined.code_bytes),
            examined.code.display()
        ),
    )
}

/// Says what a component is, what it could ever ask for, and what it costs.
pub fn inspect(
    source: &Source,
    cache: &Cache,
    fits: Fits<'_>,
    granted: &Granted,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let looked = look(source, None, &cache.limits);
    let examined = match looked.and_then(|looked| examine(looked, source, cache, fits)) {
        Ok(examined) => examined,
        Err(fault) => return stranger(source, cache, fault, as_json, out),
    };
    let bundle = Bundle::unpack(&examined.bytes, cache.directory())?;
    let text = if as_json {
        let mut text = serde_json::to_string_pretty(&facts(source, &examined, granted, &bundle))
            .map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
        text.push('\n');
        text
    } else {
        page(source, &examined, granted, &bundle)
    };
    print(out, &text)
}

/// Says what can be said of a component that would not be served.
fn stranger(source: &Source, cache: &Cache, fault: Fault, as_json: bool, out: &mut dyn Write) -> Result<()> {
    if !matches!(fault.kind, Kind::OtherWorld | Kind::OtherVersion | Kind::UnknownImport) {
        return Err(fault);
    }
    let (name, bytes) = (source.name(), binary::read(source, &cache.limits)?);
    let (imports, exports) = world::names(&name, &bytes)?;
    if as_json {
        let facts = json!({"name": name, "bytes": bytes.len(), "problem": fault.message, "imports": imports, "exports": exports});
        return print(out, &format!("{facts:#}\n"));
    }
    let size = size(bytes.len() as u64);
    let lines = [
        format!("{name}: a component that would not be served"),
        format!("  because     {}", fault.message),
        format!("  size        {size}"),
        format!("  exports     {}", exports.join(", ")),
        format!(
            "  imports     {}\n",
            if imports.is_empty() {
                "nothing".to_owned()
            } else {
                imports.join(", ")
            }
        ),
    ];
    print(out, &lines.join("\n"))
}

fn facts(source: &Source, examined: &Examined, granted: &Granted, bundle: &Bundle) -> serde_json::Value {
    let rights: Vec<_> = rights(examined)
        .map(
            |(right, imports)| json!({"asks_for": right.asks_for, "given": (right.given)(granted), "imports": imports}),
        )
        .collect();
    json!({
        "name": source.name(),
        "role": examined.contract.role.name(),
        "contract": APPLICATION,
        "bytes": examined.bytes.len(),
        "bytes_without_bundle": binary::without_bundle(&examined.bytes),
        "code_bytes": examined.code_bytes,
        "compile_seconds": examined.compile_time.map(|time| time.as_secs_f64()),
        "exports": examined.contract.exports,
        "rights": rights,
        "bundle": bundle.mounts.iter().map(|mount| &mount.guest).collect::<Vec<_>>(),
        "home": bundle.home,
        "instance": {
            "memories": examined.needs.memories,
            "tables": examined.needs.tables,
            "initial_memory_bytes": examined.needs.largest_initial_memory_bytes,
        },
    })
}

fn page(source: &Source, examined: &Examined, granted: &Granted, bundle: &Bundle) -> String {
    let needs = &examined.needs;
    let bytes = examined.bytes.len();
    let own = binary::without_bundle(&examined.bytes);
    let mut lines = vec![
        format!("{}: {} for {APPLICATION}", source.name(), kind(examined.contract.role)),
        format!("  size        {}", size(bytes as u64)),
    ];
    if own < bytes {
        let guests: Vec<_> = bundle.mounts.iter().map(|mount| mount.guest.as_str()).collect();
        lines.push(format!(
            "  of these    {} are files that it brought along: {}",
            size((bytes - own) as u64),
            guests.join(", ")
        ));
    }
    lines.push(format!(
        "  compiled    {}, {}",
        size(examined.code_bytes),
        compiled(examined)
    ));
    lines.push(format!(
        "  an instance {} memories (the largest starts with {}), {} tables",
        needs.memories,
        size(needs.largest_initial_memory_bytes),
        needs.tables
    ));
    lines.push(format!("  exports     {}", examined.contract.exports.join(", ")));
    lines.push("  could ask for".to_owned());
    for (right, imports) in rights(examined) {
        lines.push(format!("    {}: {}", right.asks_for, (right.given)(granted)));
        lines.extend(imports.iter().map(|import| format!("      {import}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The rights that a component could use, each with the imports that say so.
fn rights(examined: &Examined) -> impl Iterator<Item = (&'static Right, Vec<&str>)> {
    RIGHTS.iter().filter_map(|right| {
        let imports: Vec<&str> = examined
            .contract
            .imports
            .iter()
            .map(String::as_str)
            .filter(|import| right.imports.iter().any(|start| import.starts_with(start)))
            .collect();
        (!imports.is_empty()).then_some((right, imports))
    })
}

fn kind(role: Role) -> &'static str {
    match role {
        Role::App => "an app",
        Role::Middleware => "a middleware",
    }
}

fn compiled(examined: &Examined) -> String {
    let time = examined.compile_time.map_or("an unknown time".to_owned(), |time| {
        format!("{:.1} s", time.as_secs_f64())
    });
    if examined.fresh {
        format!("compiled in {time}")
    } else {
        format!("compiled before, in {time}")
    }
}

fn print(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes())
        .map_err(|error| Fault::new(Kind::Internal, format!("cannot write to standard output: {error}")))
}
