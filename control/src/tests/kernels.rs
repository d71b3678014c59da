//! The kernels that instances are given, and their own again.

use super::booting::{home_with_firmware, import_that};
use super::*;
use crate::instance::{KernelChoice, KernelFiles, ModifyInstance};
use crate::{BootMode, Code, ImageBoots, InstanceType};
use serde_json::{Value, json};

/// A file with a text.
fn file(text: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    file
}

/// A kernel that is given, and perhaps an initial file system.
pub(super) fn given(kernel: &[u8], initrd: Option<&[u8]>, cmdline: &str) -> KernelFiles {
    KernelFiles {
        kernel: file(kernel),
        initrd: initrd.map(file),
        cmdline: cmdline.to_owned(),
    }
}

pub(super) fn change(instance: &str, kernel: KernelChoice) -> ModifyInstance {
    ModifyInstance {
        instance: instance.to_owned(),
        instance_type: None,
        kernel: Some(kernel),
        user_data: None,
    }
}

fn own(append: Option<&str>) -> KernelChoice {
    KernelChoice::Own {
        append: append.map(str::to_owned),
    }
}

/// How an instance boots when it is started, which it is not afterwards.
fn boots(cloud: &Cloud, id: &InstanceId) -> Value {
    cloud.start_instances(&[id.to_string()]).unwrap();
    stop(cloud, id);
    machine_spec(cloud, id)["boot"].clone()
}

/// The kernels in a folder, and their initial file systems.
pub(super) fn kernels_in(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("kernel") || name.starts_with("initrd")
    });
    found.sort();
    found
}

/// What the files hold that a machine boots from, where nothing else is in its folder.
fn entered(cloud: &Cloud, id: &InstanceId) -> (Vec<u8>, Option<Vec<u8>>) {
    let boot = boots(cloud, id);
    let named = |key: &str| boot.get(key).and_then(Value::as_str).map(PathBuf::from);
    let (kernel, initrd) = (named("kernel").unwrap(), named("initrd"));
    let mut all: Vec<PathBuf> = initrd.iter().chain([&kernel]).cloned().collect();
    all.sort();
    assert_eq!(kernels_in(&cloud.instance_directory(id)), all);
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    (read(&kernel), initrd.as_ref().map(read))
}

#[test]
fn a_stopped_instance_gets_another_kernel_for_its_next_start_and_its_own_again() {
    let (_home, cloud, id) = started();
    let refused = cloud
        .modify_instance(&change(id.as_str(), own(None)))
        .unwrap_err();
    assert_eq!(refused.code(), Code::IncorrectInstanceState);
    assert!(refused.to_string().contains("stop it first"), "{refused}");
    stop(&cloud, &id);
    let modify = |kernel| {
        cloud.modify_instance(&change(id.as_str(), kernel)).unwrap();
    };

    modify(own(Some("quiet")));
    assert_eq!(boots(&cloud, &id), json!({"kind": "pv-grub", "append": "quiet"}));
    modify(KernelChoice::Given(given(
        b"one",
        Some(b"its initrd"),
        "console=ttyS0",
    )));
    assert_eq!(boots(&cloud, &id)["cmdline"], "console=ttyS0");
    assert_eq!(
        entered(&cloud, &id),
        (b"one".to_vec(), Some(b"its initrd".to_vec()))
    );
    modify(KernelChoice::Given(given(b"two", None, "")));
    assert_eq!(entered(&cloud, &id), (b"two".to_vec(), None));
    modify(KernelChoice::Given(given(b"three", Some(b"another"), "")));
    assert_eq!(
        entered(&cloud, &id),
        (b"three".to_vec(), Some(b"another".to_vec()))
    );
    modify(own(None));
    assert_eq!(boots(&cloud, &id)["kind"], "pv-grub");
    assert_eq!(kernels_in(&cloud.instance_directory(&id)), Vec::<PathBuf>::new());
    assert_whole(&cloud);
}

#[test]
fn a_type_and_a_kernel_are_changed_at_once_and_neither_if_one_cannot_be() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let mut request = RunInstances::of("base");
    request.kernel = Some(given(b"at launch", None, "quiet"));
    let id = launch(&cloud, request);
    stop(&cloud, &id);
    let both = |kind: &str, kernel: &[u8], cmdline: &str| ModifyInstance {
        instance_type: Some(kind.to_owned()),
        ..change(id.as_str(), KernelChoice::Given(given(kernel, None, cmdline)))
    };
    for (request, code) in [
        (both("t3.immense", b"new", ""), Code::InvalidInstanceType),
        (both("t3.medium", b"", ""), Code::InvalidParameterValue),
        (
            both("t3.medium", b"new", "two\nlines"),
            Code::InvalidParameterValue,
        ),
        (
            change(id.as_str(), own(Some("a\0b"))),
            Code::InvalidParameterValue,
        ),
        (
            ModifyInstance {
                kernel: None,
                ..change(id.as_str(), own(None))
            },
            Code::InvalidParameterCombination,
        ),
    ] {
        let error = cloud.modify_instance(&request).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(entered(&cloud, &id).0, b"at launch");
        assert_eq!(instance(&cloud, &id).instance_type, InstanceType::default_here());
    }
    cloud.modify_instance(&both("t3.medium", b"new", "")).unwrap();
    assert_eq!(entered(&cloud, &id).0, b"new");
    assert_eq!(instance(&cloud, &id).instance_type, "t3.medium");
    assert_whole(&cloud);
}

#[test]
fn an_instance_that_begins_with_firmware_is_given_no_kernel() {
    let (_home, cloud) = home_with_firmware();
    import_that(&cloud, "uefi", Some(ImageBoots::Hvm(BootMode::Uefi)));
    let id = run(&cloud, "uefi");
    stop(&cloud, &id);
    for kernel in [
        own(None),
        own(Some("quiet")),
        KernelChoice::Given(given(b"one", None, "")),
    ] {
        let error = cloud.modify_instance(&change(id.as_str(), kernel)).unwrap_err();
        assert_eq!(error.code(), Code::InvalidParameterCombination);
        assert!(error.to_string().contains("firmware"), "{error}");
    }
    assert_eq!(boots(&cloud, &id)["kind"], "firmware");
    assert_whole(&cloud);
}
