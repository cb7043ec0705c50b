//! Finding the right block in a PEM file (RFC 7468).
//!
//! Real key files hold more than the key: `openssl ecparam -genkey` writes the curve in a block before it, and other
//! tools put text around it.

use p256::pkcs8::SecretDocument;

/// One block of a PEM text.
pub(super) struct PemBlock<'a> {
    pub(super) label: &'a str,
    text: &'a str,
}

impl<'a> PemBlock<'a> {
    /// The first block with one of `labels`, from its BEGIN line to its END line.
    pub(super) fn find(pem: &'a str, labels: &[&str]) -> Option<Self> {
        blocks(pem).find(|block| labels.contains(&block.label))
    }

    /// The decoded content, wiped from memory when dropped; `None` if it is no base64 of a DER document.
    pub(super) fn der(&self) -> Option<SecretDocument> {
        SecretDocument::from_pem(self.text)
            .ok()
            .map(|(_, document)| document)
    }

    /// Whether the content is encrypted in the old way, with header lines inside the block (RFC 1421 §4.6).
    pub(super) fn has_encryption_headers(&self) -> bool {
        self.text.contains("\nProc-Type:")
    }
}

/// All blocks of a text, in order. A block without its END line ends the search.
pub(super) fn blocks(mut rest: &str) -> impl Iterator<Item = PemBlock<'_>> {
    const BEGIN: &str = "-----BEGIN ";
    std::iter::from_fn(move || {
        let from = &rest[rest.find(BEGIN)?..];
        let label = from[BEGIN.len()..].split_once("-----")?.0;
        let end_line = format!("-----END {label}-----");
        let length = from.find(&end_line)? + end_line.len();
        rest = &from[length..];
        Some(PemBlock {
            label,
            text: &from[..length],
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7468 §2: text outside the blocks is allowed, and several blocks may follow each other.
    #[test]
    fn a_block_is_found_behind_others_and_behind_text() {
        let pem = "note\n-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n\
                   -----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\ntrailer";
        let labels: Vec<_> = blocks(pem).map(|block| block.label).collect();
        assert_eq!(labels, ["EC PARAMETERS", "EC PRIVATE KEY"]);
        assert!(PemBlock::find(pem, &["EC PRIVATE KEY"]).unwrap().der().is_some());
        assert!(PemBlock::find(pem, &["PRIVATE KEY"]).is_none());
    }

    #[test]
    fn a_block_that_does_not_end_is_no_block() {
        for pem in [
            "-----BEGIN PRIVATE KEY-----\nMAA=\n",
            "-----BEGIN ",
            "-----BEGIN X----",
            "",
        ] {
            assert_eq!(blocks(pem).count(), 0);
        }
    }
}
