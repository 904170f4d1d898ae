//! componentize-py at work: the app is imported in the sandbox's own Python, and the memory that this leaves is frozen.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use super::Build;
use super::layout::Layout;
use super::tools::{Tools, last_lines};
use crate::fault::{Fault, Kind, Result};

/// The package's name in the sandbox: one that no app has.
const PACKAGE: &str = "_wsgi_host";

/// The Python that is packaged around the app.
pub const ADAPTER: &[(&str, &str)] = &[
    ("__init__.py", include_str!("adapter/__init__.py")),
    ("database.py", include_str!("adapter/database.py")),
    ("environ.py", include_str!("adapter/environ.py")),
    ("find.py", include_str!("adapter/find.py")),
    ("immortal.py", include_str!("adapter/immortal.py")),
    ("guest.py", include_str!("adapter/guest.py")),
    ("hot.py", include_str!("adapter/hot.py")),
    ("inner.py", include_str!("adapter/inner.py")),
    ("kdf.py", include_str!("adapter/kdf.py")),
    ("rehearsal.py", include_str!("adapter/rehearsal.py")),
    ("response.py", include_str!("adapter/response.py")),
    ("scratch.py", include_str!("adapter/scratch.py")),
    ("snapshot.py", include_str!("adapter/snapshot.py")),
    ("streams.py", include_str!("adapter/streams.py")),
    ("thaw.py", include_str!("adapter/thaw.py")),
    ("warm.py", include_str!("adapter/warm.py")),
];

/// The parts of it that are compiled: kdf/kdf.c, blocks/blocks.c and memory/memory.c say from what, and how. The names are what CPython
/// looks for.
pub const EXTENSIONS: &[(&str, &[u8])] = &[
    (
        "_blocks.cpython-314-wasm32-wasi.so",
        include_bytes!("blocks/blocks.wasm"),
    ),
    ("_kdf.cpython-314-wasm32-wasi.so", include_bytes!("kdf/kdf.wasm")),
    (
        "_memory.cpython-314-wasm32-wasi.so",
        include_bytes!("memory/memory.wasm"),
    ),
];

/// The contract that the component is built for.
pub const WIT: &[(&str, &str)] = &[("gateway.wit", include_str!("../../wit/gateway.wit"))];

/// What the adapter reads when it is imported. All paths are the guest's.
#[derive(Serialize)]
struct Order<'a> {
    module: &'a str,
    object: &'a str,
    home: &'a str,
    sys_path: &'a [String],
    env: BTreeMap<&'a str, &'a str>,
    warm_up: &'a [String],
}

/// What the adapter writes when the app is imported, or cannot be.
#[derive(Deserialize)]
#[serde(untagged)]
enum Report {
    NotFound {
        not_found: String,
    },
    Failed {
        traceback: String,
        extension: Option<Extension>,
    },
    Unwell {
        warm_up: String,
        failed: String,
    },
    Imported {
        modules: BTreeMap<String, String>,
    },
}

/// A compiled extension that the app needs and that cannot run in the sandbox.
#[derive(Deserialize)]
struct Extension {
    name: String,
    file: String,
    importer: Option<String>,
}

/// What is known of the app once it is imported.
pub struct Frozen {
    /// The guest's file of each imported module.
    pub modules: BTreeMap<String, String>,
    /// The standard library's files.
    pub stdlib: PathBuf,
}

/// Builds the component into `out`, without any files in it.
pub fn freeze(build: &Build, tools: &Tools, layout: &Layout, work: &Path, out: &Path) -> Result<Frozen> {
    let adapter = work.join("adapter");
    let wit = work.join("wit");
    let order = Order {
        module: &build.spec.module,
        object: &build.spec.object,
        home: layout.home(),
        sys_path: &layout.sys_path,
        env: build.env.iter().map(|(name, value)| (&**name, &**value)).collect(),
        warm_up: &build.warm_up,
    };
    write_tree(&adapter.join(PACKAGE), ADAPTER)
        .and_then(|()| write_tree(&adapter.join(PACKAGE), EXTENSIONS))
        .and_then(|()| write_tree(&wit, WIT))
        .and_then(|()| fs::write(adapter.join("build.json"), serde_json::to_vec(&order)?))
        // componentize-py adds the active environment's packages by itself; it finds none in this one.
        .and_then(|()| fs::create_dir_all(work.join("none/lib/site-packages")))
        .map_err(|error| {
            Fault::new(
                Kind::BuildFailed,
                format!("cannot write to {}: {error}", work.display()),
            )
        })?;
    let mut command = tools.componentize()?;
    command
        .arg("-q")
        .arg("-d")
        .arg(&wit)
        .args(["-w", build.spec.role.name(), "componentize"]);
    command.arg(format!("{PACKAGE}.guest"));
    for directory in layout.directories().chain([adapter.as_path()]) {
        command.arg("-p").arg(directory);
    }
    let output = command
        .arg("-o")
        .arg(out)
        .env("VIRTUAL_ENV", work.join("none"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Fault::new(Kind::ToolMissing, format!("cannot run componentize-py: {error}")))?;
    let report = fs::read(adapter.join("report.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    match report {
        Some(Report::NotFound { not_found }) => {
            Err(Fault::new(Kind::PythonNotFound, format!("{}: {not_found}", build.spec)))
        }
        Some(Report::Failed { traceback, extension }) => Err(import_failed(build, layout, &traceback, extension)),
        Some(Report::Unwell { warm_up, failed }) => {
            let what = format!("{} could not answer --warm-up {warm_up} while it was built", build.spec);
            Err(Fault::new(Kind::PythonImport, what).with_detail(layout.in_host_names(&failed)))
        }
        Some(Report::Imported { modules }) if output.status.success() => Ok(Frozen {
            modules,
            stdlib: adapter.join("stdlib"),
        }),
        _ => {
            let what = format!("componentize-py could not build {} ({})", build.spec, output.status);
            Err(Fault::new(Kind::BuildFailed, what).with_detail(last_lines(&output)))
        }
    }
}

fn write_tree(directory: &Path, files: &[(&str, impl AsRef<[u8]>)]) -> io::Result<()> {
    for (name, text) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        fs::write(path, text)?;
    }
    Ok(())
}

fn import_failed(build: &Build, layout: &Layout, traceback: &str, extension: Option<Extension>) -> Fault {
    let traceback = layout.in_host_names(traceback);
    let error = traceback
        .trim_end()
        .lines()
        .rfind(|line| !line.starts_with(' '))
        .unwrap_or("an error without a text");
    let spec = &build.spec;
    let message = match extension {
        Some(Extension { name, file, importer }) => {
            let importer = importer.map_or_else(String::new, |place| {
                let place = layout.in_host_names(&format!("\"{place}"));
                format!(", imported by {}", place.trim_start_matches('"'))
            });
            let file = file.rsplit('/').next().unwrap_or_default();
            format!(
                "{spec} needs {name}, a compiled extension ({file}) that cannot run in the sandbox{importer}: use a package \
                 that is written in Python alone"
            )
        }
        None if error.starts_with("ModuleNotFoundError") => format!(
            "{spec} failed while it was imported: {error}; install it where python3 finds it, or name it in --requirements"
        ),
        None => format!("{spec} failed while it was imported: {error}"),
    };
    Fault::new(Kind::PythonImport, message).with_detail(traceback)
}
