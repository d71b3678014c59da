//! Disk files of servers, over http and https: fetched on this host into the cache, verified, and kept there.
//!
//! ```text
//!  Wish: address, digest?, list?
//!     │
//!     ├─ checksums   the digest that is expected: given, or of a checksum file
//!     ├─ kept        the place in the cache, locked; what is there and fits is used again
//!     ├─ transfer    the rest of the file, by ranges                <── client ── names, certificates
//!     └─ digest      of the whole file; one that differs is removed
//! ```

mod address;
mod certificates;
mod checksums;
mod client;
mod digest;
mod kept;
mod names;
mod transfer;

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

pub(crate) use address::Address;
pub(crate) use client::Client;
pub(crate) use digest::Digest;

use self::checksums::Bare;
use self::client::Leads;
use self::kept::Place;
use crate::failure::Failure;
use kiln_control::{Code, Progress};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use ureq::http::StatusCode;

/// A checksum file is shorter; what is longer is something else.
const LIST: u64 = 4 << 20;

/// The file that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// Where it is. Its file name may have a `*`, if there is a list that knows what it stands for.
    pub(crate) address: Address,
    /// The digest that it must have.
    pub(crate) digest: Option<Digest>,
    /// The checksum file that has its digest; else it is looked for beside the file.
    pub(crate) list: Option<Address>,
}

