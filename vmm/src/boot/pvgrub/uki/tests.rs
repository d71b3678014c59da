//! Unified kernel images, put together as UAPI.5 describes them.

use super::super::tests::fixtures::{kernel, unpartitioned};
use super::super::volumes::Volumes;
use super::*;

/// A program for EFI with these sections.
pub(in super::super) fn image(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let optional = 240_u16;
    let mut file = b"MZ".to_vec();
    file.resize(0x3c, 0);
    file.extend(64_u32.to_le_bytes());
    file.extend(b"PE\0\0\x64\x86");
    file.extend(u16::try_from(sections.len()).unwrap().to_le_bytes());
    file.extend([0; 12]);
    file.extend(optional.to_le_bytes());
    file.extend([0; 2]);
    file.resize(file.len() + usize::from(optional), 0);
    let mut at = (file.len() + sections.len() * 40).next_multiple_of(512);
    for (name, content) in sections {
        let mut own = name.as_bytes().to_vec();
        own.resize(8, 0);
        file.extend(own);
        let raw = content.len().next_multiple_of(512);
        for word in [content.len(), at + 0x1000, raw, at, 0, 0, 0, 0] {
            file.extend(u32::try_from(word).unwrap().to_le_bytes());
        }
        at += raw;
    }
    for (_, content) in sections {
        file.resize(file.len().next_multiple_of(512), 0);
        file.extend_from_slice(content);
    }
    file.resize(file.len().next_multiple_of(512), 0);
    file
}

#[test]
fn kernel_initramfs_and_command_line_are_found_in_their_sections() {
    let kernel = kernel();
    let file = image(&[
        (".osrel", b"ID=debian\n"),
        (".cmdline", b"root=UUID=1 ro\n\0"),
        (".initrd", b"cpio"),
        (".linux", &kernel),
    ]);
    let parts = split(&file).unwrap();
    assert!(parts.kernel == kernel);
    assert_eq!(
        (parts.initrd, parts.cmdline.as_str()),
        (&b"cpio"[..], "root=UUID=1 ro")
    );
    assert!(split(&image(&[(".text", b"a shell")])).is_none());
    assert!(split(&kernel).is_none());
}

#[test]
fn what_the_first_profile_lacks_is_taken_from_what_all_share() {
    let cmdline = |sections: &[(&str, &[u8])]| {
        let all = [&[(".linux", &b"k"[..])][..], sections].concat();
        split(&image(&all)).unwrap().cmdline
    };
    let [one, two] = [&b"ID=one"[..], b"ID=two"].map(|text| (".profile", text));
    let [base, first, second] = [&b"base"[..], b"first", b"second"].map(|text| (".cmdline", text));
    assert_eq!(cmdline(&[base, one, first, two, second]), "first");
    assert_eq!(cmdline(&[base, one, two, second]), "base");
    assert_eq!(cmdline(&[one, two, second]), "");
    assert_eq!(cmdline(&[base, one]), "base");
}

#[test]
fn entries_are_named_by_what_is_in_the_image() {
    let release = b"NAME=\"Fedora Linux\"\nPRETTY_NAME='Fedora 39'\nID=fedora\nVERSION_ID=39\n";
    let file = image(&[(".osrel", release), (".uname", b"6.5.6\0"), (".linux", b"k")]);
    let other = image(&[(".text", b"x")]);
    let volumes = Volumes::open(&unpartitioned(&[
        ("/EFI/Linux/fedora-6.5.6+3.efi", &file),
        ("/EFI/Linux/shell.efi", &other),
        ("/EFI/Linux/text.efi", b"text"),
    ]))
    .unwrap();
    let files = volumes.whole().unwrap().files.as_ref().unwrap();
    let entries = entry_files(files, "/EFI/Linux").unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (entries[0].id.as_str(), entries[0].shown().as_str()),
        ("fedora-6.5.6", "Fedora 39")
    );
    assert_eq!(entries[0].version.as_deref(), Some("6.5.6"));
    let keyless = EntryFile::parse("zzz.conf", b"");
    assert!(
        entries[0].menu_order(&keyless).is_lt(),
        "it is sorted by what the image is called"
    );
    assert_eq!(
        entries[0].kernel.as_deref(),
        Some("/EFI/Linux/fedora-6.5.6+3.efi")
    );
}

proptest::proptest! {
    #[test]
    fn hazard_a_damaged_image_is_none_or_has_parts_within_it(
        damage in proptest::collection::vec((0_usize..600, proptest::num::u8::ANY), 0..20), cut in 0_usize..2000,
    ) {
        let mut file = image(&[(".linux", b"k"), (".cmdline", b"a"), (".initrd", b"i")]);
        for (at, byte) in damage {
            file[at] = byte;
        }
        file.truncate(cut.max(2));
        if let Some(parts) = split(&file) {
            proptest::prop_assert!(parts.kernel.len() <= file.len());
        }
    }
}
