//! Where the host's directories are in the file system that the app sees, at build time and at run time.
//!
//! componentize-py gives the directories that it is passed the names `/0`, `/1`, ... in their order, and the standard
//! library is at `/python`.

use std::env;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Build;
use super::project::is_left_out;
use super::tools::Tools;
use crate::fault::{Fault, Kind, Result};

/// Where the interpreter's standard library is, at build time and at run time.
pub const STDLIB: &str = "/python";

/// A directory of the person's own, packaged whole.
#[derive(Clone, Debug)]
pub struct Root {
    pub host: PathBuf,
    pub guest: String,
    /// None: only if something was imported from there.
    pub is_certain: bool,
}

/// A directory of installed packages, of which the app gets those that it needs.
#[derive(Clone, Debug)]
pub struct Place {
    pub host: PathBuf,
    pub guest: String,
    /// Everything in it was asked for.
    pub is_whole: bool,
}

#[derive(Debug)]
pub struct Layout {
    pub roots: Vec<Root>,
    pub places: Vec<Place>,
    /// In the guest's names, in order.
    pub sys_path: Vec<String>,
}

#[derive(Serialize)]
struct Question<'a> {
    module: &'a str,
    app_roots: Vec<&'a Path>,
}

#[derive(Deserialize)]
struct Survey {
    version: String,
    places: Vec<PathBuf>,
    found: bool,
}

impl Layout {
    pub fn of(build: &Build, tools: &Tools) -> Result<Self> {
        let current = env::current_dir()
            .and_then(|directory| directory.canonicalize())
            .map_err(|error| Fault::new(Kind::BuildFailed, format!("the current directory: {error}")))?;
        let mut searched = Vec::new();
        for path in &build.paths {
            let path = path
                .canonicalize()
                .map_err(|error| Fault::new(Kind::BuildFailed, format!("--path {}: {error}", path.display())))?;
            searched.push(path);
        }
        searched.push(current.clone());
        searched.dedup();
        let question = Question {
            module: &build.spec.module,
            app_roots: searched.iter().map(PathBuf::as_path).collect(),
        };
        let survey: Survey = tools.ask(include_str!("host/survey.py"), &question)?;
        if !survey.found {
            return Err(not_found(build, tools, &searched, &survey));
        }
        Ok(Self::arrange(build, &current, &searched, survey.places))
    }

    fn arrange(build: &Build, current: &Path, searched: &[PathBuf], places: Vec<PathBuf>) -> Self {
        let top = build.spec.module.split('.').next().unwrap_or_default();
        let holds_app =
            |directory: &Path| directory.join(format!("{top}.py")).is_file() || directory.join(top).is_dir();
        // The app's own directory comes first, because relative paths start there.
        let found_in = searched.iter().find(|directory| holds_app(directory));
        let is_project = found_in.is_some_and(|directory| directory.starts_with(current))
            || searched
                .iter()
                .any(|directory| directory != current && directory.starts_with(current));
        let home = if is_project {
            current
        } else {
            found_in.map_or(current, PathBuf::as_path)
        };
        let mut layout = Self {
            roots: Vec::new(),
            places: Vec::new(),
            sys_path: Vec::new(),
        };
        let named: Vec<&Path> = searched.iter().map(PathBuf::as_path).collect();
        for directory in [home].into_iter().chain(named.iter().copied()) {
            if layout.guest_of(directory).is_none() {
                layout.roots.push(Root {
                    host: directory.to_owned(),
                    guest: format!("/{}", layout.roots.len()),
                    is_certain: directory != current || is_project,
                });
            }
        }
        layout.sys_path = named
            .iter()
            .filter_map(|directory| layout.guest_of(directory))
            .collect();
        layout.sys_path.push(STDLIB.to_owned());
        for place in places {
            let guest = layout.guest_of(&place).unwrap_or_else(|| {
                let guest = format!("/{}", layout.roots.len() + layout.places.len());
                layout.places.push(Place {
                    host: place,
                    guest: guest.clone(),
                    is_whole: false,
                });
                guest
            });
            if !layout.sys_path.contains(&guest) {
                layout.sys_path.push(guest);
            }
        }
        layout
    }

    /// A directory whose every package was asked for; it is searched before the other installed ones.
    pub fn add_whole_place(&mut self, host: &Path) {
        let guest = format!("/{}", self.roots.len() + self.places.len());
        let after_stdlib = self
            .sys_path
            .iter()
            .position(|entry| entry == STDLIB)
            .map_or(0, |place| place + 1);
        self.sys_path.insert(after_stdlib, guest.clone());
        self.places.push(Place {
            host: host.to_owned(),
            guest,
            is_whole: true,
        });
    }

