//! `kiln image doctor`: why a disk would not boot, said before it is launched.

use super::{Context, upkeep};
use crate::args::image::{Diagnose, Firmware};
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::user_file::UserFile;
use kiln_control::{CpuLevel, Findings, Way, diagnose_file};

/// Of a file of this host, wherever images are: no store is touched. Guests of a software machine have the processor
/// that it emulates.
pub(super) fn file(context: &Context, diagnose: &Diagnose, file: &UserFile) -> Result<u8, Failure> {
    let opened = file.open()?;
    if diagnose.is_perhaps_an_image() {
        context.hint(&format!(
            "this is about the file {} here; an image of that name is meant where no such file is",
            file.name()
        ));
    }
    let level = if context.is_elsewhere(false)? {
        CpuLevel::V2
    } else {
        CpuLevel::of_this_host()
    };
    let found = diagnose_file(&opened, &file.name(), way(diagnose), level)?;
    told(context, &file.name(), &found)
}

/// Of an image.
pub(super) fn image(context: &Context, diagnose: &Diagnose) -> Result<u8, Failure> {
    let name = diagnose.what.to_string_lossy();
    let level = CpuLevel::of_this_host();
    let found = context.cloud()?.diagnose_image(&name, way(diagnose), level)?;
    told(context, &name, &found)
}

fn way(diagnose: &Diagnose) -> Option<Way> {
    diagnose.boot.map(|boot| match boot {
        Firmware::Bios => Way::Bios,
        Firmware::Uefi => Way::Uefi,
        Firmware::Pv => Way::Pv,
    })
}

/// Status 1 if it would not boot.
fn told(context: &Context, name: &str, found: &Findings) -> Result<u8, Failure> {
    match context.format {
        Format::Json => output::document(found)?,
        Format::Id => {
            for finding in &found.findings {
                output::line(finding.code)?;
            }
        }
        Format::Table => {
            output::bytes(upkeep::table(found).to_string().as_bytes())?;
            let verdict = match (found.has_errors(), found.findings.is_empty()) {
                (true, _) => "will not boot as it is",
                (false, false) => "boots, but badly",
                (false, true) => "has no fault that was looked for",
            };
            output::line(&format!("{name} {verdict}"))?;
        }
    }
    Ok(u8::from(found.has_errors()))
}
