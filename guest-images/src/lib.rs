//! Recipes of bootable images, and what builds them.
//!
//! A [`Recipe`] is a folder: `recipe.toml`, an overlay tree `files/`, scripts in `hooks/`. Those
//! that come with Kiln are inside the binary, and a recipe may extend one of them. [`build`] makes a
//! raw disk of a recipe: an ext4 file system that carries its kernel, its menu and Kiln's agent,
//! unpartitioned or, with `layout = "gpt"`, on a whole disk that a BIOS and UEFI boot, too:
//!
//! ```text
//!  recipe + suite + agent + package versions --digest--> cache: found? -> its path
//!      |                                                       | no
//!      +-- bootstrap: mmdebstrap ---- tar --+                  v
//!      +-- unpack: apt-get, dpkg-deb, tree -+--> mke2fs -d --> times, owners --> partitions, boot code --> rename into cache
//! ```
//!
//! No loop device is mounted and no root is needed. The same inputs give the same bytes: all times
//! are those of the recipe, and what mke2fs would choose by chance follows from the digest.
//!
//! [`packages`] gets packages of Debian without installing them, with the host's own apt.

mod builder;
pub mod cpio;
mod error;
pub mod host;
pub mod packages;
mod programs;
mod recipe;

pub use builder::{Built, Options, build};
pub use error::BuildError;
pub use programs::missing_programs;
pub use recipe::{Kind, Layout, Recipe, built_in};
