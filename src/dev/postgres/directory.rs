//! The directory that `riley-auth dev` keeps between starts: marked as ours, locked while in use, never followed into
//! somebody else's hands.
//!
//! ```text
//! .riley-auth-dev   the mark: without it nothing here is touched, let alone wiped
//! lock              held while a `riley-auth dev` runs
//! supervisor.lock   held while a supervisor runs, which outlives a killed `riley-auth dev` for a moment
//! connection.json   the port and the password, mode 0600
//! server/           given to the account that runs PostgreSQL, mode 0700
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

const MARK: &str = ".riley-auth-dev";
const LOCK: &str = "lock";
const SUPERVISOR_LOCK: &str = "supervisor.lock";

/// How long the supervisor of a killed process may take to end: it may be in the midst of `initdb`.
const SUPERVISOR_LIMIT: Duration = Duration::from_mins(1);
const CONNECTION: &str = "connection.json";

/// Where root's data is: an unprivileged account must be able to reach it, and root's home is closed to it. Not under
/// `/var/tmp`, where anybody can put a directory of that name first and old files are cleaned away.
const ROOT_DIRECTORY: &str = "/var/lib/riley-auth-dev";

/// How the server is reached; kept so that URLs stay good over a restart.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Connection {
    pub(super) port: u16,
    pub(super) password: String,
}

/// The directory, locked for this process.
pub(super) struct DevDirectory {
    path: PathBuf,
    /// Released by the kernel when this process ends, however it ends.
    _lock: File,
}

/// `$XDG_DATA_HOME/riley-auth/dev`, else `~/.local/share/riley-auth/dev`; for root `/var/lib/riley-auth-dev`.
pub fn default_dev_directory() -> anyhow::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(ROOT_DIRECTORY));
    }
    // The XDG base directory specification tells to ignore a relative path.
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data_home = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    Ok(data_home
        .context("set HOME or XDG_DATA_HOME: the development database is kept there")?
        .join("riley-auth/dev"))
}

impl DevDirectory {
    /// Creates the directory or checks that it is ours, and locks it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        create(&path).with_context(|| format!("create {}", path.display()))?;
        require_ours(&path)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The part that belongs to the account that runs PostgreSQL.
    pub(super) fn server(&self) -> PathBuf {
        self.path.join("server")
    }

    /// Removes everything but the mark and the locks.
    pub(super) fn wipe(&self) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if [MARK, LOCK, SUPERVISOR_LOCK]
                .iter()
                .any(|kept| entry.file_name() == *kept)
            {
                continue;
            }
            // Neither call follows a symbolic link.
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())
            } else {
                std::fs::remove_file(entry.path())
            }
            .with_context(|| format!("remove {}", entry.path().display()))?;
        }
        Ok(())
    }

    /// Waits until the supervisor of an earlier start has ended, and gives the lock to hand to the next one. The lock is
    /// free when no process has this open file any more, so a supervisor that is killed gives it back, too.
    pub(super) fn lock_for_supervisor(&self) -> anyhow::Result<File> {
        let file = open_lock(&self.path.join(SUPERVISOR_LOCK))?;
        let deadline = Instant::now() + SUPERVISOR_LIMIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => bail!(
                    "the PostgreSQL of an earlier `riley-auth dev` on {} is still stopping; try again in a minute",
                    self.path.display()
                ),
                Err(TryLockError::Error(error)) => {
                    return Err(error).context("lock the development directory");
                }
            }
        }
    }

    /// The kept port and password; `None` before the first start.
    pub(super) fn connection(&self) -> anyhow::Result<Option<Connection>> {
        match std::fs::read(self.path.join(CONNECTION)) {
            Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| {
                format!(
                    "{} cannot be read; start once with --fresh",
                    self.path.join(CONNECTION).display()
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("read the kept port and password"),
        }
    }

    /// Keeps port and password, whole or not at all.
    pub(super) fn keep_connection(&self, connection: &Connection) -> anyhow::Result<()> {
        let unfinished = self.path.join("connection.json.new");
        write_private(&unfinished, &serde_json::to_vec(connection)?)?;
        std::fs::rename(&unfinished, self.path.join(CONNECTION)).context("keep the port and password")
    }
}

/// Writes a file that only its owner reads, replacing one that is there.
pub(in crate::dev) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(())
}

