//! A tag, as EC2's documents have it, and what it may be.

use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};

/// The most tags that one thing may carry.
pub(crate) const MOST_TAGS: usize = 50;

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// 1 to 128 characters, not beginning with `aws:`.
    pub key: String,
    /// At most 256 characters.
    pub value: String,
}

impl Tag {
    /// The tag that names a thing.
    pub const NAME: &'static str = "Name";

    /// A tag, checked.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Result<Tag> {
        let tag = Tag {
            key: key.into(),
            value: value.into(),
        };
        let complaint = if tag.key.is_empty() || tag.key.chars().count() > 128 {
            "a key has 1 to 128 characters"
        } else if tag.key.to_ascii_lowercase().starts_with("aws:") {
            "keys that begin with 'aws:' are reserved"
        } else if tag.value.chars().count() > 256 {
            "a value has at most 256 characters"
        } else if tag.key.chars().chain(tag.value.chars()).any(char::is_control) {
            "tags carry no control characters"
        } else {
            return Ok(tag);
        };
        Err(Error::new(
            Code::InvalidTag,
            format!("tag '{}': {complaint}", tag.key.escape_debug()),
        ))
    }

    /// Reads `KEY=VALUE`; the value may be empty.
    pub fn parse(text: &str) -> Result<Tag> {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Error::new(
                Code::InvalidTag,
                format!("tag '{}': expected KEY=VALUE", text.escape_debug()),
            )
        })?;
        Tag::new(key, value)
    }
}

/// Checks that a set of tags names each key once and is not too many.
pub(crate) fn check_set(tags: &[Tag]) -> Result<()> {
    if tags.len() > MOST_TAGS {
        return Err(Error::new(
            Code::TagLimitExceeded,
            format!("{} tags: at most {MOST_TAGS} fit", tags.len()),
        ));
    }
    for (n, tag) in tags.iter().enumerate() {
        Tag::new(tag.key.as_str(), tag.value.as_str())?;
        if tags.iter().take(n).any(|other| other.key == tag.key) {
            return Err(Error::new(
                Code::InvalidParameterValue,
                format!("tag '{}' is given twice", tag.key),
            ));
        }
    }
    Ok(())
}

/// The value of the `Name` tag, if there is one.
pub fn name_of(tags: &[Tag]) -> Option<&str> {
    tags.iter()
        .find(|tag| tag.key == Tag::NAME)
        .map(|tag| tag.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_or_empty_key_is_refused() {
        for key in ["", "aws:x", "AWS:x", "a\nb"] {
            assert!(Tag::new(key, "v").is_err(), "{key:?}");
        }
        assert!(Tag::parse("k=v=w").is_ok_and(|tag| tag.value == "v=w"));
        assert!(Tag::parse("k=").is_ok_and(|tag| tag.value.is_empty()));
        assert!(Tag::parse("k").is_err());
    }

    #[test]
    fn a_key_given_twice_and_one_tag_too_many_are_refused() {
        let tags = [Tag::parse("a=1").unwrap(), Tag::parse("a=2").unwrap()];
        assert_eq!(check_set(&tags).unwrap_err().code(), Code::InvalidParameterValue);
        let many: Vec<Tag> = (0..=MOST_TAGS)
            .map(|n| Tag::new(n.to_string(), "").unwrap())
            .collect();
        assert_eq!(check_set(&many).unwrap_err().code(), Code::TagLimitExceeded);
        check_set(&many[1..]).unwrap();
    }
}
