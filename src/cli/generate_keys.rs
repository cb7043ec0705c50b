//! `riley-auth generate-keys`: a new pair, and the lines that put it to use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde_json::json;
use sqlx::ConnectOptions as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Global;
use super::prepend::{self, Entry};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::database::Route;
use crate::db;
use crate::jwt::KeySet;
use crate::jwt::generate::{self, GeneratedKey};
use crate::protocol::algorithm::SigningAlgorithm;
use crate::server::key_record::MAX_AGE_INTERVAL;

/// How long after this command every instance has loaded the new key, at the latest. What was fetched just before that may
/// be kept for the whole max-age.
const RELOAD_MARGIN: time::Duration = time::Duration::seconds(10);
/// Instances note only so often for how long apps are told to keep the list.
const NOTED_EVERY: Duration = MAX_AGE_INTERVAL;
/// How long the database may take to say so.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);
/// The size of an RSA key when none is asked for.
const DEFAULT_RSA_KEY_SIZE_BITS: u32 = 4096;

const EXAMPLES: &str = "\
Examples:
  riley-auth generate-keys --output-dir ./keys
  riley-auth generate-keys --algorithm rs256 --key-size 3072
  riley-auth generate-keys --prepend-to riley-auth.toml     # rotation: published now, signs when caches have it";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The algorithm
    #[arg(long, value_enum, ignore_case = true, default_value_t = Algorithm::Es256)]
    algorithm: Algorithm,
    /// Bits of an RSA key [default: 4096]
    #[arg(long, value_name = "BITS", value_parser = ["2048", "3072", "4096"])]
    key_size: Option<String>,
    /// Where the files go; they are named by the key's id
    #[arg(long, value_name = "DIR", default_value = "./keys")]
    output_dir: PathBuf,
    /// The key's id; its RFC 7638 thumbprint if none is given
    #[arg(long)]
    kid: Option<String>,
    /// Put the key first in this configuration file, whose comments stay
    #[arg(long, value_name = "CONFIG")]
    prepend_to: Option<PathBuf>,
    /// The old key is compromised: sign with the new one at once and drop the old one of this algorithm
    #[arg(long, requires = "prepend_to")]
    emergency: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Algorithm {
    /// P-256: fast and small
    Es256,
    /// RSA: for libraries that know nothing else
    Rs256,
}

pub(super) async fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let key = make(args)?;
    let now = Clock::default().now();
    let kept_until = match &args.prepend_to {
        Some(config) if !args.emergency => lists_kept_until(config).await,
        _ => None,
    };
    // The change is planned before anything is written, so that a file that cannot be changed leaves no stray pair.
    let private_path = args.output_dir.join(format!("{}.pem", key.kid));
    let public_path = args.output_dir.join(format!("{}.pub.pem", key.kid));
    let mut entry = Entry {
        algorithm: key.algorithm,
        kid: args.kid.clone(),
        private_key_path: text(&private_path)?,
        public_key_path: text(&public_path)?,
        signs_from: None,
    };
    let plan = match &args.prepend_to {
        Some(config) => Some(plan(
            config,
            &key.kid,
            &mut entry,
            args.emergency,
            now,
            kept_until,
        )?),
        None => None,
    };
    let (private_path, public_path) = generate::write_pair(&args.output_dir, &key).with_context(|| {
        format!(
            "the pair {} cannot be written to {}",
            key.kid,
            args.output_dir.display()
        )
    })?;
    if let Some((path, new_text)) = &plan {
        prepend::replace(path, new_text).with_context(|| {
            format!(
                "{} cannot be changed; the pair is written, add the lines yourself:\n{}",
                path.display(),
                entry.table()
            )
        })?;
    }
    let data = json!({
        "kid": key.kid,
        "algorithm": key.algorithm,
        "private_key_path": private_path,
        "public_key_path": public_path,
        "signs_from": entry.signs_from,
        "config": entry.table(),
    });
    global.print(&data, |_| entry.table())?;
    eprintln!(
        "wrote {} (private, mode 0600) and {}",
        private_path.display(),
        public_path.display()
    );
    eprintln!("{}", advice(args, &entry));
    Ok(())
}

fn make(args: &Args) -> anyhow::Result<GeneratedKey> {
    let (algorithm, size) = match (args.algorithm, &args.key_size) {
        (Algorithm::Es256, Some(_)) => bail!("--key-size is for RSA keys; an ES256 key has 256 bits"),
        (Algorithm::Es256, None) => (SigningAlgorithm::Es256, None),
        (Algorithm::Rs256, None) => (SigningAlgorithm::Rs256, Some(DEFAULT_RSA_KEY_SIZE_BITS)),
        (Algorithm::Rs256, Some(size)) => (SigningAlgorithm::Rs256, Some(size.parse()?)),
    };
    let mut key = generate::generate(algorithm, size)?;
    if let Some(kid) = &args.kid {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        // It becomes a file's name, so it must not start with a dot either.
        if !(1..=64).contains(&kid.len()) || !kid.bytes().all(plain) || kid.starts_with('.') {
            bail!("--kid is not 1 to 64 characters out of A-Z a-z 0-9 . _ -, the first no dot");
        }
        key.kid.clone_from(kid);
    }
    Ok(key)
}

