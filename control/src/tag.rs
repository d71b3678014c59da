//! Tags: names that users put on things.

use crate::catalog::{images, tags};
use crate::{Cloud, Code, Error, ImageId, Result, resolve};
use rusqlite::Connection;
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
            Code::InvalidTag,
            format!("{} tags: at most {MOST_TAGS} fit", tags.len()),
        ));
    }
    for (n, tag) in tags.iter().enumerate() {
        Tag::new(tag.key.as_str(), tag.value.as_str())?;
        if tags.iter().take(n).any(|other| other.key == tag.key) {
            return Err(Error::new(
                Code::InvalidTag,
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

impl Cloud {
    /// CreateTags on images, instances, volumes and snapshots, by id, name or beginning of either. A key that a thing
    /// has already gets the new value.
    pub fn create_tags(&self, resources: &[String], tags: &[Tag]) -> Result<()> {
        check_set(tags)?;
        self.catalog.write(|tx| {
            for text in resources {
                let id = any_resource(self, tx, text)?;
                tags::set(tx, &id, tags)?;
            }
            Ok(())
        })
    }
}

/// Finds a thing of any kind: by the prefix of its id if there is one, else by its name among all kinds. An exact name
/// wins over beginnings here, too, and what is ambiguous within one kind is not decided by another.
fn any_resource(cloud: &Cloud, db: &Connection, text: &str) -> Result<String> {
    type Find = fn(&Cloud, &Connection, &str) -> Result<String>;
    let kinds: [(&str, Find); 4] = [
        ("i-", |cloud, db, text| {
            Ok(resolve::instance(cloud, db, text)?.to_string())
        }),
        ("ami-", |cloud, db, text| {
            Ok(resolve::image(cloud, db, text)?.to_string())
        }),
        ("vol-", |cloud, db, text| {
            Ok(resolve::volume(cloud, db, text)?.to_string())
        }),
        ("snap-", |cloud, db, text| {
            Ok(resolve::snapshot(cloud, db, text)?.to_string())
        }),
    ];
    if let Some((_, find)) = kinds.iter().find(|(prefix, _)| text.starts_with(prefix)) {
        return find(cloud, db, text);
    }
    let mut found = Vec::new();
    let mut exact = Vec::new();
    for (_, find) in kinds {
        match find(cloud, db, text) {
            Ok(id) if is_named(db, &id, text)? => exact.push(id),
            Ok(id) => found.push(id),
            Err(error) if is_missing(error.code()) => {}
            Err(error) => return Err(error),
        }
    }
    let meant = if exact.is_empty() { found } else { exact };
    match meant.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::new(
            Code::InvalidId,
            format!("there is nothing called '{}'", text.escape_debug()),
        )),
        several => Err(Error::new(
            Code::InvalidParameterValue,
            format!(
                "'{}' means more than one thing: {}",
                text.escape_debug(),
                several.join(", ")
            ),
        )),
    }
}

fn is_missing(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidInstanceIdNotFound
            | Code::InvalidAmiIdNotFound
            | Code::InvalidVolumeNotFound
            | Code::InvalidSnapshotNotFound
    )
}

/// Is this its whole name? An image's is its own, all others have a tag for it.
fn is_named(db: &Connection, id: &str, text: &str) -> Result<bool> {
    if let Ok(image) = ImageId::parse(id) {
        return Ok(images::find(db, &image)?.is_some_and(|row| row.name == text));
    }
    Ok(name_of(&tags::of(db, id)?) == Some(text))
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
    fn a_key_given_twice_is_refused() {
        let tags = [Tag::parse("a=1").unwrap(), Tag::parse("a=2").unwrap()];
        assert!(check_set(&tags).is_err());
    }
}
