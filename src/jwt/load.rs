//! From key files to key entries, with every finding at once.
//!
//! Reading files and judging keys are two steps: [`read`] opens files and looks at their modes, [`entries`] is pure and
//! knows only PEM text. Each finding names the entry, what is wrong and how to mend it, and never shows what was read.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;

use super::KeyEntry;
use super::jwk::{PublicKey, Unusable};
use super::private_key::PrivateKey;
use crate::protocol::algorithm::SigningAlgorithm;

/// No key file is longer; whatever is, is no key (an 8192-bit RSA key takes 6.4 KiB).
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;

/// One entry of the key list as PEM text.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// What the configuration says the key is for; must fit the key.
    pub algorithm: SigningAlgorithm,
    /// PKCS#8, `EC PRIVATE KEY` or `RSA PRIVATE KEY`. `None`: the entry only verifies.
    pub private_key_pem: Option<SecretString>,
    /// `PUBLIC KEY` or `RSA PUBLIC KEY`. `None`: derived from the private key.
    pub public_key_pem: Option<String>,
    /// `None`: the RFC 7638 thumbprint.
    pub kid: Option<String>,
    /// Until then the key is published and does not sign. `None`: it may sign now.
    pub signs_from: Option<OffsetDateTime>,
    /// Where the entry comes from, for messages: file names.
    pub origin: String,
}

/// One entry of the key list as paths: `jwt.keys` of the configuration.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    pub algorithm: SigningAlgorithm,
    pub private_key_path: Option<PathBuf>,
    pub public_key_path: Option<PathBuf>,
    pub kid: Option<String>,
    pub signs_from: Option<OffsetDateTime>,
}

/// A finding about the keys: which entry, what is wrong, how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct KeyError {
    /// Position in the list, from 0; `None` if the finding is about the list as a whole.
    pub entry: Option<usize>,
    /// The file or files, as in [`KeySource::origin`]; empty for the list as a whole.
    pub origin: String,
    pub problem: String,
    pub mend: String,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Some(index) => write!(f, "jwt.keys[{index}]")?,
            None => f.write_str("jwt.keys")?,
        }
        if !self.origin.is_empty() {
            write!(f, " ({})", self.origin)?;
        }
        write!(f, ": {}; {}", self.problem, self.mend)
    }
}

impl KeyError {
    fn new(entry: usize, origin: &str, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            entry: Some(entry),
            origin: origin.to_owned(),
            problem: problem.into(),
            mend: mend.into(),
        }
    }

    pub(super) fn of_list(problem: &str, mend: &str) -> Self {
        Self {
            entry: None,
            origin: String::new(),
            problem: problem.into(),
            mend: mend.into(),
        }
    }

    pub(super) fn of_entry(index: usize, entry: &KeyEntry, problem: &str, mend: &str) -> Self {
        Self::new(index, &entry.origin, problem, mend)
    }
}

/// Reads the files of one entry. A private key that its group or others may read is refused, unless
/// `allow_readable_by_others` is set (some container platforms mount secrets so and offer no other way).
pub(super) fn read(
    index: usize,
    files: KeyFiles,
    allow_readable_by_others: bool,
) -> Result<KeySource, Vec<KeyError>> {
    let origin = [&files.private_key_path, &files.public_key_path]
        .into_iter()
        .flatten()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let private = files
        .private_key_path
        .as_deref()
        .map(|path| read_private(index, path, allow_readable_by_others));
    let public = files
        .public_key_path
        .as_deref()
        .map(|path| read_file(index, path).map(|(_, text)| text));
    match (private.transpose(), public.transpose()) {
        (Ok(private_key_pem), Ok(public_key_pem)) => Ok(KeySource {
            algorithm: files.algorithm,
            private_key_pem,
            public_key_pem,
            kid: files.kid,
            signs_from: files.signs_from,
            origin,
        }),
        (private, public) => Err(private.err().into_iter().chain(public.err()).collect()),
    }
}

/// When the key's file was last written: the private key's, else the public key's.
pub(super) fn modified_at(files: &KeyFiles) -> Option<OffsetDateTime> {
    let path = files
        .private_key_path
        .as_deref()
        .or(files.public_key_path.as_deref())?;
    let modified = std::fs::metadata(path).ok()?.modified().ok()?;
    Some(modified.into())
}

fn read_private(index: usize, path: &Path, allow_readable_by_others: bool) -> Result<SecretString, KeyError> {
    let (mode, text) = read_file(index, path)?;
    let text = SecretString::from(text);
    if mode & 0o077 != 0 && !allow_readable_by_others {
        return Err(KeyError::new(
            index,
            &path.display().to_string(),
            format!(
                "group or others may use the private key's file (mode {:03o})",
                mode & 0o777
            ),
            format!("run `chmod 600 {}`", path.display()),
        ));
    }
    Ok(text)
}

/// The file's mode and text, both of the same open file, so that the one judged is the one used.
fn read_file(index: usize, path: &Path) -> Result<(u32, String), KeyError> {
    let finding =
        |problem: &str, mend: &str| KeyError::new(index, &path.display().to_string(), problem, mend);
    let read = || -> io::Result<(u32, String)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut text = String::new();
        file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text)?;
        Ok((metadata.permissions().mode(), text))
    };
    read().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => finding(
            "the file does not exist",
            "correct the path (relative ones start at the configuration file), or make a key with `riley-auth generate-keys`",
        ),
        io::ErrorKind::PermissionDenied => finding(
            "this process may not read the file",
            "give the file to the user that runs the server, with mode 600",
        ),
        io::ErrorKind::IsADirectory => finding("the path is no file", "name the key's file"),
        io::ErrorKind::InvalidData => finding("the file is not text", "name a PEM file; DER is not supported"),
        _ => finding(&format!("the file cannot be read: {error}"), "see that it can be read"),
    })
}

