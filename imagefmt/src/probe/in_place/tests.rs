//! Small files, written where they lie, and read by e2fsprogs and mtools afterwards.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::probe::tests::fixtures::{ext_file, tool};
use crate::probe::{FileTree, Window, overwrite};
use crate::{Access, Disk, RawDisk};

const BLOCK: [u8; 1024] = [b'#'; 1024];

fn window(image: &Path, access: Access) -> Window {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(image)
        .unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RawDisk::open(file, access).unwrap());
    Window::whole(disk)
}

/// What happens when `path` gets `content`.
fn write(image: &Path, path: &str, content: &[u8]) -> Result<(), String> {
    let window = window(image, Access::ReadWrite);
    let files = FileTree::open(&window).map_err(|error| error.to_string())?;
    overwrite(&window, &files, path, content).map_err(|error| error.to_string())
}

fn debugfs(image: &Path, command: &str) -> Vec<u8> {
    let output = Command::new("debugfs")
        .args(["-w", "-R", command])
        .arg(image)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn a_file_in_any_block_group_is_written_where_it_lies() {
    let new: Vec<u8> = (0..1024_u32).map(|n| n as u8).collect();
    for options in [
        &["-t", "ext2", "-b", "1024", "-g", "512", "-N", "512"][..],
        &["-t", "ext3", "-b", "1024", "-g", "1024", "-N", "512"],
        &["-t", "ext4", "-b", "1024", "-g", "1024", "-N", "512"],
        &["-t", "ext4", "-b", "4096", "-O", "^64bit,^metadata_csum"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..90).map(|n| format!("/boot/{n}/grub/grubenv")).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &BLOCK[..])).collect();
        let image = ext_file(folder.path(), options, &files);
        for name in [&names[0], &names[50], &names[89]] {
            write(&image, name, &new).unwrap_or_else(|error| panic!("{options:?} {name}: {error}"));
            assert_eq!(debugfs(&image, &format!("cat {name}")), new, "{options:?} {name}");
        }
        assert_eq!(debugfs(&image, &format!("cat {}", names[51])), BLOCK);
        tool("e2fsck", &["-f", "-n", image.to_str().unwrap()]);
    }
}

#[test]
fn a_file_on_fat_is_written_where_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let (image, file) = (folder.path().join("image"), folder.path().join("file"));
    let shown = image.to_str().unwrap();
    tool("mkfs.vfat", &["-F", "16", "-s", "1", "-C", shown, "5000"]);
    tool("mmd", &["-i", shown, "::EFI"]);
    std::fs::write(&file, BLOCK).unwrap();
    tool("mcopy", &["-i", shown, file.to_str().unwrap(), "::EFI/grubenv"]);
    write(&image, "/EFI/GRUBENV", &[7; 1024]).unwrap();
    let output = Command::new("mtype")
        .args(["-i", shown, "::EFI/grubenv"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, [7; 1024]);
}

#[test]
fn what_is_not_kept_as_it_is_or_not_in_one_piece_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let link: &[u8] = b"->file";
    let files: &[(&str, &[u8])] = &[
        ("/file", &BLOCK),
        ("/long", &[1; 3000]),
        ("/link", link),
        ("/empty", b""),
    ];
    let image = ext_file(
        folder.path(),
        &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum"],
        files,
    );
    let refused = |path: &str, content: &[u8]| {
        let before = std::fs::read(&image).unwrap();
        let said = write(&image, path, content).unwrap_err();
        assert!(std::fs::read(&image).unwrap() == before);
        said.strip_prefix(&format!("{path} is not written where it lies: "))
            .unwrap_or(&said)
            .to_owned()
    };
    assert_eq!(refused("/file", b"short"), "its length would change");
    assert_eq!(refused("/empty", b""), "it does not lie in one piece");
    write(&image, "/link", &[5; 1024]).unwrap();
    // Encrypted, compressed, with a tree of checksums.
    for flags in ["0x80800", "0x80004", "0x180000"] {
        debugfs(&image, &format!("sif /file flags {flags}"));
        let said = refused("/file", &BLOCK);
        assert_eq!(said, "its blocks do not hold its bytes as they are", "{flags}");
    }
    debugfs(&image, "sif /file flags 0x80000");
    debugfs(&image, "set_super_value feature_ro_compat 0x4003");
    let said = refused("/file", &BLOCK);
    assert_eq!(said, "its file system is not to be written");
}

#[test]
fn a_disk_that_takes_no_writes_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let image = ext_file(folder.path(), &["-t", "ext4"], &[("/file", &BLOCK)]);
    let window = window(&image, Access::ReadOnly);
    let files = FileTree::open(&window).unwrap();
    let error = overwrite(&window, &files, "/file", &[1; 1024])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("writing 1024 bytes at byte "), "{error}");
}
