//! The bytes of a file: whether they are a component at all, and how large a thing it is.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use wasmparser::{ComponentInstance, Instance, Parser, Payload};

use super::{Source, bundle};
use crate::engine::Needs;
use crate::fault::{Fault, Kind, Result};

/// The largest file, bundle included.
const FILE_BYTES: u64 = (1 << 30) + CODE_BYTES;
/// The largest component without its bundle: what has to be compiled.
const CODE_BYTES: u64 = 256 << 20;
/// How much one instance may be made of.
const CORE_INSTANCES: u32 = 1_000;
const MEMORIES: u32 = 64;
const TABLES: u32 = 256;
/// Elements of one table, when it is made.
const TABLE_ELEMENTS: u64 = 1 << 20;
/// How deep components may be nested in each other.
const NESTING: usize = 16;

/// Reads a component, from the binary or the text format. What is returned starts as a component does.
pub fn read(source: &Source) -> Result<Vec<u8>> {
    let name = source.name();
    let bytes = match source {
        Source::File(path) | Source::Built { path, .. } => read_file(path)?,
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

fn read_file(path: &Path) -> Result<Vec<u8>> {
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
    file.take(FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| explain(&error))?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(too_large(
            &path.display().to_string(),
            &format!("the file has more than {FILE_BYTES} bytes"),
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

pub fn malformed(name: &str, error: &wasmtime::Error) -> Fault {
    let text = format!("{error:#}").replace('\n', " ");
    Fault::new(Kind::Malformed, format!("{name} is no valid component: {text}"))
}

pub fn imports_modules(name: &str) -> Fault {
    Fault::new(
        Kind::UnknownImport,
        format!("{name} imports core modules, which no host can offer it"),
    )
}

fn too_large(name: &str, why: &str) -> Fault {
    Fault::new(Kind::TooLarge, format!("{name} is too large: {why}"))
}

/// Whether a component is one that may be compiled: what is in it, and how much of it.
pub fn check_size(name: &str, bytes: &[u8]) -> Result<()> {
    if without_bundle(bytes) as u64 > CODE_BYTES {
        return Err(too_large(
            name,
            &format!("{CODE_BYTES} bytes are the most that is compiled"),
        ));
    }
    let count = count(name, bytes)?;
    check_counts(
        name,
        &[
            ("core instances", count.core_instances.into(), CORE_INSTANCES.into()),
            ("memories", count.memories.into(), MEMORIES.into()),
            ("tables", count.tables.into(), TABLES.into()),
        ],
    )
}

/// The same once it is compiled, when it is known how often its parts are instantiated.
pub fn check_needs(name: &str, needs: &Needs) -> Result<()> {
    check_counts(
        name,
        &[
            ("memories", needs.memories.into(), MEMORIES.into()),
            ("tables", needs.tables.into(), TABLES.into()),
            ("table elements", needs.largest_table_elements, TABLE_ELEMENTS),
        ],
    )
}

fn check_counts(name: &str, counts: &[(&str, u64, u64)]) -> Result<()> {
    for (what, number, limit) in counts {
        if number > limit {
            return Err(too_large(
                name,
                &format!("it has {number} {what}, and {limit} are the most"),
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
        read(&test_source(directory.path(), name, content)).unwrap_err().kind
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
        let missing = read(&Source::File("/nowhere/app.wasm".into())).unwrap_err();
        assert_eq!(missing.kind, Kind::NotFound);
        assert_eq!(read(&Source::File("/".into())).unwrap_err().kind, Kind::Unreadable);
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
        let memories = "(memory 1)".repeat(MEMORIES as usize + 1);
        let text = format!("(component (core module {memories}))");
        let fault = check_size("test", &wat::parse_str(text).unwrap()).unwrap_err();
        assert_eq!(fault.kind, Kind::TooLarge);
        assert!(fault.message.contains("65 memories"), "{}", fault.message);
    }

    #[test]
    fn a_cut_off_component_is_broken() {
        let bytes = wat::parse_str("(component (core module (memory 1)))").unwrap();
        let fault = check_size("test", &bytes[..bytes.len() - 3]).unwrap_err();
        assert_eq!(fault.kind, Kind::Malformed);
    }
}
