//! What a process of ours gives up below the sandbox, so that who gets out of it finds little: Landlock takes the files and
//! the network from it, seccomp the system calls that it never makes. Both for good, and for the threads to come.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use serde::{Deserialize, Serialize};

use crate::log;

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Processes")]
pub struct Options {
    /// Take from the workers what they do not need, with Landlock and seccomp: as far as the kernel can, or not at all, or
    /// not serve where it cannot.
    #[arg(long, value_enum, default_value_t = Level::Try, value_name = "LEVEL")]
    pub harden: Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Level {
    Off,
    Try,
    Require,
}

/// What a process still needs.
#[derive(Default)]
pub struct Needs {
    /// Files, and directories with all that is in them.
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    /// Directories of log files, which are opened anew after a rotation.
    pub append: Vec<PathBuf>,
    pub network: Network,
}

impl Needs {
    /// What another one needs as well.
    pub fn add(&mut self, other: Self) {
        self.read.extend(other.read);
        self.write.extend(other.write);
        self.append.extend(other.append);
        self.network = match (std::mem::take(&mut self.network), other.network) {
            (Network::None, network) | (network, Network::None) => network,
            (Network::Ports(Some(mut ports)), Network::Ports(Some(more))) => {
                ports.extend(more);
                Network::Ports(Some(ports))
            }
            _ => Network::Ports(None),
        };
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// It accepts connections, and makes none.
    #[default]
    None,
    /// It connects, over TCP, to these ports only; none stands for all.
    Ports(Option<Vec<u16>>),
}

/// Where the time zone is, which the log is written in.
const TIME: [&str; 2] = ["/etc/localtime", "/usr/share/zoneinfo"];
/// What names are looked up with; the libraries that do it are loaded then.
const LOOKUP: [&str; 9] = [
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/lib",
    "/usr/lib",
];
/// DNS over TCP.
const DOMAIN: u16 = 53;

/// Landlock as of Linux 6.12; of an older kernel, what it has.
const LANDLOCK: ABI = ABI::V6;

/// What could not be done, for the log.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl Options {
    /// Takes a step, unless none is wanted.
    pub fn step(&self, step: impl FnOnce() -> Result<(), Refused>) -> Result<(), Refused> {
        match self.harden {
            Level::Off => Ok(()),
            Level::Try | Level::Require => step(),
        }
    }

    /// Says what came of a step; whether a failure is the end is for the operator to say.
    pub fn report(&self, step: Result<(), Refused>) -> Result<(), Refused> {
        match step {
            Err(refused) if self.harden == Level::Require => Err(refused),
            Err(refused) => {
                log::warning(format_args!("--harden: {refused}; going on without it"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Takes files and connections from this thread and those that it starts; also the chance to gain rights by executing
/// something (no_new_privs).
pub fn lock(needs: &Needs) -> Result<(), Refused> {
    let refused = |error: landlock::RulesetError| Refused(format!("Landlock: {error}"));
    let status = rules(needs).and_then(RulesetCreated::restrict_self).map_err(refused)?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err(Refused("Landlock: this kernel has only a part of it".into())),
        RulesetStatus::NotEnforced => Err(Refused("Landlock: this kernel does not have it".into())),
    }
}

fn rules(needs: &Needs) -> Result<RulesetCreated, landlock::RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    let write = AccessFs::from_all(LANDLOCK) & !(devices | AccessFs::Execute);
    let append = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::Truncate;
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(LANDLOCK))?;
    let ports = match &needs.network {
        Network::None => Some(Vec::new()),
        Network::Ports(ports) => ports.clone(),
    };
    if ports.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut ruleset = ruleset.create()?;
    for path in TIME {
        ruleset = allow(ruleset, path.into(), read)?;
    }
    if let Network::Ports(_) = needs.network {
        for path in LOOKUP {
            ruleset = allow(ruleset, path.into(), read)?;
        }
        for port in ports.into_iter().flatten().chain([DOMAIN]) {
            ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
    }
    for (paths, access) in [(&needs.read, read), (&needs.write, write), (&needs.append, append)] {
        for path in paths {
            ruleset = allow(ruleset, path.clone(), access)?;
        }
    }
    Ok(ruleset)
}

/// What is not there needs no rule.
fn allow(
    ruleset: RulesetCreated,
    path: PathBuf,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    let Ok(file) = PathFd::new(&path) else {
        return Ok(ruleset);
    };
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(LANDLOCK)
    };
    ruleset.add_rule(PathBeneath::new(file, access))
}

/// System calls that neither a worker nor a compiler ever makes: for other programs, other users, other machines.
const NEVER: [i64; 43] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// Takes system calls from all threads of this process. Where it does not look up names, it also makes no sockets, and
/// turns no more memory into code: what it runs is mapped by then.
pub fn filter(needs: &Needs) -> Result<(), Refused> {
    let refused = |error: &dyn fmt::Display| Refused(format!("seccomp: {error}"));
    let filter = program(needs).map_err(|error| refused(&error))?;
    seccompiler::apply_filter_all_threads(&filter).map_err(|error| refused(&error))
}

fn program(needs: &Needs) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NEVER.iter().map(|call| (*call, Vec::new())).collect();
    if let Network::None = needs.network {
        rules.insert(libc::SYS_socket, Vec::new());
        rules.insert(libc::SYS_connect, Vec::new());
        // The third argument of all three says what the memory is for.
        let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
        for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
            let condition = SeccompCondition::new(
                2,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::MaskedEq(executable),
                executable,
            )?;
            rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
        }
    }
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, denied, std::env::consts::ARCH.try_into()?)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    /// What a thread can do afterwards; the others keep their rights.
    fn apart<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(what).join().unwrap()
    }

