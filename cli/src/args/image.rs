//! `kiln image …`

use super::seconds;
use super::suggested::Suggested;
use crate::download::Digest;
use crate::user_file::UserFile;
use clap::{Args, Subcommand, ValueEnum};
use kiln_control::{Filter, Tag};
use std::ffi::OsString;

/// Images: built from a recipe, imported from a disk file, created from an instance.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Make a bootable base image from a recipe, and register it
    Build(Build),
    /// Make an image of a disk file, here or at a URL (raw or qcow2, as it is or compressed by gzip, xz or zstd)
    #[command(after_help = super::examples::IMPORT)]
    Import(Import),
    /// Make an image of a snapshot that is there already
    Register(Register),
    /// Write an image into a disk file that stands alone
    Export(Export),
    /// Make an image of an instance: its disks as they are now
    Create(Create),
    /// The images: one's own, and those that come with Kiln
    List(List),
    /// All about images
    Show(Show),
    /// Say why an image, or a disk file, would not boot or would boot badly, before it is launched
    Doctor(Diagnose),
    /// Remove an image: its instances live on, new launches are refused
    Deregister(Deregister),
    /// Put tags on images
    Tag(super::instance::TagResources),
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// A recipe that comes with Kiln (debian-12, debian-13, debian-12-i386, debian-12-pv, debian-13-pv, tiny), or a recipe's folder
    #[arg(value_name = "RECIPE", value_parser = Suggested::RECIPES, hide_possible_values = true)]
    pub(crate) recipe: String,
    /// The image's name [default: the recipe's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The distribution's release [default: the recipe's]
    #[arg(long, value_name = "SUITE")]
    pub(crate) suite: Option<String>,
    /// Put tags on the image
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = Tag::parse)]
    pub(crate) tags: Vec<Tag>,
    /// Only make the disk, in the cache, and print where it is
    #[arg(long, conflicts_with_all = ["name", "tags"])]
    pub(crate) cache_only: bool,
}

/// How an image boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Boot {
    /// Find out from the disk
    Auto,
    /// A BIOS runs the boot loader in the disk's first sector
    Bios,
    /// UEFI firmware runs the boot loader in the disk's EFI system partition
    Uefi,
    /// The kernel is found on the root disk and entered directly
    Pv,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The disk file: a file here, one at an http or https address, or an official image's name (kiln image list
    /// --official)
    #[arg(value_name = "FILE|URL")]
    pub(crate) file: UserFile,
    /// The image's name: unique, and for ever the same
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// How it boots
    #[arg(long, value_enum, default_value_t = Boot::Auto)]
    pub(crate) boot: Boot,
    /// Have its instances begin with these UEFI variables: EC2's UefiData, or a firmware's own file of variables
    #[arg(long, value_name = "FILE")]
    pub(crate) uefi_data: Option<UserFile>,
    /// Put tags on the image
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = Tag::parse)]
    pub(crate) tags: Vec<Tag>,
    /// The SHA-256 digest that the file must have [default: that of a checksum file beside a URL]
    #[arg(long, value_name = "DIGEST", value_parser = Digest::sha256, conflicts_with = "sha512")]
    pub(crate) sha256: Option<Digest>,
    /// The same, a SHA-512 digest
    #[arg(long, value_name = "DIGEST", value_parser = Digest::sha512)]
    pub(crate) sha512: Option<Digest>,
}

impl Import {
    /// The digest that was given; what is done with the file later needs none.
    pub(crate) fn digest(&mut self) -> Option<Digest> {
        self.sha256.take().or_else(|| self.sha512.take())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Register {
    /// The snapshot of its root disk: id, name, or the beginning of either
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: String,
    /// The image's name: unique, and for ever the same
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// How it boots
    #[arg(long, value_enum, default_value_t = Boot::Auto)]
    pub(crate) boot: Boot,
    /// Put tags on the image
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = Tag::parse)]
    pub(crate) tags: Vec<Tag>,
}

