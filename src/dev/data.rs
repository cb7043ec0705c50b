//! Keys and secrets of `riley-auth dev`: made at the first start, kept so that tokens and a copied client secret outlive
//! a restart, gone with `--fresh`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use sqlx::postgres::PgConnectOptions;

use super::database::DevDatabase;
use super::postgres::{default_dev_directory, write_private};
use crate::jwt::generate;
use crate::protocol::algorithm::SigningAlgorithm;
use crate::protocol::opaque::Opaque;

/// What is kept between starts.
pub struct DevData {
    pub directory: PathBuf,
    /// RS256 first, so it signs unless a client asks otherwise: some libraries accept nothing else by default.
    pub keys: Vec<(SigningAlgorithm, PathBuf)>,
    pub demo_client_secret: Opaque,
    /// What `database.secret_key` is.
    pub secret_key: Opaque,
}

impl DevData {
    /// Reads what is there and makes what is missing. Blocks: an RSA key takes about a second.
    pub fn open(directory: PathBuf) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
        let key = |algorithm: SigningAlgorithm, name: &str| -> anyhow::Result<_> {
            let path = key_in(&directory.join("keys").join(name), algorithm)
                .with_context(|| format!("the {name} key below {}", directory.display()))?;
            Ok((algorithm, path))
        };
        Ok(Self {
            keys: vec![
                key(SigningAlgorithm::Rs256, "rs256")?,
                key(SigningAlgorithm::Es256, "es256")?,
            ],
            demo_client_secret: secret_in(&directory.join("demo_client_secret"))?,
            secret_key: secret_in(&directory.join("secret_key"))?,
            directory,
        })
    }

    /// The configuration that `dev` runs with, for the other commands.
    pub fn config_path(&self) -> PathBuf {
        self.directory.join("riley-auth.toml")
    }

    /// Writes that file, whole or not at all. It holds the database's password.
    pub fn keep_config(&self, text: &str) -> anyhow::Result<()> {
        let unfinished = self.directory.join("riley-auth.toml.new");
        let note = "# What `riley-auth dev` runs with; written anew at every start.\n\n";
        write_private(&unfinished, format!("{note}{text}").as_bytes())?;
        fs::rename(&unfinished, self.config_path()).context("keep the development configuration")
    }
}

/// Beside the private database; with a database of `DATABASE_URL`, in a directory next to that, one for each database, so that
/// two of them at once do not share keys and a configuration file.
pub fn directory_for(database: &DevDatabase) -> anyhow::Result<PathBuf> {
    if let Some(directory) = database.directory() {
        return Ok(directory.to_owned());
    }
    let mut path = default_dev_directory()?.into_os_string();
    path.push(format!("-with-database-url-{}", name_of(database.url())?));
    Ok(path.into())
}

/// A name for the database that a URL leads to, whoever connects to it with whatever password.
fn name_of(database_url: &str) -> anyhow::Result<String> {
    let options = PgConnectOptions::from_str(database_url).context("read DATABASE_URL")?;
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    let place = format!("{}:{}/{database}", options.get_host(), options.get_port());
    let hash = digest::digest(&digest::SHA256, place.as_bytes());
    let start = hash.as_ref().first_chunk().context("a digest has 32 bytes")?;
    Ok(format!("{:08x}", u32::from_be_bytes(*start)))
}

/// The private key in `dir`, made now if there is none.
fn key_in(dir: &Path, algorithm: SigningAlgorithm) -> anyhow::Result<PathBuf> {
    if dir.is_dir() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            // `{kid}.pem` and, for the public half, `{kid}.pub.pem`.
            let is_pem = path.extension().is_some_and(|extension| extension == "pem");
            let is_public = path
                .file_stem()
                .is_some_and(|stem| Path::new(stem).extension().is_some());
            if is_pem && !is_public {
                return Ok(path);
            }
        }
    }
    let (private, _public) = generate::write_pair(dir, &generate::generate(algorithm, None)?)?;
    Ok(private)
}

/// The secret in the file, made now if there is none.
fn secret_in(path: &Path) -> anyhow::Result<Opaque> {
    match fs::read_to_string(path) {
        Ok(text) => match Opaque::parse(text.trim()) {
            Some(secret) => Ok(secret),
            None => bail!(
                "{} does not hold a secret that was made here; remove it",
                path.display()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = Opaque::generate(&SystemRandom::new());
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{}", secret.expose())?;
            file.sync_all()?;
            Ok(secret)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_database_has_a_directory_of_its_own() {
        let name = |url: &str| name_of(url).unwrap();
        let one = name("postgres://a:x@127.0.0.1:5432/one");
        assert_eq!(one, name("postgres://b:y@127.0.0.1/one?sslmode=disable"));
        for other in [
            "postgres://a:x@127.0.0.1:5432/two",
            "postgres://a:x@127.0.0.1:5433/one",
            "postgres://a:x@db.example:5432/one",
        ] {
            assert_ne!(one, name(other), "{other}");
        }
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn keys_and_secret_are_made_once_and_readable_by_their_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let first = DevData::open(parent.path().join("data")).unwrap();
        let second = DevData::open(parent.path().join("data")).unwrap();
        assert_eq!(first.keys, second.keys);
        assert_eq!(
            first.demo_client_secret.expose(),
            second.demo_client_secret.expose()
        );
        let secret = first.directory.join("demo_client_secret");
        for path in first.keys.iter().map(|(_, path)| path).chain([&secret]) {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
    }
}
