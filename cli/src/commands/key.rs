//! `kiln key …`: the pair is made on the host, where its private half stays; the public half goes where images are.

use super::{Context, import};
use crate::args::key::{Create, Delete, Import, Key, List};
use crate::attach::Input;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::private_key::PrivateKeys;
use crate::software_machine::inside;
use crate::user_file::{NewFile, Over, UserFile};
use kiln_agent::client::Unread;
use kiln_control::{DescribeKeyPairs, ImportKeyPair, KeyPair, MOST_PUBLIC_KEY, PublicKey, Reply};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;

pub(crate) fn run(context: &Context, command: Key) -> Result<u8, Failure> {
    match command {
        Key::Create(create) => self::create(context, create),
        Key::Import(import) => self::import(context, import),
        Key::List(List { names, filters }) => {
            let cloud = context.cloud()?;
            let found = cloud.describe_key_pairs(&DescribeKeyPairs { names, filters })?;
            context.print_found(&cloud, found)
        }
        Key::Delete(delete) => self::delete(context, &delete),
    }
}

fn create(context: &Context, create: Create) -> Result<u8, Failure> {
    let output = create
        .output_key
        .as_ref()
        .map(|file| file.create(Over::Nothing))
        .transpose()?;
    let keys = PrivateKeys::of(&context.home, &context.region()?);
    let key = keys.make(&create.name, create.kind)?;
    if let Some(file) = &output {
        let own = PermissionsExt::from_mode(0o600);
        file.file()
            .and_then(|file| file.set_permissions(own))
            .map_err(|error| Failure::new(error.to_string()))?;
        file.write_all(key.content.as_bytes())?;
    }
    let pair = Import {
        name: create.name.clone(),
        file: None,
        tags: create.tags,
        line: Some(key.public_key.line()),
        fingerprint: Some(key.fingerprint),
    };
    let done = if context.is_elsewhere(false)? {
        // Without an answer it may have been recorded.
        imported_there(context, pair).map(|status| (status != 0).then_some(Ok(status)))
    } else {
        match record(context, pair) {
            Ok(pair) => context.print_made(&Reply::new(pair)).map(|_| None),
            Err(refused) => Ok(Some(Err(refused))),
        }
    };
    match done {
        Ok(Some(refused)) => {
            if !key.was_there {
                keys.remove(&create.name)?;
            }
            refused
        }
        // What is recorded has its private half, also where that could not be said.
        Err(unsaid) => Err(unsaid),
        Ok(None) => {
            output.map(NewFile::complete).transpose()?;
            let is = if key.was_there {
                "is the one that was there"
            } else {
                "is"
            };
            context.hint(&format!("the private key {is}: {}", key.place.display()));
            Ok(0)
        }
    }
}

/// Imports the public half of a pair that was made in the software machine; the exit status there.
fn imported_there(context: &Context, pair: Import) -> Result<u8, Failure> {
    let mut all = context.arguments();
    all.extend(["key", "import"].map(OsString::from));
    let options = [("--line", pair.line), ("--fingerprint", pair.fingerprint)];
    for (option, value) in options
        .into_iter()
        .filter_map(|(option, value)| Some((option, value?)))
    {
        all.extend([OsString::from(option), value.into()]);
    }
    all.extend(import::tagged(&pair.tags));
    all.extend([OsString::from("--"), pair.name.into()]);
    context.forward(all, Input::None, Unread::GoesOn, None)
}

fn import(context: &Context, import: Import) -> Result<u8, Failure> {
    let pair = record(context, import)?;
    context.print_made(&Reply::new(pair))
}

/// Puts a pair into the catalogue.
fn record(context: &Context, import: Import) -> Result<KeyPair, Failure> {
    let text = match (&import.file, import.line) {
        (Some(file), _) => text_of(file)?,
        (None, line) => line.unwrap_or_default(),
    };
    let public_key = PublicKey::parse(&text).map_err(|error| match &import.file {
        Some(file) => Failure::coded(error.code().as_str(), format!("{}: {error}", file.name())),
        None => error.into(),
    })?;
    Ok(context.cloud()?.import_key_pair(ImportKeyPair {
        name: import.name,
        public_key,
        fingerprint: import.fingerprint,
        tags: import.tags,
    })?)
}

fn text_of(file: &UserFile) -> Result<String, Failure> {
    String::from_utf8(file.read(MOST_PUBLIC_KEY)?)
        .map_err(|_| Failure::coded("InvalidKey.Format", format!("{} is no text", file.name())))
}

fn delete(context: &Context, delete: &Delete) -> Result<u8, Failure> {
    if context.is_elsewhere(false)? {
        let mut all = context.arguments();
        all.extend(["key", "delete", "--"].map(OsString::from));
        all.extend(delete.names.iter().map(OsString::from));
        let status = context.forward(all, Input::None, Unread::GoesOn, None)?;
        if status != 0 {
            return Ok(status);
        }
    } else {
        context.cloud()?.delete_key_pairs(&delete.names)?;
        match context.format {
            Format::Json => output::document(&serde_json::json!({"Return": true}))?,
            _ => delete.names.iter().try_for_each(|name| output::line(name))?,
        }
    }
    // Private keys are on the host, wherever the pairs are.
    if inside::user_folder().is_none() {
        let keys = PrivateKeys::of(&context.home, &context.region()?);
        delete.names.iter().try_for_each(|name| keys.remove(name))?;
    }
    Ok(0)
}