/// A disk file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiskFormat {
    /// QEMU's format
    Qcow2,
    /// The disk's bytes, with holes
    Raw,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The image: id, name, or the beginning of either
    pub(crate) image: String,
    /// The new file
    #[arg(value_name = "FILE", required_unless_present = "uefi_data")]
    pub(crate) file: Option<UserFile>,
    /// Write the UEFI variables that its instances begin with, as EC2's UefiData
    #[arg(long, value_name = "FILE")]
    pub(crate) uefi_data: Option<UserFile>,
    /// Replace a file of this name once the export is complete
    #[arg(long)]
    pub(crate) force: bool,
    /// Its format [default: from its name's ending]
    #[arg(long, value_enum)]
    pub(crate) format: Option<DiskFormat>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The instance: id, name, or the beginning of either
    pub(crate) instance: String,
    /// The image's name: unique, and for ever the same
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Leave the guest running, its file systems frozen for a moment; without this it is shut down first, and started
    /// again
    #[arg(long)]
    pub(crate) no_reboot: bool,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Put tags on the image and its snapshots
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = Tag::parse)]
    pub(crate) tags: Vec<Tag>,
    /// Instances of the image keep their additional volumes when they are terminated
    #[arg(long)]
    pub(crate) keep_volumes: bool,
    /// Seconds that the guest may take to shut down before it is stopped by force [default: 60; 300 in the software
    /// machine]
    #[arg(long, value_name = "S", conflicts_with = "no_reboot", value_parser = seconds)]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only these: ids, names, or the beginning of either
    #[arg(value_name = "IMAGE")]
    pub(crate) names: Vec<String>,
    /// Whose images: self, kiln, all, or an account [default: one's own and Kiln's]
    #[arg(long, value_name = "OWNER")]
    pub(crate) owner: Vec<String>,
    /// Only those that match, such as name=web-* or tag:role=web
    #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = Filter::parse)]
    pub(crate) filters: Vec<Filter>,
    /// Instead, the images of distributions that run and image import fetch by these names; KILN_OFFICIAL_IMAGES names
    /// another list
    #[arg(long, conflicts_with_all = ["names", "owner", "filters"])]
    pub(crate) official: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Images: ids, names, or the beginning of either
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// What the image's own boot menu would boot, and why
    #[arg(long)]
    pub(crate) boot: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diagnose {
    /// The image (id, name, or the beginning of either), or a disk file (raw or qcow2): a name with a / in it, or that a
    /// file here has, is a file's
    #[arg(value_name = "IMAGE|FILE")]
    pub(crate) what: OsString,
    /// The way to boot that is meant [default: each that the disk has]
    #[arg(long, value_enum, value_name = "bios|uefi|pv", hide_possible_values = true)]
    pub(crate) boot: Option<Firmware>,
}

/// A way to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Firmware {
    /// By the boot code in the first sector
    Bios,
    /// By the loader on the EFI system partition
    Uefi,
    /// By the kernel that the menu names
    Pv,
}

impl Diagnose {
    /// Whether the name could be an image's: nothing in it says that it is a file's.
    pub(crate) fn is_perhaps_an_image(&self) -> bool {
        !self
            .what
            .as_encoded_bytes()
            .iter()
            .any(|byte| b"/.".contains(byte))
    }

    /// The file, if it is one that is meant: so says a slash in its name, or that there is such a file.
    pub(crate) fn file(&self) -> Option<UserFile> {
        let has_slash = self.what.as_encoded_bytes().contains(&b'/');
        let file = UserFile::from(self.what.clone());
        (has_slash || file.exists()).then_some(file)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Deregister {
    /// Images: ids, names, or the beginning of either
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Delete their snapshots, too, unless another image names them
    #[arg(long)]
    pub(crate) delete_snapshots: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_build_names_every_recipe_that_comes_with_kiln() {
        let command = Build::augment_args(clap::Command::new("build"));
        let recipe = command.get_arguments().find(|arg| arg.get_id() == "recipe");
        let help = recipe.and_then(clap::Arg::get_help).expect("help").to_string();
        let names: Vec<String> = kiln_guest_images::built_in()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(help.contains(&format!("({})", names.join(", "))), "{help}");
    }
}
