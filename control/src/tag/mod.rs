//! Tags: names that users put on things.

mod document;

pub(crate) use document::{MOST_TAGS, check_set};
pub use document::{Tag, name_of};

use crate::catalog::tags;
use crate::{Cloud, Result, resolve};

impl Cloud {
    /// CreateTags on images, instances, volumes and snapshots, by id, name or beginning of either. A key that a thing
    /// has already gets the new value.
    pub fn create_tags(&self, resources: &[String], tags: &[Tag]) -> Result<()> {
        check_set(tags)?;
        self.catalog.write(|tx| {
            for text in resources {
                let id = resolve::any(self, tx, text)?;
                tags::set(tx, &id, tags)?;
            }
            Ok(())
        })
    }
}