    /// The app's own directory, in the guest's name.
    pub fn home(&self) -> &str {
        self.roots.first().map_or("/0", |root| &root.guest)
    }

    /// All directories that componentize-py is passed, in the order that makes their names come true.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let roots = self.roots.iter().map(|root| root.host.as_path());
        roots.chain(self.places.iter().map(|place| place.host.as_path()))
    }

    /// The guest's name of a directory that is a root, or lies in one and is packaged with it.
    fn guest_of(&self, directory: &Path) -> Option<String> {
        self.roots.iter().find_map(|root| {
            let below = directory.strip_prefix(&root.host).ok()?;
            let mut guest = root.guest.clone();
            let mut reached = root.host.clone();
            for part in below.components() {
                reached.push(part);
                if is_left_out(&reached, true) {
                    return None;
                }
                guest.push('/');
                guest.push_str(part.as_os_str().to_str()?);
            }
            Some(guest)
        })
    }

    /// Text in which the guest's file names are replaced by the person's own.
    pub fn in_host_names(&self, text: &str) -> String {
        let roots = self.roots.iter().map(|root| (&root.guest, &root.host));
        let places = self.places.iter().map(|place| (&place.guest, &place.host));
        roots.chain(places).fold(text.to_owned(), |text, (guest, host)| {
            text.replace(&format!("\"{guest}/"), &format!("\"{}/", host.display()))
        })
    }
}

fn not_found(build: &Build, tools: &Tools, searched: &[PathBuf], survey: &Survey) -> Fault {
    let top = build.spec.module.split('.').next().unwrap_or_default();
    let directories: Vec<String> = searched.iter().map(|path| path.display().to_string()).collect();
    Fault::new(
        Kind::PythonNotFound,
        format!(
            "{}: there is no module {top:?} in {}, or among the packages of {} (Python {}); --path DIR looks elsewhere",
            build.spec,
            directories.join(", "),
            tools.python.display(),
            survey.version
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::component::Role;
    use crate::python::AppSpec;

    fn build(module: &str) -> Build {
        Build {
            spec: AppSpec::parse(Role::App, module).unwrap(),
            paths: Vec::new(),
            requirements: None,
            warm_up: Vec::new(),
            env: Vec::new(),
        }
    }

    fn guests(layout: &Layout) -> Vec<(&str, bool)> {
        layout
            .roots
            .iter()
            .map(|root| (root.guest.as_str(), root.is_certain))
            .collect()
    }

    #[test]
    fn an_app_in_the_current_directory_makes_it_the_home() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        fs::write(home.join("app.py"), "").unwrap();
        fs::create_dir_all(home.join(".venv/lib")).unwrap();
        fs::write(home.join(".venv/pyvenv.cfg"), "").unwrap();
        fs::create_dir(home.join("lib")).unwrap();
        let places = vec![home.join("lib"), home.join(".venv/lib")];
        let layout = Layout::arrange(&build("app:app"), home, &[home.to_owned()], places);
        assert_eq!(guests(&layout), [("/0", true)]);
        assert_eq!(layout.sys_path, ["/0", "/python", "/0/lib", "/1"]);
        assert_eq!(layout.places.len(), 1);
        let text = layout.in_host_names("  File \"/0/app.py\", line 1");
        assert_eq!(text, format!("  File \"{}/app.py\", line 1", home.display()));
    }

    #[test]
    fn an_app_elsewhere_brings_its_own_directory() {
        let directory = tempfile::tempdir().unwrap();
        let [current, elsewhere] = ["current", "elsewhere"].map(|name| directory.path().join(name));
        fs::create_dir(&current).unwrap();
        fs::create_dir_all(elsewhere.join("app")).unwrap();
        let layout = Layout::arrange(
            &build("app.wsgi"),
            &current,
            &[elsewhere.clone(), current.clone()],
            vec![],
        );
        assert_eq!(guests(&layout), [("/0", true), ("/1", false)]);
        assert_eq!(layout.roots[0].host, elsewhere);
        assert_eq!(layout.sys_path, ["/0", "/1", "/python"]);
    }

    #[test]
    fn a_source_directory_belongs_to_its_project() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("src");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("app.py"), "").unwrap();
        let searched = [source, directory.path().to_owned()];
        let mut layout = Layout::arrange(&build("app"), directory.path(), &searched, vec![]);
        assert_eq!(guests(&layout), [("/0", true)]);
        assert_eq!(layout.sys_path, ["/0/src", "/0", "/python"]);
        layout.add_whole_place(Path::new("/somewhere"));
        assert_eq!(layout.sys_path, ["/0/src", "/0", "/python", "/1"]);
        assert!(layout.places[0].is_whole);
    }
}
