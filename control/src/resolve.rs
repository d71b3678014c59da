//! From what a user typed to the thing that is meant: an id, a name, or an unambiguous beginning of either.
//!
//! An exact id wins over an exact name, an exact name over beginnings. Where images are concerned, only one's own and
//! those that come with Kiln are ever found by name: an image that a stranger has given a well-known name is not
//! launched by mistake (what became known as *whoAMI*).

use crate::catalog::{images, instances, snapshots, tags, volumes};
use crate::id::looks_like;
use crate::state::InstanceState;
use crate::tag::name_of;
use crate::{Cloud, Code, Error, ImageId, InstanceId, Result, SnapshotId, VolumeId};
use rusqlite::Connection;

/// Something that may be meant.
struct Candidate<I> {
    id: I,
    name: Option<String>,
    /// Names of a lower rank are looked at first.
    rank: u8,
}

/// What to say when nothing is meant.
struct Kind {
    noun: &'static str,
    /// The command that shows them.
    list: &'static str,
    prefix: &'static str,
    missing: Code,
    malformed: Code,
}

const INSTANCE: Kind = Kind {
    noun: "instance",
    list: "kiln list",
    prefix: "i-",
    missing: Code::InvalidInstanceIdNotFound,
    malformed: Code::InvalidInstanceIdMalformed,
};
const IMAGE: Kind = Kind {
    noun: "image",
    list: "kiln image list",
    prefix: "ami-",
    missing: Code::InvalidAmiIdNotFound,
    malformed: Code::InvalidAmiIdMalformed,
};
const SNAPSHOT: Kind = Kind {
    noun: "snapshot",
    list: "kiln snapshot list",
    prefix: "snap-",
    missing: Code::InvalidSnapshotNotFound,
    malformed: Code::InvalidSnapshotIdMalformed,
};
const VOLUME: Kind = Kind {
    noun: "volume",
    list: "kiln volume list",
    prefix: "vol-",
    missing: Code::InvalidVolumeNotFound,
    malformed: Code::InvalidVolumeIdMalformed,
};

impl Kind {
    fn nothing(&self, text: &str) -> Error {
        let is_id = text.starts_with(self.prefix);
        if is_id && !looks_like(self.prefix, text) {
            return Error::new(
                self.malformed,
                format!(
                    "'{}' is no {} id: expected {} and 17 hexadecimal digits",
                    text.escape_debug(),
                    self.noun,
                    self.prefix
                ),
            );
        }
        Error::new(
            self.missing,
            format!(
                "there is no {} '{}': `{}` shows what there is",
                self.noun,
                text.escape_debug(),
                self.list
            ),
        )
    }
}

fn choose<I: Clone + ToString>(kind: &Kind, text: &str, candidates: &[Candidate<I>]) -> Result<I> {
    if text.is_empty() {
        return Err(Error::new(
            Code::InvalidParameterValue,
            format!("an empty {} name", kind.noun),
        ));
    }
    if let Some(found) = candidates
        .iter()
        .find(|candidate| candidate.id.to_string() == text)
    {
        return Ok(found.id.clone());
    }
    let named = |candidate: &&Candidate<I>| candidate.name.as_deref() == Some(text);
    let best = candidates
        .iter()
        .filter(named)
        .map(|candidate| candidate.rank)
        .min();
    let exact: Vec<_> = candidates
        .iter()
        .filter(named)
        .filter(|one| Some(one.rank) == best)
        .collect();
    let begins = |candidate: &&Candidate<I>| {
        candidate.id.to_string().starts_with(text)
            || candidate
                .name
                .as_deref()
                .is_some_and(|name| name.starts_with(text))
    };
    let meant = if exact.is_empty() {
        candidates.iter().filter(begins).collect()
    } else {
        exact
    };
    match meant.as_slice() {
        [] => Err(kind.nothing(text)),
        [one] => Ok(one.id.clone()),
        several => {
            let mut names: Vec<String> = several.iter().take(5).map(|one| describe(one)).collect();
            if several.len() > names.len() {
                names.push("…".to_owned());
            }
            Err(Error::new(
                Code::InvalidParameterValue,
                format!(
                    "'{}' means more than one {}: {}",
                    text.escape_debug(),
                    kind.noun,
                    names.join(", ")
                ),
            ))
        }
    }
}

