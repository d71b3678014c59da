//! From what a user typed to the thing that is meant: an id, a name, or an unambiguous beginning of either.
//!
//! Where images are concerned, only one's own and
//! those that come with Kiln are ever found by name: an image that a stranger has given a well-known name is not
//! launched by mistake (what became known as *whoAMI*).

mod choose;

use self::choose::{Candidate, IMAGE, INSTANCE, SNAPSHOT, VOLUME, choose, meant};
use crate::catalog::{images, instances, snapshots, tags, volumes};
use crate::state::InstanceState;
use crate::tag::name_of;
use crate::{Cloud, Code, Error, ImageId, InstanceId, Result, SnapshotId, VolumeId};
use rusqlite::Connection;

/// An image that is not gone; one that is gone is [`Code::InvalidAmiIdUnavailable`] by its id.
pub(crate) fn image(cloud: &Cloud, db: &Connection, text: &str) -> Result<ImageId> {
    choose(&IMAGE, text, &all_images(cloud, db)?).or_else(|error| match gone(cloud, db, text)? {
        Some(id) => Err(Error::new(
            Code::InvalidAmiIdUnavailable,
            format!("the image {id} is no longer available: it was deregistered"),
        )),
        None => Err(error),
    })
}

/// One's own, and those that come with Kiln.
fn all_images(cloud: &Cloud, db: &Connection) -> Result<Vec<Candidate<ImageId>>> {
    let ranked = images::all(db, cloud.region.as_str())?
        .into_iter()
        .filter_map(|row| {
            let rank = [&cloud.account, &cloud.kiln]
                .iter()
                .position(|owner| **owner == row.owner)?;
            Some(Candidate {
                id: row.id,
                name: Some(row.name),
                rank: u8::try_from(rank).unwrap_or(u8::MAX),
            })
        });
    Ok(ranked.collect())
}

fn gone(cloud: &Cloud, db: &Connection, text: &str) -> Result<Option<ImageId>> {
    let Ok(id) = ImageId::parse(text) else {
        return Ok(None);
    };
    let row = images::find(db, &id)?;
    let known = row.is_some_and(|row| row.region == cloud.region.as_str() && row.owner == cloud.account);
    Ok(known.then_some(id))
}

/// An instance; a terminated one by its whole id only.
pub(crate) fn instance(cloud: &Cloud, db: &Connection, text: &str) -> Result<InstanceId> {
    choose(&INSTANCE, text, &all_instances(cloud, db, text)?)
}

fn all_instances(cloud: &Cloud, db: &Connection, text: &str) -> Result<Vec<Candidate<InstanceId>>> {
    let mut candidates = Vec::new();
    for row in instances::all(db, cloud.region.as_str(), &cloud.account)? {
        if row.state == InstanceState::Terminated && row.id.as_str() != text {
            continue;
        }
        let name = named(db, row.id.as_str())?;
        candidates.push(Candidate::of_one_rank(row.id, name));
    }
    Ok(candidates)
}

/// The instances meant, in the order in which they were named, each once.
pub(crate) fn each_instance(cloud: &Cloud, db: &Connection, texts: &[String]) -> Result<Vec<InstanceId>> {
    each(texts, |text| instance(cloud, db, text))
}

/// What is meant, in the order in which it was named, each thing once.
fn each<I: PartialEq>(texts: &[String], find: impl Fn(&str) -> Result<I>) -> Result<Vec<I>> {
    let mut all = Vec::new();
    for text in texts {
        let id = find(text)?;
        if !all.contains(&id) {
            all.push(id);
        }
    }
    Ok(all)
}

/// A snapshot.
pub(crate) fn snapshot(cloud: &Cloud, db: &Connection, text: &str) -> Result<SnapshotId> {
    choose(&SNAPSHOT, text, &all_snapshots(cloud, db)?)
}

