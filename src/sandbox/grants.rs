//! What of the host an app is given: nothing, but what the operator names.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use super::clocks::{Clock, Reading};
use super::names::Reach;
use super::network::{Protocol, Rule};
use super::notes::{Notes, Standard, Stream};
use crate::component::{Bundle, Granted};
use crate::fault::{Fault, Kind, Result};
use crate::harden;

#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[command(next_help_heading = "Grants (an app has nothing of the host but these)")]
pub struct Options {
    /// Give the app an environment variable; NAME alone passes on the value that it has here.
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// Give the app a directory, writable unless :ro follows. GUEST is the app's name for it, relative to the app's
    /// own directory if it is not absolute; without it, the same as HOST.
    #[arg(long, value_name = "HOST[::GUEST][:ro]")]
    pub dir: Vec<String>,

    /// Let the app connect to a host and port: a name, an address, or a range such as 10.0.0.0/8; port * is any. What a
    /// name stands for has to be on the public internet; other addresses have to be named themselves. TCP, unless /udp
    /// follows.
    #[arg(long, value_name = "HOST:PORT[/udp]", value_parser = Rule::parse)]
    pub allow_net: Vec<Rule>,

    /// The clock that the app sees.
    #[arg(long, value_enum, default_value_t = Clock::Real, value_name = "CLOCK")]
    pub clock: Clock,
}

/// What one call for random numbers may ask for, as browsers have it; making them keeps everything else in a worker waiting.
const RANDOM_BYTES: u64 = 64 << 10;

pub fn variable(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some(("", _)) => Err(format!("'{text}' has no name before the '='")),
        Some((name, value)) => Ok((name.into(), value.into())),
        None => match std::env::var(text) {
            Ok(value) => Ok((text.into(), value)),
            Err(_) => Err(format!("'{text}' has no '=', and is not set here either")),
        },
    }
}

impl Options {
    /// For `inspect`: what an app that asks is given.
    pub fn granted(&self) -> Granted {
        Granted {
            variables: self.env.iter().map(|(name, _)| name.clone()).collect(),
            directories: self.dir.clone(),
            network: self.allow_net.iter().map(|rule| rule.text().to_owned()).collect(),
            clock: self.clock.to_possible_value().map(|value| value.get_name().to_owned()),
        }
    }
}

/// The grants of one app, checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grants {
    env: Vec<(String, String)>,
    directories: Vec<Directory>,
    network: Vec<Rule>,
    clock: Clock,
    /// Where relative paths start, for the app.
    home: Option<String>,
    are_timeless: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Directory {
    host: PathBuf,
    guest: String,
    writable: bool,
}

impl Grants {
    /// The operator's directories, and the read-only ones that the component brought along in its bundle. Where
    /// both have the same name, the operator's is the one that the app sees.
    pub fn new(options: &Options, bundle: &Bundle) -> Result<Self> {
        let home = bundle.home.clone();
        let mut directories: Vec<Directory> = Vec::new();
        for text in &options.dir {
            let directory = parse_directory(text, home.as_deref().unwrap_or("/"));
            check(&directory, text)?;
            if let Some(twin) = directories.iter().find(|known| known.guest == directory.guest) {
                return Err(Fault::new(
                    Kind::Usage,
                    format!(
                        "--dir {text}: the app's {} is already {}; give each directory a name of its own with ::",
                        twin.guest,
                        twin.host.display()
                    ),
                ));
            }
            directories.push(directory);
        }
        for mount in &bundle.mounts {
            if !directories.iter().any(|known| known.guest == mount.guest) {
                directories.push(Directory {
                    host: mount.host.clone(),
                    guest: mount.guest.clone(),
                    writable: false,
                });
            }
        }
        Ok(Self {
            env: options.env.clone(),
            directories,
            network: options.allow_net.clone(),
            clock: options.clock,
            home,
            // A directory is the one that has its name when the instance is made, and a frozen clock shows that moment.
            are_timeless: options.dir.is_empty() && options.clock != Clock::Frozen,
        })
    }

    /// Whether an instance that is made before its request has the same as one that is made for it.
    pub fn are_timeless(&self) -> bool {
        self.are_timeless
    }

