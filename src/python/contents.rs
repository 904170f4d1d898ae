//! Which files a packaged app has at run time: its own, those of the installed packages that it needs, the standard
//! library's, and time zones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::freeze::Frozen;
use super::layout::{Layout, STDLIB};
use super::project::{self, Listing};
use super::tools::Tools;
use crate::component::bundle::Root;
use crate::fault::Result;

/// Where Python's zoneinfo looks first, here and in the sandbox.
const ZONEINFO: &str = "/usr/share/zoneinfo";
/// The same zones over again, with other leap seconds.
const ZONEINFO_TWINS: &[&str] = &["posix/", "right/"];
/// Where a project says what it depends on.
const DECLARATIONS: &[&str] = &["pyproject.toml", "requirements.txt"];

pub struct Contents {
    pub roots: Vec<Root>,
    /// The installed packages' files, as they are found on this machine.
    pub installed: Vec<PathBuf>,
    /// The person's own directories that are in it.
    pub own: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Question {
    places: Vec<Place>,
    /// For each module that was imported from a place: the place's index, and the path below it.
    imported: Vec<(usize, String)>,
    /// The app's own source files.
    sources: Vec<PathBuf>,
    declarations: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Place {
    host: PathBuf,
    whole: bool,
}

#[derive(Deserialize)]
struct Answer {
    /// For each place: paths below it.
    files: Vec<Vec<String>>,
    distributions: Vec<String>,
}

impl Contents {
    pub fn of(tools: &Tools, layout: &Layout, frozen: &Frozen) -> Result<Self> {
        let mut contents = Self {
            roots: Vec::new(),
            installed: Vec::new(),
            own: Vec::new(),
        };
        let mut sources = Vec::new();
        let mut declarations = Vec::new();
        for root in &layout.roots {
            let is_used = || frozen.modules.values().any(|file| below(file, &root.guest).is_some());
            if !(root.is_certain || is_used()) {
                continue;
            }
            let listing = project::list(&root.host)?;
            let paths = listing.values().map(|item| &item.path);
            sources.extend(
                paths
                    .filter(|path| path.extension().is_some_and(|ending| ending == "py"))
                    .cloned(),
            );
            declarations.extend(DECLARATIONS.iter().map(|name| root.host.join(name)));
            contents.own.push(root.host.clone());
            contents.add(&root.guest, entries(listing));
        }
        let question = Question {
            places: layout
                .places
                .iter()
                .map(|place| Place {
                    host: place.host.clone(),
                    whole: place.is_whole,
                })
                .collect(),
            imported: imported(layout, frozen),
            sources,
            declarations,
        };
        let answer: Answer = tools.ask(include_str!("host/select.py"), &question)?;
        for (place, files) in layout.places.iter().zip(answer.files) {
            let files: BTreeMap<String, PathBuf> = files
                .into_iter()
                .map(|name| (name.clone(), place.host.join(name)))
                .collect();
            if !place.is_whole {
                contents.installed.extend(files.values().cloned());
            }
            contents.add(&place.guest, files);
        }
        contents.add(STDLIB, entries(project::list(&frozen.stdlib)?));
        if !answer.distributions.iter().any(|name| name == "tzdata") {
            contents.add(ZONEINFO, time_zones());
        }
        Ok(contents)
    }

    fn add(&mut self, guest: &str, entries: BTreeMap<String, PathBuf>) {
        if !entries.is_empty() {
            self.roots.push(Root {
                guest: guest.to_owned(),
                entries,
            });
        }
    }
}

fn entries(listing: Listing) -> BTreeMap<String, PathBuf> {
    listing.into_iter().map(|(name, item)| (name, item.path)).collect()
}

fn time_zones() -> BTreeMap<String, PathBuf> {
    // A machine without time zones is no reason to fail: the app may never ask for one.
    let mut zones = project::list(Path::new(ZONEINFO)).map(entries).unwrap_or_default();
    zones.retain(|name, _| !ZONEINFO_TWINS.iter().any(|twin| name.starts_with(twin)));
    zones
}

fn imported(layout: &Layout, frozen: &Frozen) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for file in frozen.modules.values() {
        for (index, place) in layout.places.iter().enumerate() {
            if let Some(path) = below(file, &place.guest) {
                found.push((index, path.strip_suffix(".py").unwrap_or(path).to_owned()));
            }
        }
    }
    found
}

fn below<'a>(file: &'a str, directory: &str) -> Option<&'a str> {
    file.strip_prefix(directory)?.strip_prefix('/')
}
