//! The configuration file: TOML whose keys are the options of `serve`. Each is turned into the words of a command line and
//! parsed as these are, so that no option is listed twice and every one is a key. The command line wins.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::fault::{Fault, Kind, Result, one_line};
use crate::links::Middleware;
use crate::sandbox::Limits;
use crate::serve::Options;

/// The key of the tables that describe links, and of the list of their files.
const MIDDLEWARE: &str = "middleware";
/// The key that a link cannot do without.
const FILE: &str = "file";

/// What `serve` was called with.
pub struct CommandLine {
    /// The words after `serve`.
    pub words: Vec<OsString>,
    pub matches: ArgMatches,
}

impl CommandLine {
    /// All options: those of the command line, and for the others those of the file, if one is named. The file is read at
    /// every call.
    pub fn options(&self) -> Result<Options> {
        let mut options = parse(&serve(), &self.words).map_err(|error| usage(&error))?;
        if let Some(path) = &options.config {
            let path = path.clone();
            options = self.with_file(&File::read(&path)?)?;
        }
        if options.links.is_empty() {
            let files = options.chain.middleware.iter();
            options.links = files
                .map(|file| Middleware::new(file.clone(), &options.limits))
                .collect();
        }
        Ok(options)
    }

    fn with_file(&self, file: &File) -> Result<Options> {
        let (serve, table) = (serve(), file.table()?);
        let (mut words, mut links) = (Vec::new(), Vec::new());
        for (key, value) in &table {
            let tables = match value.get_ref() {
                DeValue::Array(array) if plain(key.get_ref()) == MIDDLEWARE => tables(array),
                _ => Vec::new(),
            };
            if tables.is_empty() {
                let (id, more) = file.words(&serve, key, value)?;
                if !self.decides(&id) {
                    words.extend(more);
                }
            } else {
                links = tables;
            }
        }
        words.extend(self.words.iter().cloned());
        let mut options: Options = parse(&serve, &words).map_err(|error| file.fault(None, &one_line(&error)))?;
        if !self.decides(MIDDLEWARE) {
            let links = links
                .into_iter()
                .map(|(at, table)| file.link(at, table, &options.limits));
            options.links = links.collect::<Result<_>>()?;
        }
        Ok(options)
    }

    /// Whether an option was given on the command line, or by a variable of the environment.
    fn decides(&self, id: &str) -> bool {
        let source = self.matches.value_source(id);
        matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    }
}

/// A configuration file, with its name for messages.
struct File {
    path: PathBuf,
    text: String,
}

impl File {
    fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self {
                path: path.to_owned(),
                text,
            }),
            Err(error) => Err(Fault::new(
                Kind::Configuration,
                format!("--config {}: {error}", path.display()),
            )),
        }
    }

    fn table(&self) -> Result<DeTable<'_>> {
        DeTable::parse(&self.text).map(Spanned::into_inner).map_err(|error| {
            let at = error.span().map(|span| span.start);
            self.fault(at, error.message())
        })
    }

    /// An error, and the line that it is in.
    fn fault(&self, at: Option<usize>, why: &str) -> Fault {
        let line = at
            .and_then(|at| self.text.get(..at))
            .map(|before| format!(":{}", before.matches('\n').count() + 1))
            .unwrap_or_default();
        Fault::new(
            Kind::Configuration,
            format!("{}{line}: {why}", self.path.display()).replace('\n', " "),
        )
    }

    /// A link, with the server's limits where its table says nothing.
    fn link(&self, at: usize, table: &DeTable<'_>, limits: &Limits) -> Result<Middleware> {
        // What is not in the table has no default of its own.
        let command = Middleware::augment_args_for_update(Command::new(MIDDLEWARE).no_binary_name(true))
            .mut_args(|arg| arg.default_value(Resettable::Reset));
        let mut words = Vec::new();
        for (key, value) in table {
            words.extend(self.words(&command, key, value)?.1);
        }
        let explain = |error| self.fault(Some(at), &one_line(&error));
        let matches = command.try_get_matches_from(words).map_err(explain)?;
        let Some(file) = matches.get_one::<PathBuf>(FILE) else {
            return Err(self.fault(
                Some(at),
                "a [[middleware]] table without `file`, the component that it is",
            ));
        };
        let mut link = Middleware::new(file.clone(), limits);
        link.update_from_arg_matches(&matches).map_err(explain)?;
        Ok(link)
    }

    /// The option of a key, and the words that stand for it on a command line: tried, so that an error has its place.
    fn words(
        &self,
        command: &Command,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(String, Vec<OsString>)> {
        let at = Some(key.span().start);
        let name = plain(key.get_ref());
        let mut all = command.get_arguments();
        let arg = all.find(|arg| names(arg).any(|known| known == name)).ok_or_else(|| {
            let subject = command.get_name();
            self.fault(at, &format!("`{}` is no option of {subject}", key.get_ref()))
        })?;
        let words =
            words_of(arg, value.get_ref()).map_err(|why| self.fault(at, &format!("`{}` {why}", key.get_ref())))?;
        command
            .clone()
            .try_get_matches_from(&words)
            .map_err(|error| self.fault(at, &one_line(&error)))?;
        Ok((arg.get_id().to_string(), words))
    }
}