    /// What a process needs so that it can give this.
    pub fn needs(&self) -> harden::Needs {
        let of = |writable| {
            let directories = self
                .directories
                .iter()
                .filter(move |directory| directory.writable == writable);
            directories.map(|directory| directory.host.clone()).collect()
        };
        let tcp = self.network.iter().filter(|rule| rule.protocol() == Protocol::Tcp);
        harden::Needs {
            read: of(false),
            write: of(true),
            append: Vec::new(),
            network: match self.network.as_slice() {
                [] => harden::Network::None,
                _ => harden::Network::Ports(tcp.map(Rule::port).collect()),
            },
        }
    }

    /// What an instance may connect to.
    pub fn reach(&self) -> Reach {
        Reach::new(&self.network)
    }

    /// A WASI context with these grants and nothing else: no arguments, standard input empty, and what is written to
    /// standard output and error goes to the log.
    pub fn context(&self, notes: &Notes, reach: &Reach) -> wasmtime::Result<WasiCtx> {
        let mut builder = WasiCtxBuilder::new();
        let standard = |stream| Standard {
            notes: notes.clone(),
            stream,
        };
        builder
            .stdout(standard(Stream::Output))
            .stderr(standard(Stream::Error))
            .envs(&self.env)
            .max_random_size(RANDOM_BYTES)
            .wall_clock(Reading::new(self.clock))
            .monotonic_clock(Reading::new(self.clock));
        let grants = |protocol| self.network.iter().any(|rule| rule.protocol() == protocol);
        builder
            .allow_tcp(grants(Protocol::Tcp))
            .allow_udp(grants(Protocol::Udp))
            .allow_ip_name_lookup(!self.network.is_empty());
        let reach = reach.clone();
        builder.socket_addr_check(move |address, how| Box::pin(std::future::ready(reach.allows(address, how))));
        if let Some(home) = &self.home {
            builder.initial_cwd(home);
        }
        for directory in &self.directories {
            let perms = if directory.writable {
                FsPerms::ReadWrite
            } else {
                FsPerms::ReadOnly
            };
            builder.preopened_dir(&directory.host, &directory.guest, perms)?;
        }
        Ok(builder.build())
    }
}

/// `HOST[::GUEST][:ro]`.
fn parse_directory(text: &str, home: &str) -> Directory {
    let (text, writable) = match text.strip_suffix(":ro") {
        Some(text) => (text, false),
        None => (text, true),
    };
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    Directory {
        host: host.into(),
        guest: absolute(guest, home),
        writable,
    }
}

/// A guest's path as the guest will see it: `.` and empty parts are gone, and `..` goes up.
fn absolute(path: &str, home: &str) -> String {
    let start = if path.starts_with('/') { "" } else { home };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn check(directory: &Directory, text: &str) -> Result<()> {
    let explain = |kind, why: &str| Err(Fault::new(kind, format!("--dir {text}: {why}")));
    match std::fs::read_dir(&directory.host) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            explain(Kind::Resource, "there is no such directory; create it first")
        }
        Err(error) if Path::new(&directory.host).is_file() => {
            let _ = error;
            explain(Kind::Resource, "this is a file; grant the directory that it is in")
        }
        Err(error) => explain(Kind::Resource, &format!("cannot be opened: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_named_as_the_app_sees_them() {
        let directory = |text, home| {
            let Directory { host, guest, writable } = parse_directory(text, home);
            (host.display().to_string(), guest, writable)
        };
        assert_eq!(directory("data", "/0"), ("data".into(), "/0/data".into(), true));
        assert_eq!(directory(".", "/0"), (".".into(), "/0".into(), true));
        assert_eq!(directory(".", "/"), (".".into(), "/".into(), true));
        assert_eq!(
            directory("/srv/x::data:ro", "/0"),
            ("/srv/x".into(), "/0/data".into(), false)
        );
        assert_eq!(
            directory("/srv/x::/data", "/0"),
            ("/srv/x".into(), "/data".into(), true)
        );
        assert_eq!(directory("/srv/x:ro", "/0"), ("/srv/x".into(), "/srv/x".into(), false));
        assert_eq!(directory("x::../../y", "/0"), ("x".into(), "/y".into(), true));
    }

    #[test]
    fn variables_need_a_name() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        assert!(variable("=b").is_err());
        assert!(variable("SURELY_NOT_SET_ANYWHERE").is_err());
    }
}