/// Who is told what happens.
pub(crate) trait Watcher {
    /// Something with a length begins.
    fn begin(&self, what: &'static str) -> Box<dyn Progress + '_>;
    /// Something worth knowing.
    fn hint(&self, text: &str);
    /// Something that should not be so.
    fn warn(&self, text: &str);
}

/// A file that was fetched. No other command replaces it as long as this value lives.
#[derive(Debug)]
pub(crate) struct Fetched {
    place: Place,
}

impl Fetched {
    /// Where it is on this host.
    pub(crate) fn path(&self) -> PathBuf {
        self.place.whole()
    }
}

/// Fetches a file, unless the cache has it.
///
/// # Errors
/// [`Code::Unavailable`]: the server is out of reach, or broke off. [`Code::InvalidParameterValue`]: there is no such file,
/// it is no disk, or its digest differs. [`Code::InsufficientVolumeCapacity`]: there is no room.
pub(crate) fn fetch(
    wish: &Wish,
    client: &Client,
    cache: &Path,
    watcher: &dyn Watcher,
) -> Result<Fetched, Failure> {
    let (address, expected) = expected(wish, client)?;
    let place = Place::lock(cache, &address, || {
        watcher.hint(&format!(
            "another command has {address} in use: this one goes on when it is done"
        ));
    })?;
    // A digest makes certain what comes, wherever it comes from.
    let leads = if expected.is_some() {
        Leads::Anywhere
    } else {
        Leads::ToHttps
    };
    if is_kept(&address, &expected, leads, &place, client, watcher)? {
        if expected.is_none() {
            watcher.warn(&unverified(&address));
        }
        return Ok(Fetched { place });
    }
    let progress = watcher.begin("downloading");
    let length = transfer::run(client, &address, leads, &place, progress.as_ref())?;
    drop(progress);
    match &expected {
        Some(expected) => {
            let (file, _) = place.open_part()?;
            must_have(&file, expected, &address, watcher)
                .map_err(|failure| Failure {
                    message: failure.message + ": what came is removed",
                    ..failure
                })
                .inspect_err(|_| place.clear())?;
        }
        None => watcher.warn(&unverified(&address)),
    }
    place.complete(length)?;
    Ok(Fetched { place })
}

/// Fails if the user's own file, called `name`, has another digest.
pub(crate) fn verify(file: &File, name: &str, digest: &Digest, watcher: &dyn Watcher) -> Result<(), Failure> {
    let progress = watcher.begin("verifying");
    let found = Digest::of(digest.algorithm(), file, progress.as_ref()).map_err(|error| {
        Failure::coded(
            Code::InvalidParameterValue.as_str(),
            format!("cannot read {name}: {error}"),
        )
    })?;
    if found == *digest {
        return Ok(());
    }
    Err(Failure::coded(
        Code::InvalidParameterValue.as_str(),
        format!("{name} has {found}, and {digest} was given: it is not the file that was meant"),
    ))
}

/// A digest, and who says so.
struct Expected {
    digest: Digest,
    says: String,
}

/// The address that is meant, and the digest that its file must have, if anybody knows.
fn expected(wish: &Wish, client: &Client) -> Result<(Address, Option<Expected>), Failure> {
    let given = wish.digest.clone().map(|digest| Expected {
        digest,
        says: "was given".to_owned(),
    });
    let listed = |digest, list: &Address| Expected {
        digest,
        says: format!("is in {list}"),
    };
    let address = wish.address.clone();
    match (&wish.list, given) {
        (Some(list), given) if given.is_none() || address.file_name().contains('*') => {
            let text = text(list, client)?.ok_or_else(|| transfer::refused(list, StatusCode::NOT_FOUND))?;
            let lacks = || {
                let name = address.file_name();
                let message =
                    format!("{list} has no digest of {name}: whoever publishes it may have renamed it");
                Failure::coded(Code::InvalidParameterValue.as_str(), message)
            };
            let name = if address.file_name().contains('*') {
                checksums::newest(&text, address.file_name()).ok_or_else(lacks)?
            } else {
                address.file_name().to_owned()
            };
            let address = address.beside(&name).ok_or_else(lacks)?;
            let digest = checksums::of(&text, &name, Bare::IsItsSubjects).ok_or_else(lacks)?;
            Ok((address, given.or_else(|| Some(listed(digest, list)))))
        }
        (_, Some(given)) => Ok((address, Some(given))),
        (_, None) => {
            for (list, bare) in checksums::beside(&address) {
                let text = text(&list, client)?.unwrap_or_default();
                if let Some(digest) = checksums::of(&text, address.file_name(), bare) {
                    let expected = listed(digest, &list);
                    return Ok((address, Some(expected)));
                }
            }
            Ok((address, None))
        }
    }
}

/// A checksum file; none where the server has none.
fn text(list: &Address, client: &Client) -> Result<Option<String>, Failure> {
    let mut answer = client.get(list, &[], Leads::ToHttps)?;
    let status = answer.status();
    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        return Ok(None);
    }
    if status != StatusCode::OK {
        return Err(transfer::refused(list, status));
    }
    let mut bytes = Vec::new();
    let read = answer.body_mut().as_reader().take(LIST).read_to_end(&mut bytes);
    read.map_err(|error| client.failed(list, error.into()))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether the cache has the very file already.
fn is_kept(
    address: &Address,
    expected: &Option<Expected>,
    leads: Leads,
    place: &Place,
    client: &Client,
    watcher: &dyn Watcher,
) -> Result<bool, Failure> {
    let Some((file, facts)) = place.open_whole() else {
        return Ok(false);
    };
    let fits = match expected {
        Some(expected) => must_have(&file, expected, address, watcher),
        None => Ok(()),
    };
    if expected.is_some() && fits.is_ok() {
        return Ok(true);
    }
    let unless = facts.unless_unchanged();
    if unless.is_empty() {
        return Ok(false);
    }
    if client.get(address, &unless, leads)?.status() != StatusCode::NOT_MODIFIED {
        return Ok(false);
    }
    // It is what the server has, and was good before: it is the digest that may be wrong.
    fits.map(|()| true)
}

fn must_have(
    file: &File,
    expected: &Expected,
    address: &Address,
    watcher: &dyn Watcher,
) -> Result<(), Failure> {
    let progress = watcher.begin("verifying");
    let found = Digest::of(expected.digest.algorithm(), file, progress.as_ref()).map_err(|error| {
        Failure::coded(
            Code::Unavailable.as_str(),
            format!("cannot read what came of {address}: {error}"),
        )
    })?;
    if found == expected.digest {
        return Ok(());
    }
    let Expected { digest, says } = expected;
    Err(Failure::coded(
        Code::InvalidParameterValue.as_str(),
        format!("{address} has {found}, and {digest} {says}"),
    ))
}

fn unverified(address: &Address) -> String {
    format!(
        "{address} is not verified: no checksum file beside it has its digest, and none was given (--sha256, --sha512)"
    )
}
