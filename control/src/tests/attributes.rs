//! What is changed of instances and made of snapshots by words in the catalogue alone.

use super::*;
use crate::instance::{ModifyInstance, StopInstances};
use crate::{BootMode, Code, ImageBoots, RegisterImage};

#[test]
fn a_stopped_instance_gets_another_type_for_its_next_start_and_a_running_one_does_not() {
    let (_home, cloud, id) = started();
    let to = |kind: &str| ModifyInstance {
        instance: id.to_string(),
        instance_type: Some(kind.to_owned()),
        kernel: None,
        user_data: None,
    };
    let error = cloud.modify_instance(&to("t3.medium")).unwrap_err();
    assert_eq!(error.code(), Code::IncorrectInstanceState);
    cloud
        .stop_instances(StopInstances {
            instances: vec![id.to_string()],
            ..StopInstances::default()
        })
        .unwrap();
    let error = cloud.modify_instance(&to("t3.immense")).unwrap_err();
    assert!(error.to_string().contains("t3.immense"), "{error}");
    cloud.modify_instance(&to("t3.medium")).unwrap();
    assert_eq!(instance(&cloud, &id).instance_type, "t3.medium");
    cloud.start_instances(&[id.to_string()]).unwrap();
    let spec = machine_spec(&cloud, &id);
    assert_eq!(spec["memory"], 4_u64 << 30);
    assert_whole(&cloud);
}

#[test]
fn an_image_is_registered_of_a_snapshot_and_launched() {
    let (_home, cloud, id) = started();
    let snapshot = snapshot_of_root(&cloud, &id);
    let request = |name: &str, boots| RegisterImage {
        snapshot: snapshot.clone(),
        name: name.to_owned(),
        description: None,
        boots,
        tags: Vec::new(),
    };
    let image = cloud.register_image(request("registered", None)).unwrap();
    assert_eq!(content(&cloud, &image.document.image_id, 0, 9), b"from the ");
    run(&cloud, "registered");
    let error = cloud.register_image(request("registered", None)).unwrap_err();
    assert_eq!(error.code(), Code::InvalidAmiNameDuplicate);
    let by_uefi = Some(ImageBoots::Hvm(BootMode::Uefi));
    cloud.register_image(request("by uefi", by_uefi)).unwrap();
    let images = cloud
        .describe_images(crate::DescribeImages::default())
        .unwrap()
        .images;
    let named = |name: &str| images.iter().find(|image| image.name == name).unwrap();
    assert_eq!(named("by uefi").boot_mode, Some(BootMode::Uefi));
    assert_eq!(named("by uefi").root_device_name, "/dev/xvda");
    assert_whole(&cloud);
}
