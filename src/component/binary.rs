//! The bytes of a file: whether they are a component at all, and how large a thing it is.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use wasmparser::{ComponentInstance, Instance, Parser, Payload};

use super::limits::Limits;
use super::{Source, bundle};
use crate::engine::Needs;
use crate::fault::{Fault, Kind, Result};
use crate::units;

/// Elements of one table, when it is made.
const TABLE_ELEMENTS: u64 = 1 << 20;
/// How deep components may be nested in each other.
const NESTING: usize = 16;

/// Reads a component, from the binary or the text format. What is returned starts as a component does.
pub fn read(source: &Source, limits: &Limits) -> Result<Vec<u8>> {
    let name = source.name();
    let bytes = match source {
        Source::File(path) | Source::Built { path, .. } => read_file(path, limits)?,
        Source::Embedded { text, .. } => text.to_vec(),
    };
    let malformed = |what: &str| Err(Fault::new(Kind::Malformed, format!("{name}: {what}")));
    let bytes = match bytes.get(..8) {
        // The magic number, then the version: 13 in the layer of components, 1 in that of modules.
        Some([0, b'a', b's', b'm', ..]) => bytes,
        Some([0x7f, b'E', b'L', b'F', ..]) => {
            return malformed(
                "this is machine code, perhaps a compiled component; serve the component itself (.wasm), and `wsgi-host compile` keeps its code in the cache",
            );
        }
        _ if bytes.is_empty() => return malformed("the file is empty"),
        _ => match text(&bytes) {
            Some(text) if text.len() as u64 > limits.limit_component_size => {
                return Err(larger_than_allowed(&name, text.len(), limits));
            }
            Some(text) => wat::parse_str(text).map_err(|error| {
                let text = error.to_string();
                let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                Fault::new(
                    Kind::Malformed,
                    format!("{name}: broken text format: {}", lines.join(" ")),
                )
            })?,
            None => {
                return malformed(
                    "this is no WebAssembly; expected a component (app.wasm), or a Python app (module:callable)",
                );
            }
        },
    };
    match bytes.get(4..8) {
        Some([_, 0, 1, 0]) => Ok(bytes),
        Some([1, 0, 0, 0]) => Err(Fault::new(
            Kind::CoreModule,
            format!(
                "{name} is a core module, not a component; `wasm-tools component new` makes one of it, if it was built for the contract in wit/"
            ),
        )),
        Some(version) => malformed(&format!("WebAssembly of an unknown version ({version:02x?})")),
        None => malformed("the file is cut off after its first bytes"),
    }
}

fn read_file(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let explain = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => Fault::new(Kind::NotFound, format!("{}: there is no such file", path.display())),
        _ if path.is_dir() => Fault::new(
            Kind::Unreadable,
            format!("{} is a directory; expected a component (app.wasm)", path.display()),
        ),
        _ => Fault::new(Kind::Unreadable, format!("{} cannot be read: {error}", path.display())),
    };
    // Opening a pipe would wait for somebody to write to it.
    let metadata = fs::metadata(path).map_err(|error| explain(&error))?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(Fault::new(
            Kind::Unreadable,
            format!("{} is no regular file", path.display()),
        ));
    }
    let file = fs::File::open(path).map_err(|error| explain(&error))?;
    let mut bytes = Vec::new();
    let most = limits.limit_component_size + bundle::MAX_BYTES;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| explain(&error))?;
    if bytes.len() as u64 > most {
        return Err(too_large(
            &path.display().to_string(),
            &format!(
                "the file has more than --limit-component-size {} and {} of files that it may bring along",
                units::size(limits.limit_component_size),
                units::size(bundle::MAX_BYTES)
            ),
        ));
    }
    Ok(bytes)
}

/// The text, if the bytes could be the text format: it starts with a parenthesis or a comment.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let start = text.trim_start();
    (start.starts_with('(') || start.starts_with(";;")).then_some(text)
}

/// How much of the component is not its bundle.
pub fn without_bundle(bytes: &[u8]) -> usize {
    let mut size = bytes.len();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::CustomSection(section)) if section.name() == bundle::SECTION => size -= section.range().len(),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    size
}

