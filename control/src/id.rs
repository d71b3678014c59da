//! The ids of things, as EC2 makes them: a prefix and 17 hexadecimal digits.

use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How many hexadecimal digits follow the prefix.
pub(crate) const DIGITS: usize = 17;

/// 17 random hexadecimal digits.
fn digits() -> Result<String> {
    let mut bytes = [0u8; 9];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal("random bytes for an id", error))?;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text.truncate(DIGITS);
    Ok(text)
}

/// Whether a text is `prefix` and at most 17 hexadecimal digits: an id or the beginning of one.
pub(crate) fn looks_like(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() <= DIGITS && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $malformed:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id that nothing has yet.
            pub fn mint() -> Result<Self> {
                Ok($name(format!("{}{}", $prefix, digits()?)))
            }

            /// Reads an id; anything but the prefix and 17 digits is malformed.
            pub fn parse(text: &str) -> Result<Self> {
                if looks_like($prefix, text) && text.len() == $prefix.len() + DIGITS {
                    return Ok($name(text.to_owned()));
                }
                Err(Error::new($malformed, format!(
                    "'{text}' is not an id: expected {}xxxxxxxxxxxxxxxxx (17 hexadecimal digits)", $prefix)))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl From<$name> for String { fn from(id: $name) -> String { id.0 } }
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> { $name::parse(&text) }
        }
        impl rusqlite::types::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> { self.0.to_sql() }
        }
        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                $name::parse(value.as_str()?).map_err(|e| rusqlite::types::FromSqlError::Other(Box::new(e)))
            }
        }
    )*};
}

ids! {
    /// An image: `ami-…`.
    ImageId = "ami-", Code::InvalidAmiIdMalformed;
    /// A snapshot: `snap-…`.
    SnapshotId = "snap-", Code::InvalidSnapshotIdMalformed;
    /// A volume: `vol-…`.
    VolumeId = "vol-", Code::InvalidVolumeIdMalformed;
    /// An instance: `i-…`.
    InstanceId = "i-", Code::InvalidInstanceIdMalformed;
    /// The instances of one launch: `r-…`.
    ReservationId = "r-", Code::InvalidId;
    /// A key pair: `key-…`.
    KeyPairId = "key-", Code::InvalidId;
    /// A layer of the store: `layer-…`. Kiln's own; EC2 has no such thing.
    LayerId = "layer-", Code::InvalidId;
    /// Work in progress that is finished or undone when it is cut short: `op-…`. Kiln's own.
    OperationId = "op-", Code::InvalidId;
}

impl VolumeId {
    /// The serial number that the guest sees: the id without the dash, as EC2's NVMe shows it.
    pub fn serial(&self) -> String {
        self.0.replacen('-', "", 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_id_reads_back() {
        let id = InstanceId::mint().unwrap();
        assert_eq!(InstanceId::parse(id.as_str()).unwrap(), id);
        assert_eq!(id.as_str().len(), 2 + 17);
    }

    #[test]
    fn a_malformed_id_is_named_with_the_code_of_its_kind() {
        for text in [
            "ami-",
            "ami-123",
            "i-0123456789abcdef0",
            "ami-0123456789ABCDEF0",
            "ami-0123456789abcdef01",
        ] {
            let error = ImageId::parse(text).unwrap_err();
            assert_eq!(error.code(), Code::InvalidAmiIdMalformed, "{text}");
        }
    }

    #[test]
    fn a_volumes_serial_is_its_id_without_the_dash() {
        let id = VolumeId::parse("vol-0123456789abcdef0").unwrap();
        assert_eq!(id.serial(), "vol0123456789abcdef0");
    }
}
