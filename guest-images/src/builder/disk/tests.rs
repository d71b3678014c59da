use super::*;
use std::io::{Read, Seek, SeekFrom};

#[test]
fn the_root_is_all_that_the_disk_has_after_the_other_partitions() {
    assert_eq!(root(Layout::Unpartitioned, 64 << 20), 0..64 << 20);
    let size = 2048u64 << 20;
    let place = root(Layout::Gpt, size);
    assert_eq!((place.start, place.end % ROOT_BLOCK), (128 << 20, 0));
    // Growing it to the last block that a partition may have is less than one of its own blocks.
    let usable = size - RESERVED * BLOCK;
    assert!(place.end <= usable && usable - place.end < ROOT_BLOCK);
}

#[test]
fn the_names_of_all_parts_follow_from_the_roots() {
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(derived(one, "disk"), derived(one, "disk"));
    assert_ne!(derived(one, "disk"), derived(other, "disk"));
    assert_ne!(derived(one, "disk"), derived(one, "root"));
    let id = esp_id(one);
    let hex =
        |part: &str| part.len() == 4 && part.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
    let (high, low) = id.split_once('-').unwrap();
    assert!(hex(high) && hex(low), "{id}");
}

/// A disk whose root has these files in `/boot/grub`.
fn disk(folder: &Path, files: &[(&str, Vec<u8>)]) -> (std::path::PathBuf, FileSystem) {
    let tree = folder.join("tree");
    for (path, content) in files {
        let path = tree.join("boot/grub").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let image = folder.join("disk");
    File::create(&image).unwrap();
    let size = 256 << 20;
    let file_system = FileSystem {
        disk: size,
        place: root(Layout::Gpt, size),
        uuid: Uuid::from_u128(0x8765_4321),
        epoch: 1_735_689_600,
    };
    file_system.make(&tree, &image).unwrap();
    file_system.fix(&image, super::super::ext4::Owners::Root).unwrap();
    (image, file_system)
}

/// Runs a program, which is to find nothing wrong.
fn check(program: &str, arguments: &[&str]) -> String {
    let output = crate::programs::command(program)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

#[test]
fn a_disk_has_all_three_file_systems_whole_and_what_each_firmware_loads() {
    let folder = tempfile::tempdir().unwrap();
    let loader: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let (image, file_system) = disk(
        folder.path(),
        &[
            ("i386-pc/boot.img", vec![1; 512]),
            ("i386-pc/core.img", vec![2; 40_000]),
            ("x86_64-efi/core.efi", loader.clone()),
        ],
    );
    finish(&image, &file_system).unwrap();

    let table = ::gpt::GptConfig::new()
        .only_valid_headers(true)
        .open(&image)
        .unwrap();
    let places: Vec<_> = table
        .partitions()
        .iter()
        .map(|(n, p)| (*n, p.first_lba..p.last_lba + 1))
        .collect();
    let root = file_system.place.start / BLOCK..file_system.place.end / BLOCK;
    assert_eq!(places, [(1, root), (14, CORE), (15, ESP)]);

    let mut file = File::open(&image).unwrap();
    let mut bytes = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(bytes(0, 4), [1; 4], "the boot code");
    assert_eq!(bytes(CORE.start * BLOCK, 4), [2; 4], "the core");

    let esp = folder.path().join("esp");
    let length = usize::try_from((ESP.end - ESP.start) * BLOCK).unwrap();
    std::fs::write(&esp, bytes(ESP.start * BLOCK, length)).unwrap();
    let esp = esp.to_str().unwrap();
    check("fsck.vfat", &["-n", esp]);
    let out = folder.path().join("out");
    check(
        "mcopy",
        &["-i", esp, "::/EFI/BOOT/BOOTX64.EFI", out.to_str().unwrap()],
    );
    assert!(std::fs::read(out).unwrap() == loader);
    let listed = check("mdir", &["-i", esp, "::/EFI/BOOT"]);
    assert_eq!(listed.matches("1980-01-01").count(), 3, "{listed}");
    let id = esp_id(file_system.uuid);
    assert!(check("blkid", &[esp]).contains(&format!("UUID=\"{id}\"")), "{id}");

    check(
        "e2fsck",
        &[
            "-fn",
            &format!("{}?offset={}", image.display(), file_system.place.start),
        ],
    );
}

#[test]
fn a_root_without_grubs_images_is_refused_by_the_file_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let (image, file_system) = disk(folder.path(), &[("i386-pc/boot.img", vec![1; 512])]);
    let error = finish(&image, &file_system).unwrap_err().to_string();
    assert!(error.contains("/boot/grub/i386-pc/core.img"), "{error}");
    assert!(!image.with_extension("file").exists());
}
