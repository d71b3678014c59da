//! `kiln doctor`: what this host has and lacks, and what to do about it.

use super::Context;
use crate::accel::{self, Detected, Wish};
use crate::failure::Failure;
use crate::home::{existing, free};
use crate::output::{self, Format, Table};
use crate::size::Size;
use crate::software_machine;
use kiln_guest_images::{BuildError, Kind, missing_programs};
use rustix::fs::Access;
use serde::Serialize;
use std::path::Path;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// So it should be.
    Ok,
    /// Works, but worse than it could.
    Warning,
    /// Guests cannot run before this is done.
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Finding {
    code: &'static str,
    severity: Severity,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Findings {
    findings: Vec<Finding>,
}

/// Status 0 if guests can run here, 1 if something must be done first.
pub(crate) fn run(context: &Context) -> Result<u8, Failure> {
    let wish = Wish::read()?;
    let mut findings = acceleration(&context.home, wish, accel::look(wish), accel::in_ci());
    let software = findings.iter().any(|finding| finding.code == "SoftwareMachine");
    findings.extend(builder());
    findings.extend(cache(&crate::home::cache(), software));
    findings.extend(room(&context.home));
    let worst = findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Ok);
    match context.format {
        Format::Json => output::document(&Findings { findings })?,
        Format::Id => {
            for finding in &findings {
                output::line(finding.code)?;
            }
        }
        Format::Table => {
            let mut table = Table::fields();
            for finding in findings {
                let word = match finding.severity {
                    Severity::Ok => "ok",
                    Severity::Warning => "warning",
                    Severity::Error => "error",
                };
                table.row([word.to_owned(), finding.message]);
                if !finding.fix.is_empty() {
                    table.row([String::new(), format!("-> {}", finding.fix)]);
                }
            }
            output::bytes(table.to_string().as_bytes())?;
        }
    }
    Ok(u8::from(worst == Severity::Error))
}

fn finding(
    code: &'static str,
    severity: Severity,
    message: impl Into<String>,
    fix: impl Into<String>,
) -> Finding {
    Finding {
        code,
        severity,
        message: message.into(),
        fix: fix.into(),
    }
}

/// Where guests run, as [`accel::place`] decides it.
fn acceleration(home: &Path, wish: Wish, detected: Detected, in_ci: bool) -> Vec<Finding> {
    let mut all = Vec::new();
    let software = match (wish, detected) {
        (Wish::Software, _) => true,
        (_, Detected::Kvm) => {
            all.push(finding("Kvm", Severity::Ok, "guests run on this host's KVM", ""));
            false
        }
        (Wish::Automatic, Detected::Remedy { problem, remedy }) if !in_ci => {
            all.push(finding("KvmNotReady", Severity::Warning, problem, remedy));
            true
        }
        (_, Detected::Remedy { problem, remedy }) => {
            all.push(finding("KvmNotReady", Severity::Error, problem, remedy));
            false
        }
        (Wish::Kvm, Detected::Nothing(why)) => {
            let fix = "unset KILN_ACCEL: guests then run in the software machine";
            all.push(finding("KvmNotUsable", Severity::Error, why, fix));
            false
        }
        (Wish::Automatic, Detected::Nothing(why)) => {
            all.push(finding(
                "NoKvm",
                Severity::Ok,
                format!("KVM cannot be used here, and need not be: {why}"),
                "",
            ));
            true
        }
    };
    if software {
        all.push(match software_machine::readiness() {
            Ok(how) => finding(
                "SoftwareMachine",
                Severity::Ok,
                format!("guests run in the software machine ({how}): slower, the same otherwise"),
                "",
            ),
            Err(lacks) => finding("SoftwareMachineLacks", Severity::Error, lacks.what, lacks.fix),
        });
    } else if software_machine::exists(home) {
        all.push(finding(
            "SoftwareMachineLeft",
            Severity::Warning,
            "this store has a software machine with images and instances of its own",
            "KILN_ACCEL=software works in it, `kiln machine delete` removes it",
        ));
    }
    all
}

/// What `image build` needs, of the kind of image that needs most.
fn builder() -> Vec<Finding> {
    vec![match missing_programs(Kind::Bootstrap) {
        None => finding("ImageBuild", Severity::Ok, "images can be built", ""),
        Some(BuildError::Missing { programs, command }) => finding(
            "ImageBuildLacks",
            Severity::Warning,
            format!("images cannot be built here: no {programs}"),
            command,
        ),
        Some(other) => finding("ImageBuildLacks", Severity::Warning, other.to_string(), ""),
    }]
}

