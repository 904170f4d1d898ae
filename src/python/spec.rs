//! How an app or a middleware is named on the command line: as gunicorn names it, or as a file.

use std::fmt;
use std::path::Path;

use crate::component::Role;
use crate::fault::{Fault, Kind, Result};

/// `module:attribute`, `module:attribute.sub`, `module:factory("literal")`; without a colon, the attribute is
/// `application`, and that of a middleware `create_app`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSpec {
    /// A dotted name.
    pub module: String,
    /// An expression in Python: a dotted name, or a call of one with literals. Python itself parses it.
    pub object: String,
    /// A middleware is called with the app inside first, and with the literals after it.
    pub role: Role,
}

impl AppSpec {
    /// What an argument stands for: None is a file. A name ends in .wasm, .cwasm or .wat, has a slash, or is that of a file.
    pub fn of_argument(role: Role, app: &str) -> Result<Option<Self>> {
        let path = Path::new(app);
        let module = app.split(':').next().unwrap_or(app);
        let is_component = path
            .extension()
            .is_some_and(|ending| ["wasm", "cwasm", "wat"].iter().any(|&e| ending == e));
        // A slash in an argument of a factory makes no path: create_app("/etc/app.toml").
        if module.contains('/') || is_component || path.is_file() && !module.ends_with(".py") {
            return Ok(None);
        }
        Self::parse(role, app).map(Some)
    }

    pub fn parse(role: Role, app: &str) -> Result<Self> {
        let wrong = |message: String| Err(Fault::new(Kind::PythonNotFound, message));
        let default = match role {
            Role::App => "application",
            Role::Middleware => "create_app",
        };
        let (module, object) = app.split_once(':').unwrap_or((app, default));
        if let Some(stem) = module.strip_suffix(".py") {
            return wrong(format!(
                "{app} is a file; Python's name for the module is {stem}: did you mean {stem}:{object}?"
            ));
        }
        if !module.split('.').all(is_identifier) {
            return wrong(format!(
                "{app}: {module:?} is no module name; write module:callable, or the path of a component"
            ));
        }
        let name = object.split('(').next().unwrap_or(object);
        if !name.split('.').all(|part| is_identifier(part.trim())) {
            return wrong(format!("{app}: {object:?} is neither an attribute nor a call of one"));
        }
        Ok(Self {
            module: module.to_owned(),
            object: object.to_owned(),
            role,
        })
    }
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first == '_' || first.is_alphabetic())
        && letters.all(|letter| letter == '_' || letter.is_alphanumeric())
}

impl fmt::Display for AppSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(app: &str) -> Option<(String, String)> {
        AppSpec::of_argument(Role::App, app)
            .unwrap()
            .map(|spec| (spec.module, spec.object))
    }

    #[test]
    fn apps_are_named_as_gunicorn_names_them() {
        let named = |module: &str, object: &str| Some((module.to_owned(), object.to_owned()));
        assert_eq!(spec("app"), named("app", "application"));
        assert_eq!(spec("app:my_app"), named("app", "my_app"));
        assert_eq!(spec("my.site.wsgi"), named("my.site.wsgi", "application"));
        assert_eq!(spec("flaskr:create_app()"), named("flaskr", "create_app()"));
        assert_eq!(spec("m:f('/etc/x', debug=True)"), named("m", "f('/etc/x', debug=True)"));
        assert_eq!(spec("m:site.app"), named("m", "site.app"));
        let middleware = AppSpec::of_argument(Role::Middleware, "auth").unwrap().unwrap();
        assert_eq!(
            (middleware.module.as_str(), middleware.object.as_str()),
            ("auth", "create_app")
        );
    }

    #[test]
    fn files_are_no_python_apps() {
        for file in [
            "app.wasm",
            "./app",
            "dir/app",
            "/app",
            "a:b.wasm",
            "app.wat",
            "app.cwasm",
            "src/app.py",
        ] {
            assert_eq!(spec(file), None, "{file}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for (app, hint) in [
            ("app.py", "did you mean app:application?"),
            ("app.py:main", "did you mean app:main?"),
            ("", "no module name"),
            ("my-app:app", "no module name"),
            ("app:", "neither an attribute"),
            ("app:1", "neither an attribute"),
            ("app:a b", "neither an attribute"),
        ] {
            let fault = AppSpec::of_argument(Role::App, app).unwrap_err();
            assert_eq!(fault.kind, Kind::PythonNotFound);
            assert!(fault.message.contains(hint), "{app}: {fault}");
        }
    }
}
