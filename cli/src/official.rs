//! The official images of distributions: their names here, and where they are fetched from.
//!
//! The list comes with the program (`official.tsv`). KILN_OFFICIAL_IMAGES names a file of the same form that takes its
//! place, such as one of mirrors.

use crate::download::{Address, Wish};
use crate::failure::Failure;
use crate::output::{Shown, Table};
use crate::user_file::UserFile;
use kiln_control::Bytes;
use serde::Serialize;
use std::io::Read;

const LIST: &str = include_str!("../official.tsv");
/// Names a list that takes its place.
const VARIABLE: &str = "KILN_OFFICIAL_IMAGES";
/// A list is shorter.
const LONGEST: u64 = 1 << 20;

/// An image that a distribution publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Official {
    /// Its name here, which the image gets.
    pub(crate) name: String,
    /// What it is.
    pub(crate) title: String,
    /// About how large the file is.
    pub(crate) size: Option<Bytes>,
    address: Address,
    list: Option<Address>,
}

impl Official {
    /// The file, and what verifies it.
    pub(crate) fn wish(&self) -> Wish {
        Wish {
            address: self.address.clone(),
            digest: None,
            list: self.list.clone(),
        }
    }

    /// Who publishes it.
    pub(crate) fn host(&self) -> String {
        self.address.host()
    }

    /// The command that fetches and registers it.
    pub(crate) fn command(&self) -> String {
        format!("kiln image import {0} --name {0}", self.name)
    }

    /// A line of the list.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, title, size, address, list] = fields.as_slice() else {
            return None;
        };
        kiln_control::check_name(name).ok()?;
        let size = match *size {
            "-" => None,
            mib => Some(Bytes(mib.parse::<u64>().ok()?.checked_mul(1 << 20)?)),
        };
        let list = match *list {
            "-" => None,
            list => Some(Address::of(list)?.ok()?),
        };
        let address = Address::of(address)?.ok()?;
        let is_found = list.is_some() || !address.file_name().contains('*');
        is_found.then(|| Self {
            name: (*name).to_owned(),
            title: (*title).to_owned(),
            size,
            address,
            list,
        })
    }
}

/// All of them.
///
/// # Errors
/// The list that the variable names cannot be read.
pub(crate) fn all() -> Result<Vec<Official>, Failure> {
    match std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) {
        None => parse(LIST, "the list that comes with Kiln"),
        Some(name) => {
            let file = UserFile::from(name);
            let mut text = String::new();
            let read = file.open()?.take(LONGEST).read_to_string(&mut text);
            let name = format!("{} ({VARIABLE})", file.name());
            read.map_err(|error| wrong(format!("cannot read {name}: {error}")))?;
            parse(&text, &name)
        }
    }
}

/// The one of this name, if there is one.
pub(crate) fn find(name: &str) -> Result<Option<Official>, Failure> {
    Ok(all()?.into_iter().find(|image| image.name == name))
}

fn parse(text: &str, of: &str) -> Result<Vec<Official>, Failure> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            Official::parse(line).ok_or_else(|| {
                wrong(format!(
                    "line {} of {of} is not an image's name, title, size in MiB or -, address, and list of checksums or -, \
                     apart by tabs",
                    at + 1
                ))
            })
        })
        .collect()
}

fn wrong(message: String) -> Failure {
    Failure::coded("InvalidParameterValue", message)
}

/// The list, as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    official_images: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    name: String,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<Bytes>,
    address: String,
}

impl Listed {
    pub(crate) fn of(all: &[Official]) -> Self {
        let row = |image: &Official| Row {
            name: image.name.clone(),
            title: image.title.clone(),
            size: image.size,
            address: image.address.to_string(),
        };
        Self {
            official_images: all.iter().map(row).collect(),
        }
    }
}

impl Shown for Listed {
    fn ids(&self) -> Vec<String> {
        self.official_images.iter().map(|row| row.name.clone()).collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["NAME", "IMAGE", "DOWNLOAD", "FROM"]);
        for row in &self.official_images {
            let size = row
                .size
                .map_or_else(|| "-".to_owned(), |size| format!("about {size}"));
            table.row([row.name.clone(), row.title.clone(), size, row.address.clone()]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_list_that_comes_with_kiln_is_read_and_takes_no_name_of_a_recipe() {
        let all = parse(LIST, "it").expect("it is right");
        let recipes = kiln_guest_images::built_in();
        for image in &all {
            assert!(recipes.iter().all(|(name, _)| *name != image.name), "{image:?}");
            assert!(image.address.to_string().starts_with("https://"), "{image:?}");
            assert_eq!(all.iter().filter(|other| other.name == image.name).count(), 1);
        }
        let names = [
            "amazon-linux-2",
            "amazon-linux-2023",
            "debian-12-cloud",
            "ubuntu-24.04",
        ];
        assert!(
            names
                .iter()
                .all(|name| all.iter().any(|image| image.name == *name))
        );
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let good = "an-os\tAn OS\t7\thttp://x/os.img\t-\n";
        assert_eq!(parse(good, "a.tsv").expect("it is right").len(), 1);
        for bad in [
            "an-os\tAn OS\t7\thttp://x/os.img",
            "an-os\tAn OS\tx\thttp://x/os.img\t-",
            "an-os\tAn OS\t-\tos.img\t-",
            "an-os\tAn OS\t-\thttp://x/os-*.img\t-",
        ] {
            let failure = parse(&format!("# a comment\n\n{bad}\n"), "a.tsv").expect_err("it is wrong");
            assert!(failure.message.contains("line 3 of a.tsv"), "{failure:?}");
        }
    }

    proptest! {
        #[test]
        fn a_list_of_any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text, "a.tsv");
        }
    }
}
