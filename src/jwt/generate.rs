//! New key pairs, made in this process by aws-lc-rs and written so that nobody else can read them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use p256::pkcs8::{Document, LineEnding, SecretDocument};
use secrecy::{ExposeSecret as _, SecretString};

use super::private_key::PrivateKey;
use crate::protocol::algorithm::SigningAlgorithm;

/// The size of an RSA key when none is asked for. Its signatures cost six times as much as those of 2048 bits; who signs
/// many ID tokens with RS256 asks for a smaller key.
pub const DEFAULT_RSA_KEY_SIZE_BITS: u32 = 4096;

/// A new key pair, in memory only.
#[derive(Debug)]
pub struct GeneratedKey {
    pub algorithm: SigningAlgorithm,
    /// The RFC 7638 thumbprint.
    pub kid: String,
    /// PKCS#8, unencrypted.
    pub private_key_pem: SecretString,
    /// SubjectPublicKeyInfo.
    pub public_key_pem: String,
}

/// Why no key was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    #[error("RS256 keys have 2048, 3072 or 4096 bits, ES256 keys always 256")]
    KeySize,
    #[error("the cryptographic library could not make a key")]
    Library,
}

/// Makes a key pair. `key_size_bits` is for RSA: 2048, 3072 or 4096; `None` takes [`DEFAULT_RSA_KEY_SIZE_BITS`].
pub fn generate(
    algorithm: SigningAlgorithm,
    key_size_bits: Option<u32>,
) -> Result<GeneratedKey, GenerateError> {
    match algorithm {
        SigningAlgorithm::Es256 => {
            if key_size_bits.is_some_and(|bits| bits != 256) {
                return Err(GenerateError::KeySize);
            }
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .map_err(|_| GenerateError::Library)?;
            let pkcs8 = pair.to_pkcs8v1().map_err(|_| GenerateError::Library)?;
            let spki: PublicKeyX509Der<'_> =
                pair.public_key().as_der().map_err(|_| GenerateError::Library)?;
            let (private, public) = (private_pem(pkcs8.as_ref())?, public_pem(spki.as_ref())?);
            Ok(generated(algorithm, &PrivateKey::Ec(pair), private, public))
        }
        SigningAlgorithm::Rs256 => {
            let size = match key_size_bits.unwrap_or(DEFAULT_RSA_KEY_SIZE_BITS) {
                2048 => KeySize::Rsa2048,
                3072 => KeySize::Rsa3072,
                4096 => KeySize::Rsa4096,
                _ => return Err(GenerateError::KeySize),
            };
            let pair = RsaKeyPair::generate(size).map_err(|_| GenerateError::Library)?;
            let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| GenerateError::Library)?;
            let spki: PublicKeyX509Der<'_> =
                pair.public_key().as_der().map_err(|_| GenerateError::Library)?;
            let (private, public) = (private_pem(pkcs8.as_ref())?, public_pem(spki.as_ref())?);
            Ok(generated(algorithm, &PrivateKey::Rsa(pair), private, public))
        }
    }
}

fn generated(
    algorithm: SigningAlgorithm,
    pair: &PrivateKey,
    private_key_pem: SecretString,
    public_key_pem: String,
) -> GeneratedKey {
    GeneratedKey {
        algorithm,
        kid: pair.public_key().thumbprint(),
        private_key_pem,
        public_key_pem,
    }
}

fn private_pem(pkcs8: &[u8]) -> Result<SecretString, GenerateError> {
    let document = SecretDocument::try_from(pkcs8).map_err(|_| GenerateError::Library)?;
    let pem = document
        .to_pem("PRIVATE KEY", LineEnding::LF)
        .map_err(|_| GenerateError::Library)?;
    Ok(SecretString::from(pem.as_str()))
}

fn public_pem(spki: &[u8]) -> Result<String, GenerateError> {
    let document = Document::try_from(spki).map_err(|_| GenerateError::Library)?;
    document
        .to_pem("PUBLIC KEY", LineEnding::LF)
        .map_err(|_| GenerateError::Library)
}

/// Writes `{kid}.pem` with mode 0600 and `{kid}.pub.pem` into `dir` and returns the two paths.
///
/// The directory is made with mode 0700 if it is missing. An existing file is never overwritten
/// ([`io::ErrorKind::AlreadyExists`]), and after a failure no half of a pair stays behind.
pub fn write_pair(dir: &Path, key: &GeneratedKey) -> io::Result<(PathBuf, PathBuf)> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let private_path = dir.join(format!("{}.pem", key.kid));
    let public_path = dir.join(format!("{}.pub.pem", key.kid));
    write_new(&private_path, 0o600, key.private_key_pem.expose_secret())?;
    if let Err(error) = write_new(&public_path, 0o644, &key.public_key_pem) {
        let _ = fs::remove_file(&private_path);
        return Err(error);
    }
    // The names are on disk only once the directory is.
    File::open(dir)?.sync_all()?;
    Ok((private_path, public_path))
}

fn write_new(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    // `create_new` also refuses a symbolic link that somebody put there to have the key written elsewhere.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn other_sizes_than_the_three_are_refused() {
        for bits in [0, 512, 1024, 2047, 8192] {
            assert_eq!(
                generate(SigningAlgorithm::Rs256, Some(bits)).unwrap_err(),
                GenerateError::KeySize
            );
        }
        assert_eq!(
            generate(SigningAlgorithm::Es256, Some(384)).unwrap_err(),
            GenerateError::KeySize
        );
    }

    #[test]
    fn a_pair_is_written_for_its_owner_only_and_never_over_another() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/keys");
        let key = generate(SigningAlgorithm::Es256, None).unwrap();
        let (private, public) = write_pair(&dir, &key).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&private)), (0o700, 0o600));
        assert_eq!(
            private.file_name().unwrap().to_str().unwrap(),
            format!("{}.pem", key.kid)
        );
        assert_eq!(
            public.file_name().unwrap().to_str().unwrap(),
            format!("{}.pub.pem", key.kid)
        );
        assert_eq!(
            fs::read_to_string(&private).unwrap(),
            key.private_key_pem.expose_secret()
        );

        assert_eq!(
            write_pair(&dir, &key).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        fs::remove_file(&private).unwrap();
        assert_eq!(
            write_pair(&dir, &key).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert!(!private.exists(), "half a pair stayed behind");
        assert_eq!(fs::read_to_string(&public).unwrap(), key.public_key_pem);
    }

    #[test]
    fn a_generated_key_does_not_show_its_private_half() {
        let key = generate(SigningAlgorithm::Es256, None).unwrap();
        assert!(!format!("{key:?}").contains("PRIVATE KEY"));
    }
}
