//! Which of several candidates a text means.
//!
//! An exact id wins over an exact name, an exact name over beginnings.

use crate::id::looks_like;
use crate::{Code, Error, Result};

/// Something that may be meant.
pub(super) struct Candidate<I> {
    pub(super) id: I,
    pub(super) name: Option<String>,
    /// Names of a lower rank are looked at first.
    pub(super) rank: u8,
}

impl<I> Candidate<I> {
    /// One of those whose names are all of one rank.
    pub(super) fn of_one_rank(id: I, name: Option<String>) -> Self {
        Self { id, name, rank: 0 }
    }
}

impl<I: ToString> Candidate<I> {
    /// The same among things of other kinds.
    pub(super) fn of_any_kind(self) -> Candidate<String> {
        Candidate {
            id: self.id.to_string(),
            name: self.name,
            rank: self.rank,
        }
    }
}

/// What to say when nothing is meant.
pub(super) struct Kind {
    noun: &'static str,
    /// The command that shows them.
    list: &'static str,
    prefix: &'static str,
    missing: Code,
    malformed: Code,
}

pub(super) const INSTANCE: Kind = Kind {
    noun: "instance",
    list: "kiln list",
    prefix: "i-",
    missing: Code::InvalidInstanceIdNotFound,
    malformed: Code::InvalidInstanceIdMalformed,
};
pub(super) const IMAGE: Kind = Kind {
    noun: "image",
    list: "kiln image list",
    prefix: "ami-",
    missing: Code::InvalidAmiIdNotFound,
    malformed: Code::InvalidAmiIdMalformed,
};
pub(super) const SNAPSHOT: Kind = Kind {
    noun: "snapshot",
    list: "kiln snapshot list",
    prefix: "snap-",
    missing: Code::InvalidSnapshotNotFound,
    malformed: Code::InvalidSnapshotIdMalformed,
};
pub(super) const VOLUME: Kind = Kind {
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

/// The one candidate that is meant: by its id, else by its name, else by how either begins.
pub(super) fn choose<I: Clone + ToString>(kind: &Kind, text: &str, candidates: &[Candidate<I>]) -> Result<I> {
    match meant(kind.noun, text, candidates)? {
        Some(one) => Ok(one.id.clone()),
        None => Err(kind.nothing(text)),
    }
}

/// The same, or none.
///
/// # Errors
/// The text is empty, or means several.
pub(super) fn meant<'a, I: ToString>(
    noun: &str,
    text: &str,
    candidates: &'a [Candidate<I>],
) -> Result<Option<&'a Candidate<I>>> {
    if text.is_empty() {
        return Err(Error::new(
            Code::InvalidParameterValue,
            format!("an empty {noun} name"),
        ));
    }
    let is_it = |candidate: &&Candidate<I>| candidate.id.to_string() == text;
    if let Some(found) = candidates.iter().find(is_it) {
        return Ok(Some(found));
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
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => {
            let mut names: Vec<String> = several.iter().take(5).map(|one| describe(one)).collect();
            if several.len() > names.len() {
                names.push("…".to_owned());
            }
            Err(Error::new(
                Code::InvalidParameterValue,
                format!(
                    "'{}' means more than one {noun}: {}",
                    text.escape_debug(),
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
