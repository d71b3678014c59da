//! The transfer of one file into its place, from where it was cut the last time.

use super::address::Address;
use super::client::{Client, Leads};
use super::kept::{Facts, Place, cannot};
use crate::failure::Failure;
use kiln_control::{Bytes, Code, Progress};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use ureq::Body;
use ureq::http::{Response, StatusCode};

/// What is read at a time.
const BLOCK: usize = 256 << 10;
/// A try that brings fewer new bytes is one in vain.
const ADVANCE: u64 = 1 << 20;
/// So many tries in vain, one after another, and it is given up.
const IN_VAIN: u32 = 3;

/// Why a try ended before the file did.
enum Broken {
    /// The next one may go on.
    Off(Failure),
    /// The next one would end the same way.
    ForGood(Failure),
}

/// Brings the whole file; its length in bytes.
pub(super) fn run(
    client: &Client,
    address: &Address,
    leads: Leads,
    place: &Place,
    progress: &dyn Progress,
) -> Result<u64, Failure> {
    let transfer = Transfer {
        client,
        address,
        leads,
        place,
        progress,
    };
    let begun = place.open_part()?.0.metadata().map_or(0, |is| is.len());
    let (mut furthest, mut in_vain) = (begun, 0);
    loop {
        let (file, facts) = place.open_part()?;
        let failure = match transfer.attempt(&file, facts) {
            Ok(length) => return Ok(length),
            Err(Broken::ForGood(failure)) => return Err(failure),
            Err(Broken::Off(failure)) => failure,
        };
        let (file, facts) = place.open_part()?;
        let length = file.metadata().map_or(0, |is| is.len());
        // A server that is out of reach from the first is so a moment later, too.
        let gives_nothing = furthest == begun && length <= begun && failure.has(Code::Unavailable);
        if length >= furthest.saturating_add(ADVANCE) {
            (furthest, in_vain) = (length, 0);
        } else {
            in_vain += 1;
        }
        if in_vain >= IN_VAIN || (gives_nothing && in_vain == 1) {
            let goes_on = length > 0 && facts.of_range().is_some();
            let rest = format!(
                "; {} of it are kept, and the same command goes on from there if the server can",
                Bytes(length)
            );
            return Err(Failure {
                message: failure.message + if goes_on { &rest } else { "" },
                ..failure
            });
        }
        std::thread::sleep(client.patience.pause);
    }
}

struct Transfer<'a> {
    client: &'a Client,
    address: &'a Address,
    leads: Leads,
    place: &'a Place,
    progress: &'a dyn Progress,
}

