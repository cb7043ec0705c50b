//! The account under which a private PostgreSQL runs: ours, or an unprivileged one when we are root, because PostgreSQL
//! refuses to run as root.

use std::os::unix::fs::chown;
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

    /// Gives `path` to this account.
    pub(super) fn give(self, path: &Path) -> anyhow::Result<()> {
        if let Self::Other { uid, gid } = self {
            chown(path, Some(uid), Some(gid))
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
