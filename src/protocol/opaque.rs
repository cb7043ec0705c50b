//! Opaque values of 256 bits: codes, refresh tokens, session cookies, handles, client secrets.
//!
//! Only [`TokenHash`]es are stored. What has to be read back is sealed under a key derived from the handle itself, so that
//! a copy of the database opens nothing (`Opaque::seal`).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A secret of 256 random bits; on the wire 43 characters of base64url.
#[derive(Clone)]
pub struct Opaque([u8; 32]);

/// The SHA-256 of an [`Opaque`]: what the database keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// The random salt from which a token's successor is derived.
#[derive(Clone, Copy)]
pub struct Salt(pub [u8; 32]);

impl Opaque {
    /// A fresh value.
    pub fn generate(rng: &dyn SecureRandom) -> Self {
        Self(random(rng))
    }

    /// Reads a value as it stands on the wire. `None` for anything that we cannot have issued.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 43 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The value as it goes out, to its owner alone.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What is stored of it. Plain SHA-256: the value is random, so there is nothing to slow down.
    pub fn hash(&self) -> TokenHash {
        let digest = digest::digest(&digest::SHA256, &self.0);
        TokenHash(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The value that follows this one: HMAC-SHA-256 under `salt`. Whoever holds the token and finds the salt in its row
    /// comes to the same successor, so a repeated request needs no stored plain text.
    #[must_use]
    pub fn successor(&self, salt: &Salt) -> Self {
        Self(self.derive(&salt.0))
    }

    /// Encrypts `plaintext` (AES-256-GCM) so that only a holder of this value can read it.
    pub fn seal(&self, rng: &dyn SecureRandom, plaintext: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random(rng);
        let mut sealed = plaintext.to_vec();
        self.sealing_key()
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .expect("a payload of our own is far below the limit of AES-GCM");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Decrypts what [`seal`](Self::seal) made; `None` if this is not the value it was sealed with, or it was altered.
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut buffer = ciphertext.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plaintext = self
            .sealing_key()
            .open_in_place(nonce, Aad::empty(), &mut buffer)
            .ok()?;
        Some(plaintext.to_vec())
    }

    fn sealing_key(&self) -> LessSafeKey {
        let key = self.derive(b"seal");
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has 32 bytes"))
    }

    /// HMAC-SHA-256 of this value under `key`.
    fn derive(&self, key: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &self.0);
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

impl std::fmt::Debug for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opaque([REDACTED])")
    }
}

impl TokenHash {
    /// Compares in constant time, for the places where secrets meet.
    pub fn equals(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

impl Salt {
    /// A fresh salt.
    pub fn generate(rng: &dyn SecureRandom) -> Self {
        Self(random(rng))
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt([REDACTED])")
    }
}

/// `N` random bytes. A system without randomness can issue nothing safely, so that failure ends the request.
fn random<const N: usize>(rng: &dyn SecureRandom) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes)
        .expect("the operating system provides randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;

    #[test]
    fn what_goes_out_reads_back_to_the_same_hash() {
        let token = Opaque::generate(&SystemRandom::new());
        let again = Opaque::parse(&token.expose()).unwrap();
        assert!(again.hash().equals(&token.hash()));
        assert_eq!(token.expose().len(), 43);
    }

    #[test]
    fn text_that_we_cannot_have_issued_is_no_token() {
        for text in [
            "",
            "short",
            &"A".repeat(42),
            &"A".repeat(44),
            &"=".repeat(43),
            &"\u{e9}".repeat(43),
        ] {
            assert!(Opaque::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_successor_depends_on_token_and_salt_alone() {
        let rng = SystemRandom::new();
        let (token, salt) = (Opaque::generate(&rng), Salt::generate(&rng));
        let one = token.successor(&salt);
        assert!(one.hash().equals(&token.successor(&salt).hash()));
        assert!(!one.hash().equals(&token.successor(&Salt::generate(&rng)).hash()));
        assert!(!one.hash().equals(&Opaque::generate(&rng).successor(&salt).hash()));
    }

    #[test]
    fn what_is_sealed_opens_only_with_its_own_handle() {
        let rng = SystemRandom::new();
        let handle = Opaque::generate(&rng);
        let sealed = handle.seal(&rng, b"nonce and verifier");
        assert_eq!(handle.open(&sealed).unwrap(), b"nonce and verifier");
        assert!(Opaque::generate(&rng).open(&sealed).is_none());
        let mut altered = sealed.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert!(handle.open(&altered).is_none());
        assert!(handle.open(&sealed[..5]).is_none());
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let token = Opaque::generate(&SystemRandom::new());
        assert!(!format!("{token:?}").contains(&token.expose()));
    }
}
