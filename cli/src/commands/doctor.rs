//! `kiln doctor`: what this host has and lacks, and what to do about it.

use super::Context;
use crate::accel::{self, Detected, Wish};
use crate::failure::Failure;
use crate::output::{self, Format, Table};
use crate::size::Size;
use crate::software_machine;
use kiln_guest_images::{BuildError, Kind, missing_programs};
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
    let mut findings = acceleration(context, Wish::read()?, accel::detect());
    findings.extend(builder());
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

fn acceleration(context: &Context, wish: Wish, detected: Detected) -> Vec<Finding> {
    let mut all = Vec::new();
    let software = match (wish, detected) {
        (Wish::Automatic | Wish::Kvm, Detected::Kvm) => {
            all.push(finding("Kvm", Severity::Ok, "guests run on this host's KVM", ""));
            false
        }
        (Wish::Kvm, Detected::Remedy { problem, remedy }) => {
            all.push(finding("KvmNotReady", Severity::Error, problem, remedy));
            false
        }
        (Wish::Kvm, Detected::Nothing(why)) => {
            let fix = "unset KILN_ACCEL: guests then run in the software machine";
            all.push(finding("KvmNotUsable", Severity::Error, why, fix));
            false
        }
        (Wish::Automatic, Detected::Remedy { problem, remedy }) => {
            all.push(finding("KvmNotReady", Severity::Warning, problem, remedy));
            true
        }
        (Wish::Automatic, Detected::Nothing(why)) => {
            all.push(finding(
                "NoKvm",
                Severity::Ok,
                format!("no usable KVM: {why}"),
                "",
            ));
            true
        }
        (Wish::Software, _) => true,
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
    } else if software_machine::exists(&context.home) {
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
    let there = home.ancestors().find(|folder| folder.exists())?;
    let fs = rustix::fs::statvfs(there).ok()?;
    let free = fs.f_bavail.saturating_mul(fs.f_frsize);
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
