//! From what the operator named to the links of a chain: each file read, checked and compiled, each link with its
//! limits, its grants and a name of its own.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::component::{self, Cache, Prepared, Role, Source};
use crate::fault::{Fault, Kind, Result};
use crate::python::{AppSpec, Build, Options as PythonOptions};
use crate::sandbox::{self, ChainOptions, GrantOptions, Grants, Limits, LinkOrders};

/// A middleware: the keys of a `[[middleware]]` table.
#[derive(Args, Clone, Debug)]
pub struct Middleware {
    /// The component, or Python that makes a callable around another one (module:create_app).
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,

    /// What the log calls it; the default is the file's name, with a number if several go by it.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Whether a request goes on without it if it fails before it has called inward or read any of the body.
    #[arg(long)]
    pub fail_open: bool,

    #[command(flatten)]
    pub limits: Limits,

    #[command(flatten)]
    pub grants: GrantOptions,
}

impl Middleware {
    /// With the server's limits, and with no grants.
    pub fn new(file: PathBuf, limits: &Limits) -> Self {
        Self {
            file,
            name: None,
            fail_open: false,
            limits: limits.clone(),
            grants: GrantOptions::default(),
        }
    }
}

/// The app's own part.
pub struct App<'a> {
    pub source: Source,
    pub limits: &'a Limits,
    pub grants: &'a GrantOptions,
}

/// Makes the links ready: the middleware, the first of which is the outermost, around the app.
pub fn prepare(
    middleware: &[Middleware],
    app: &App<'_>,
    chain: &ChainOptions,
    python: &PythonOptions,
    cache: &Cache,
) -> Result<Vec<LinkOrders>> {
    let count = middleware.len();
    if count > chain.limit_middleware as usize {
        return Err(Fault::new(
            Kind::Usage,
            format!(
                "{count} middleware around the app, and --limit-middleware allows {}; raise it",
                chain.limit_middleware
            ),
        ));
    }
    let mut links = Vec::with_capacity(count + 1);
    for link in middleware {
        let source = source(Role::Middleware, &link.file, python, &link.grants, cache)?;
        let mut orders = prepare_one(&source, Role::Middleware, &link.limits, &link.grants, cache)?;
        orders.fail_open = link.fail_open;
        links.push((orders, link.name.as_deref()));
    }
    let app = prepare_one(&app.source, Role::App, app.limits, app.grants, cache)?;
    links.push((app, None));
    let links = name(links)?;
    check_memory_of_all(&links, chain.memory.max_worker_memory)?;
    Ok(links)
}

/// Whatever can be wrong with a link that is found out at once: nothing is compiled or built.
pub fn look(
    role: Role,
    named: &Path,
    python: &PythonOptions,
    grants: &GrantOptions,
    limits: &component::Limits,
) -> Result<()> {
    match build(role, named, python, grants)? {
        Some(build) => build.look(),
        None => component::look(&Source::File(named.to_owned()), Some(role), limits).map(drop),
    }
}

/// What an argument stands for: a file, or something in Python that is built first, as far as it has changed.
pub fn source(
    role: Role,
    named: &Path,
    python: &PythonOptions,
    grants: &GrantOptions,
    cache: &Cache,
) -> Result<Source> {
    match build(role, named, python, grants)? {
        Some(build) => Ok(Source::Built {
            path: build.cached(cache.directory())?,
            name: named.display().to_string(),
        }),
        None => Ok(Source::File(named.to_owned())),
    }
}

/// What an argument asks to be built; none if it is a file.
fn build(role: Role, named: &Path, python: &PythonOptions, grants: &GrantOptions) -> Result<Option<Build>> {
    let spec = match named.to_str() {
        Some(named) => AppSpec::of_argument(role, named)?,
        None => None,
    };
    Ok(spec.map(|spec| Build {
        spec,
        paths: python.path.clone(),
        requirements: python.requirements.clone(),
        warm_up: match role {
            Role::App => python.warm_up.clone(),
            Role::Middleware => Vec::new(),
        },
        env: grants.env.clone(),
    }))
}

fn prepare_one(
    source: &Source,
    role: Role,
    limits: &Limits,
    grants: &GrantOptions,
    cache: &Cache,
) -> Result<LinkOrders> {
    let component = component::prepare(source, role, cache, &sandbox::fits)?;
    check_memory(&component, limits)?;
    Ok(LinkOrders {
        grants: Grants::new(grants, &component.bundle)?,
        component,
        limits: limits.clone(),
        fail_open: false,
    })
}

/// A component that asks for too much from the start is refused here, before every worker fails at it.
fn check_memory(component: &Prepared, limits: &Limits) -> Result<()> {
    let asked = component.needs.largest_initial_memory_bytes;
    if asked <= limits.max_memory {
        return Ok(());
    }
    Err(Fault::new(
        Kind::TooLarge,
        format!(
            "{} starts with {asked} bytes of memory, and --max-memory allows {}; raise it",
            component.name, limits.max_memory
        ),
    ))
}

/// The same for what the links ask for together: a worker could not serve a single request. Of each link only the largest
/// memory counts, for that much is certain; what is set aside for one counts the most that it may start with.
fn check_memory_of_all(links: &[LinkOrders], most: u64) -> Result<()> {
    let starts = links
        .iter()
        .map(|link| link.component.needs.largest_initial_memory_bytes);
    let asked = starts.fold(0, u64::saturating_add);
    if most == 0 || asked <= most {
        return Ok(());
    }
    Err(Fault::new(
        Kind::TooLarge,
        format!(
            "{}: a request starts with {asked} bytes of memory, and --max-worker-memory allows {most}; raise it",
            LinkOrders::names(links)
        ),
    ))
}

/// Gives each link a name of its own: the log tells them apart by it. Names that were chosen may not be alike; among
/// those that come from files, the ones inside get a number.
fn name(links: Vec<(LinkOrders, Option<&str>)>) -> Result<Vec<LinkOrders>> {
    let mut taken: Vec<String> = Vec::new();
    for chosen in links.iter().filter_map(|(_, chosen)| *chosen) {
        if taken.iter().any(|name| name == chosen) {
            return Err(Fault::new(
                Kind::Usage,
                format!("two middleware have the name {chosen:?}; give each a name of its own"),
            ));
        }
        taken.push(chosen.to_owned());
    }
    let mut named = Vec::with_capacity(links.len());
    for (mut orders, chosen) in links {
        orders.component.name = match chosen {
            Some(chosen) => chosen.to_owned(),
            None => {
                let name = free(&orders.component.name, &taken);
                taken.push(name.clone());
                name
            }
        };
        named.push(orders);
    }
    Ok(named)
}

fn free(stem: &str, taken: &[String]) -> String {
    let is_free = |name: &String| !taken.contains(name);
    let numbered = (2..).map(|number| format!("{stem}#{number}"));
    std::iter::once(stem.to_owned())
        .chain(numbered)
        .find(is_free)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_taken_get_a_number() {
        let taken = ["log".to_owned(), "log#2".to_owned()];
        assert_eq!(free("auth", &taken), "auth");
        assert_eq!(free("log", &taken), "log#3");
    }
}