/// Root's directory can be entered, but not read, by the account that runs PostgreSQL.
fn create(path: &Path) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mode = if rustix::process::geteuid().is_root() {
        0o711
    } else {
        0o700
    };
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        // The mode that was asked for, whatever the umask says.
        Ok(()) => Ok(std::fs::set_permissions(
            path,
            std::fs::Permissions::from_mode(mode),
        )?),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a directory of another user (a shared parent lets anybody create it first), one that others may write to, and one
/// with foreign content. Marks one that is empty.
fn require_ours(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        bail!("{shown} is not a directory; move it away and start again");
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
        bail!("{shown} belongs to another user or can be written by others; move it away and start again");
    }
    // The mark is the first file to be made. Looking for it last lets two first starts race without harm.
    let empty = std::fs::read_dir(path)?.next().is_none();
    let mark = path.join(MARK);
    if empty {
        std::fs::write(
            &mark,
            "Made by `riley-auth dev`, which may remove everything in this directory.\n",
        )?;
    } else if !mark.is_file() {
        bail!(
            "{shown} holds files that `riley-auth dev` did not make, so it is left alone; move it away and start again"
        );
    }
    Ok(())
}

fn open_lock(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = open_lock(&path.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "another `riley-auth dev` is running on {}; stop that one first",
                path.display()
            )
        }
        Err(TryLockError::Error(error)) => Err(error).context("lock the development directory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_leaves_neighbours_and_targets_of_links_alone() {
        let parent = tempfile::tempdir().unwrap();
        let neighbour = parent.path().join("neighbour");
        std::fs::create_dir(&neighbour).unwrap();
        std::fs::write(neighbour.join("kept"), "x").unwrap();
        let directory = DevDirectory::open(&parent.path().join("dev")).unwrap();
        std::fs::create_dir(directory.server()).unwrap();
        std::os::unix::fs::symlink(&neighbour, directory.path().join("link")).unwrap();

        directory.wipe().unwrap();

        assert!(neighbour.join("kept").is_file());
        assert!(!directory.server().exists());
        assert!(directory.path().join("link").symlink_metadata().is_err());
        assert!(directory.path().join(MARK).is_file());
    }

    #[test]
    fn a_directory_without_the_mark_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("thesis.tex"), "x").unwrap();
        assert!(DevDirectory::open(parent.path()).is_err());
        assert!(parent.path().join("thesis.tex").is_file());
        assert!(!parent.path().join(MARK).exists());
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::set_permissions(parent.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(DevDirectory::open(parent.path()).is_err());
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::create_dir(parent.path().join("real")).unwrap();
        std::os::unix::fs::symlink(parent.path().join("real"), parent.path().join("dev")).unwrap();
        assert!(DevDirectory::open(&parent.path().join("dev")).is_err());
    }

    #[test]
    fn a_second_opener_is_refused_while_the_first_one_lives() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("dev");
        let first = DevDirectory::open(&path).unwrap();
        let refused = DevDirectory::open(&path).err().unwrap().to_string();
        assert!(
            refused.contains("another `riley-auth dev` is running"),
            "{refused}"
        );
        drop(first);
        DevDirectory::open(&path).unwrap();
    }

    #[test]
    fn the_kept_password_is_readable_by_its_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DevDirectory::open(&parent.path().join("dev")).unwrap();
        assert!(directory.connection().unwrap().is_none());
        directory
            .keep_connection(&Connection {
                port: 5,
                password: "secret".to_owned(),
            })
            .unwrap();
        assert_eq!(directory.connection().unwrap().unwrap().port, 5);
        let mode = std::fs::metadata(directory.path().join(CONNECTION))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
