//! What a component imports and exports, by name: whether it is for this contract, and in which role.

use std::fmt;

use wasmparser::{Parser, Payload};

use super::binary::broken;
use crate::fault::{Fault, Kind, Result};
use crate::log::printable;

/// The interface that an app exports, at the version that this host offers.
pub const APPLICATION: &str = "wsgi:gateway/application@0.1.0";
pub const INTERFACE: &str = "wsgi:gateway/application";
const PACKAGE: &str = "wsgi:gateway/";
const VERSION: Version = Version {
    major: 0,
    minor: 1,
    patch: 0,
};

/// How many names a message lists.
const LISTED: usize = 10;

/// WASI as this host offers it: these packages, at any 0.2.
const OFFERED_WASI: [&str; 6] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.splitn(3, '.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            major: next()?,
            minor: next()?,
            patch: next()?,
        })
    }

    /// Whether a host of `self` serves a component built for `other`: of versions 0.x, only patches go together.
    fn serves(self, other: Self) -> bool {
        (self.major, self.minor) == (other.major, other.minor) && other.patch <= self.patch
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    App,
    Middleware,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Middleware => "middleware",
        }
    }
}

/// A component that is for this host, by the names of what it imports and exports.
#[derive(Debug)]
pub struct Contract {
    pub role: Role,
    /// The name that it exports the application by.
    pub application: String,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Contract {
    pub fn of(name: &str, bytes: &[u8]) -> Result<Self> {
        let (imports, exports) = names(name, bytes)?;
        let application = check_export(name, &exports)?;
        let role = if imports.iter().any(|import| import.starts_with(INTERFACE)) {
            Role::Middleware
        } else {
            Role::App
        };
        check_imports(name, &imports)?;
        Ok(Self {
            role,
            application,
            imports,
            exports,
        })
    }

    pub fn imports_wasi(&self) -> bool {
        self.imports.iter().any(|import| import.starts_with("wasi:"))
    }
}

/// The names are right, and what goes by them is not.
pub enum Misfit {
    Import(wasmtime::Error),
    Export(wasmtime::Error),
}

impl Misfit {
    pub fn explain(&self, name: &str) -> Fault {
        match self {
            Self::Import(error) => Fault::new(
                Kind::UnknownImport,
                format!("{name} imports what this host does not offer: {error:#}"),
            ),
            Self::Export(error) => misfit(name, &format!("{error:#}")),
        }
    }
}

/// It has the application, in a way.
pub fn misfit(name: &str, why: &str) -> Fault {
    Fault::new(
        Kind::OtherWorld,
        format!("{name} has {APPLICATION}, but not as wit/gateway.wit has it: {why}"),
    )
}

/// What a component imports and exports by name, in order.
pub fn names(name: &str, bytes: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    // Nested modules and components have sections of their own; only the outermost are this component's.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| broken(name, &error))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(printable(import.map_err(|error| broken(name, &error))?.name.name));
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(printable(export.map_err(|error| broken(name, &error))?.name.name));
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// The application that a component exports, in a version that is served here if it has one.
fn check_export(name: &str, exports: &[String]) -> Result<String> {
    let version = |export: &str| Some(export.strip_prefix(INTERFACE)?.strip_prefix('@')?.to_owned());
    let found: Vec<(&String, String)> = exports
        .iter()
        .filter_map(|export| Some((export, version(export)?)))
        .collect();
    let served = found
        .iter()
        .find(|(_, version)| Version::parse(version).is_some_and(|version| VERSION.serves(version)));
    match (served, found.first()) {
        (Some((export, _)), _) => Ok((*export).clone()),
        (None, Some((export, version))) => check_version(name, version).map(|()| (*export).clone()),
        (None, None) => Err(other_world(name, exports)),
    }
}

fn other_world(name: &str, exports: &[String]) -> Fault {
    let hint = if exports.iter().any(|export| export.starts_with("wasi:http/")) {
        "; this is a wasi:http component, for `wasmtime serve`"
    } else if exports.iter().any(|export| export.starts_with("wasi:cli/run@")) {
        "; this is a command, for `wasmtime run`"
    } else {
        ""
    };
    let exported = listed(exports.iter().map(String::as_str));
    Fault::new(
        Kind::OtherWorld,
        format!(
            "{name} is a component of another world: expected it to export {APPLICATION}, and it exports {exported}{hint}"
        ),
    )
}

/// Names for a message: a component may have any number.
fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let shown: Vec<&str> = names.take(LISTED).collect();
    match (shown.as_slice(), more) {
        ([], _) => "nothing".to_owned(),
        (shown, 0) => shown.join(", "),
        (shown, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn check_version(name: &str, version: &str) -> Result<()> {
    let other = |help: &str| {
        Err(Fault::new(
            Kind::OtherVersion,
            format!("{name} is built for wsgi:gateway {version}, and this host offers {VERSION}; {help}"),
        ))
    };
    match Version::parse(version) {
        Some(version) if VERSION.serves(version) => Ok(()),
        Some(version) if version > VERSION => other("use a newer wsgi-host"),
        Some(_) => other("build it again with this version of wit/"),
        None => other("that is no version"),
    }
}

fn check_imports(name: &str, imports: &[String]) -> Result<()> {
    let mut unknown = Vec::new();
    for import in imports {
        if let Some(interface) = import.strip_prefix(PACKAGE) {
            if let Some((_, version)) = interface.split_once('@') {
                check_version(name, version)?;
            }
        } else if !is_offered_wasi(import) {
            unknown.push(import.as_str());
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Fault::new(
        Kind::UnknownImport,
        format!(
            "{name} imports what this host does not offer: {}; it offers wsgi:gateway/io and WASI 0.2 (cli, clocks, filesystem, io, random, sockets)",
            listed(unknown.into_iter())
        ),
    ))
}

fn is_offered_wasi(import: &str) -> bool {
    let version = import.split_once('@').map(|(_, version)| version);
    OFFERED_WASI.iter().any(|package| import.starts_with(package))
        && version.is_some_and(|version| version.starts_with("0.2."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(text: &str) -> Result<Contract> {
        Contract::of("test", &wat::parse_str(format!("(component {text})")).unwrap())
    }

    fn kind(text: &str) -> Kind {
        contract(text).unwrap_err().kind
    }

    #[test]
    fn other_worlds_are_named() {
        assert_eq!(kind(""), Kind::OtherWorld);
        let http = "(instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i))";
        let fault = contract(http).unwrap_err();
        assert_eq!(fault.kind, Kind::OtherWorld);
        assert!(fault.message.contains("wasi:http/incoming-handler@0.2.0") && fault.message.contains("wasmtime serve"));
        let nested = format!("(component (instance $i) (export \"{APPLICATION}\" (instance $i)))");
        assert_eq!(kind(&nested), Kind::OtherWorld);
    }

    #[test]
    fn versions_follow_the_components_rule() {
        let version = |version: &str| {
            let text = format!("(instance $i) (export \"wsgi:gateway/application@{version}\" (instance $i))");
            contract(&text)
                .map(|contract| contract.role)
                .map_err(|fault| (fault.kind, fault.message))
        };
        assert_eq!(version("0.1.0"), Ok(Role::App));
        for (other, help) in [
            ("0.1.1", "newer"),
            ("0.2.0", "newer"),
            ("1.0.0", "newer"),
            ("0.0.9", "again"),
        ] {
            let (kind, message) = version(other).unwrap_err();
            assert_eq!(kind, Kind::OtherVersion);
            assert!(message.contains(help), "{message}");
        }
    }

    #[test]
    fn imports_have_to_be_offered() {
        let with = |import: &str| {
            format!("(import \"{import}\" (instance)) (instance $i) (export \"{APPLICATION}\" (instance $i))")
        };
        assert_eq!(kind(&with("wasi:http/outgoing-handler@0.2.0")), Kind::UnknownImport);
        assert_eq!(kind(&with("wasi:cli/environment@0.3.0")), Kind::UnknownImport);
        assert_eq!(kind(&with("wsgi:gateway/io@0.2.0")), Kind::OtherVersion);
        assert!(contract(&with("wasi:cli/environment@0.2.6")).unwrap().imports_wasi());
        assert_eq!(contract(&with(APPLICATION)).unwrap().role, Role::Middleware);
    }
}