    #[test]
    fn files_and_connections_are_gone_but_for_what_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        let path = move |name: &str| root.join(name);
        for name in ["read", "write", "append", "other"] {
            std::fs::create_dir(path(name)).unwrap();
            std::fs::write(path(name).join("file"), "text").unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let needs = Needs {
            read: vec![path("read"), path("other").join("missing")],
            write: vec![path("write")],
            append: vec![path("append")],
            network: Network::None,
        };
        apart(move || {
            if let Err(refused) = lock(&needs) {
                // A kernel without it, or with a part of it, says so.
                assert!(refused.to_string().contains("this kernel"), "{refused}");
                return;
            }
            let read = |name| std::fs::read(path(name).join("file")).is_ok();
            let write = |name| std::fs::write(path(name).join("new"), "text").is_ok();
            assert_eq!(
                ["read", "write", "append", "other"].map(read),
                [true, true, false, false]
            );
            assert_eq!(
                ["read", "write", "append", "other"].map(write),
                [false, true, true, false]
            );
            assert!(TcpStream::connect(address).is_err() && TcpListener::bind("127.0.0.1:0").is_err());
            assert!(listener.set_nonblocking(true).is_ok() && std::fs::read("/etc/passwd").is_err());
            assert!(std::process::Command::new("/bin/true").status().is_err());
        });
    }

    #[test]
    fn ports_that_are_needed_stay() {
        let (one, other) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind("127.0.0.1:0").unwrap(),
        );
        let (one, other) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let connects = |ports: Option<Vec<u16>>| {
            apart(move || {
                let needs = Needs {
                    network: Network::Ports(ports),
                    ..Needs::default()
                };
                let locked = lock(&needs).is_ok();
                let refused = |address| {
                    let error = TcpStream::connect(address).err();
                    error.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
                };
                (locked, refused(one), refused(other))
            })
        };
        let (locked, one_refused, other_refused) = connects(Some(vec![one.port()]));
        assert_eq!((one_refused, other_refused), (false, locked));
        let (_, one_refused, other_refused) = connects(None);
        assert!(!one_refused && !other_refused);
    }

    #[test]
    fn needs_add_up() {
        let with = |network| {
            let mut needs = Needs::default();
            needs.add(Needs {
                network: Network::Ports(Some(vec![1])),
                ..Needs::default()
            });
            needs.add(Needs {
                network,
                ..Needs::default()
            });
            needs.network
        };
        assert_eq!(with(Network::None), Network::Ports(Some(vec![1])));
        assert_eq!(with(Network::Ports(Some(vec![2]))), Network::Ports(Some(vec![1, 2])));
        assert_eq!(with(Network::Ports(None)), Network::Ports(None));
    }

    #[test]
    fn the_filter_is_one() {
        assert!(program(&Needs::default()).is_ok_and(|filter| filter.len() > NEVER.len()));
    }
}
