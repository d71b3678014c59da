//! What is copied, from where to where: `kiln cp`, and the copies of `kiln run`.

use super::seconds;
use crate::failure::Failure;
use crate::user_file::UserFile;
use clap::Args;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A path in a guest; never empty.
pub(crate) type GuestPath = OsString;

#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// The file or folder to copy; one of a guest as INSTANCE:PATH
    #[arg(value_name = "SRC")]
    pub(crate) from: Place,
    /// Where it goes: into a folder that is there, or as a file or folder of that name
    #[arg(value_name = "DST")]
    pub(crate) to: Place,
    /// Seconds to wait for the guest's agent [default: 60; 300 in the software machine]
    #[arg(long, value_name = "S", env = "KILN_AGENT_TIMEOUT", hide_env_values = true, value_parser = seconds)]
    pub(crate) agent_timeout: Option<u64>,
}

/// A file or folder, here or in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Here(UserFile),
    Guest { instance: String, path: GuestPath },
}

impl From<OsString> for Place {
    /// As scp has it: `INSTANCE:PATH`, unless a slash comes before the colon.
    fn from(text: OsString) -> Self {
        let bytes = text.as_bytes();
        let before = bytes.iter().position(|byte| matches!(byte, b':' | b'/'));
        let parted = before.filter(|at| *at > 0 && bytes.get(*at) == Some(&b':'));
        let parted = parted.and_then(|at| bytes.split_at_checked(at));
        match parted.and_then(|(instance, path)| Some((std::str::from_utf8(instance).ok()?, path))) {
            Some((instance, [_, path @ ..])) => Place::Guest {
                instance: instance.to_owned(),
                path: OsStr::from_bytes(path).to_owned(),
            },
            _ => Place::Here(text.into()),
        }
    }
}

/// One copy: into the guest, or out of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In(In),
    Out(Out),
}

impl Cp {
    /// Whose guest it is about, and which way it goes.
    pub(crate) fn parted(self) -> Result<(String, Direction), Failure> {
        let parted = match (self.from, self.to) {
            (Place::Here(from), Place::Guest { instance, path: to }) => {
                (instance, Direction::In(In { from, to }))
            }
            (Place::Guest { instance, path: from }, Place::Here(to)) => {
                (instance, Direction::Out(Out { from, to }))
            }
            (Place::Here(_), Place::Here(_)) => {
                return Err(Failure::usage(
                    "neither is in a guest: name one of the two as INSTANCE:PATH",
                ));
            }
            (Place::Guest { .. }, Place::Guest { .. }) => {
                return Err(Failure::usage(
                    "both are in guests: copy it here first, then from here",
                ));
            }
        };
        match &parted.1 {
            Direction::In(In { to: path, .. }) | Direction::Out(Out { from: path, .. })
                if path.is_empty() =>
            {
                Err(Failure::usage("no path follows the colon: INSTANCE:PATH"))
            }
            _ => Ok(parted),
        }
    }
}

/// A copy into a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct In {
    pub(crate) from: UserFile,
    pub(crate) to: GuestPath,
}

impl In {
    /// Reads `SRC:DST`, of which the guest's part is behind the last colon.
    pub(crate) fn parse(text: OsString) -> Result<Self, &'static str> {
        let (from, to) = parted(&text, |bytes| bytes.iter().rposition(|byte| *byte == b':'))?;
        Ok(Self {
            from: from.into(),
            to,
        })
    }
}

/// A copy out of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) from: GuestPath,
    pub(crate) to: UserFile,
}

impl Out {
    /// Reads `SRC:DST`, of which the guest's part is before the first colon.
    pub(crate) fn parse(text: OsString) -> Result<Self, &'static str> {
        let (from, to) = parted(&text, |bytes| bytes.iter().position(|byte| *byte == b':'))?;
        Ok(Self { from, to: to.into() })
    }
}

fn parted(
    text: &OsStr,
    colon: impl Fn(&[u8]) -> Option<usize>,
) -> Result<(OsString, OsString), &'static str> {
    let bytes = text.as_bytes();
    let parts = colon(bytes).and_then(|at| bytes.split_at_checked(at));
    match parts {
        Some((from, [_, to @ ..])) if !from.is_empty() && !to.is_empty() => {
            Ok((OsString::from_vec(from.to_vec()), OsString::from_vec(to.to_vec())))
        }
        _ => Err("expected two paths: SRC:DST"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(instance: &str, path: &str) -> Place {
        Place::Guest {
            instance: instance.to_owned(),
            path: path.into(),
        }
    }

    fn here(path: &str) -> Place {
        Place::Here(OsString::from(path).into())
    }

    #[test]
    fn a_colon_before_any_slash_names_a_guest() {
        for (text, place) in [
            ("web:/etc/hosts", guest("web", "/etc/hosts")),
            ("i-012:a:b", guest("i-012", "a:b")),
            ("web:", guest("web", "")),
            ("./web:x", here("./web:x")),
            ("/a:b", here("/a:b")),
            (":x", here(":x")),
            ("x", here("x")),
            ("", here("")),
        ] {
            assert_eq!(Place::from(OsString::from(text)), place, "{text}");
        }
    }

    #[test]
    fn a_copy_goes_between_a_guest_and_here() {
        let cp = |from, to| {
            let cp = Cp {
                from,
                to,
                agent_timeout: None,
            };
            cp.parted().map_err(|failure| failure.status)
        };
        let (web, direction) = cp(here("a"), guest("web", "/b")).expect("into it");
        assert!(web == "web" && matches!(direction, Direction::In(_)));
        let (_, direction) = cp(guest("web", "/b"), here("a")).expect("out of it");
        assert!(matches!(direction, Direction::Out(_)));
        for (from, to) in [
            (here("a"), here("b")),
            (guest("a", "/b"), guest("c", "/d")),
            (guest("a", ""), here("b")),
            (here("b"), guest("a", "")),
        ] {
            assert_eq!(cp(from, to), Err(2));
        }
    }

    #[test]
    fn the_copies_of_a_run_are_parted_where_the_guests_path_is() {
        let of = In::parse("a:b:/c".into()).expect("two paths");
        assert_eq!((of.from.name(), of.to), ("a:b".to_owned(), "/c".into()));
        let of = Out::parse("/c:a:b".into()).expect("two paths");
        assert_eq!((of.from, of.to.name()), ("/c".into(), "a:b".to_owned()));
        for wrong in ["", ":", "a", "a:", ":a"] {
            assert!(In::parse(wrong.into()).is_err(), "{wrong}");
            assert!(Out::parse(wrong.into()).is_err(), "{wrong}");
        }
    }
}
