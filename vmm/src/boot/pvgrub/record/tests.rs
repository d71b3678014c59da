//! What a boot leaves on the disk, as the guest's own tools see it.

use std::process::Command;
use std::sync::Arc;

use kiln_imagefmt::{Access, Disk, RawDisk};

use super::super::boot;
use super::super::tests::fixtures::{File, file_system, kernel, partitioned_bytes};
use super::*;

const MENU: &str = "load_env\nif [ \"${next_entry}\" ]; then\nset default=\"${next_entry}\"\nset next_entry=\nsave_env next_entry\n\
    set boot_once=true\nelse\nset default=\"${saved_entry}\"\nfi\n\
    function savedefault { if [ -z \"${boot_once}\" ]; then saved_entry=\"${chosen}\"; save_env saved_entry; fi; }\n\
    menuentry a --id first { savedefault; linux /vmlinuz }\nmenuentry b --id second { savedefault; linux /vmlinuz }\n";

fn block(lines: &str) -> Vec<u8> {
    let mut bytes = grubenv::SIGNATURE.to_vec();
    bytes.extend_from_slice(lines.as_bytes());
    bytes.resize(grubenv::LEN, b'#');
    bytes
}

/// A file with a disk in it.
struct Image(tempfile::NamedTempFile);

impl Image {
    fn new(bytes: &[u8]) -> Image {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Image(file)
    }

    fn disk(&self, access: Access) -> Arc<dyn Disk> {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(self.0.path())
            .unwrap();
        Arc::new(RawDisk::open(file, access).unwrap())
    }

    /// Boots once: the entry's title, and the notes.
    fn boot(&self) -> (String, Vec<String>) {
        self.boot_with(Access::ReadWrite)
    }

    fn boot_with(&self, access: Access) -> (String, Vec<String>) {
        let disk = self.disk(access);
        let chosen = boot(&disk, None).unwrap();
        (chosen.found.entry, chosen.found.notes)
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.0.path()).unwrap()
    }

    /// What `e2fsprogs` reads from the file at `path`.
    fn cat(&self, path: &str) -> String {
        let output = Command::new("debugfs")
            .args(["-R", &format!("cat {path}")])
            .arg(self.0.path())
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn is_sound(&self) -> bool {
        let output = Command::new("e2fsck")
            .args(["-f", "-n"])
            .arg(self.0.path())
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .unwrap();
        output.status.success()
    }
}

#[test]
fn next_entry_is_booted_once_and_the_saved_default_after_it() {
    let kernel = kernel();
    let env = block("saved_entry=first\nnext_entry=second\n");
    let files: &[File<'_>] = &[
        ("/boot/grub/grub.cfg", MENU.as_bytes()),
        ("/boot/grub/grubenv", &env),
        ("/vmlinuz", &kernel),
    ];
    for options in [
        &["-t", "ext2"][..],
        &["-t", "ext3"],
        &["-t", "ext4"],
        &["-t", "ext4", "-b", "4096"],
        &["-t", "ext4", "-O", "^metadata_csum,^64bit"],
    ] {
        let image = Image::new(&file_system(files, options));
        let before = image.bytes();
        assert_eq!(image.boot(), ("b".into(), vec![]), "{options:?}");
        assert_eq!(
            image.cat("/boot/grub/grubenv").as_bytes(),
            block("saved_entry=first\nnext_entry=\n")
        );
        assert_eq!(image.boot().0, "a");
        assert!(image.is_sound(), "{options:?}");
        // Nothing but the block's own bytes is another.
        let changed = before
            .iter()
            .zip(&image.bytes())
            .filter(|(old, new)| old != new)
            .count();
        assert!(changed < 100, "{changed} bytes");
        assert_eq!(before.len(), image.bytes().len());
    }
}