fn all_snapshots(cloud: &Cloud, db: &Connection) -> Result<Vec<Candidate<SnapshotId>>> {
    let mut candidates = Vec::new();
    for row in snapshots::all(db, cloud.region.as_str(), &cloud.account)? {
        let name = named(db, row.id.as_str())?;
        candidates.push(Candidate::of_one_rank(row.id, name));
    }
    Ok(candidates)
}

/// A volume.
pub(crate) fn volume(cloud: &Cloud, db: &Connection, text: &str) -> Result<VolumeId> {
    choose(&VOLUME, text, &all_volumes(cloud, db)?)
}

fn all_volumes(cloud: &Cloud, db: &Connection) -> Result<Vec<Candidate<VolumeId>>> {
    let mut candidates = Vec::new();
    for row in volumes::all(db, cloud.region.as_str(), &cloud.account)? {
        let name = named(db, row.id.as_str())?;
        candidates.push(Candidate::of_one_rank(row.id, name));
    }
    Ok(candidates)
}

/// Finds a thing of any kind: by the prefix of its id if there is one, else by its name among all kinds: an exact one
/// wins over beginnings, and one's own over an image that comes with Kiln.
pub(crate) fn any(cloud: &Cloud, db: &Connection, text: &str) -> Result<String> {
    match text.split_once('-') {
        Some(("i", _)) => return Ok(instance(cloud, db, text)?.to_string()),
        Some(("ami", _)) => return Ok(image(cloud, db, text)?.to_string()),
        Some(("vol", _)) => return Ok(volume(cloud, db, text)?.to_string()),
        Some(("snap", _)) => return Ok(snapshot(cloud, db, text)?.to_string()),
        _ => {}
    }
    let mut candidates: Vec<Candidate<String>> = Vec::new();
    candidates.extend(of_any_kind(all_instances(cloud, db, text)?));
    candidates.extend(of_any_kind(all_images(cloud, db)?));
    candidates.extend(of_any_kind(all_volumes(cloud, db)?));
    candidates.extend(of_any_kind(all_snapshots(cloud, db)?));
    match meant("thing", text, &candidates)? {
        Some(one) => Ok(one.id.clone()),
        None => Err(Error::new(
            Code::InvalidId,
            format!("there is nothing called '{}'", text.escape_debug()),
        )),
    }
}

fn of_any_kind<I: ToString>(candidates: Vec<Candidate<I>>) -> impl Iterator<Item = Candidate<String>> {
    candidates.into_iter().map(Candidate::of_any_kind)
}

/// What the `Name` tag of a thing says.
fn named(db: &Connection, id: &str) -> Result<Option<String>> {
    Ok(name_of(&tags::of(db, id)?).map(str::to_owned))
}

impl Cloud {
    /// Finds one instance by id, name or beginning of either. Terminated ones are found by their id only.
    pub fn resolve_instance(&self, text: &str) -> Result<InstanceId> {
        self.catalog.read(|tx| instance(self, tx, text))
    }

    /// Finds one image by id, name or beginning of either, among one's own and those that come with Kiln.
    pub fn resolve_image(&self, text: &str) -> Result<ImageId> {
        self.catalog.read(|tx| image(self, tx, text))
    }

    /// Finds images by id, name or beginning of either: each once, in the order in which they were named. What is to be
    /// done to several is done to what they were called before anything was done to one of them.
    pub fn resolve_images(&self, texts: &[String]) -> Result<Vec<ImageId>> {
        self.catalog.read(|tx| each(texts, |text| image(self, tx, text)))
    }

    /// The same of snapshots.
    pub fn resolve_snapshots(&self, texts: &[String]) -> Result<Vec<SnapshotId>> {
        self.catalog
            .read(|tx| each(texts, |text| snapshot(self, tx, text)))
    }

    /// The same of volumes.
    pub fn resolve_volumes(&self, texts: &[String]) -> Result<Vec<VolumeId>> {
        self.catalog.read(|tx| each(texts, |text| volume(self, tx, text)))
    }
}