pub fn imports_modules(name: &str) -> Fault {
    Fault::new(
        Kind::UnknownImport,
        format!("{name} imports core modules, which no host can offer it"),
    )
}

pub fn too_large(name: &str, why: &str) -> Fault {
    Fault::new(Kind::TooLarge, format!("{name} is too large: {why}"))
}

fn larger_than_allowed(name: &str, size: usize, limits: &Limits) -> Fault {
    let most = units::size(limits.limit_component_size);
    let size = units::size(size as u64);
    too_large(name, &format!("{size}, and --limit-component-size is {most}"))
}

/// Whether a component is one that may be compiled: what is in it, and how much of it.
pub fn check_size(name: &str, bytes: &[u8], limits: &Limits) -> Result<()> {
    let size = without_bundle(bytes);
    if size as u64 > limits.limit_component_size {
        return Err(larger_than_allowed(name, size, limits));
    }
    let count = count(name, bytes)?;
    let instances = (
        "core instances",
        count.core_instances.into(),
        limits.limit_component_instances.into(),
        "--limit-component-instances",
    );
    check_counts(
        name,
        &[
            instances,
            memories(count.memories, limits),
            tables(count.tables, limits),
        ],
    )
}

/// The same once it is compiled, when it is known how often its parts are instantiated.
pub fn check_needs(name: &str, needs: &Needs, limits: &Limits) -> Result<()> {
    let elements = (
        "table elements",
        needs.largest_table_elements,
        TABLE_ELEMENTS,
        "the most",
    );
    check_counts(
        name,
        &[memories(needs.memories, limits), tables(needs.tables, limits), elements],
    )
}

/// What it has, how many, how many it may have, and what says so.
type Check<'a> = (&'a str, u64, u64, &'a str);

fn memories(number: u32, limits: &Limits) -> Check<'static> {
    let most = limits.limit_component_memories.into();
    ("memories", number.into(), most, "--limit-component-memories")
}

fn tables(number: u32, limits: &Limits) -> Check<'static> {
    let most = limits.limit_component_tables.into();
    ("tables", number.into(), most, "--limit-component-tables")
}

fn check_counts(name: &str, counts: &[Check<'_>]) -> Result<()> {
    for (what, number, limit, option) in counts {
        if number > limit {
            return Err(too_large(
                name,
                &format!("it has {number} {what}, and {option} is {limit}"),
            ));
        }
    }
    Ok(())
}

/// Of one component, with the components in it.
#[derive(Default)]
struct Level {
    core_instances: u32,
    /// Instances of components, each of which may be the largest of those nested here.
    instances: u32,
    nested: u32,
}

#[derive(Default)]
struct Count {
    core_instances: u32,
    memories: u32,
    tables: u32,
}

fn count(name: &str, bytes: &[u8]) -> Result<Count> {
    let mut count = Count::default();
    let mut levels = vec![Level::default()];
    let mut modules = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| broken(name, &error))?;
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { break };
        match payload {
            Payload::ComponentSection { .. } => {
                if depth > NESTING {
                    return Err(too_large(
                        name,
                        &format!("its components are nested more than {NESTING} deep"),
                    ));
                }
                levels.push(Level::default());
            }
            Payload::ModuleSection { .. } => modules += 1,
            Payload::MemorySection(section) => count.memories = count.memories.saturating_add(section.count()),
            Payload::TableSection(section) => count.tables = count.tables.saturating_add(section.count()),
            Payload::InstanceSection(section) => {
                for instance in section {
                    if let Instance::Instantiate { .. } = instance.map_err(|error| broken(name, &error))? {
                        level.core_instances = level.core_instances.saturating_add(1);
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    if let ComponentInstance::Instantiate { .. } = instance.map_err(|error| broken(name, &error))? {
                        level.instances = level.instances.saturating_add(1);
                    }
                }
            }
            Payload::End(_) if modules > 0 => modules -= 1,
            Payload::End(_) => {
                let all = level
                    .core_instances
                    .saturating_add(level.instances.saturating_mul(level.nested));
                levels.pop();
                match levels.last_mut() {
                    Some(outer) => outer.nested = outer.nested.max(all),
                    None => count.core_instances = all,
                }
            }
            _ => {}
        }
    }
    Ok(count)
}

