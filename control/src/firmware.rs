//! Firmware for machines: files of other projects, found where distributions install them.

use crate::boot::FirmwareKind;
use crate::catalog::variables::Packed;
use crate::{Code, Error, Result};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// SeaBIOS, for a machine like QEMU's.
const BIOS: &[&str] = &["usr/share/seabios/bios-256k.bin", "usr/share/qemu/bios-256k.bin"];

/// OVMF in two parts, the code and an empty store of variables, by the names that Debian and Ubuntu, Arch, Fedora,
/// and openSUSE give them.
const UEFI: &[(&str, &str)] = &[
    ("usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"),
    (
        "usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "usr/share/edk2/ovmf/OVMF_CODE.fd",
        "usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    (
        "usr/share/qemu/ovmf-x86_64-4m-code.bin",
        "usr/share/qemu/ovmf-x86_64-4m-vars.bin",
    ),
];

/// An instance's variables, in its folder.
pub(crate) const VARIABLES: &str = "variables.fd";

/// The files of a firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    /// What the processor runs.
    pub(crate) code: PathBuf,
    /// What an instance's variables begin as, where the firmware keeps any.
    pub(crate) variables: Option<PathBuf>,
}

/// Looks for a firmware in one folder after the other, each laid out as the root of a host, and last on this host.
pub(crate) fn find(kind: FirmwareKind, roots: &[PathBuf]) -> Result<Files> {
    let roots = || roots.iter().map(PathBuf::as_path).chain([Path::new("/")]);
    let mut found = roots().flat_map(|root| in_root(kind, root));
    found.next().ok_or_else(|| lacking(kind))
}

fn in_root(kind: FirmwareKind, root: &Path) -> Vec<Files> {
    let all: Vec<Files> = match kind {
        FirmwareKind::Bios => BIOS
            .iter()
            .map(|code| Files {
                code: root.join(code),
                variables: None,
            })
            .collect(),
        FirmwareKind::Uefi => UEFI
            .iter()
            .map(|(code, variables)| Files {
                code: root.join(code),
                variables: Some(root.join(variables)),
            })
            .collect(),
    };
    let is_there = |files: &Files| {
        files.code.is_file()
            && files
                .variables
                .as_ref()
                .is_none_or(|variables| variables.is_file())
    };
    all.into_iter().filter(is_there).collect()
}

/// The variables that a new machine's UEFI firmware begins with: none, but all that is around them.
pub(crate) fn empty_variables(roots: &[PathBuf]) -> Result<Vec<u8>> {
    let files = find(FirmwareKind::Uefi, roots)?;
    let template = files.variables.ok_or_else(|| lacking(FirmwareKind::Uefi))?;
    read(&template)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::internal(format!("read {}", path.display()), error))
}

/// Puts the variables that an instance's firmware begins with, if it keeps any, into the instance's folder: those of its
/// image, else those of a new machine. They are on disk when this returns, their name is when the folder is synced.
pub(crate) fn give_variables(
    kind: FirmwareKind,
    roots: &[PathBuf],
    of_image: Option<Packed>,
    folder: &Path,
) -> Result<()> {
    let Some(template) = find(kind, roots)?.variables else {
        return Ok(());
    };
    let store = match of_image {
        Some(packed) => packed.unpack()?,
        None => read(&template)?,
    };
    let path = folder.join(VARIABLES);
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(&store).and_then(|()| file.sync_all()));
    written.map_err(|error| Error::internal(format!("write {}", path.display()), error))
}

/// The variables of an instance as they are now, ready to be kept with an image; none if it has none.
pub(crate) fn variables_in(folder: &Path) -> Result<Option<Packed>> {
    let path = folder.join(VARIABLES);
    match std::fs::read(&path) {
        Ok(store) => Packed::of(&store).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::internal(format!("read {}", path.display()), error)),
    }
}

fn lacking(kind: FirmwareKind) -> Error {
    let (what, package, others) = match kind {
        FirmwareKind::Bios => ("no BIOS (SeaBIOS)", "seabios", "seabios or seabios-bin"),
        FirmwareKind::Uefi => ("no UEFI firmware (OVMF)", "ovmf", "edk2-ovmf or qemu-ovmf-x86_64"),
    };
    Error::new(
        Code::Unavailable,
        format!(
            "{what} is installed here: install the package {package} (Debian, Ubuntu; elsewhere {others}), or launch \
             with --boot fast, which needs none"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, file: &str) -> PathBuf {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"firmware").unwrap();
        path
    }

    #[test]
    fn firmware_is_found_by_the_names_that_distributions_give_it() {
        let root = tempfile::tempdir().unwrap();
        for (code, variables) in UEFI {
            let code = put(root.path(), code);
            assert!(in_root(FirmwareKind::Uefi, root.path()).is_empty(), "half of it");
            let variables = put(root.path(), variables);
            let files = Files {
                code: code.clone(),
                variables: Some(variables),
            };
            let roots = [root.path().to_owned()];
            assert_eq!(find(FirmwareKind::Uefi, &roots).unwrap(), files);
            std::fs::remove_file(code).unwrap();
        }
        let code = put(root.path(), BIOS[0]);
        let found = find(FirmwareKind::Bios, &[root.path().to_owned()]).unwrap();
        assert_eq!((found.code, found.variables), (code, None));
    }

    #[test]
    fn an_instance_begins_with_its_images_variables_else_with_those_of_a_new_machine() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), UEFI[0].0);
        put(root.path(), UEFI[0].1);
        let roots = [root.path().to_owned()];
        for (own, begins) in [
            (None, &b"firmware"[..]),
            (Some(Packed::of(b"baked").unwrap()), b"baked"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            give_variables(FirmwareKind::Uefi, &roots, own, folder.path()).unwrap();
            assert_eq!(std::fs::read(folder.path().join(VARIABLES)).unwrap(), begins);
            let kept = variables_in(folder.path()).unwrap().unwrap();
            assert_eq!(kept.unpack().unwrap(), begins);
        }
        assert_eq!(variables_in(root.path()).unwrap(), None);
    }

    #[test]
    fn a_lack_of_firmware_is_told_with_the_package_that_has_it() {
        for (kind, package) in [(FirmwareKind::Bios, "seabios"), (FirmwareKind::Uefi, "ovmf")] {
            let error = lacking(kind);
            assert_eq!(error.code(), Code::Unavailable);
            assert!(
                error.to_string().contains(&format!("package {package} ")),
                "{error}"
            );
        }
    }
}
