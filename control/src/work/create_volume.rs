//! CreateVolume: a volume that no instance has yet.
//!
//! One transaction records it as `creating`; its layer's file is made; one transaction makes it `available`. Cut short
//! before that, it is undone.

use super::{Work, collect, new_volume};
use crate::catalog::operations::Operation;
use crate::catalog::{tags, volumes};
use crate::crash::crash_point;
use crate::tag;
use crate::volume::{CreateVolume, Volume};
use crate::{Cloud, Reply, Result, VolumeId};
use new_volume::Beginning;
use serde::{Deserialize, Serialize};

pub(super) const KIND: &str = "volume";

#[derive(Debug, Serialize, Deserialize)]
struct About {
    volume: VolumeId,
}

impl Cloud {
    /// CreateVolume. Answers when the volume is available. One of a snapshot copies nothing.
    pub fn create_volume(&self, request: &CreateVolume) -> Result<Reply<Volume>> {
        tag::check_set(&request.tags)?;
        let (work, about) = Work::begin(self, KIND, |tx, operation| {
            let begins = Beginning::of(self, tx, &request.from)?;
            let volume = new_volume::reserve(self, tx, operation, &begins, None)?;
            tags::set(tx, volume.as_str(), &request.tags)?;
            Ok(About { volume })
        })?;
        crash_point!("create_volume.after_intent");
        let made = self.catalog.read(|tx| volumes::get(tx, &about.volume));
        let made = made.and_then(|row| {
            new_volume::make(self, &row.layer)?;
            Ok(row)
        });
        match made {
            Ok(row) => {
                crash_point!("create_volume.after_layer");
                work.finish(|tx| new_volume::settle(tx, &row))?;
                crash_point!("create_volume.after_commit");
                Ok(Reply::new(self.describe_volume(&about.volume)?))
            }
            Err(error) => {
                undo(work, &about)?;
                Err(error)
            }
        }
    }
}

fn undo(work: Work<'_>, about: &About) -> Result<()> {
    let cloud = work.cloud;
    // Its layer is condemned with the end of the work.
    work.finish(|tx| volumes::delete(tx, &about.volume))?;
    collect::sweep(cloud)
}

pub(super) fn resume(work: Work<'_>, operation: &Operation) -> Result<Option<String>> {
    let about: About = super::payload(operation)?;
    undo(work, &about)?;
    Ok(Some(format!(
        "the creation of volume {} was cut short and has been undone",
        about.volume
    )))
}
