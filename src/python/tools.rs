//! The programs that a build runs: the person's own Python, to ask it where it finds modules, and componentize-py.

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::{Fault, Kind, Result};

/// The versions of componentize-py that the adapter was written for; blocks/blocks.c knows their runtime closely.
const SUPPORTED: &str = "0.25.";
const INSTALL: &str = "pip install componentize-py==0.25.1";

/// How many lines of a tool's own words are passed on when it fails.
const LAST_LINES: usize = 20;

pub struct Tools {
    /// What `python3` on PATH is, before links are followed: a virtual environment is known by it.
    pub python: PathBuf,
    /// componentize-py: the program, and what comes before its own arguments.
    componentize: (PathBuf, &'static [&'static str]),
}

impl Tools {
    pub fn find() -> Result<Self> {
        let python = on_path("python3").ok_or_else(|| {
            Fault::new(
                Kind::ToolMissing,
                "there is no python3 on PATH; building a Python app takes one, and componentize-py: install Python",
            )
        })?;
        let beside = python.with_file_name("componentize-py");
        let componentize = match on_path("componentize-py").or_else(|| beside.is_file().then_some(beside)) {
            Some(program) => (program, &[][..]),
            None => (python.clone(), &["-m", "componentize_py"][..]),
        };
        Ok(Self { python, componentize })
    }

    /// The files whose change means that another version is installed.
    pub fn programs(&self) -> [&Path; 2] {
        [&self.python, &self.componentize.0]
    }

    /// componentize-py, ready for arguments, once it is certain that it is there in a version that will do.
    pub fn componentize(&self) -> Result<Command> {
        let (program, arguments) = &self.componentize;
        let version = Command::new(program)
            .args(*arguments)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let version = match &version {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout),
            _ => {
                return Err(Fault::new(
                    Kind::ToolMissing,
                    format!("building a Python app takes componentize-py, which is not installed: {INSTALL}"),
                ));
            }
        };
        let version = version.split_whitespace().last().unwrap_or_default();
        if !version.starts_with(SUPPORTED) {
            return Err(Fault::new(
                Kind::ToolMissing,
                format!("componentize-py {version} is installed, but {SUPPORTED}x is needed: {INSTALL}"),
            ));
        }
        let mut command = Command::new(program);
        command.args(*arguments);
        Ok(command)
    }

    /// Runs a script that reads JSON and writes JSON with the person's Python.
    pub fn ask<Q: Serialize, A: DeserializeOwned>(&self, script: &str, question: &Q) -> Result<A> {
        let fail = |what: String| Fault::new(Kind::BuildFailed, format!("{}: {what}", self.python.display()));
        let question = serde_json::to_vec(question).map_err(|error| fail(error.to_string()))?;
        let mut command = Command::new(&self.python);
        command.args(["-c", script]);
        let output = with_input(&mut command, question).map_err(|error| fail(error.to_string()))?;
        if !output.status.success() {
            return Err(fail("cannot tell where it finds modules".into()).with_detail(last_lines(&output)));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| fail(error.to_string()))
    }

    /// Installs the packages of a requirements file into a new directory below `work`.
    pub fn install(&self, requirements: &Path, work: &Path) -> Result<PathBuf> {
        if !requirements.is_file() {
            return Err(Fault::new(
                Kind::BuildFailed,
                format!("--requirements {}: there is no such file", requirements.display()),
            ));
        }
        let target = work.join("requirements");
        let has_pip = Command::new(&self.python)
            .args(["-c", "import pip"])
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success());
        let mut command = match (has_pip, on_path("uv")) {
            (true, _) => {
                let mut command = Command::new(&self.python);
                command.args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-compile",
                ]);
                command
            }
            (false, Some(uv)) => {
                let mut command = Command::new(uv);
                command
                    .args(["pip", "install", "--quiet", "--python"])
                    .arg(&self.python);
                command
            }
            (false, None) => {
                return Err(Fault::new(
                    Kind::ToolMissing,
                    format!(
                        "--requirements takes pip, which {} lacks: python3 -m ensurepip",
                        self.python.display()
                    ),
                ));
            }
        };
        let output = command
            .arg("--target")
            .arg(&target)
            .arg("-r")
            .arg(requirements)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Fault::new(Kind::ToolMissing, format!("cannot run pip: {error}")))?;
        if output.status.success() {
            return Ok(target);
        }
        Err(Fault::new(
            Kind::BuildFailed,
            format!("pip could not install the packages of {}", requirements.display()),
        )
        .with_detail(last_lines(&output)))
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path: OsString = env::var_os("PATH")?;
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}

fn with_input(command: &mut Command, input: Vec<u8>) -> std::io::Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take();
    // The other end may not read it all; then its exit status says more than this error.
    let writer = std::thread::spawn(move || stdin.take().map(|mut stdin| stdin.write_all(&input)));
    let output = child.wait_with_output();
    let _ = writer.join();
    output
}

/// The end of what a program wrote, for people.
pub fn last_lines(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
