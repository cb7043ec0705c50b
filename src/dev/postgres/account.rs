//! The account under which a private PostgreSQL runs: ours, or an unprivileged one when we are root, because PostgreSQL
//! refuses to run as root.

use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

/// Accounts to step down to, the one that PostgreSQL's packages make first.
const UNPRIVILEGED: [&str; 3] = ["postgres", "_postgres", "nobody"];

/// Who runs the server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Account {
    /// The user who runs this process.
    Ours,
    /// Another user, because we are root.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// The account for this process: ours unless we are root.
    pub(super) fn choose() -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ours);
        }
        UNPRIVILEGED
            .iter()
            .find_map(|name| Some(Self::Other { uid: id_of("-u", name)?, gid: id_of("-g", name)? }))
            .context("PostgreSQL does not run as root, and this machine has neither a `postgres` nor a `nobody` account")
    }

    /// Makes `command` run as this account. The standard library drops root's supplementary groups with it.
    pub(super) fn run_as(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            command.gid(gid).uid(uid);
        }
    }

    /// Gives `path` to this account. A link is given itself, not what it points at: the account owns the directory, and must
    /// not be able to have root's files given to it.
    pub(super) fn give(self, path: &Path) -> anyhow::Result<()> {
        if let Self::Other { uid, gid } = self {
            lchown(path, Some(uid), Some(gid))
                .context("give a directory to the account that runs PostgreSQL")?;
        }
        Ok(())
    }
}

/// A user's number by `id`, which asks every directory that the machine knows, not only `/etc/passwd`.
fn id_of(option: &str, name: &str) -> Option<u32> {
    let output = Command::new("id")
        .args([option, name])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let number = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    (output.status.success() && number != 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_points_at_is_not_given_away() {
        let parent = tempfile::tempdir().unwrap();
        let link = parent.path().join("password");
        // To nowhere: following it fails.
        std::os::unix::fs::symlink(parent.path().join("missing"), &link).unwrap();
        let account = Account::Other {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        account.give(&link).unwrap();
    }
}
