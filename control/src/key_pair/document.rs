//! What is asked for about key pairs, and EC2's documents of them.

use super::{KeyType, PublicKey};
use crate::catalog::key_pairs::KeyPairRow;
use crate::filter::Filter;
use crate::moment::Moment;
use crate::tag::Tag;
use serde::Serialize;

/// ImportKeyPair.
#[derive(Clone, Debug)]
pub struct ImportKeyPair {
    /// Its name, by which it is meant from now on.
    pub name: String,
    /// The public half.
    pub public_key: PublicKey,
    /// Its fingerprint, if the pair was made for its user ([`fingerprint_of_created`](super::fingerprint_of_created)).
    pub fingerprint: Option<String>,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// DescribeKeyPairs.
#[derive(Clone, Debug, Default)]
pub struct DescribeKeyPairs {
    /// Names; none for all.
    pub names: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
}

/// The document of DescribeKeyPairs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyPairs {
    /// The key pairs, by name.
    pub key_pairs: Vec<KeyPair>,
}

/// A key pair: the reply of ImportKeyPair and CreateKeyPair, too.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyPair {
    /// Its id.
    pub key_pair_id: String,
    /// What tells it from others.
    pub key_fingerprint: String,
    /// Its name.
    pub key_name: String,
    /// Its kind.
    pub key_type: KeyType,
    /// The public half, as a line of OpenSSH with the key's name.
    pub public_key: String,
    /// When it was made or imported.
    pub create_time: Moment,
    /// Tags.
    pub tags: Vec<Tag>,
}

impl KeyPair {
    pub(super) fn of(row: KeyPairRow, tags: Vec<Tag>) -> KeyPair {
        KeyPair {
            key_pair_id: row.id.to_string(),
            key_fingerprint: row.fingerprint,
            key_type: row.public_key.key_type(),
            public_key: format!("{} {}", row.public_key.line(), row.name),
            key_name: row.name,
            create_time: row.created,
            tags,
        }
    }
}