fn describe<I: ToString>(candidate: &Candidate<I>) -> String {
    match &candidate.name {
        Some(name) => format!("{} ({name})", candidate.id.to_string()),
        None => candidate.id.to_string(),
    }
}

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
        let name = name_of(&tags::of(db, row.id.as_str())?).map(str::to_owned);
        candidates.push(Candidate {
            id: row.id,
            name,
            rank: 0,
        });
    }
    choose(&INSTANCE, text, &candidates)
}

/// The instances meant, in the order in which they were named, each once.
pub(crate) fn each_instance(cloud: &Cloud, db: &Connection, texts: &[String]) -> Result<Vec<InstanceId>> {
    let mut all = Vec::new();
    for text in texts {
        let id = instance(cloud, db, text)?;
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
        let name = name_of(&tags::of(db, row.id.as_str())?).map(str::to_owned);
        candidates.push(Candidate {
            id: row.id,
            name,
            rank: 0,
        });
    }
    choose(&SNAPSHOT, text, &candidates)
}

/// A volume.
pub(crate) fn volume(cloud: &Cloud, db: &Connection, text: &str) -> Result<VolumeId> {
    let mut candidates = Vec::new();
    for row in volumes::all(db, cloud.region.as_str(), &cloud.account)? {
        let name = name_of(&tags::of(db, row.id.as_str())?).map(str::to_owned);
        candidates.push(Candidate {
            id: row.id,
            name,
            rank: 0,
        });
    }
    choose(&VOLUME, text, &candidates)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: &str, name: &str, rank: u8) -> Candidate<String> {
        Candidate {
            id: id.to_owned(),
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            rank,
        }
    }

    #[test]
    fn an_id_wins_over_a_name_and_a_name_over_beginnings() {
        let candidates = [
            candidate("ami-00000000000000001", "web", 0),
            candidate("ami-00000000000000002", "web-2", 0),
            candidate("ami-10000000000000003", "ami-00000000000000001", 0),
        ];
        let find = |text| choose(&IMAGE, text, &candidates);
        assert_eq!(find("ami-00000000000000001").unwrap(), "ami-00000000000000001");
        assert_eq!(find("web").unwrap(), "ami-00000000000000001");
        assert_eq!(find("web-").unwrap(), "ami-00000000000000002");
        assert_eq!(find("ami-1").unwrap(), "ami-10000000000000003");
    }

    #[test]
    fn an_ambiguous_beginning_names_what_it_could_mean() {
        let candidates = [candidate("i-1", "web-1", 0), candidate("i-2", "web-2", 0)];
        let error = choose(&INSTANCE, "web", &candidates).unwrap_err();
        assert!(error.to_string().contains("i-1 (web-1), i-2 (web-2)"), "{error}");
    }

    #[test]
    fn ones_own_image_wins_over_one_that_comes_with_kiln() {
        let candidates = [
            candidate("ami-1", "debian-12", 1),
            candidate("ami-2", "debian-12", 0),
        ];
        assert_eq!(choose(&IMAGE, "debian-12", &candidates).unwrap(), "ami-2");
    }

    #[test]
    fn what_is_no_id_is_malformed_and_what_is_one_is_not_found() {
        let none: [Candidate<String>; 0] = [];
        let code = |text| choose(&IMAGE, text, &none).unwrap_err().code();
        assert_eq!(code("ami-xyz"), Code::InvalidAmiIdMalformed);
        assert_eq!(code("ami-0123456789abcdef0"), Code::InvalidAmiIdNotFound);
        assert_eq!(code("debian"), Code::InvalidAmiIdNotFound);
    }
}
