//! Whose processes the workers are: `--user` and `--group`, as gunicorn has them. The arbiter stays who it is, binds, and
//! opens; its workers start as somebody with fewer rights.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown, lchown};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::fault::{Fault, Kind, Result};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Processes")]
pub struct Options {
    /// Run the workers as this user, a name or a number. Only root can.
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,

    /// Run the workers in this group, a name or a number; the default is the user's own.
    #[arg(short, long, value_name = "GROUP")]
    pub group: Option<String>,
}

/// Who the workers are, where that is somebody else than the arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: u32,
    pub group: u32,
}

impl Options {
    pub fn identity(&self) -> Result<Option<Identity>> {
        let own = Identity {
            user: uzers::get_effective_uid(),
            group: uzers::get_effective_gid(),
        };
        let wrong = |option: &str, value: &str, why: &str| Fault::new(Kind::Usage, format!("{option} {value}: {why}"));
        let mut wanted = own;
        if let Some(user) = &self.user {
            (wanted.user, wanted.group) = match user.parse().ok() {
                Some(number) => {
                    let known = uzers::get_user_by_uid(number);
                    (number, known.map_or(own.group, |user| user.primary_group_id()))
                }
                None => uzers::get_user_by_name(user)
                    .map(|user| (user.uid(), user.primary_group_id()))
                    .ok_or_else(|| wrong("--user", user, "there is no such user"))?,
            };
        }
        if let Some(group) = &self.group {
            wanted.group = match group.parse().ok() {
                Some(number) => number,
                None => uzers::get_group_by_name(group)
                    .map(|group| group.gid())
                    .ok_or_else(|| wrong("--group", group, "there is no such group"))?,
            };
        }
        if wanted == own {
            return Ok(None);
        }
        if own.user != 0 {
            let (option, value) = match (&self.user, &self.group) {
                (Some(user), _) => ("--user", user.as_str()),
                (None, group) => ("--group", group.as_deref().unwrap_or_default()),
            };
            return Err(wrong(option, value, "only root can become somebody else; leave it out"));
        }
        Ok(Some(wanted))
    }
}

impl Identity {
    /// Makes a log file theirs, and makes it if it is not there, so that they can open it anew.
    pub fn give_file(self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        fchown(file, Some(self.user), Some(self.group))
    }

    /// Makes a Unix socket theirs.
    pub fn give_socket(self, path: &Path) -> io::Result<()> {
        lchown(path, Some(self.user), Some(self.group))
    }

    /// Lets them go through a directory of ours, to files whose names they are told; not see what else is in it.
    pub fn let_through(self, directory: &Path) -> io::Result<()> {
        if self.passes(&fs::metadata(directory)?) {
            return Ok(());
        }
        chown(directory, None, Some(self.group))?;
        let mode = fs::metadata(directory)?.mode() & 0o7777;
        fs::set_permissions(directory, fs::Permissions::from_mode(mode & !0o070 | 0o010))
    }

    /// The first directory on the way to a file that they cannot pass.
    pub fn stopped_at(self, file: &Path) -> Option<PathBuf> {
        let mut directories: Vec<&Path> = file.ancestors().skip(1).collect();
        directories.reverse();
        directories
            .into_iter()
            .find(|directory| !fs::metadata(directory).is_ok_and(|metadata| self.passes(&metadata)))
            .map(Path::to_owned)
    }

    fn passes(self, directory: &fs::Metadata) -> bool {
        let bit = if directory.uid() == self.user {
            0o100
        } else if directory.gid() == self.group {
            0o010
        } else {
            0o001
        };
        self.user == 0 || directory.mode() & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(user: Option<&str>, group: Option<&str>) -> Options {
        Options {
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
        }
    }

    #[test]
    fn nobody_else_is_nobody() {
        assert_eq!(options(None, None).identity().unwrap(), None);
        let own = uzers::get_effective_uid().to_string();
        assert_eq!(options(Some(&own), None).identity().unwrap(), None);
    }

    #[test]
    fn names_have_to_be_known() {
        for (user, group) in [(Some("surely-nobody"), None), (None, Some("surely-none"))] {
            let fault = options(user, group).identity().unwrap_err();
            assert_eq!(fault.kind, Kind::Usage);
            assert!(fault.message.contains("there is no such"), "{}", fault.message);
        }
    }

    #[test]
    fn the_way_to_a_file_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let (inner, file) = (root.path().join("inner"), root.path().join("inner/file"));
        fs::create_dir(&inner).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(root.path(), 0o755);
        let stranger = Identity {
            user: 54_321,
            group: 54_321,
        };
        mode(&inner, 0o711);
        assert_eq!(stranger.stopped_at(&file), None);
        mode(&inner, 0o700);
        assert_eq!(stranger.stopped_at(&file), Some(inner));
    }
}