#[test]
fn the_entry_that_savedefault_remembers_is_booted_next() {
    let kernel = kernel();
    let env = block("saved_entry=1\n");
    let files: &[File<'_>] = &[
        ("/boot/grub/grub.cfg", MENU.as_bytes()),
        ("/boot/grub/grubenv", &env),
        ("/vmlinuz", &kernel),
    ];
    let image = Image::new(&partitioned_bytes(&[files]));
    assert_eq!(image.boot(), ("b".into(), vec![]));
    let bytes = image.bytes();
    let written = b"# GRUB Environment Block\nsaved_entry=second\n###";
    assert!(bytes.windows(written.len()).any(|window| window == written));
}

#[test]
fn grub_legacy_s_saved_default_is_rewritten_in_its_file() {
    let kernel = kernel();
    let menu = b"default saved\nfallback 1\ntitle a\nkernel /vmlinuz\nsavedefault fallback\ntitle b\nkernel /vmlinuz\n";
    let files: &[File<'_>] = &[
        ("/boot/grub/menu.lst", menu),
        ("/boot/grub/default", b"0\n#\n#\n#\n"),
        ("/vmlinuz", &kernel),
    ];
    let image = Image::new(&file_system(files, &["-t", "ext4"]));
    assert_eq!(image.boot(), ("a".into(), vec![]));
    assert_eq!(image.cat("/boot/grub/default"), "1\n#\n#\n#\n");
    assert_eq!(image.boot().0, "b");
}

#[test]
fn a_boot_that_cannot_remember_says_so_and_goes_on() {
    let kernel = kernel();
    let env = block("next_entry=second\n");
    let good: &[File<'_>] = &[
        ("/boot/grub/grub.cfg", MENU.as_bytes()),
        ("/boot/grub/grubenv", &env),
        ("/vmlinuz", &kernel),
    ];
    let told = |image: &Image, access| {
        let before = image.bytes();
        let (title, notes) = image.boot_with(access);
        assert_eq!(title, "b");
        assert_eq!(image.bytes(), before);
        notes.join("; ")
    };
    let image = Image::new(&file_system(good, &["-t", "ext4"]));
    let said = told(&image, Access::ReadOnly);
    assert!(
        said.starts_with(
            "(hd0)/boot/grub/grubenv is not changed, so the next boot does not know of this one: "
        ),
        "{said}"
    );

    let full = block(&format!("next_entry=second\n{}", "x=y\n".repeat(245)));
    let files = &[good[0], ("/boot/grub/grubenv", full.as_slice()), good[2]];
    let menu = MENU.replace(
        "set next_entry=\n",
        "set next_entry=much_longer_than_it_was_before\n",
    );
    let files = &[("/boot/grub/grub.cfg", menu.as_bytes()), files[1], files[2]];
    let image = Image::new(&file_system(files, &["-t", "ext4"]));
    assert!(told(&image, Access::ReadWrite).ends_with("what it is to hold does not fit"));
}

#[test]
fn hazard_a_disk_that_was_not_unmounted_is_not_written() {
    let kernel = kernel();
    let env = block("next_entry=second\n");
    let files: &[File<'_>] = &[
        ("/boot/grub/grub.cfg", MENU.as_bytes()),
        ("/boot/grub/grubenv", &env),
        ("/vmlinuz", &kernel),
    ];
    let image = Image::new(&file_system(files, &["-t", "ext4"]));
    let folder = tempfile::tempdir().unwrap();
    let (block, script) = (folder.path().join("block"), folder.path().join("script"));
    std::fs::write(&block, [7; 1024]).unwrap();
    std::fs::write(
        &script,
        format!("jo -c -v 3\njw -b 7000 {}\njc\n", block.display()),
    )
    .unwrap();
    let made = Command::new("debugfs")
        .args(["-w", "-f"])
        .args([&script, &image.0.path().to_owned()])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .unwrap();
    assert!(made.status.success());
    let before = image.bytes();
    let (title, notes) = image.boot();
    assert_eq!(title, "b");
    assert!(image.bytes() == before);
    let said = notes.join("; ");
    assert!(said.contains("the journal was applied in memory only"), "{said}");
    assert!(
        said.contains(
            "(hd0) was not unmounted: 1 transactions (1 blocks) of its journal are applied in memory"
        ),
        "{said}"
    );
}
