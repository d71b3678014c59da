//! Digests by which a file is known: SHA-256 and SHA-512 (FIPS 180-4).

use kiln_control::Progress;
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What is read at a time.
const BLOCK: usize = 1 << 20;

/// How a digest is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    Sha256,
    Sha512,
}

/// A digest, in hexadecimal digits of lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// The digest that hexadecimal digits spell: their number says of which kind.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let algorithm = match text.len() {
            64 => Algorithm::Sha256,
            128 => Algorithm::Sha512,
            _ => return None,
        };
        let are_digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        are_digits.then(|| Self {
            algorithm,
            hex: text.to_ascii_lowercase(),
        })
    }

    /// A SHA-256 digest of the command line.
    pub(crate) fn sha256(text: &str) -> Result<Self, &'static str> {
        Self::parse(text)
            .filter(|digest| digest.algorithm == Algorithm::Sha256)
            .ok_or("expected 64 hexadecimal digits")
    }

    /// A SHA-512 digest of the command line.
    pub(crate) fn sha512(text: &str) -> Result<Self, &'static str> {
        Self::parse(text)
            .filter(|digest| digest.algorithm == Algorithm::Sha512)
            .ok_or("expected 128 hexadecimal digits")
    }

    /// The digest of a whole file.
    pub(crate) fn of(algorithm: Algorithm, file: &File, progress: &dyn Progress) -> std::io::Result<Self> {
        let total = file.metadata()?.len();
        let mut hash = Hash::new(algorithm);
        let (mut block, mut done) = (vec![0; BLOCK], 0);
        loop {
            let got = file.read_at(&mut block, done)?;
            if got == 0 {
                return Ok(hash.end());
            }
            hash.take(block.get(..got).unwrap_or_default());
            done = done.saturating_add(got as u64);
            progress.at(done, total);
        }
    }

    /// The digest of these bytes.
    pub(super) fn of_bytes(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hash = Hash::new(algorithm);
        hash.take(bytes);
        hash.end()
    }

    /// How it was made.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its digits.
    pub(super) fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.algorithm {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512 => "SHA-512",
        };
        write!(f, "{name} {}", self.hex)
    }
}

/// A digest that is being made.
enum Hash {
    Sha256(Box<Sha256>),
    Sha512(Box<Sha512>),
}

impl Hash {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Box::default()),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    fn end(self) -> Digest {
        let spelled = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha256(hash) => Digest {
                algorithm: Algorithm::Sha256,
                hex: spelled(&hash.finalize()),
            },
            Self::Sha512(hash) => Digest {
                algorithm: Algorithm::Sha512,
                hex: spelled(&hash.finalize()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standard() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of_bytes(Algorithm::Sha256, b"abc").hex, sha256);
        let sha512 = Digest::of_bytes(Algorithm::Sha512, b"abc");
        assert!(sha512.hex.starts_with("ddaf35a193617abacc417349ae204131"));
        assert_eq!(Digest::parse(&sha512.hex.to_uppercase()), Some(sha512));
    }

    #[test]
    fn a_digest_of_the_other_kind_is_refused() {
        let (short, long) = ("a".repeat(64), "a".repeat(128));
        assert!(Digest::sha256(&short).is_ok() && Digest::sha512(&long).is_ok());
        assert!(Digest::sha256(&long).is_err() && Digest::sha512(&short).is_err());
        assert_eq!(Digest::parse(&"g".repeat(64)), None);
    }
}