impl Transfer<'_> {
    /// One request, and what comes of it.
    fn attempt(&self, file: &File, facts: Facts) -> Result<u64, Broken> {
        let had = file.metadata().map_or(0, |is| is.len());
        let range = facts.of_range().filter(|_| had > 0).map(str::to_owned);
        let headers = match &range {
            Some(version) => vec![("range", format!("bytes={had}-")), ("if-range", version.clone())],
            None => Vec::new(),
        };
        let asked = self.client.get(self.address, &headers, self.leads);
        let mut answer = asked.map_err(|failure| {
            if failure.has(Code::Unavailable) {
                Broken::Off(failure)
            } else {
                Broken::ForGood(failure)
            }
        })?;
        let (from, facts) = match answer.status() {
            StatusCode::OK => {
                let new = Facts::of(answer.headers());
                self.place.begin_part(file, &new).map_err(Broken::ForGood)?;
                (0, new)
            }
            StatusCode::PARTIAL_CONTENT if facts.differs_from(&Facts::of(answer.headers())) => {
                return Err(self.anew(file, "sent a part of another version of it"));
            }
            StatusCode::PARTIAL_CONTENT if range.is_some() => match part_of(&answer, had) {
                Some(total) => (
                    had,
                    Facts {
                        length: Some(total),
                        ..facts
                    },
                ),
                None => return Err(self.anew(file, "sent another part of it than it was asked for")),
            },
            // All of it came before, and the command was ended then.
            StatusCode::RANGE_NOT_SATISFIABLE if range.is_some() && facts.length == Some(had) => {
                return Ok(had);
            }
            StatusCode::RANGE_NOT_SATISFIABLE if range.is_some() => {
                return Err(self.anew(file, "has no more of it than is there already"));
            }
            status => return Err(Broken::ForGood(refused(self.address, status))),
        };
        self.must_be_a_disk(&answer)?;
        self.must_fit(facts.length, from)?;
        self.copy(&mut answer, file, from, facts.length)
    }

    /// The answer's bytes, from the file's byte `at` on.
    fn copy(
        &self,
        answer: &mut Response<Body>,
        file: &File,
        mut at: u64,
        total: Option<u64>,
    ) -> Result<u64, Broken> {
        let mut body = answer.body_mut().as_reader();
        let mut block = vec![0; BLOCK];
        let of = total.map_or(String::new(), |total| format!(" of {total}"));
        loop {
            let got = match body.read(&mut block) {
                Ok(got) => got,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let why = self.client.failed(self.address, error.into()).message;
                    return Err(Broken::Off(Failure::coded(
                        Code::Unavailable.as_str(),
                        format!("{} ended after {at}{of} bytes: {why}", self.address),
                    )));
                }
            };
            let bytes = block.get(..got).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            if at == 0 && is_page(bytes) {
                return Err(Broken::ForGood(page(self.address)));
            }
            let written = file.write_all_at(bytes, at);
            written.map_err(|error| Broken::ForGood(self.unwritten(&error)))?;
            at = at.saturating_add(got as u64);
            self.progress.at(at, total.unwrap_or(at));
        }
        if total.is_some_and(|total| total != at) {
            return Err(Broken::Off(Failure::coded(
                Code::Unavailable.as_str(),
                format!("{} ended after {at}{of} bytes", self.address),
            )));
        }
        // What is renamed into its place outlives a power cut, whole.
        file.sync_all()
            .map_err(|error| Broken::ForGood(self.unwritten(&error)))?;
        Ok(at)
    }

    /// The next try begins anew.
    fn anew(&self, file: &File, why: &str) -> Broken {
        match self.place.begin_part(file, &Facts::default()) {
            Ok(()) => Broken::Off(Failure::coded(
                Code::InvalidParameterValue.as_str(),
                format!("{}: {} {why}", self.address, self.address.host()),
            )),
            Err(failure) => Broken::ForGood(failure),
        }
    }

    fn must_be_a_disk(&self, answer: &Response<Body>) -> Result<(), Broken> {
        let is_html = answer.body().mime_type() == Some("text/html");
        if is_html {
            Err(Broken::ForGood(page(self.address)))
        } else {
            Ok(())
        }
    }

    /// There must be room for it, before the minutes that it takes.
    fn must_fit(&self, total: Option<u64>, had: u64) -> Result<(), Broken> {
        let needed = total.unwrap_or(0).saturating_sub(had);
        match crate::home::free(self.place.folder()) {
            Some(free) if free < needed => Err(Broken::ForGood(Failure::coded(
                Code::InsufficientVolumeCapacity.as_str(),
                format!(
                    "{} has {} more, and {} has room for {} (XDG_CACHE_HOME names another place)",
                    self.address,
                    Bytes(needed),
                    self.place.folder().display(),
                    Bytes(free)
                ),
            ))),
            _ => Ok(()),
        }
    }

    fn unwritten(&self, error: &std::io::Error) -> Failure {
        cannot("write in", self.place.folder(), error)
    }
}

/// The whole file's length, if an answer is the rest of it from `from` on.
fn part_of(answer: &Response<Body>, from: u64) -> Option<u64> {
    let range = answer.headers().get("content-range")?.to_str().ok()?;
    let (range, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (begin, end) = range.split_once('-')?;
    let (begin, end): (u64, u64) = (begin.parse().ok()?, end.parse().ok()?);
    let total: u64 = total.parse().ok()?;
    (begin == from && end.checked_add(1)? == total).then_some(total)
}

/// Whether a file begins as a page for people.
fn is_page(bytes: &[u8]) -> bool {
    let head = bytes.trim_ascii_start();
    let begins = |word: &[u8]| {
        head.get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    begins(b"<!doctype html") || begins(b"<html")
}

fn page(address: &Address) -> Failure {
    Failure::coded(
        Code::InvalidParameterValue.as_str(),
        format!("{address} is a page for people (HTML), not a disk: give the address of the file itself"),
    )
}

/// What a server says who does not give the file.
pub(super) fn refused(address: &Address, status: StatusCode) -> Failure {
    let host = address.host();
    let (code, message) = match status.as_u16() {
        404 | 410 => (
            Code::InvalidParameterValue,
            format!("there is no {address} ({status})"),
        ),
        401 | 403 | 407 => (
            Code::InvalidParameterValue,
            format!(
                "{host} does not give {address} to everybody ({status}): https://USER:PASSWORD@… says who asks"
            ),
        ),
        429 | 500.. => (
            Code::Unavailable,
            format!("{host} cannot give {address} now ({status}): try again later"),
        ),
        _ => (
            Code::InvalidParameterValue,
            format!("{host} does not give {address} ({status})"),
        ),
    };
    Failure::coded(code.as_str(), message)
}
