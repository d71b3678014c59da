//! Official images that are not here yet: they are listed, and one that is to be launched is offered.

use super::{Context, import};
use crate::args::image::{Boot, Import};
use crate::failure::Failure;
use crate::official::{self, Listed, Official};
use crate::output::{self, Format};
use crate::software_machine::{forward, inside};
use crate::user_file::UserFile;
use kiln_control::{Code, Reply};
use std::io::IsTerminal;

/// `image list --official`
pub(super) fn list(context: &Context) -> Result<u8, Failure> {
    context.print(&Reply::new(Listed::of(&official::all()?)))
}

/// Before `run NAME`: fetches and registers an official image that is not here, if a person says so. Without one, the
/// launch fails, and what it says names the command.
pub(super) fn offer(context: &Context, name: &str) -> Result<(), Failure> {
    let is_asked = context.format == Format::Table && is_on_a_terminal() && inside::user_folder().is_none();
    if !is_asked {
        return Ok(());
    }
    let Some(image) = official::find(name)? else {
        return Ok(());
    };
    if is_here(context, name)? || !says_yes(&image)? {
        return Ok(());
    }
    let import = Import {
        file: UserFile::from(std::ffi::OsString::from(name)),
        name: image.name.clone(),
        description: Some(image.title.clone()),
        boot: Boot::Auto,
        tags: Vec::new(),
        sha256: None,
        sha512: None,
        uefi_data: None,
    };
    import::official(context, import, &image).map(drop)
}

fn is_on_a_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

/// Whether there is an image that this name launches.
fn is_here(context: &Context, name: &str) -> Result<bool, Failure> {
    // Where an import would put it.
    if context.is_elsewhere(false)? {
        let lease = context.lease()?;
        let mut argv = vec!["kiln".into()];
        argv.extend(context.arguments());
        argv.extend(["image", "show", "--", name].map(Into::into));
        let said = forward::ask(&lease, argv)?;
        return Ok(!said.contains(Code::InvalidAmiIdNotFound.as_str()));
    }
    match context.cloud()?.resolve_image(name) {
        Err(error) if error.code() == Code::InvalidAmiIdNotFound => Ok(false),
        // What else there is to say, the launch says.
        _ => Ok(true),
    }
}

/// Asks the person at the terminal, once.
fn says_yes(image: &Official) -> Result<bool, Failure> {
    output::aside(&question(image));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    let read = read.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    Ok(read > 0 && is_yes(&answer))
}

fn question(image: &Official) -> String {
    let size = image
        .size
        .map_or_else(String::new, |size| format!(" (about {size})"));
    let (name, host) = (&image.name, image.host());
    format!("{name} is not here; fetch it from {host}{size} and register it? [Y/n] ")
}

fn is_yes(answer: &str) -> bool {
    ["", "y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_says_what_is_fetched_and_from_where_and_only_a_no_is_no() {
        let image = official::find("debian-12-cloud")
            .expect("the list")
            .expect("it is listed");
        assert_eq!(
            question(&image),
            "debian-12-cloud is not here; fetch it from cloud.debian.org (about 325 MiB) and register it? [Y/n] "
        );
        for (answer, yes) in [
            ("\n", true),
            ("Y\n", true),
            ("yes\n", true),
            ("n\n", false),
            ("what\n", false),
        ] {
            assert_eq!(is_yes(answer), yes, "{answer}");
        }
    }
}