pub fn broken(name: &str, error: &wasmparser::BinaryReaderError) -> Fault {
    Fault::new(Kind::Malformed, format!("{name} is broken: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::test_source;
    use super::*;

    fn kind(name: &str, content: &[u8]) -> Kind {
        let directory = tempfile::tempdir().unwrap();
        read(&test_source(directory.path(), name, content), &Limits::default())
            .unwrap_err()
            .kind
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        assert_eq!(kind("empty.wasm", b""), Kind::Malformed);
        assert_eq!(kind("short.wasm", b"\0asm"), Kind::Malformed);
        assert_eq!(kind("text.wasm", b"hello"), Kind::Malformed);
        assert_eq!(kind("code.wasm", b"\x7fELF0000"), Kind::Malformed);
        assert_eq!(kind("new.wasm", b"\0asm\x02\0\0\0"), Kind::Malformed);
        assert_eq!(kind("broken.wat", b"(component"), Kind::Malformed);
        assert_eq!(kind("core.wasm", b"\0asm\x01\0\0\0"), Kind::CoreModule);
        assert_eq!(kind("core.wat", b"(module)"), Kind::CoreModule);
        let missing = read(&Source::File("/nowhere/app.wasm".into()), &Limits::default()).unwrap_err();
        assert_eq!(missing.kind, Kind::NotFound);
        let directory = read(&Source::File("/".into()), &Limits::default()).unwrap_err();
        assert_eq!(directory.kind, Kind::Unreadable);
    }

    #[test]
    fn instances_of_nested_components_are_counted() {
        let text = "(component
            (component $inner (core module $m) (core instance (instantiate $m)) (core instance (instantiate $m)))
            (core module $n (memory 1) (table 1 funcref))
            (core instance (instantiate $n))
            (instance (instantiate $inner)) (instance (instantiate $inner)))";
        let count = count("test", &wat::parse_str(text).unwrap()).unwrap();
        assert_eq!((count.core_instances, count.memories, count.tables), (5, 1, 1));
    }

    #[test]
    fn a_component_of_too_much_is_refused_before_it_is_compiled() {
        let limits = Limits::default();
        let refusal = |text: &str| {
            let bytes = wat::parse_str(text).unwrap();
            let fault = check_size("test", &bytes, &limits).unwrap_err();
            assert_eq!(fault.kind, Kind::TooLarge);
            fault.message
        };
        let memories = "(memory 1)".repeat(11);
        let message = refusal(&format!("(component (core module {memories}))"));
        assert!(
            message.ends_with("it has 11 memories, and --limit-component-memories is 10"),
            "{message}"
        );
        let tables = "(table 1 funcref)".repeat(11);
        let message = refusal(&format!("(component (core module {tables}))"));
        assert!(
            message.ends_with("it has 11 tables, and --limit-component-tables is 10"),
            "{message}"
        );
        let instances = "(core instance (instantiate 0))".repeat(11);
        let message = refusal(&format!("(component (core module) {instances})"));
        assert!(message.ends_with("and --limit-component-instances is 10"), "{message}");
        let data = "x".repeat(1 << 20);
        let message = refusal(&format!(
            "(component (core module (memory 17) (data (i32.const 0) \"{data}\")))"
        ));
        assert!(
            message.ends_with("1.0 MiB, and --limit-component-size is 1.0 MiB"),
            "{message}"
        );
        let (open, close) = ("(component ".repeat(NESTING + 2), ")".repeat(NESTING + 2));
        let message = refusal(&format!("{open}{close}"));
        assert!(message.ends_with("nested more than 16 deep"), "{message}");
    }

    #[test]
    fn a_cut_off_component_is_broken() {
        let bytes = wat::parse_str("(component (core module (memory 1)))").unwrap();
        let fault = check_size("test", &bytes[..bytes.len() - 3], &Limits::default()).unwrap_err();
        assert_eq!(fault.kind, Kind::Malformed);
    }
}
