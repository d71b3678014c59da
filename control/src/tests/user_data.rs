//! What instances are told by their user.

use super::*;
use crate::instance::{ModifyInstance, UserDataChoice};
use crate::{Code, UserData, seed};

fn told(text: &str) -> UserData {
    UserData::new(text.as_bytes().to_vec()).unwrap()
}

/// The disks of the machine that was started last.
fn disks(cloud: &Cloud, id: &InstanceId) -> Vec<(String, bool)> {
    let spec = machine_spec(cloud, id);
    let devices = spec["devices"].as_array().unwrap().iter();
    devices
        .filter(|device| device["kind"] == "block")
        .map(|disk| {
            (
                disk["serial"].as_str().unwrap().to_owned(),
                disk["read_only"] == true,
            )
        })
        .collect()
}

#[test]
fn an_instance_s_seed_has_its_user_data_and_it_is_no_volume_and_in_no_image() {
    let home = Home::new();
    let cloud = home.cloud();
    let image = import(&cloud, "base");
    let launched = cloud
        .run_instances(RunInstances {
            user_data: Some(told("#!/bin/sh\n")),
            count: 2,
            ..RunInstances::of(image.as_str())
        })
        .unwrap()
        .document;
    let ids: Vec<InstanceId> = launched
        .instances
        .iter()
        .map(|instance| InstanceId::parse(&instance.instance_id).unwrap())
        .collect();
    for (id, instance) in ids.iter().zip(&launched.instances) {
        let [meta_data, user_data] = seed::read(&cloud.instance_directory(id));
        assert!(String::from_utf8(meta_data).unwrap().contains(id.as_str()));
        assert_eq!(user_data, b"#!/bin/sh\n");
        assert_eq!(instance.block_device_mappings.len(), 1);
        let [root, seed] = &disks(&cloud, id)[..] else {
            panic!("{:?}", disks(&cloud, id));
        };
        assert!(root.0.starts_with("vol") && *seed == ("seed".to_owned(), true));
    }
    let id = ids.first().unwrap();
    cloud.create_image(bake(id, "baked", Reboot::No)).unwrap();
    let of_bake = run(&cloud, "baked");
    assert_eq!(disks(&cloud, &of_bake).len(), 1);
    assert!(!seed::is_in(&cloud.instance_directory(&of_bake)));
    assert_whole(&cloud);
}

#[test]
fn a_stopped_instance_is_told_something_else_or_nothing_from_its_next_start_on() {
    let (_home, cloud, id) = started();
    let change = |user_data| ModifyInstance {
        instance: id.to_string(),
        instance_type: None,
        kernel: None,
        user_data: Some(user_data),
    };
    let error = cloud
        .modify_instance(&change(UserDataChoice::Given(told("a"))))
        .unwrap_err();
    assert_eq!(error.code(), Code::IncorrectInstanceState);
    let folder = cloud.instance_directory(&id);
    for (choice, seen) in [
        (UserDataChoice::Given(told("a")), Some(b"a")),
        (UserDataChoice::Given(told("b")), Some(b"b")),
        (UserDataChoice::Nothing, None),
    ] {
        stop(&cloud, &id);
        cloud.modify_instance(&change(choice)).unwrap();
        cloud.start_instances(&[id.to_string()]).unwrap();
        assert_eq!(seed::is_in(&folder), seen.is_some());
        if let Some(seen) = seen {
            let [_, user_data] = seed::read(&folder);
            assert_eq!(user_data, seen);
        }
        assert_eq!(disks(&cloud, &id).len(), 1 + usize::from(seen.is_some()));
    }
    assert_whole(&cloud);
}

#[test]
fn a_client_token_stands_for_its_user_data_too() {
    let home = Home::new();
    let cloud = home.cloud();
    let image = import(&cloud, "base");
    let request = |text| RunInstances {
        user_data: Some(told(text)),
        client_token: Some("token".to_owned()),
        ..RunInstances::of(image.as_str())
    };
    let first = cloud.run_instances(request("a")).unwrap();
    let again = cloud.run_instances(request("a")).unwrap();
    assert_eq!(first.document.reservation_id, again.document.reservation_id);
    let error = cloud.run_instances(request("b")).unwrap_err();
    assert_eq!(error.code(), Code::IdempotentParameterMismatch);
}
