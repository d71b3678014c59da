//! Names of layers.

use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "layer-";
const DIGITS: usize = 17;

/// The id of a layer: `layer-` and 17 hexadecimal digits, as EC2's ids are built.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(String);

/// The text is no layer id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no layer id: those are `layer-` and 17 hexadecimal digits")]
pub struct BadLayerId(String);

impl LayerId {
    /// A new id, from the system's random numbers.
    pub fn random() -> Self {
        let digits = uuid::Uuid::new_v4().simple().to_string();
        // The twelfth and sixteenth digits of a version 4 UUID are not random; take the others.
        let random: String = digits
            .chars()
            .enumerate()
            .filter(|(at, _)| *at != 12 && *at != 16)
            .map(|d| d.1)
            .collect();
        Self(format!(
            "{PREFIX}{}",
            random.get(..DIGITS).expect("30 digits are left")
        ))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the layer's file.
    pub fn file_name(&self) -> String {
        format!("{}.qcow2", self.0)
    }

    /// The id in the name of a layer's file.
    pub fn from_file_name(name: &str) -> Option<Self> {
        name.strip_suffix(".qcow2")?.parse().ok()
    }
}

impl FromStr for LayerId {
    type Err = BadLayerId;

    fn from_str(text: &str) -> Result<Self, BadLayerId> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS);
        match digits {
            Some(digits)
                if digits
                    .bytes()
                    .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) =>
            {
                Ok(Self(text.to_string()))
            }
            _ => Err(BadLayerId(text.to_string())),
        }
    }
}

impl TryFrom<String> for LayerId {
    type Error = BadLayerId;

    fn try_from(text: String) -> Result<Self, BadLayerId> {
        text.parse()
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_file_name_and_other_names_are_no_ids() {
        let id = LayerId::random();
        assert_ne!(id, LayerId::random());
        assert_eq!(LayerId::from_file_name(&id.file_name()), Some(id));
        for name in [
            "layer-0.qcow2",
            "layer-0123456789abcdefg.qcow2",
            "../layer-0123456789abcdef0.qcow2",
            "x",
        ] {
            assert_eq!(LayerId::from_file_name(name), None, "{name}");
        }
    }
}