fn serve() -> Command {
    Options::augment_args(Command::new("serve").no_binary_name(true))
}

fn parse(command: &Command, words: &[OsString]) -> std::result::Result<Options, clap::Error> {
    let mut matches = command.clone().try_get_matches_from(words)?;
    Options::from_arg_matches_mut(&mut matches)
}

fn usage(error: &clap::Error) -> Fault {
    Fault::new(Kind::Usage, one_line(error))
}

/// A name as it is compared: `_` and `-` are the same.
fn plain(name: &str) -> String {
    name.replace('_', "-")
}

/// What an option goes by in the file; a file that names another would be a riddle.
fn names(arg: &Arg) -> impl Iterator<Item = String> {
    let long = arg.get_long_and_visible_aliases().into_iter().flatten();
    let positional = arg.is_positional().then(|| arg.get_id().as_str());
    let known: Vec<String> = long.chain(positional).map(plain).collect();
    known.into_iter().filter(|name| name != "config")
}

/// The tables of an array of tables, each with its place; none if it is a list of something else.
fn tables<'a, 'i>(array: &'a [Spanned<DeValue<'i>>]) -> Vec<(usize, &'a DeTable<'i>)> {
    let all: Option<Vec<_>> = array
        .iter()
        .map(|value| match value.get_ref() {
            DeValue::Table(table) => Some((value.span().start, table)),
            _ => None,
        })
        .collect();
    all.unwrap_or_default()
}

fn words_of(arg: &Arg, value: &DeValue<'_>) -> std::result::Result<Vec<OsString>, String> {
    let word = |text: &str| match arg.get_long() {
        Some(long) => format!("--{long}={text}").into(),
        None => text.into(),
    };
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(true)) => Ok(arg
            .get_long()
            .map(|long| format!("--{long}").into())
            .into_iter()
            .collect()),
        (ArgAction::SetTrue, DeValue::Boolean(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, _) => Err("is true or false".into()),
        (ArgAction::Append, DeValue::Array(array)) => array
            .iter()
            .map(|value| scalar(value.get_ref()).map(|text| word(&text)))
            .collect(),
        (_, value) => Ok(vec![word(&scalar(value)?)]),
    }
}

fn scalar(value: &DeValue<'_>) -> std::result::Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Boolean(_) => Err("takes a value, not true or false".into()),
        DeValue::Array(_) => Err("takes one value, not a list".into()),
        DeValue::Table(_) => Err("takes a value, not a table".into()),
        DeValue::Datetime(_) => Err("takes a value, not a date".into()),
    }
}
