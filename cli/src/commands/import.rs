//! `kiln image import`: a disk becomes an image.

use super::Context;
use crate::args::image::{Boot, Import};
use crate::attach::Input;
use crate::compressed::{self, Compression};
use crate::download::{self, Address, Client, Wish};
use crate::failure::Failure;
use crate::official::{self, Official};
use crate::progress::Copying;
use crate::software_machine::inside;
use crate::user_file::UserFile;
use kiln_agent::client::Unread;
use kiln_control::{BootMode, ImageBoots, ImportImage, Tag};
use std::ffi::OsString;

/// The longest file of UEFI variables, in bytes: more than any firmware's flash.
const UEFI_DATA: u64 = 32 << 20;

/// A disk is fetched and unpacked on the host, wherever its image will be.
pub(super) fn run(context: &Context, mut import: Import) -> Result<u8, Failure> {
    if inside::user_folder().is_some() {
        return register(context, import);
    }
    let name = import.file.name();
    if let Some(address) = Address::of(&name) {
        let wish = Wish {
            address: address?,
            digest: import.digest(),
            list: None,
        };
        return fetched(context, import, &wish);
    }
    if !import.file.exists()
        && let Some(image) = official::find(&name)?
    {
        return self::official(context, import, &image);
    }
    if let Some(digest) = import.digest() {
        download::verify(&import.file.open()?, &name, &digest, context)?;
    }
    perhaps_compressed(context, import)
}

/// Imports an official image, which may have been fetched already.
pub(super) fn official(context: &Context, mut import: Import, image: &Official) -> Result<u8, Failure> {
    let digest = import.digest();
    import.description.get_or_insert_with(|| image.title.clone());
    let wish = image.wish();
    fetched(context, import, &Wish { digest, ..wish })
}

/// Imports a disk that is fetched first. No other command replaces its file meanwhile.
fn fetched(context: &Context, import: Import, wish: &Wish) -> Result<u8, Failure> {
    kiln_control::check_name(&import.name)?;
    let fetched = download::fetch(wish, &Client::new(), &crate::home::cache(), context)?;
    let file = UserFile::from(fetched.path().into_os_string());
    perhaps_compressed(context, Import { file, ..import })
}

/// Imports a disk of this host: here, or in the software machine.
fn here_or_there(context: &Context, import: Import) -> Result<u8, Failure> {
    // No command that runs guests: a host whose KVM is not ready keeps its images here all the same.
    if context.is_elsewhere(false)? {
        let arguments = arguments(context, &import);
        return context.forward(arguments, Input::None, Unread::GoesOn, import.file.map());
    }
    register(context, import)
}

/// Imports a file of this host that may be compressed: it is unpacked here, where that is fast.
fn perhaps_compressed(context: &Context, import: Import) -> Result<u8, Failure> {
    let file = import.file.open()?;
    let Some(compression) = Compression::of(&file) else {
        return here_or_there(context, import);
    };
    kiln_control::check_name(&import.name)?;
    let copying = Copying::begin(context.progress(), "unpacking");
    let name = import.file.name();
    let unpacked = compressed::unpack(&file, &name, compression, &crate::home::cache(), &copying)?;
    drop(copying);
    let file = UserFile::from(unpacked.path().as_os_str().to_owned());
    kiln_control::check_file(&file.open()?, &compressed::unpacked_name(&name))?;
    here_or_there(context, Import { file, ..import })
}

/// What was said of how an image boots; nothing, if the disk is to tell.
pub(super) fn boots(said: Boot) -> Option<ImageBoots> {
    match said {
        Boot::Auto => None,
        Boot::Bios => Some(ImageBoots::Hvm(BootMode::LegacyBios)),
        Boot::Uefi => Some(ImageBoots::Hvm(BootMode::Uefi)),
        Boot::Pv => Some(ImageBoots::Paravirtual),
    }
}

/// Tags as options of another command.
pub(super) fn tagged(tags: &[Tag]) -> impl Iterator<Item = OsString> {
    let option = |tag: &Tag| {
        [
            OsString::from("--tag"),
            format!("{}={}", tag.key, tag.value).into(),
        ]
    };
    tags.iter().flat_map(option)
}

/// `image import` of the disk, as it is run in the software machine.
fn arguments(context: &Context, import: &Import) -> Vec<OsString> {
    let mut all = context.arguments();
    let boot = match import.boot {
        Boot::Auto => "auto",
        Boot::Bios => "bios",
        Boot::Uefi => "uefi",
        Boot::Pv => "pv",
    };
    all.extend(["image", "import", "--boot", boot, "--name"].map(OsString::from));
    all.push(import.name.clone().into());
    if let Some(data) = &import.uefi_data {
        all.extend([OsString::from("--uefi-data"), data.argument()]);
    }
    if let Some(text) = &import.description {
        all.extend([OsString::from("--description"), text.into()]);
    }
    all.extend(tagged(&import.tags));
    all.extend([OsString::from("--"), import.file.argument()]);
    all
}

fn register(context: &Context, import: Import) -> Result<u8, Failure> {
    let source = import.file.open()?;
    let uefi_data = import
        .uefi_data
        .as_ref()
        .map(|file| file.read(UEFI_DATA))
        .transpose()?;
    let cloud = context.cloud()?;
    context.say_when_cut_short("the next command removes what was copied")?;
    let copying = Copying::begin(context.progress(), "importing");
    let reply = cloud.import_image(ImportImage {
        source,
        source_name: import.file.name(),
        map: inside::user_map(),
        name: import.name,
        description: import.description,
        boots: boots(import.boot),
        uefi_data,
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
