//! Keys for what the database must not give away by itself, all derived from `database.secret_key`: webhook secrets are
//! sealed (they must be read back to sign), the audit trail is chained, names that deleted accounts hold cannot be guessed.
//!
//! Each purpose has a key of its own (HKDF-SHA-256, RFC 5869), so that nothing made for one passes for another. What is
//! made names its key, so that `database.previous_secret_keys` still open it after a change.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::{constant_time, hkdf, hmac};
use secrecy::{ExposeSecret, SecretString};

/// The shortest secret that is taken: what 128 random bits need in hexadecimal.
pub const MIN_SECRET_KEY_BYTES: usize = 32;

/// The length of a key's name.
const KEY_ID_BYTES: usize = 8;

/// What a derived key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Secrets of webhooks, at rest.
    WebhookSecret,
    /// The chain of the audit trail.
    AuditChain,
    /// A logout request on its way from a POST to the GET that shows the browser's cookies.
    LogoutRequest,
    /// The question whether to sign out, in the form that answers it.
    LogoutQuestion,
    /// Names that deleted accounts hold, at rest.
    HeldUsername,
    /// `riley-auth validate --live` proves to the server that it holds the secret.
    LiveProof,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::WebhookSecret => b"webhook secret",
            Self::AuditChain => b"audit chain",
            Self::LogoutRequest => b"logout request",
            Self::LogoutQuestion => b"logout question",
            Self::HeldUsername => b"held username",
            Self::LiveProof => b"live proof",
        }
    }
}

/// Which of the configured secrets made something; stored beside it, tells nothing of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub [u8; KEY_ID_BYTES]);

/// The current secret and those before it. A clone shares nothing and costs little.
#[derive(Clone)]
pub struct Keyring {
    /// The first one is used for whatever is new.
    secrets: Vec<Secret>,
}

#[derive(Clone)]
struct Secret {
    id: KeyId,
    material: hkdf::Prk,
}

impl Keyring {
    /// Derives from the configured secrets: `current`, then those that it replaced.
    pub fn new(current: &SecretString, previous: &[SecretString]) -> Self {
        Self {
            secrets: std::iter::once(current)
                .chain(previous)
                .map(|secret| Secret::new(secret.expose_secret().as_bytes()))
                .collect(),
        }
    }

    /// Encrypts (AES-256-GCM) under the current secret.
    pub fn seal(&self, purpose: Purpose, rng: &dyn SecureRandom, plaintext: &[u8]) -> Vec<u8> {
        let secret = self.current();
        let mut nonce = [0; NONCE_LEN];
        rng.fill(&mut nonce)
            .expect("the operating system provides randomness");
        let mut sealed = plaintext.to_vec();
        secret
            .sealing_key(purpose)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .expect("a payload of our own is far below the limit of AES-GCM");
        [secret.id.0.as_slice(), &nonce, &sealed].concat()
    }

    /// Decrypts what [`seal`](Self::seal) made for the same purpose. `None`: another secret, or it was altered.
    pub fn open(&self, purpose: Purpose, sealed: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = sealed.split_first_chunk::<KEY_ID_BYTES>()?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>()?;
        let secret = self.find(KeyId(*id))?;
        let mut buffer = ciphertext.to_vec();
        let plaintext = secret
            .sealing_key(purpose)
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut buffer)
            .ok()?;
        Some(plaintext.to_vec())
    }

    /// HMAC-SHA-256 under the current secret, and which one that is.
    pub fn authenticate(&self, purpose: Purpose, message: &[u8]) -> (KeyId, [u8; 32]) {
        let secret = self.current();
        let tag = hmac::sign(&secret.mac_key(purpose), message);
        (
            secret.id,
            tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes"),
        )
    }

    /// The same under every secret, the current one's first: to find what was made under any.
    pub fn authenticate_by_each(&self, purpose: Purpose, message: &[u8]) -> Vec<[u8; 32]> {
        self.secrets
            .iter()
            .map(|secret| {
                let tag = hmac::sign(&secret.mac_key(purpose), message);
                tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
            })
            .collect()
    }

    /// Whether `tag` is the secret's of this id over `message`. `None`: no such secret is configured, nobody can tell.
    pub fn verify(&self, purpose: Purpose, id: KeyId, message: &[u8], tag: &[u8]) -> Option<bool> {
        let key = self.find(id)?.mac_key(purpose);
        Some(constant_time::verify_slices_are_equal(hmac::sign(&key, message).as_ref(), tag).is_ok())
    }

    fn current(&self) -> &Secret {
        self.secrets
            .first()
            .expect("a keyring is made of at least one secret")
    }

    fn find(&self, id: KeyId) -> Option<&Secret> {
        self.secrets.iter().find(|secret| secret.id == id)
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring([REDACTED])")
    }
}

impl Secret {
    fn new(bytes: &[u8]) -> Self {
        let material = hkdf::Salt::new(hkdf::HKDF_SHA256, b"riley-auth").extract(bytes);
        let mut id = [0; KEY_ID_BYTES];
        expand(&material, b"key id", &mut id);
        Self {
            id: KeyId(id),
            material,
        }
    }

    fn sealing_key(&self, purpose: Purpose) -> LessSafeKey {
        let mut key = [0; 32];
        expand(&self.material, &[b"seal ", purpose.label()].concat(), &mut key);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has 32 bytes"))
    }

    fn mac_key(&self, purpose: Purpose) -> hmac::Key {
        let mut key = [0; 32];
        expand(&self.material, &[b"mac ", purpose.label()].concat(), &mut key);
        hmac::Key::new(hmac::HMAC_SHA256, &key)
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(material: &hkdf::Prk, info: &[u8], out: &mut [u8]) {
    material
        .expand(&[info], Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("HKDF-SHA-256 gives up to 8160 bytes");
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;

    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.repeat(32))
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_alone_and_not_when_altered() {
        let keyring = Keyring::new(&secret("a"), &[]);
        let sealed = keyring.seal(Purpose::WebhookSecret, &SystemRandom::new(), b"whsec");
        assert_eq!(keyring.open(Purpose::WebhookSecret, &sealed).unwrap(), b"whsec");
        assert!(keyring.open(Purpose::AuditChain, &sealed).is_none());
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert!(
                keyring.open(Purpose::WebhookSecret, &altered).is_none(),
                "byte {index}"
            );
        }
        assert!(keyring.open(Purpose::WebhookSecret, &sealed[..10]).is_none());
    }

    #[test]
    fn a_secret_that_was_replaced_still_opens_and_verifies_what_it_made() {
        let old = Keyring::new(&secret("a"), &[]);
        let sealed = old.seal(Purpose::WebhookSecret, &SystemRandom::new(), b"whsec");
        let (id, tag) = old.authenticate(Purpose::AuditChain, b"entry");
        let new = Keyring::new(&secret("b"), &[secret("a")]);
        assert_eq!(new.open(Purpose::WebhookSecret, &sealed).unwrap(), b"whsec");
        assert_eq!(new.verify(Purpose::AuditChain, id, b"entry", &tag), Some(true));
        assert_eq!(new.verify(Purpose::AuditChain, id, b"other", &tag), Some(false));
        let without = Keyring::new(&secret("b"), &[]);
        assert!(without.open(Purpose::WebhookSecret, &sealed).is_none());
        assert_eq!(without.verify(Purpose::AuditChain, id, b"entry", &tag), None);
        assert_ne!(new.authenticate(Purpose::AuditChain, b"entry").0, id);
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert_eq!(
            format!("{:?}", Keyring::new(&secret("s3cr3t"), &[])),
            "Keyring([REDACTED])"
        );
    }
}
