//! `kiln image build`: a recipe becomes a disk in the cache, on this host, and that disk an image, here
//! or in the software machine.

use super::{Context, import};
use crate::args::image::{Boot, Build, Import};
use crate::failure::Failure;
use crate::output;
use crate::progress::Waiting;
use crate::user_file::UserFile;
use kiln_guest_images::{Options, Recipe};
use std::path::PathBuf;

pub(crate) fn run(context: &Context, build: Build) -> Result<u8, Failure> {
    let mut recipe = Recipe::find(&build.recipe)?;
    if let Some(suite) = &build.suite {
        recipe = recipe.with_suite(suite)?;
    }
    let name = build.name.unwrap_or_else(|| recipe.name().to_owned());
    // Known before the minute that a build takes.
    kiln_control::check_name(&name)?;
    let disk = disk(context, &recipe)?;
    if build.cache_only {
        output::line(&disk.display().to_string())?;
        return Ok(0);
    }
    let import = Import {
        file: UserFile::from(disk.into_os_string()),
        name,
        description: Some(recipe.description()),
        boot: Boot::Auto,
        uefi_data: None,
        tags: build.tags,
        sha256: None,
        sha512: None,
    };
    import::run(context, import)
}

/// The disk of a recipe, from the cache if nothing that goes into it has changed.
fn disk(context: &Context, recipe: &Recipe) -> Result<PathBuf, Failure> {
    let cache = crate::home::cache();
    let agent = crate::software_machine::own_program("kiln-agent")?;
    let waiting = Waiting::begin(context.progress(), format!("building {}", recipe.name()));
    let built = kiln_guest_images::build(
        recipe,
        &Options {
            cache: &cache,
            agent: &agent,
            epoch: None,
            progress: &|what| waiting.now(what),
        },
    )?;
    drop(waiting);
    if !built.cached {
        context.hint(&format!(
            "{} is in the cache now: {}",
            recipe.name(),
            built.path.display()
        ));
    }
    Ok(built.path)
}
