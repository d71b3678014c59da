//! From what a user typed to the thing that is meant: an id, a name, or an unambiguous beginning of either.
//!
//! Where images are concerned, only one's own and
//! those that come with Kiln are ever found by name: an image that a stranger has given a well-known name is not
//! launched by mistake (what became known as *whoAMI*).

mod choose;

use self::choose::{Candidate, IMAGE, INSTANCE, SNAPSHOT, VOLUME, choose};
use crate::catalog::{images, instances, snapshots, tags, volumes};
use crate::state::InstanceState;
use crate::tag::name_of;
use crate::{Cloud, Code, Error, ImageId, InstanceId, Result, SnapshotId, VolumeId};
use rusqlite::Connection;

/// An image that is not gone; one that is gone is [`Code::InvalidAmiIdUnavailable`] by its id.
pub(crate) fn image(cloud: &Cloud, db: &Connection, text: &str) -> Result<ImageId> {
    let candidates: Vec<_> = images::all(db, cloud.region.as_str())?
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
        })
        .collect();
    choose(&IMAGE, text, &candidates).or_else(|error| match gone(cloud, db, text)? {
        Some(id) => Err(Error::new(
            Code::InvalidAmiIdUnavailable,
            format!("the image {id} is no longer available: it was deregistered"),
        )),
        None => Err(error),
    })
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
    let mut candidates = Vec::new();
    for row in instances::all(db, cloud.region.as_str(), &cloud.account)? {
        if row.state == InstanceState::Terminated && row.id.as_str() != text {
            continue;
        }
        let name = named(db, row.id.as_str())?;
        candidates.push(Candidate::of_one_rank(row.id, name));
    }
    choose(&INSTANCE, text, &candidates)
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
    let mut candidates = Vec::new();
    for row in snapshots::all(db, cloud.region.as_str(), &cloud.account)? {
        let name = named(db, row.id.as_str())?;
        candidates.push(Candidate::of_one_rank(row.id, name));
    }
    choose(&SNAPSHOT, text, &candidates)
}

/// A volume.
pub(crate) fn volume(cloud: &Cloud, db: &Connection, text: &str) -> Result<VolumeId> {
    let mut candidates = Vec::new();
    for row in volumes::all(db, cloud.region.as_str(), &cloud.account)? {
        let name = named(db, row.id.as_str())?;
        candidates.push(Candidate::of_one_rank(row.id, name));
    }
    choose(&VOLUME, text, &candidates)
}

/// Finds a thing of any kind: by the prefix of its id if there is one, else by its name among all kinds. An exact name
/// wins over beginnings here, too, and what is ambiguous within one kind is not decided by another.
pub(crate) fn any(cloud: &Cloud, db: &Connection, text: &str) -> Result<String> {
    type Find = fn(&Cloud, &Connection, &str) -> Result<String>;
    let kinds: [(&str, Find); 4] = [
        ("i-", |cloud, db, text| Ok(instance(cloud, db, text)?.to_string())),
        ("ami-", |cloud, db, text| Ok(image(cloud, db, text)?.to_string())),
        ("vol-", |cloud, db, text| Ok(volume(cloud, db, text)?.to_string())),
        ("snap-", |cloud, db, text| {
            Ok(snapshot(cloud, db, text)?.to_string())
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

/// What the `Name` tag of a thing says.
fn named(db: &Connection, id: &str) -> Result<Option<String>> {
    Ok(name_of(&tags::of(db, id)?).map(str::to_owned))
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
    Ok(named(db, id)?.as_deref() == Some(text))
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
