//! The command line: what there is, and which room does it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::component::{self, Role, Source};
use crate::config::CommandLine;
use crate::fault::{Fault, Kind, Result, one_line};
use crate::python::{AppSpec, Build, Options as PythonOptions};
use crate::serve::CacheOptions;
use crate::{arbiter, log, sandbox, serve, worker};

/// Language-neutral WSGI: serves web apps that are WebAssembly components, each request in a fresh sandbox.
#[derive(Parser)]
#[command(name = "wsgi-host", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve an app over HTTP.
    Serve(Box<serve::Options>),

    /// Package a Python app (any PEP 3333 callable) or middleware as a component: one file to ship.
    Build {
        /// The app as gunicorn names it: module:callable, module:factory(), or a module that has `application`.
        #[arg(value_name = "MODULE[:CALLABLE]")]
        app: String,

        /// It is a middleware: create_app(app) makes a callable around the app that it is given; of
        /// `module:factory(...)`, the app goes before the other arguments.
        #[arg(long)]
        middleware: bool,

        /// The component to write.
        #[arg(short, long, default_value = "app.wasm", value_name = "FILE")]
        output: PathBuf,

        /// Set a variable while the app is imported; it stays in the component.
        #[arg(short, long, value_name = "NAME=VALUE", value_parser = sandbox::variable)]
        env: Vec<(String, String)>,

        #[command(flatten)]
        python: PythonOptions,
    },

    /// Say what a component is, what it could ever ask for, and what it costs.
    Inspect {
        /// The component.
        app: PathBuf,

        /// Write JSON.
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        grants: sandbox::GrantOptions,

        #[command(flatten)]
        cache: CacheOptions,
    },

    /// Say whether a component would be served, and if not, why.
    Check {
        /// The component.
        app: PathBuf,

        #[command(flatten)]
        cache: CacheOptions,
    },

    /// Compile a component into the cache, so that serving it starts at once.
    Compile {
        /// The component.
        app: PathBuf,

        #[command(flatten)]
        cache: CacheOptions,
    },

    /// Link middleware and an app into one component: one file, one sandbox, one fate. `serve --middleware` gives each
    /// its own.
    Compose {
        /// The middleware, the outermost first, and the app at the end.
        #[arg(required = true, num_args = 2.., value_name = "FILE")]
        files: Vec<PathBuf>,

        /// The component to write.
        #[arg(short, long, default_value = "composed.wasm", value_name = "FILE")]
        output: PathBuf,

        #[command(flatten)]
        limits: component::Limits,
    },

    /// Write completions for a shell to standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },

    /// What the arbiter starts; its orders come on standard input.
    #[command(name = arbiter::WORKER_COMMAND, hide = true)]
    Worker,

    /// What the arbiter compiles with.
    #[command(name = component::compile::COMMAND, hide = true)]
    Compiler { bounds: String },
}

/// Runs the command and says what failed: one line on standard error, and the status that goes with it.
pub fn main() -> ExitCode {
    let parsed = Arguments::command()
        .try_get_matches()
        .and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?.command, matches)));
    let (command, matches) = match parsed {
        Ok(parsed) => parsed,
        // Help, which was asked for, or is what somebody who said nothing needs.
        Err(error) if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.exit()
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "wsgi-host: {}", one_line(&error));
            return ExitCode::from(Kind::Usage as u8);
        }
    };
    if !matches!(command, Command::Worker | Command::Compiler { .. } | Command::Serve(_)) {
        // Standard error can always be written to.
        let _ = log::start(&log::Options::default());
    }
    let result = match command {
        Command::Worker => return worker::run(),
        Command::Compiler { bounds } => return component::compile::run(&bounds),
        Command::Serve(_) => serve(matches),
        Command::Build {
            app,
            middleware,
            output,
            env,
            python,
        } => build(
            if middleware { Role::Middleware } else { Role::App },
            &app,
            output,
            env,
            python,
        ),
        Command::Inspect {
            app,
            json,
            grants,
            cache,
        } => cache.open().and_then(|cache| {
            component::inspect(
                &Source::File(app),
                &cache,
                &sandbox::fits,
                &grants.granted(),
                json,
                &mut io::stdout().lock(),
            )
        }),
        Command::Check { app, cache } => cache
            .open()
            .and_then(|cache| component::check(&Source::File(app), &cache, &sandbox::fits, &mut io::stdout().lock())),
        Command::Compile { app, cache } => cache
            .open()
            .and_then(|cache| component::compile(&Source::File(app), &cache, &sandbox::fits, &mut io::stdout().lock())),
        Command::Compose { files, output, limits } => component::compose(&files, &limits, &output),
        Command::Completions { shell } => completions(shell),
    };
    log::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            if let Some(detail) = &fault.detail {
                let _ = writeln!(io::stderr(), "{}\n", detail.trim_end());
            }
            let _ = writeln!(io::stderr(), "wsgi-host: {fault}");
            ExitCode::from(fault.exit_status())
        }
    }
}

/// The options are put together anew for each reload, since a file may hold some of them.
fn serve(mut matches: ArgMatches) -> Result<()> {
    let Some((name, matches)) = matches.remove_subcommand() else {
        return Err(Fault::new(Kind::Internal, "there is no command"));
    };
    let words = std::env::args_os().skip(1).skip_while(|word| *word != *name).skip(1);
    let command_line = CommandLine {
        words: words.collect(),
        matches,
    };
    serve::run(Arc::new(move || command_line.options()))
}

fn build(role: Role, app: &str, output: PathBuf, env: Vec<(String, String)>, python: PythonOptions) -> Result<()> {
    let Some(spec) = AppSpec::of_argument(role, app)? else {
        return Err(Fault::new(
            Kind::Usage,
            format!("{app} is a file; build takes a Python app such as app:application"),
        ));
    };
    if role == Role::Middleware && !python.warm_up.is_empty() {
        return Err(Fault::new(
            Kind::Usage,
            format!("{app} is a middleware, which has no app inside it yet: --warm-up is for apps"),
        ));
    }
    let build = Build {
        spec,
        paths: python.path,
        requirements: python.requirements,
        warm_up: python.warm_up,
        env,
    };
    build.write_to(&output)
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "wsgi-host", &mut script);
    io::stdout()
        .write_all(&script)
        .map_err(|error| Fault::new(Kind::Internal, format!("cannot write the completions: {error}")))
}
