//! `kiln image import`: a disk becomes an image.

use super::Context;
use crate::args::image::{Boot, Import};
use crate::failure::Failure;
use crate::progress::Copying;
use crate::software_machine::inside;
use kiln_control::{BootMode, ImageBoots, ImportImage};

pub(super) fn run(context: &Context, import: Import) -> Result<u8, Failure> {
    let source = import.file.open()?;
    let cloud = context.cloud()?;
    context.say_when_cut_short("the next command removes what was copied")?;
    let copying = Copying::begin(context.progress(), "importing");
    let reply = cloud.import_image(ImportImage {
        source,
        source_name: import.file.name(),
        map: inside::user_map(),
        name: import.name,
        description: import.description,
        boots: match import.boot {
            Boot::Auto => None,
            Boot::Bios => Some(ImageBoots::Hvm(BootMode::LegacyBios)),
            Boot::Uefi => Some(ImageBoots::Hvm(BootMode::Uefi)),
            Boot::Pv => Some(ImageBoots::Paravirtual),
        },
        tags: import.tags,
        progress: Some(&copying),
    });
    drop(copying);
    let reply = reply.map_err(|error| {
        let failure = Failure::from(error);
        Failure {
            message: import.file.as_typed(&failure.message),
            ..failure
        }
    });
    context.print_made(&reply?)
}
