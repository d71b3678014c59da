//! Key pairs: public keys, by which users log in to guests. Their private halves are never seen here.

mod der;
mod document;
mod public;
#[cfg(test)]
mod tests;

pub use document::*;
pub use public::{KeyType, MOST_PUBLIC_KEY, PublicKey};

use crate::catalog::key_pairs::{self, KeyPairRow};
use crate::catalog::tags;
use crate::id::KeyPairId;
use crate::moment::Moment;
use crate::tag::check_set;
use crate::{Cloud, Code, Error, Result, filter};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::collections::BTreeSet;

const FILTERS: &[&str] = &["fingerprint", "key-name", "key-pair-id"];

/// Checks the name of a key pair: 1 to 255 printable characters of ASCII, no space at either end.
pub fn check_key_name(name: &str) -> Result<()> {
    let right = (1..=255).contains(&name.len())
        && name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && name.trim() == name;
    if right {
        return Ok(());
    }
    Err(Error::new(
        Code::InvalidParameterValue,
        format!(
            "'{}' is no name of a key pair: 1 to 255 printable characters of ASCII, without spaces around",
            name.escape_debug()
        ),
    ))
}

/// The fingerprint of a pair that was made for its user, as EC2 tells it: of RSA the SHA-1 of the private key in DER
/// (RFC 5208), of which `private_key` is the PEM file of RFC 8017; of Ed25519 that of the public key.
pub fn fingerprint_of_created(public_key: &PublicKey, private_key: &str) -> Result<String> {
    if public_key.key_type() != KeyType::Rsa {
        return Ok(public_key.fingerprint());
    }
    let mut body = String::new();
    let is_of_body = |line: &&str| !line.starts_with("-----");
    private_key
        .lines()
        .filter(is_of_body)
        .for_each(|line| body.push_str(line.trim()));
    let is_pkcs1 = private_key.starts_with("-----BEGIN RSA PRIVATE KEY-----");
    let pkcs1 = STANDARD.decode(body).ok().filter(|_| is_pkcs1);
    let pkcs1 = pkcs1.ok_or_else(|| {
        Error::new(
            Code::InvalidKeyFormat,
            "the private key is not in the PEM form of RSA (ssh-keygen -p -m PEM -f FILE writes it so)",
        )
    })?;
    Ok(public::colons(&Sha1::digest(der::private_rsa(&pkcs1))))
}

impl Cloud {
    /// ImportKeyPair.
    pub fn import_key_pair(&self, request: ImportKeyPair) -> Result<KeyPair> {
        check_key_name(&request.name)?;
        check_set(&request.tags)?;
        let fingerprint = request
            .fingerprint
            .unwrap_or_else(|| request.public_key.fingerprint());
        let row = KeyPairRow {
            id: KeyPairId::mint()?,
            region: self.region.to_string(),
            owner: self.account.clone(),
            name: request.name,
            public_key: request.public_key,
            fingerprint,
            created: Moment::now(),
        };
        self.catalog.write(|tx| {
            key_pairs::insert(tx, &row)?;
            tags::set(tx, row.id.as_str(), &request.tags)
        })?;
        Ok(KeyPair::of(row, request.tags))
    }

    /// DescribeKeyPairs.
    pub fn describe_key_pairs(&self, request: &DescribeKeyPairs) -> Result<KeyPairs> {
        let found = self.catalog.read(|tx| {
            let (region, owner) = (self.region.as_str(), &self.account);
            let rows = if request.names.is_empty() {
                key_pairs::all(tx, region, owner)?
            } else {
                let named = request
                    .names
                    .iter()
                    .map(|name| key_pairs::get(tx, region, owner, name));
                named.collect::<Result<_>>()?
            };
            let all = rows.into_iter().map(|row| {
                let tags = tags::of(tx, row.id.as_str())?;
                Ok(KeyPair::of(row, tags))
            });
            all.collect::<Result<Vec<_>>>()
        })?;
        let key_pairs = filter::keep(found, &request.filters, FILTERS, |one| &one.tags, field)?;
        Ok(KeyPairs { key_pairs })
    }

    /// DeleteKeyPair, of several by name: all, or none if one of them is not there. Instances that were launched with one
    /// keep the key.
    pub fn delete_key_pairs(&self, names: &[String]) -> Result<()> {
        let names: BTreeSet<&String> = names.iter().collect();
        self.catalog.write(|tx| {
            names.iter().try_for_each(|name| {
                let row = key_pairs::get(tx, self.region.as_str(), &self.account, name)?;
                tags::forget(tx, row.id.as_str())?;
                key_pairs::delete(tx, &row.id)
            })
        })
    }
}

fn field(key_pair: &KeyPair, name: &str) -> Vec<String> {
    let text = match name {
        "fingerprint" => &key_pair.key_fingerprint,
        "key-name" => &key_pair.key_name,
        "key-pair-id" => &key_pair.key_pair_id,
        _ => return Vec::new(),
    };
    vec![text.clone()]
}
