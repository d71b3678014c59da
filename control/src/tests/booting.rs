//! By which way the instances of an image boot, and what becomes of UEFI's variables.

use super::*;
use crate::{BootMode, Code, CreatedImage, ImageBoots, LaunchBoot, Reply};
use serde_json::Value;

/// A home, beside which firmware is installed.
pub(super) fn home_with_firmware() -> (Home, Cloud) {
    let home = Home::new();
    let root = home.folder.path().join("root");
    for (file, content) in [
        ("usr/share/seabios/bios-256k.bin", &b"bios"[..]),
        ("usr/share/OVMF/OVMF_CODE_4M.fd", b"code"),
        ("usr/share/OVMF/OVMF_VARS_4M.fd", b"empty variables"),
    ] {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let mut options = home.options();
    options.firmware = vec![root];
    let cloud = Cloud::open_with(options, home.machines.clone()).unwrap();
    (home, cloud)
}

pub(super) fn import_that(cloud: &Cloud, name: &str, boots: Option<ImageBoots>) -> Reply<CreatedImage> {
    let request = ImportImage {
        boots,
        ..importing(name, disk_file(b"no menu"))
    };
    cloud.import_image(request).unwrap()
}

fn asking(image: &str, boot: LaunchBoot) -> RunInstances {
    RunInstances {
        boot,
        ..RunInstances::of(image)
    }
}

/// What the machine of an instance begins with.
fn begins_with(cloud: &Cloud, id: &InstanceId) -> Value {
    machine_spec(cloud, id)["boot"].clone()
}

fn variables(cloud: &Cloud, id: &InstanceId) -> PathBuf {
    cloud.instance_directory(id).join("variables.fd")
}

#[test]
fn an_instance_begins_with_the_firmware_that_its_image_is_made_for_or_that_was_asked_for() {
    let (_home, cloud) = home_with_firmware();
    for (name, mode) in [
        ("legacy", BootMode::LegacyBios),
        ("uefi", BootMode::Uefi),
        ("either", BootMode::UefiPreferred),
    ] {
        import_that(&cloud, name, Some(ImageBoots::Hvm(mode)));
    }
    for (image, boot, file, current) in [
        ("legacy", LaunchBoot::Auto, "bios-256k.bin", BootMode::LegacyBios),
        ("uefi", LaunchBoot::Auto, "OVMF_CODE_4M.fd", BootMode::Uefi),
        ("either", LaunchBoot::Auto, "OVMF_CODE_4M.fd", BootMode::Uefi),
        ("either", LaunchBoot::Bios, "bios-256k.bin", BootMode::LegacyBios),
    ] {
        let id = launch(&cloud, asking(image, boot));
        let boot = begins_with(&cloud, &id);
        assert!(boot["code"].as_str().unwrap().ends_with(file), "{image}: {boot}");
        assert_eq!(
            boot.get("variables").is_some(),
            current == BootMode::Uefi,
            "{boot}"
        );
        assert_eq!(instance(&cloud, &id).current_instance_boot_mode, Some(current));
    }
    let by_menu = launch(&cloud, asking("either", LaunchBoot::Paravirtual));
    assert_eq!(begins_with(&cloud, &by_menu)["kind"], "pv-grub");
    assert_eq!(instance(&cloud, &by_menu).current_instance_boot_mode, None);
}

#[test]
fn the_fast_way_is_by_firmware_where_there_is_no_menu_and_says_why() {
    let (_home, cloud) = home_with_firmware();
    import_that(&cloud, "either", Some(ImageBoots::Hvm(BootMode::UefiPreferred)));
    let reply = cloud.run_instances(asking("either", LaunchBoot::Fast)).unwrap();
    let [warning] = &reply.warnings[..] else {
        panic!("one line: {:?}", reply.warnings)
    };
    assert!(
        warning.contains("by its firmware, not by its menu: "),
        "{warning}"
    );
    let id = InstanceId::parse(&reply.document.instances[0].instance_id).unwrap();
    assert_eq!(begins_with(&cloud, &id)["kind"], "firmware");
}

#[test]
fn a_way_that_an_image_is_not_made_for_is_refused_and_leaves_nothing() {
    let (_home, cloud) = home_with_firmware();
    import_that(&cloud, "menu only", Some(ImageBoots::Paravirtual));
    import_that(&cloud, "legacy", Some(ImageBoots::Hvm(BootMode::LegacyBios)));
    import_that(&cloud, "uefi", Some(ImageBoots::Hvm(BootMode::Uefi)));
    for (image, boot, word) in [
        ("menu only", LaunchBoot::Bios, "paravirtual"),
        ("menu only", LaunchBoot::Uefi, "paravirtual"),
        ("legacy", LaunchBoot::Uefi, "made for legacy-bios"),
        ("uefi", LaunchBoot::Bios, "made for uefi"),
    ] {
        let error = cloud.run_instances(asking(image, boot)).unwrap_err();
        assert_eq!(error.code(), Code::InvalidParameterCombination, "{image}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let mut request = asking("legacy", LaunchBoot::Auto);
    request.append = Some("quiet".to_owned());
    let error = cloud.run_instances(request).unwrap_err();
    assert!(error.to_string().contains("--boot fast or pv"), "{error}");
    let all = cloud.describe_instances(DescribeInstances::default()).unwrap();
    assert_eq!(all.reservations.len(), 0);
    assert_whole(&cloud);
}

#[test]
fn variables_live_with_the_instance_and_go_into_its_bakes() {
    let (_home, cloud) = home_with_firmware();
    import_that(&cloud, "uefi", Some(ImageBoots::Hvm(BootMode::Uefi)));
    let first = run(&cloud, "uefi");
    assert_eq!(
        std::fs::read(variables(&cloud, &first)).unwrap(),
        b"empty variables"
    );
    std::fs::write(variables(&cloud, &first), b"a boot entry").unwrap();
    cloud.create_image(bake(&first, "bake", Reboot::Yes)).unwrap();
    std::fs::write(variables(&cloud, &first), b"a later entry").unwrap();

    let second = run(&cloud, "bake");
    assert_eq!(
        std::fs::read(variables(&cloud, &second)).unwrap(),
        b"a boot entry"
    );
    let images = cloud.describe_images(crate::DescribeImages::default()).unwrap();
    assert_eq!(images.images[1].boot_mode, Some(BootMode::Uefi));

    // One that needed none itself hands them on.
    let by_menu = launch(&cloud, asking("bake", LaunchBoot::Paravirtual));
    assert!(!variables(&cloud, &by_menu).exists());
    cloud
        .create_image(bake(&by_menu, "bake of it", Reboot::No))
        .unwrap();
    let third = run(&cloud, "bake of it");
    assert_eq!(std::fs::read(variables(&cloud, &third)).unwrap(), b"a boot entry");
    assert_whole(&cloud);
}

#[test]
fn an_import_says_why_its_disk_will_not_boot_and_imports_it() {
    let (_home, cloud) = home_with_firmware();
    for (name, boots, code) in [
        ("as it can", None, "NothingToBoot"),
        ("legacy", Some(BootMode::LegacyBios), "NoBootCode"),
        ("uefi", Some(BootMode::Uefi), "NoEfiSystemPartition"),
    ] {
        let reply = import_that(&cloud, name, boots.map(ImageBoots::Hvm));
        let [warning] = &reply.warnings[..] else {
            panic!("one line: {:?}", reply.warnings)
        };
        assert!(warning.starts_with(&format!("{code}: ")), "{warning}");
        assert!(warning.contains("what to do: "), "{warning}");
    }
}

#[test]
fn variables_are_taken_over_with_a_disk_and_handed_out_as_uefi_data() {
    let (home, cloud) = home_with_firmware();
    import_that(&cloud, "none", Some(ImageBoots::Hvm(BootMode::Uefi)));
    let error = cloud.image_uefi_data("none").unwrap_err();
    assert_eq!(error.code(), Code::InvalidParameterCombination);

    let store = crate::uefi::tests::empty();
    let template = home.folder.path().join("root/usr/share/OVMF/OVMF_VARS_4M.fd");
    std::fs::write(template, &store).unwrap();
    let with = |name: &str, data: &[u8]| {
        cloud.import_image(ImportImage {
            boots: Some(ImageBoots::Hvm(BootMode::Uefi)),
            uefi_data: Some(data.to_vec()),
            ..importing(name, disk_file(b"no menu"))
        })
    };
    let error = with("damaged", b"no variables").unwrap_err();
    assert_eq!(error.code(), Code::InvalidParameterValue);
    let images = cloud.describe_images(crate::DescribeImages::default()).unwrap();
    assert_eq!(images.images.len(), 1, "nothing is left of it");

    let given = crate::uefi::tests::filled();
    with("with", &given).unwrap();
    let id = run(&cloud, "with");
    assert_eq!(std::fs::read(variables(&cloud, &id)).unwrap(), given);
    let data = cloud.image_uefi_data("with").unwrap();
    with("copy", data.as_bytes()).unwrap();
    let id = run(&cloud, "copy");
    assert_eq!(std::fs::read(variables(&cloud, &id)).unwrap(), given);
    assert_whole(&cloud);
}
