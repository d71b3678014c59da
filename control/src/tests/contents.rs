//! What is found on the disks of images, and which disks become none.

use super::*;
use crate::instance::Os;
use crate::{Code, DescribeImages, Filter, Image, PartitionTable, Platform, RegisterImage};
use serde_json::json;

/// A file system of ext4 with an os-release.
fn debian() -> std::fs::File {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join("etc")).unwrap();
    let release = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n";
    std::fs::write(tree.join("etc/os-release"), release).unwrap();
    let disk = folder.path().join("disk");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.env("PATH", path).args(["-q", "-t", "ext4", "-d"]);
    let output = mke2fs
        .arg(&tree)
        .arg(&disk)
        .arg(format!("{}k", SIZE >> 10))
        .output();
    assert!(output.unwrap().status.success());
    std::fs::File::open(disk).unwrap()
}

/// A disk with an MBR of one active partition of this type, which begins with these bytes.
fn partitioned(kind: u8, begins: &[u8]) -> std::fs::File {
    let file = disk_file(b"\xeb\x63\x90");
    let mut entry = [0; 16];
    (entry[0], entry[4]) = (0x80, kind);
    entry[8..12].copy_from_slice(&2048_u32.to_le_bytes());
    entry[12..].copy_from_slice(&4096_u32.to_le_bytes());
    file.write_all_at(&entry, 446).unwrap();
    file.write_all_at(&[0x55, 0xAA], 510).unwrap();
    file.write_all_at(begins, 1 << 20).unwrap();
    file
}

fn import_as(cloud: &Cloud, name: &str, source: std::fs::File) -> crate::Result<Vec<String>> {
    cloud
        .import_image(importing(name, source))
        .map(|reply| reply.warnings)
}

fn image(cloud: &Cloud, name: &str) -> Image {
    let images = cloud.describe_images(DescribeImages::default()).unwrap().images;
    images.into_iter().find(|image| image.name == name).unwrap()
}

fn system(image: &Image) -> Option<&str> {
    image.operating_system.as_ref().map(|system| &*system.name)
}

const BOOKWORM: Option<&str> = Some("Debian GNU/Linux 12 (bookworm)");

#[test]
fn an_image_says_what_is_installed_on_its_disk_however_it_was_made() {
    let home = Home::new();
    let cloud = home.cloud();
    import_as(&cloud, "imported", debian()).unwrap();
    let document = serde_json::to_value(image(&cloud, "imported")).unwrap();
    let system_of_it = json!({"Name": BOOKWORM, "Id": "debian", "VersionId": "12"});
    assert_eq!(document["OperatingSystem"], system_of_it);
    assert_eq!(document["PartitionTable"], "none");
    assert_eq!(document["PlatformDetails"], "Linux/UNIX");
    assert_eq!(document.get("Platform"), None);

    let id = run(&cloud, "imported");
    cloud.create_image(bake(&id, "baked", Reboot::Yes)).unwrap();
    let baked = image(&cloud, "baked");
    assert_eq!(system(&baked), BOOKWORM);
    assert_eq!(baked.partition_table, Some(PartitionTable::None));

    let snapshot = snapshot_of_root(&cloud, &id);
    let request = RegisterImage {
        snapshot,
        name: "registered".to_owned(),
        description: None,
        boots: None,
        tags: Vec::new(),
    };
    cloud.register_image(request).unwrap();
    assert_eq!(system(&image(&cloud, "registered")), BOOKWORM);
    assert_whole(&cloud);
}

#[test]
fn a_bake_says_what_is_on_its_disk_by_now() {
    let home = Home::new();
    let cloud = home.cloud();
    import_as(&cloud, "before", debian()).unwrap();
    let id = run(&cloud, "before");
    // The superblock goes.
    home.machines
        .guest_writes(&cloud.instance_directory(&id), 0, 1024, &[0; 1024]);
    cloud.create_image(bake(&id, "after", Reboot::Yes)).unwrap();
    assert_eq!(system(&image(&cloud, "before")), BOOKWORM);
    assert_eq!(system(&image(&cloud, "after")), None);
}

/// What the instance's machine is shown, at its last start: Hyper-V or not.
fn is_shown_hyperv(cloud: &Cloud, id: &InstanceId) -> bool {
    let spec = machine_spec(cloud, id);
    spec["hyperv"] == true
}

fn launched_as(cloud: &Cloud, image: &str, os: Os) -> crate::Result<InstanceId> {
    let request = RunInstances {
        os,
        ..real_machines::with_kernel(image, b"a kernel")
    };
    let launched = cloud.run_instances(request)?.document;
    InstanceId::parse(&launched.instances[0].instance_id)
}

