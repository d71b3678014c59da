//! Regions: separate sets of images, volumes and instances within one home.

use crate::{Code, Error, Result};
use std::fmt;

/// A region's name, such as `us-east-1`. It is also the name of a folder, and is checked to be harmless as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Region(String);

impl Region {
    /// The region that is used when none is named.
    pub const DEFAULT: &'static str = "us-east-1";

    /// Reads a name: 2 to 32 lower-case letters, digits and single dashes, beginning with a letter.
    pub fn parse(text: &str) -> Result<Region> {
        let right = (2..=32).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && !text.contains("--")
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if right {
            return Ok(Region(text.to_owned()));
        }
        Err(Error::new(
            Code::InvalidRegion,
            format!(
                "'{}' is no region name: expected something like us-east-1",
                text.escape_debug()
            ),
        ))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Region {
    fn default() -> Region {
        Region(Region::DEFAULT.to_owned())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_name_cannot_leave_its_folder() {
        for text in [
            "",
            "..",
            "a/b",
            "/etc",
            "US-EAST-1",
            "a--b",
            "1a",
            "us-east-",
            "a\0b",
        ] {
            assert_eq!(
                Region::parse(text).unwrap_err().code(),
                Code::InvalidRegion,
                "{text:?}"
            );
        }
        assert!(Region::parse("eu-central-1").is_ok());
    }
}
