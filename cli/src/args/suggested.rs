//! Words that a shell offers for an argument which takes others, too.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use kiln_control::InstanceTypes;
use kiln_guest_images::built_in;
use std::ffi::OsStr;

/// Takes any text. What there is no such thing of is told by whoever looks for it, in better words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suggested(fn() -> Vec<String>);

impl Suggested {
    /// The instance types.
    pub(super) const TYPES: Self = Self(|| {
        let all = InstanceTypes::describe(&[]).map(|all| all.instance_types);
        let names = all.into_iter().flatten().map(|known| known.instance_type);
        names.map(str::to_owned).collect()
    });
    /// The recipes that come with Kiln.
    pub(super) const RECIPES: Self = Self(|| built_in().into_iter().map(|(name, _)| name).collect());
}

impl TypedValueParser for Suggested {
    type Value = String;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        let text = value.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::new(ErrorKind::InvalidUtf8).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use crate::args::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn a_shell_offers_types_and_recipes_and_others_are_taken_to_be_looked_for() {
        let mut script = Vec::new();
        clap_complete::generate(
            clap_complete::Shell::Bash,
            &mut Cli::command(),
            "kiln",
            &mut script,
        );
        let script = String::from_utf8(script).expect("a script is text");
        for word in ["t3.micro", "debian-13-pv"] {
            assert!(script.contains(word), "{word}");
        }
        for words in [
            &["kiln", "run", "x", "--type", "t9.huge"][..],
            &["kiln", "image", "build", "./mine"],
        ] {
            assert!(Cli::try_parse_from(words).is_ok(), "{words:?}");
        }
    }
}
