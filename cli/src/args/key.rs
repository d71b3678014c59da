//! `kiln key …`

use crate::user_file::UserFile;
use clap::{Args, Subcommand, ValueEnum};
use kiln_control::{Filter, Tag};

/// Key pairs: by the public half, which guests get (`kiln run --key`), their users log in with the private one.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make one; its private half is kept in the home, for nobody but you to read
    #[command(after_help = super::examples::KEY_CREATE)]
    Create(Create),
    /// Take the public half of one that you have
    #[command(after_help = super::examples::KEY_IMPORT)]
    Import(Import),
    /// The key pairs
    List(List),
    /// Forget key pairs, and remove the private halves that were made here; instances keep their keys
    Delete(Delete),
}

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Type {
    /// Ed25519
    Ed25519,
    /// RSA, of 2048 bits
    Rsa,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    pub(crate) name: String,
    /// Its kind
    #[arg(long = "type", value_enum, value_name = "ed25519|rsa", hide_possible_values = true, default_value_t = Type::Ed25519)]
    pub(crate) kind: Type,
    /// Write the private half to this new file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) output_key: Option<UserFile>,
    /// Put tags on it
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = Tag::parse)]
    pub(crate) tags: Vec<Tag>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Its name
    pub(crate) name: String,
    /// The public half: a file such as ~/.ssh/id_ed25519.pub
    #[arg(value_name = "FILE", required_unless_present = "line")]
    pub(crate) file: Option<UserFile>,
    /// Put tags on it
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = Tag::parse)]
    pub(crate) tags: Vec<Tag>,
    /// The public half itself: of a pair that was made for its user, in another process
    #[arg(long, hide = true, conflicts_with = "file")]
    pub(crate) line: Option<String>,
    /// The fingerprint of that pair
    #[arg(long, hide = true, requires = "line")]
    pub(crate) fingerprint: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only these
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Only those that match, such as key-name=web-*
    #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = Filter::parse)]
    pub(crate) filters: Vec<Filter>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Key pairs, by their names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}