/// Judges all entries and the list, and returns the entries in their order or everything that is wrong with them.
pub(super) fn entries(
    sources: Vec<Result<KeySource, Vec<KeyError>>>,
) -> Result<Vec<KeyEntry>, Vec<KeyError>> {
    let mut findings = Vec::new();
    let mut entries = Vec::new();
    if sources.is_empty() {
        findings.push(KeyError::of_list("at least one key is required", GENERATE));
    }
    for (index, source) in sources.into_iter().enumerate() {
        let result = source.and_then(|source| {
            let origin = source.origin.clone();
            entry(index == 0, source)
                .map_err(|why| vec![KeyError::new(index, &origin, why.problem, why.mend)])
        });
        match result {
            Ok(entry) => entries.push((index, entry)),
            Err(found) => findings.extend(found),
        }
    }
    findings.extend(duplicates(&entries));
    findings.sort_by_key(|finding| finding.entry);
    if findings.is_empty() {
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    } else {
        Err(findings)
    }
}

const GENERATE: &str =
    "make one with `riley-auth generate-keys --output-dir ./keys` and add the lines it prints";

/// A `kid` names one key: with two, a verifier could pick the wrong one.
fn duplicates(entries: &[(usize, KeyEntry)]) -> Vec<KeyError> {
    let mut first_by_kid = HashMap::new();
    let mut findings = Vec::new();
    for (index, entry) in entries {
        if let Some(first) = first_by_kid.insert(entry.kid.as_str(), *index) {
            findings.push(KeyError::of_entry(
                *index,
                entry,
                &format!("its kid is that of jwt.keys[{first}]"),
                "give every key a kid of its own, or remove the entry that stands there twice",
            ));
        }
    }
    findings
}

fn entry(is_first: bool, source: KeySource) -> Result<KeyEntry, Unusable> {
    require_private_key_to_sign(is_first, &source)?;
    let private = source
        .private_key_pem
        .as_ref()
        .map(|pem| PrivateKey::from_pem(pem.expose_secret()))
        .transpose()?;
    let given = source
        .public_key_pem
        .as_deref()
        .map(PublicKey::from_pem)
        .transpose()?;
    let public = match (private.as_ref().map(PrivateKey::public_key), given) {
        (Some(derived), Some(given)) if derived != given => {
            return Err(Unusable {
                problem: "the public key does not belong to the private key",
                mend: "leave public_key_path out, it is derived from the private key",
            });
        }
        (Some(public), _) | (None, Some(public)) => public,
        (None, None) => {
            return Err(Unusable {
                problem: "the entry names no key",
                mend: "set private_key_path, or public_key_path alone for an entry that only verifies",
            });
        }
    };
    if public.algorithm() != source.algorithm {
        return Err(match public.algorithm() {
            SigningAlgorithm::Es256 => Unusable {
                problem: "the algorithm is RS256 but the key is an elliptic curve key",
                mend: "write algorithm = \"ES256\", or name an RSA key",
            },
            SigningAlgorithm::Rs256 => Unusable {
                problem: "the algorithm is ES256 but the key is an RSA key",
                mend: "write algorithm = \"RS256\", or name a P-256 key",
            },
        });
    }
    let kid = source.kid.unwrap_or_else(|| public.thumbprint());
    require_plain_kid(&kid)?;
    let verifying = public.verifier().ok_or(Unusable {
        problem: "the public key is no valid key",
        mend: "restore the file from its backup, or make a key with `riley-auth generate-keys`",
    })?;
    Ok(KeyEntry {
        jwk: public.to_jwk(&kid),
        kid,
        algorithm: source.algorithm,
        signing: private,
        verifying,
        signs_from: source.signs_from,
        file_modified_at: None,
        origin: source.origin,
    })
}

/// An entry that only verifies may stand anywhere but where it would have to sign. Whether a later entry has to sign is
/// a question of time: `KeySet::require_signer`.
fn require_private_key_to_sign(is_first: bool, source: &KeySource) -> Result<(), Unusable> {
    if source.private_key_pem.is_some() {
        return Ok(());
    }
    if is_first {
        return Err(Unusable {
            problem: "the first key signs and must have a private key",
            mend: "set private_key_path, or put a key that has one first",
        });
    }
    if source.signs_from.is_some() {
        return Err(Unusable {
            problem: "the entry has signs_from but no private key to sign with",
            mend: "set private_key_path, or remove signs_from",
        });
    }
    Ok(())
}

/// A kid goes into file names, tokens and logs, so it is made of harmless characters only.
fn require_plain_kid(kid: &str) -> Result<(), Unusable> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=64).contains(&kid.len()) && kid.bytes().all(plain) {
        return Ok(());
    }
    Err(Unusable {
        problem: "the kid is not 1 to 64 characters out of A-Z a-z 0-9 . _ -",
        mend: "choose another kid, such as \"2026-01\", or leave it out",
    })
}
