//! What is in an app's file, and how it becomes code that workers can map.

mod binary;
pub mod bundle;
mod cache;
pub mod compile;
mod compose;
mod fuse;
#[cfg(test)]
mod fuzz;
mod heap;
mod limits;
mod part;
mod report;
mod sections;
mod signature;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wasmtime::component::Component;

use crate::engine::{self, Needs};
use crate::fault::{Fault, Kind, Result};
use crate::progress::Progress;
use crate::units;

pub use bundle::Bundle;
pub use cache::{Cache, map};
pub use compose::compose;
pub use limits::{CompileLimits, Limits};
pub use report::{Granted, check, compile, inspect};
pub use world::{Misfit, Role};

/// Where an app comes from.
pub enum Source {
    /// A file: a component, or one in the text format.
    File(PathBuf),
    /// A file that was built for somebody who knows the app by another name.
    Built { path: PathBuf, name: String },
    /// A component that is part of this program.
    Embedded { name: &'static str, text: &'static [u8] },
}

impl Source {
    /// For people.
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Built { name, .. } => name.clone(),
            Self::Embedded { name, .. } => (*name).to_owned(),
        }
    }

    /// What the log calls the app.
    fn short_name(&self) -> String {
        match self {
            Self::File(path) => path
                .file_stem()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned(),
            Self::Built { .. } | Self::Embedded { .. } => self.name(),
        }
    }
}

/// A component that is ready to be mapped by workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// What the log calls it.
    pub name: String,
    /// The compiled code, checked; what is there when a worker maps it is what was checked, since nobody else may write
    /// to the cache.
    pub code: PathBuf,
    pub needs: Needs,
    /// Whether it imports any of WASI.
    pub wasi: bool,
    pub bundle: Bundle,
}

/// Whether everything that a component imports and exports is there; whether it imports any of WASI is known.
pub type Fits<'a> = &'a dyn Fn(&Component, bool) -> Result<(), Misfit>;

/// Everything that is known of a component once it has been looked at.
struct Examined {
    /// As a file: its bytes and its size.
    bytes: Vec<u8>,
    contract: world::Contract,
    needs: Needs,
    code: PathBuf,
    code_bytes: u64,
    /// How long compiling took, now or when the code came into the cache.
    compile_time: Option<Duration>,
    /// Whether it was compiled now.
    fresh: bool,
}

/// Makes a component ready: reads it, checks that it can be served, compiles it unless that has been done, and unpacks
/// what it brought along.
pub fn prepare(source: &Source, role: Role, cache: &Cache, fits: Fits<'_>) -> Result<Prepared> {
    let examined = examine(look(source, Some(role), &cache.limits)?, source, cache, fits)?;
    Ok(Prepared {
        name: source.short_name(),
        bundle: Bundle::unpack(&examined.bytes, cache.directory())?,
        code: examined.code,
        needs: examined.needs,
        wasi: examined.contract.imports_wasi(),
    })
}

/// A component that has been read, and not compiled: its bytes, and which contract it is for.
pub struct Looked {
    bytes: Vec<u8>,
    contract: world::Contract,
}

/// Whatever can be wrong with a component that is found out at once, without compiling it. Without a role, it may have any.
pub fn look(source: &Source, role: Option<Role>, limits: &Limits) -> Result<Looked> {
    let name = source.name();
    let bytes = binary::read(source, limits)?;
    let contract = world::Contract::of(&name, &bytes)?;
    binary::check_size(&name, &bytes, limits)?;
    match role {
        Some(role) if contract.role != role => Err(other_role(&name, role)),
        _ => Ok(Looked { bytes, contract }),
    }
}

fn other_role(name: &str, expected: Role) -> Fault {
    let application = world::APPLICATION;
    let message = match expected {
        Role::App => format!(
            "{name} is a middleware: it imports {application}, so it needs an app to be around; serve it with --middleware {name}, and name the app it is for"
        ),
        Role::Middleware => format!(
            "{name} is an app, not a middleware: it does not import {application}, so it cannot be around another one; serve it as the app, without --middleware"
        ),
    };
    Fault::new(Kind::OtherRole, message)
}

/// The most that a memory can have.
const MEMORY_BYTES: usize = 4 << 30;

fn examine(looked: Looked, source: &Source, cache: &Cache, fits: Fits<'_>) -> Result<Examined> {
    let name = source.name();
    let limits = &cache.limits;
    let Looked { bytes, contract } = looked;
    let engine = engine::compiler().map_err(|error| Fault::new(Kind::Internal, format!("{error:#}")))?;
    let key = cache.key(&engine, &bytes);
    let found = cache.find(&engine, &key);
    let fresh = found.is_none();
    let found = match found {
        Some(found) => found,
        None => {
            let start = Instant::now();
            let size = binary::without_bundle(&bytes);
            let code = {
                let _progress = Progress::start(format!("Compiling {name} ({})", units::size(size as u64)));
                compile::compile(&name, &bytes, &cache.compile_limits)?
            };
            cache.store(&engine, &key, &code, start.elapsed())?
        }
    };
    let component = found.component;
    let needs = Needs::of(&component).ok_or_else(|| binary::imports_modules(&name))?;
    binary::check_needs(&name, &needs, limits)?;
    // What of it has no number of its own shows when the workers' engine is to take it.
    if let Ok(engine) = engine::runner(&needs, 1, MEMORY_BYTES, 0) {
        map(&engine, &found.path).map_err(|error| binary::too_large(&name, &one_line(&error)))?;
    }
    fits(&component, contract.imports_wasi()).map_err(|misfit| misfit.explain(&name))?;
    signature::check(&component, &contract.application, &name)?;
    Ok(Examined {
        needs,
        fresh,
        bytes,
        contract,
        code_bytes: std::fs::metadata(&found.path).map_or(0, |metadata| metadata.len()),
        code: found.path,
        compile_time: found.compile_time,
    })
}

fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A fresh instance of a component of the corpus that imports at most `length`, for the tests of what is made of it.
#[cfg(test)]
fn test_instance(bytes: &[u8]) -> (wasmtime::Store<()>, wasmtime::component::Instance) {
    let engine = engine::compiler().unwrap();
    let component = Component::new(&engine, bytes).unwrap();
    let mut linker = wasmtime::component::Linker::new(&engine);
    let length = |_: wasmtime::StoreContextMut<'_, ()>, (text,): (String,)| Ok((text.len() as u32,));
    linker.root().func_wrap("length", length).unwrap();
    let mut store = wasmtime::Store::new(&engine, ());
    store.set_epoch_deadline(1);
    let instance = linker.instantiate(&mut store, &component).unwrap();
    (store, instance)
}

/// A path for the tests of this room.
#[cfg(test)]
fn test_source(directory: &std::path::Path, name: &str, content: impl AsRef<[u8]>) -> Source {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    Source::File(path)
}
