//! The seed of an instance: a small read-only disk from which its guest learns which instance it is, and what its user
//! wants of it, in the form that cloud-init calls NoCloud (its documentation, "Datasources").
//!
//! ```text
//!  kiln.db: id, key, user data ──> seed.img (FAT, labelled CIDATA)  ──> meta-data, user-data, vendor-data
//! ```
//!
//! It is a file of the instance's folder, written anew at every start: no volume, and so part of no image that is made of
//! the instance. An instance without a key and user data has none.

mod fat;
mod user_data;

pub use user_data::{MOST_USER_DATA, UserData};

use crate::folder::replace;
use crate::key_pair::PublicKey;
use crate::{Error, InstanceId, Result};
use kiln_vmm::virtio::block::{BlockSpec, DiskFormat};
use std::io::ErrorKind;
use std::path::Path;

/// Its file in the instance's folder.
const FILE: &str = "seed.img";
/// What the guest sees as its serial, and requests name it by.
const NAME: &str = "seed";
/// Its PCI slot: behind all volumes, which the guest calls as if it were not there.
const SLOT: u8 = 28;
/// By which cloud-init finds it.
const LABEL: &[u8; 11] = b"CIDATA     ";
/// What cloud-init does beside what the user wants of it.
const VENDOR_DATA: &[u8] = include_bytes!("vendor-data");

/// What an instance is told beside its id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) user_data: Option<UserData>,
    pub(crate) key: Option<LoginKey>,
}

/// The key by which an instance's user logs in.
#[derive(Clone, Debug)]
pub(crate) struct LoginKey {
    /// Its pair's name.
    pub(crate) name: String,
    pub(crate) public_key: PublicKey,
}

impl Told {
    /// Whether there is nothing to tell.
    pub(crate) fn is_nothing(&self) -> bool {
        self.user_data.is_none() && self.key.is_none()
    }
}

/// Makes an instance's folder hold the seed that tells this, or none if that is nothing, durably but for names.
pub(crate) fn put(folder: &Path, instance: &InstanceId, told: &Told) -> Result<()> {
    let place = folder.join(FILE);
    let failed = |error| Error::internal(format!("write {}", place.display()), error);
    if told.is_nothing() {
        return [&place, &folder.join(format!("{FILE}.new"))]
            .into_iter()
            .try_for_each(|file| match std::fs::remove_file(file) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            });
    }
    // What is user data fits.
    let content = content(instance, told).ok_or_else(|| failed(ErrorKind::FileTooLarge.into()))?;
    replace(folder, FILE, &content)
}

/// The seed as a disk of a machine.
pub(crate) fn disk(folder: &Path) -> BlockSpec {
    BlockSpec {
        id: NAME.to_owned(),
        path: folder.join(FILE),
        format: DiskFormat::Raw,
        read_only: true,
        queues: Some(1),
        serial: Some(NAME.to_owned()),
        slot: Some(SLOT),
    }
}

/// What the disk holds. There are user data in any case: cloud-init takes no seed without.
fn content(instance: &InstanceId, told: &Told) -> Option<Vec<u8>> {
    let mut meta_data = format!("instance-id: {instance}\nlocal-hostname: {instance}\n");
    if let Some(key) = &told.key {
        let line = format!("{} {}", key.public_key.line(), key.name);
        // What JSON quotes YAML takes as it is meant.
        let quoted = serde_json::Value::String(line);
        meta_data.push_str(&format!("public-keys:\n- {quoted}\n"));
    }
    let user_data = told.user_data.as_ref().map_or(&[][..], UserData::bytes);
    let files = [
        ("meta-data", meta_data.as_bytes()),
        ("user-data", user_data),
        ("vendor-data", VENDOR_DATA),
    ];
    fat::image(LABEL, &files)
}

/// Whether there is a seed in an instance's folder.
#[cfg(test)]
pub(crate) fn is_in(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// What a seed says, by the mtools: its meta-data and its user data.
#[cfg(test)]
pub(crate) fn read(folder: &Path) -> [Vec<u8>; 2] {
    ["::meta-data", "::user-data"].map(|name| {
        let mut command = std::process::Command::new("mtype");
        let said = command
            .arg("-i")
            .arg(folder.join(FILE))
            .arg(name)
            .output()
            .expect("mtype runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        said.stdout
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn told(data: &[u8]) -> Told {
        Told {
            user_data: Some(UserData::new(data.to_vec()).expect("user data")),
            key: None,
        }
    }

    #[test]
    fn a_seed_is_found_by_its_label_and_tells_id_name_and_user_data() {
        let folder = tempfile::tempdir().expect("a folder");
        let id = InstanceId::parse("i-0123456789abcdef0").expect("an id");
        for data in [
            b"#!/bin/sh\necho hello\n".to_vec(),
            vec![b'x'; MOST_USER_DATA],
            b"#".to_vec(),
        ] {
            put(folder.path(), &id, &told(&data)).expect("written");
            let [meta_data, told] = read(folder.path());
            assert_eq!(told, data);
            let meta_data = String::from_utf8(meta_data).expect("text");
            assert_eq!(meta_data, format!("instance-id: {id}\nlocal-hostname: {id}\n"));
        }
        let image = folder.path().join(FILE);
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let found = Command::new("blkid")
            .args(["-p", "-o", "export"])
            .arg(&image)
            .env("PATH", &path)
            .output()
            .expect("blkid runs");
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(
            found.contains("\nLABEL=CIDATA\n") && found.contains("TYPE=vfat\n"),
            "{found}"
        );
        let checked = Command::new("fsck.fat")
            .args(["-n", "-v"])
            .arg(&image)
            .env("PATH", &path)
            .output();
        let checked = checked.expect("fsck.fat runs");
        assert!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stdout)
        );
    }

    #[test]
    fn without_user_data_there_is_no_seed() {
        let folder = tempfile::tempdir().expect("a folder");
        let id = InstanceId::parse("i-0123456789abcdef0").expect("an id");
        put(folder.path(), &id, &told(b"#!/bin/sh\n")).expect("written");
        assert!(is_in(folder.path()));
        std::fs::write(folder.path().join("seed.img.new"), "half").expect("a file");
        for _ in 0..2 {
            put(folder.path(), &id, &Told::default()).expect("removed");
            assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 0);
        }
    }
}