/// Until when apps may keep a list of keys that was given out under a larger number than the file's, as the instances that run
/// have noted it: the file's own is counted from now on.
async fn lists_kept_until(config: &Path) -> Option<OffsetDateTime> {
    let asking = async {
        let config = Config::load(Some(config))?.config;
        let above_secs = i32::try_from(config.jwt.jwks_cache_max_age_secs)?;
        let database = config.database;
        let options = db::connection_options("riley-auth-keys", Route::Direct, &database)?;
        let mut connection = options.connect().await?;
        let known = db::signing_keys::lists_kept_until(&mut connection, above_secs).await?;
        anyhow::Ok(known)
    };
    if let Ok(Ok(known)) = tokio::time::timeout(DATABASE_PATIENCE, asking).await {
        return known;
    }
    eprintln!(
        "note: it cannot be read for how long apps were told to keep the list of keys; if \
         jwt.jwks_cache_max_age_secs was lowered of late, let signs_from wait for what it was before"
    );
    None
}

/// Completes `entry` and returns the configuration file and its new text.
fn plan(
    config: &Path,
    kid: &str,
    entry: &mut Entry,
    emergency: bool,
    now: OffsetDateTime,
    kept_until: Option<OffsetDateTime>,
) -> anyhow::Result<(PathBuf, String)> {
    // A link is followed: what it points at is replaced, not the link.
    let path =
        std::fs::canonicalize(config).with_context(|| format!("{} cannot be found", config.display()))?;
    let old = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    for key_path in [&mut entry.private_key_path, &mut entry.public_key_path] {
        *key_path = text(&seen_from(directory, Path::new(key_path))?)?;
    }
    let keys = prepend::Keys::read(&old)?;
    // As the server understands the file: a value may come from the environment or another file.
    let loaded = Config::load(Some(&path)).ok().map(|loaded| loaded.config.jwt);
    if let Some(jwt) = &loaded
        && KeySet::load(jwt.key_files(), true).is_ok_and(|keys| keys.find(kid).is_some())
    {
        bail!(
            "{} has a key of the id {kid} already; choose another --kid",
            path.display()
        );
    }
    if keys.any() && !emergency {
        let max_age_secs = loaded.map_or(keys.jwks_cache_max_age_secs, |jwt| {
            jwt.jwks_cache_max_age_secs.into()
        });
        let from = now + time::Duration::seconds(max_age_secs);
        // Who fetched the list under a larger number keeps it for that long, whatever the file says by now.
        let from = kept_until.map_or(from, |kept_until| from.max(kept_until + NOTED_EVERY)) + RELOAD_MARGIN;
        entry.signs_from = Some(from.replace_nanosecond(0)?.format(&Rfc3339)?);
    }
    let new = keys.with(entry, emergency)?;
    Ok((path, new))
}

/// The path as a configuration file in `directory` writes it: relative if it is below, absolute otherwise.
fn seen_from(directory: &Path, path: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    // The key's directory may not be there yet; its nearest ancestor that is tells where links lead.
    let mut existing = absolute.as_path();
    while !existing.exists() {
        existing = existing.parent().context("the output directory has no parent")?;
    }
    let rest = absolute.strip_prefix(existing)?;
    let real = if rest.as_os_str().is_empty() {
        existing.canonicalize()?
    } else {
        existing.canonicalize()?.join(rest)
    };
    Ok(real
        .strip_prefix(directory)
        .map(Path::to_path_buf)
        .unwrap_or(real))
}

fn text(path: &Path) -> anyhow::Result<String> {
    let text = path
        .to_str()
        .context("the output directory's name is not UTF-8")?;
    Ok(text.strip_prefix("./").unwrap_or(text).to_owned())
}

fn advice(args: &Args, entry: &Entry) -> String {
    match (&args.prepend_to, &entry.signs_from) {
        (Some(config), Some(from)) => format!(
            "added to {}; reload the server (SIGHUP). The key is published then and signs from {from}",
            config.display()
        ),
        (Some(config), None) => format!(
            "added to {}; reload the server (SIGHUP) and the key signs",
            config.display()
        ),
        (None, _) => {
            "add these lines to the configuration, before the other keys; if one of those is in use, add \
                      signs_from = \"<now plus jwt.jwks_cache_max_age_secs>\" too, or let --prepend-to do it"
                .to_owned()
        }
    }
}