#[test]
fn an_instance_is_shown_hyperv_if_its_image_is_of_windows_or_it_is_said_to_be_and_so_is_what_is_made_of_it() {
    let home = Home::new();
    let cloud = home.cloud();
    import_as(&cloud, "debian", debian()).unwrap();
    import_as(&cloud, "windows", partitioned(0x07, b"\xeb\x52\x90NTFS    ")).unwrap();
    import(&cloud, "empty");
    for (name, os, is_windows) in [
        ("debian", Os::OfImage, false),
        ("debian", Os::Windows, true),
        ("windows", Os::OfImage, true),
        ("windows", Os::Linux, false),
        ("empty", Os::OfImage, false),
        ("empty", Os::Windows, true),
    ] {
        let id = launched_as(&cloud, name, os).unwrap();
        assert_eq!(is_shown_hyperv(&cloud, &id), is_windows, "{name} as {os:?}");
        let shown = instance(&cloud, &id);
        let told = if is_windows { "Windows" } else { "Linux/UNIX" };
        assert_eq!(shown.platform, is_windows.then_some(Platform::Windows));
        assert_eq!(shown.platform_details, told);
        stop(&cloud, &id);
        cloud.start_instances(&[id.to_string()]).unwrap();
        assert_eq!(
            is_shown_hyperv(&cloud, &id),
            is_windows,
            "{name} as {os:?}, again"
        );
        let baked = format!("{name}-{os:?}");
        cloud.create_image(bake(&id, &baked, Reboot::No)).unwrap();
        // The disk knows better than who launched it, where it tells.
        let is_of_windows = name == "windows" || (name, os) == ("empty", Os::Windows);
        assert_eq!(
            image(&cloud, &baked).platform,
            is_of_windows.then_some(Platform::Windows),
            "{baked}"
        );
    }
}

#[test]
fn on_an_emulated_host_windows_is_refused_and_nothing_is_left_of_it() {
    let home = Home::new();
    let mut options = home.options();
    options.emulated = true;
    let cloud = Cloud::open_with(options, home.machines.clone()).unwrap();
    import_as(&cloud, "debian", debian()).unwrap();
    import_as(&cloud, "windows", partitioned(0x07, b"\xeb\x52\x90NTFS    ")).unwrap();
    for (name, os) in [("windows", Os::OfImage), ("debian", Os::Windows)] {
        let error = launched_as(&cloud, name, os).unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.to_string().contains("wants a host with KVM"), "{error}");
    }
    let none = cloud.describe_instances(DescribeInstances::default()).unwrap();
    assert!(none.reservations.is_empty());
    launched_as(&cloud, "windows", Os::Linux).unwrap();
    assert_whole(&cloud);
}

#[test]
fn a_disk_of_windows_is_imported_with_a_warning_and_found_by_its_platform() {
    let home = Home::new();
    let cloud = home.cloud();
    import_as(&cloud, "debian", debian()).unwrap();
    let warnings = import_as(&cloud, "windows", partitioned(0x07, b"\xeb\x52\x90NTFS    ")).unwrap();
    assert_eq!(
        warnings.first().map(String::as_str),
        Some("the disk has Windows on it: Windows guests are not supported yet")
    );
    let windows = image(&cloud, "windows");
    assert_eq!(
        (windows.platform, windows.platform_details),
        (Some(Platform::Windows), "Windows")
    );
    assert_eq!(
        (system(&windows), windows.partition_table),
        (Some("Windows"), Some(PartitionTable::Mbr))
    );
    for (filter, names) in [
        ("platform=windows", &["windows"][..]),
        ("platform-details=Linux*", &["debian"]),
        ("boot-mode=legacy-bios", &["windows"]),
    ] {
        let request = DescribeImages {
            filters: vec![Filter::parse(filter).unwrap()],
            ..DescribeImages::default()
        };
        let found = cloud.describe_images(request).unwrap().images;
        let found: Vec<_> = found.iter().map(|image| &*image.name).collect();
        assert_eq!(found, names, "{filter}");
    }
}

#[test]
fn a_disk_of_macos_is_refused_with_the_reason_and_nothing_is_registered() {
    let home = Home::new();
    let cloud = home.cloud();
    let whole = disk_file(&[&[0; 32][..], b"NXSB"].concat());
    for (source, place) in [
        (partitioned(0xAF, b""), "partition 1 (HFS+)"),
        (whole, "all of it (APFS)"),
    ] {
        let again = source.try_clone().unwrap();
        let error = import_as(&cloud, "mac", source).unwrap_err();
        assert_eq!(error.code(), Code::InvalidDisk);
        let said = format!(
            "mac.raw is a disk of macOS, by {place}: Apple's licence allows macOS on Apple's own computers only; import a \
             disk of another system"
        );
        assert_eq!(error.to_string(), said);
        // So does who looks at the file before.
        assert_eq!(
            crate::check_file(&again, "mac.raw").unwrap_err().to_string(),
            said
        );
    }
    let images = cloud.describe_images(DescribeImages::default()).unwrap().images;
    assert_eq!(images.len(), 0);
    assert_whole(&cloud);
}
