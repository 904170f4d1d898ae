//! A chain linked ahead of time: middleware around an app, as one component that is an app.

use std::io::Write;
use std::path::{Path, PathBuf};

use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

use super::world::{Contract, INTERFACE, Role};
use super::{Limits, Looked, Source, bundle, look};
use crate::fault::{Fault, Kind, Result};

/// Links the files, of which the first is the outermost and the last is the app, and writes the component to `out`: all of
/// it or nothing.
pub fn compose(files: &[PathBuf], limits: &Limits, out: &Path) -> Result<()> {
    let mut graph = CompositionGraph::new();
    let mut inside: Option<NodeId> = None;
    let mut files_of: Option<(String, Vec<u8>)> = None;
    for (place, path) in files.iter().enumerate().rev() {
        let link = Link::read(path, limits, place + 1 == files.len())?;
        if let Some(section) = link.bundle {
            if let Some((other, _)) = &files_of {
                return Err(no_composition(&format!(
                    "{} and {other} both bring files along, which would have to share one file system; serve them with --middleware instead",
                    link.name
                )));
            }
            files_of = Some((link.name.clone(), section));
        }
        let outer = add(&mut graph, place, link.component, &link.contract, inside);
        inside = Some(outer.map_err(|why| no_composition(&format!("{}: {why:#}", link.name)))?);
    }
    let options = EncodeOptions::default();
    let encoded = inside
        .ok_or_else(|| anyhow::anyhow!("there is nothing to compose"))
        .and_then(|outermost| {
            graph.export(outermost, super::world::APPLICATION)?;
            Ok(graph.encode(options)?)
        });
    let mut component = encoded.map_err(|why| no_composition(&format!("{why:#}")))?;
    if let Some((_, section)) = files_of {
        component.extend_from_slice(&section);
    }
    write(&component, out)
        .map_err(|error| Fault::new(Kind::Resource, format!("cannot write {}: {error}", out.display())))
}

/// One of the files.
struct Link {
    name: String,
    contract: Contract,
    /// Without its bundle, which would not be found inside another component.
    component: Vec<u8>,
    bundle: Option<Vec<u8>>,
}

impl Link {
    fn read(path: &Path, limits: &Limits, is_app: bool) -> Result<Self> {
        let source = Source::File(path.to_owned());
        let name = source.name();
        let role = if is_app { Role::App } else { Role::Middleware };
        let Looked { bytes, contract } = look(&source, Some(role), limits)?;
        let (component, bundle) = bundle::split(bytes);
        Ok(Self {
            name,
            contract,
            component,
            bundle,
        })
    }
}

/// Adds an instance of a link around what is inside of it; what it exports.
fn add(
    graph: &mut CompositionGraph,
    place: usize,
    component: Vec<u8>,
    contract: &Contract,
    inside: Option<NodeId>,
) -> anyhow::Result<NodeId> {
    // Links may be the same component, and are not the same part.
    let package = Package::from_bytes(&format!("link:number{place}"), None, component, graph.types_mut())?;
    let package = graph.register_package(package)?;
    let instance = graph.instantiate(package);
    if let Some(inside) = inside {
        let import = contract.imports.iter().find(|import| import.starts_with(INTERFACE));
        let import = import.ok_or_else(|| anyhow::anyhow!("it imports no application"))?;
        graph.set_instantiation_argument(instance, import, inside)?;
    }
    Ok(graph.alias_instance_export(instance, &contract.application)?)
}

fn write(component: &[u8], out: &Path) -> std::io::Result<()> {
    let directory = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(component)?;
    file.persist(out)?;
    Ok(())
}

fn no_composition(why: &str) -> Fault {
    Fault::new(
        Kind::NoComposition,
        format!("these cannot be composed: {}", why.replace('\n', " ")),
    )
}