/// Room for the store: below this, an image and an instance hardly fit.
const LITTLE: u64 = 4 << 30;

fn room(home: &Path) -> Option<Finding> {
    if let Some(why) = what_keeps_from(home) {
        return Some(finding(
            "StoreNotWritable",
            Severity::Error,
            format!("no store can be made in {}: {why}", home.display()),
            "choose another place: --home or KILN_HOME",
        ));
    }
    let free = free(existing(home)?)?;
    let message = format!(
        "{} free for the store in {}",
        Size::from_bytes(free),
        home.display()
    );
    Some(if free < LITTLE {
        finding(
            "LittleRoom",
            Severity::Warning,
            message,
            "free some, or choose another place: --home or KILN_HOME",
        )
    } else {
        finding("Room", Severity::Ok, message, "")
    })
}

/// The cache, in which images are built, and where the software machine, if guests run in it, is kept.
fn cache(cache: &Path, software: bool) -> Option<Finding> {
    let why = what_keeps_from(cache)?;
    let (severity, what) = match software {
        true => (Severity::Error, "the software machine cannot be made ready"),
        false => (Severity::Warning, "images cannot be built here"),
    };
    Some(finding(
        "CacheNotWritable",
        severity,
        format!("{what}: no cache can be made in {}: {why}", cache.display()),
        "choose another place: XDG_CACHE_HOME",
    ))
}

/// Why this user can make no files in a folder that is there or is yet to be made, if so.
fn what_keeps_from(place: &Path) -> Option<String> {
    let there = existing(place)?;
    let error = can_be_filled(there).err()?;
    Some(format!("{}: {error}", there.display()))
}

/// Whether it is a folder in which this user can make files.
fn can_be_filled(place: &Path) -> std::io::Result<()> {
    if !place.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    Ok(rustix::fs::access(place, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accel::Place;

    #[test]
    fn a_store_that_cannot_be_made_is_an_error_that_says_where() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let there = room(folder.path()).expect("a finding");
        assert_ne!(there.severity, Severity::Error, "{there:?}");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("room");
        for place in [file.clone(), file.join("store")] {
            let found = room(&place).expect("a finding");
            assert_eq!(
                (found.code, found.severity),
                ("StoreNotWritable", Severity::Error),
                "{place:?}"
            );
            assert!(found.message.contains(&place.display().to_string()), "{found:?}");
        }
    }

    #[test]
    fn a_cache_that_cannot_be_made_keeps_from_building_and_from_the_software_machine() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(cache(&folder.path().join("kiln"), true), None);
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("room");
        for (software, severity) in [(true, Severity::Error), (false, Severity::Warning)] {
            let found = cache(&file.join("kiln"), software).expect("a finding");
            assert_eq!((found.code, found.severity), ("CacheNotWritable", severity));
            assert!(found.message.contains(&file.display().to_string()), "{found:?}");
        }
    }

    #[test]
    fn the_doctor_finds_an_error_where_a_command_that_runs_a_guest_would_fail_and_only_there() {
        let remedy = Detected::Remedy {
            problem: "you may not open /dev/kvm".to_owned(),
            remedy: "sudo usermod -aG kvm me".to_owned(),
        };
        let none = Detected::Nothing("no svm".to_owned());
        let mut errors = 0;
        for wish in [Wish::Automatic, Wish::Kvm, Wish::Software] {
            for detected in [&Detected::Kvm, &remedy, &none] {
                for in_ci in [false, true] {
                    let place = accel::place(wish, || detected.clone(), true, in_ci);
                    let found = acceleration(Path::new("/nonexistent"), wish, detected.clone(), in_ci);
                    let says = format!("{wish:?}, {detected:?}, in CI {in_ci}: {found:?}");
                    let of_kvm = |f: &&Finding| f.code.contains("Kvm") && f.severity == Severity::Error;
                    let error = found.iter().find(of_kvm);
                    assert_eq!(error.is_some(), place.is_err(), "{says}");
                    let software = matches!(place, Ok(Place::SoftwareMachine { .. }));
                    let told = found.iter().any(|f| f.code.starts_with("SoftwareMachine"));
                    assert_eq!(told, software, "{says}");
                    if let (Some(error), Err(failure)) = (error, place) {
                        errors += 1;
                        assert!(failure.message.contains(&error.message), "{says}: {failure:?}");
                    }
                }
            }
        }
        assert_eq!(errors, 5, "a remedy in CI or by wish, and nothing by wish");
    }
}
