//! Public keys: read from the files in which they come, and told apart by fingerprints.

use super::der;
use crate::{Code, Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::Serialize;
use ssh_key::HashAlg;
use ssh_key::public::KeyData;
use std::ops::RangeInclusive;

/// The largest file that can be one, in bytes.
pub const MOST_PUBLIC_KEY: u64 = 64 << 10;
/// Bits of the RSA keys that are taken: what OpenSSH makes.
const RSA_BITS: RangeInclusive<usize> = 1024..=16384;
/// The kinds of keys that are taken, as their lines begin.
const TAKEN: [&str; 2] = ["ssh-ed25519", "ssh-rsa"];

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// Ed25519.
    Ed25519,
    /// RSA.
    Rsa,
}

impl std::fmt::Display for KeyType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KeyType::Ed25519 => "ed25519",
            KeyType::Rsa => "rsa",
        })
    }
}

/// A public key of OpenSSH (RFC 4253, section 6.6; RFC 8709): RSA of 1024 to 16384 bits, or Ed25519.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(ssh_key::PublicKey);

impl PublicKey {
    /// Reads a public key: a line of OpenSSH, or the text of RFC 4716.
    pub fn parse(text: &str) -> Result<PublicKey> {
        let refuse = |why: String| Error::new(Code::InvalidKeyFormat, why);
        let text = text.trim();
        if let Some(kind) = ["PRIVATE KEY-----", "PuTTY-User-Key-File"]
            .iter()
            .find(|mark| text.contains(**mark))
        {
            let of = if kind.starts_with("PuTTY") {
                "PuTTY's"
            } else {
                "private"
            };
            return Err(refuse(format!(
                "it is a {of} key file: give the public half (ssh-keygen -y -f FILE prints it)"
            )));
        }
        let key = if text.starts_with("---- BEGIN SSH2 PUBLIC KEY ----") {
            of_rfc_4716(text)?
        } else if text.starts_with("-----BEGIN") {
            return Err(refuse(
                "it is in PEM: `ssh-keygen -i -m PKCS8 -f FILE` (or -m PEM) writes the line that is wanted"
                    .to_owned(),
            ));
        } else {
            let mut lines = text.lines();
            let (line, more) = (lines.next().unwrap_or_default(), lines.next());
            if more.is_some() {
                return Err(refuse("it has more than one line: one key is wanted".to_owned()));
            }
            let kind = line.split(' ').next().unwrap_or_default();
            if ["ecdsa-", "sk-", "ssh-dss"]
                .iter()
                .any(|other| kind.starts_with(other))
            {
                return Err(other_kind(kind));
            }
            ssh_key::PublicKey::from_openssh(line).map_err(|error| {
                refuse(format!(
                    "it is no public key of OpenSSH, such as `ssh-ed25519 AAAA… me`: {error}"
                ))
            })?
        };
        PublicKey(key).checked()
    }

    fn checked(mut self) -> Result<PublicKey> {
        let refuse = |why: String| Err(Error::new(Code::InvalidKeyFormat, why));
        match self.0.key_data() {
            KeyData::Ed25519(_) => {}
            KeyData::Rsa(key) => {
                let modulus = key.n.as_positive_bytes().unwrap_or_default();
                let unused = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
                let bits = (modulus.len() * 8).saturating_sub(unused);
                if !RSA_BITS.contains(&bits) {
                    return refuse(format!(
                        "it is an RSA key of {bits} bits: those of 1024 to 16384 bits are taken"
                    ));
                }
            }
            other => return Err(other_kind(other.algorithm().as_str())),
        }
        // What else stood in the line is a stranger's text.
        self.0.set_comment("");
        Ok(self)
    }

    /// Its kind.
    pub fn key_type(&self) -> KeyType {
        match self.0.key_data() {
            KeyData::Rsa(_) => KeyType::Rsa,
            _ => KeyType::Ed25519,
        }
    }

    /// As a line of `authorized_keys`, without a comment.
    pub fn line(&self) -> String {
        self.0.to_openssh().unwrap_or_default()
    }

    /// The fingerprint of a key that was imported, as EC2 tells it: of Ed25519 as OpenSSH's, with its padding; of RSA the
    /// MD5 of the key in DER (RFC 5280, `SubjectPublicKeyInfo`).
    pub fn fingerprint(&self) -> String {
        match self.0.key_data() {
            KeyData::Rsa(key) => {
                let part = |part: &ssh_key::Mpint| der::integer(part.as_positive_bytes().unwrap_or_default());
                colons(&Md5::digest(der::public_rsa(&part(&key.n), &part(&key.e))))
            }
            _ => STANDARD.encode(self.0.fingerprint(HashAlg::Sha256).as_bytes()),
        }
    }
}

fn other_kind(kind: &str) -> Error {
    Error::new(
        Code::InvalidKeyFormat,
        format!("it is a key of type {kind}: {} are taken", TAKEN.join(" and ")),
    )
}

/// The text of RFC 4716: headers, which may go on after a backslash, and the key in base64.
fn of_rfc_4716(text: &str) -> Result<ssh_key::PublicKey> {
    let refuse = |why: &str| {
        Error::new(
            Code::InvalidKeyFormat,
            format!("it is no key as RFC 4716 has it: {why}"),
        )
    };
    let mut body = String::new();
    let mut header_goes_on = false;
    let mut is_ended = false;
    for line in text.lines().skip(1) {
        if line.starts_with("---- END SSH2 PUBLIC KEY ----") {
            is_ended = true;
            break;
        }
        if header_goes_on || line.contains(':') {
            header_goes_on = line.ends_with('\\');
            continue;
        }
        body.push_str(line.trim());
    }
    if !is_ended {
        return Err(refuse("its end is missing"));
    }
    let bytes = STANDARD.decode(body).map_err(|_| refuse("it is not in base64"))?;
    ssh_key::PublicKey::from_bytes(&bytes).map_err(|error| refuse(&error.to_string()))
}

/// Bytes as EC2 tells a digest.
pub(super) fn colons(bytes: &[u8]) -> String {
    let all: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    all.join(":")
}

impl ToSql for PublicKey {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.line().into())
    }
}

impl FromSql for PublicKey {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        PublicKey::parse(value.as_str()?).map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}
