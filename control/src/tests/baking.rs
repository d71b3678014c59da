//! What an image of an instance holds.

use super::*;
use crate::instance::{NewVolume, VolumeSource};
use crate::{Code, CreateSnapshot, DeregisterImage, DescribeImages, DescribeSnapshots, OnDeregister};

const AT: u64 = 1 << 20;

fn guest_writes(home: &Home, cloud: &Cloud, id: &InstanceId, text: &[u8]) {
    home.machines
        .guest_writes(&cloud.instance_directory(id), 0, AT, text);
}

#[test]
fn an_image_holds_what_the_guest_wrote_before_and_not_what_it_writes_after() {
    for reboot in [Reboot::Yes, Reboot::No] {
        let home = Home::new();
        let cloud = home.cloud();
        import(&cloud, "base");
        let id = run(&cloud, "base");
        guest_writes(&home, &cloud, &id, &[b'1'; 512]);
        home.asked();
        let image = cloud.create_image(bake(&id, "baked", reboot)).unwrap();
        // The disk of this test has nothing else on it.
        let [warning] = &image.warnings[..] else {
            panic!("one warning: {:?}", image.warnings)
        };
        assert!(warning.starts_with("NothingToBoot: "), "{warning}");
        let expected: &[&str] = if reboot == Reboot::Yes {
            &["agent", "spawn"]
        } else {
            &["freeze"]
        };
        assert_eq!(home.asked(), expected);
        assert_eq!(state(&cloud, &id), "running");
        guest_writes(&home, &cloud, &id, &[b'2'; 512]);

        assert_eq!(content(&cloud, "baked", 0, 19), b"from the base image");
        assert_eq!(content(&cloud, "baked", AT, 512), [b'1'; 512]);
        let clone = run(&cloud, "baked");
        let again = cloud
            .create_image(bake(&clone, "rebaked", Reboot::No))
            .unwrap()
            .document
            .image_id;
        assert_eq!(content(&cloud, &again, AT, 512), [b'1'; 512]);
        assert_whole(&cloud);
    }
}

#[test]
fn an_image_of_a_stopped_instance_leaves_it_stopped() {
    let (home, cloud, id) = started();
    guest_writes(&home, &cloud, &id, &[b'1'; 512]);
    cloud
        .stop_instances(crate::StopInstances {
            instances: vec![id.to_string()],
            ..Default::default()
        })
        .unwrap();
    home.asked();
    cloud.create_image(bake(&id, "baked", Reboot::Yes)).unwrap();
    assert_eq!(home.asked(), Vec::<&str>::new());
    assert_eq!(state(&cloud, &id), "stopped");
    assert_eq!(content(&cloud, "baked", AT, 512), [b'1'; 512]);
    cloud.start_instances(&[id.to_string()]).unwrap();
    assert_eq!(state(&cloud, &id), "running");
    assert_whole(&cloud);
}

#[test]
fn a_guest_without_an_agent_is_baked_with_a_warning() {
    let (home, cloud, id) = started();
    home.guests(Guests::MindTheButton);
    let reply = cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap();
    assert!(
        reply.warnings[0].contains("as after a power cut"),
        "{:?}",
        reply.warnings
    );
}

#[test]
fn a_guest_that_had_to_be_ended_by_force_is_baked_with_a_warning() {
    let (home, cloud, id) = started();
    home.guests(Guests::Ignore);
    let mut request = bake(&id, "baked", Reboot::Yes);
    request.timeout = Duration::from_millis(50);
    let reply = cloud.create_image(request).unwrap();
    assert!(reply.warnings[0].contains("by force"), "{:?}", reply.warnings);
    assert_eq!(state(&cloud, &id), "running");
}

#[test]
fn a_freeze_that_fails_leaves_everything_as_it_was() {
    let (home, cloud, id) = started();
    home.guests(Guests::DoNotFreeze);
    cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap_err();
    assert_eq!(
        cloud.resolve_image("baked").unwrap_err().code(),
        Code::InvalidAmiIdNotFound
    );
    assert_eq!(state(&cloud, &id), "running");
    assert_whole(&cloud);
    home.guests(Guests::Obey);
    cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap();
}

#[test]
fn a_machine_that_dies_frozen_still_leaves_a_whole_image() {
    let (home, cloud, id) = started();
    guest_writes(&home, &cloud, &id, &[b'1'; 512]);
    home.guests(Guests::DieFrozen);
    let reply = cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap();
    assert!(
        reply
            .warnings
            .iter()
            .any(|warning| warning.contains("in spite of")),
        "{:?}",
        reply.warnings
    );
    assert_eq!(content(&cloud, "baked", AT, 512), [b'1'; 512]);
    assert_eq!(state(&cloud, &id), "stopped");
    assert_whole(&cloud);
}

#[test]
fn what_is_not_safely_on_disk_is_no_image_and_the_instance_goes_on() {
    for guests in [Guests::DoNotSync, Guests::DoNotSyncSilently] {
        let (home, cloud, id) = started();
        home.guests(guests);
        cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap_err();
        let known = cloud.describe_snapshots(DescribeSnapshots::default()).unwrap();
        assert_eq!(known.snapshots.len(), 1, "{guests:?}");
        assert_eq!(
            cloud.resolve_image("baked").unwrap_err().code(),
            Code::InvalidAmiIdNotFound
        );
        home.guests(Guests::Obey);
        guest_writes(&home, &cloud, &id, &[b'1'; 512]);
        cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap();
        assert_eq!(content(&cloud, "baked", AT, 512), [b'1'; 512]);
        assert_whole(&cloud);
    }
}

/// Makes the tables of an instance's second disk contradict each other; doing it again heals them.
fn turn_a_bit_of_the_second_disk(cloud: &Cloud, id: &InstanceId) {
    let volume = instance(cloud, id).block_device_mappings[1].ebs.volume_id.clone();
    let volume = crate::VolumeId::parse(&volume).unwrap();
    let row = cloud
        .catalog
        .read(|tx| crate::catalog::volumes::find(tx, &volume));
    let path = cloud.layers.path(&row.unwrap().unwrap().layer);
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    // The first entry of the L1 table, in the fourth cluster, says `copied`.
    let mut byte = [0];
    file.read_exact_at(&mut byte, 3 << 16).unwrap();
    file.write_all_at(&[byte[0] ^ 0x80], 3 << 16).unwrap();
}

#[test]
fn a_disk_that_cannot_be_sealed_makes_no_image_and_everything_about_it_is_let_go() {
    for (manner, guests, reboot, after) in [
        ("at rest", Guests::Obey, Reboot::Yes, "stopped"),
        ("reboot", Guests::Obey, Reboot::Yes, "running"),
        (
            "live, and the machine dies",
            Guests::DieFrozen,
            Reboot::No,
            "stopped",
        ),
    ] {
        let home = Home::new();
        let cloud = home.cloud();
        import(&cloud, "base");
        let mut request = RunInstances::of("base");
        request.volumes = vec![NewVolume {
            from: VolumeSource::Empty(Bytes(SIZE)),
            on_termination: OnTermination::Delete,
        }];
        let id = launch(&cloud, request);
        let dir = cloud.instance_directory(&id);
        home.machines.guest_writes(&dir, 1, 0, &[b'1'; 512]);
        if manner == "at rest" {
            let request = crate::StopInstances {
                instances: vec![id.to_string()],
                ..Default::default()
            };
            cloud.stop_instances(request).unwrap();
        }
        turn_a_bit_of_the_second_disk(&cloud, &id);
        home.guests(guests);
        let error = cloud.create_image(bake(&id, "baked", reboot)).unwrap_err();
        home.guests(Guests::Obey);
        println!("{manner}: {error}");
        assert_eq!(state(&cloud, &id), after, "{manner}");
        assert!(cloud.resolve_image("baked").is_err(), "{manner}");
        let known = cloud.describe_snapshots(DescribeSnapshots::default()).unwrap();
        assert_eq!(known.snapshots.len(), 1, "{manner}: the base image's alone");

        // With what was damaged healed, the disks can be written and baked as ever.
        if guests == Guests::DieFrozen {
            cloud.terminate_instances(&[id.to_string()]).unwrap();
        } else {
            turn_a_bit_of_the_second_disk(&cloud, &id);
            cloud.start_instances(&[id.to_string()]).unwrap();
            guest_writes(&home, &cloud, &id, &[b'2'; 512]);
            home.machines.guest_writes(&dir, 1, AT, &[b'2'; 512]);
            cloud.create_image(bake(&id, "baked", reboot)).unwrap();
            assert_eq!(content(&cloud, "baked", AT, 512), [b'2'; 512], "{manner}");
        }
        assert_whole(&cloud);
    }
}

#[test]
fn all_disks_of_an_instance_are_in_its_image_with_their_fates() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let mut request = RunInstances::of("base");
    let from = VolumeSource::Empty(Bytes(1 << 30));
    request.volumes = vec![NewVolume {
        from,
        on_termination: OnTermination::Keep,
    }];
    let id = launch(&cloud, request);
    let mut request = bake(&id, "deleting", Reboot::No);
    cloud.create_image(request.clone()).unwrap();
    request.name = "keeping".to_owned();
    request.volumes = OnTermination::Keep;
    cloud.create_image(request).unwrap();
    for (name, deletes) in [("deleting", true), ("keeping", false)] {
        let request = DescribeImages {
            images: vec![name.to_owned()],
            ..DescribeImages::default()
        };
        let image = cloud.describe_images(request).unwrap().images.remove(0);
        let fates: Vec<(&str, bool)> = image
            .block_device_mappings
            .iter()
            .map(|device| (device.device_name.as_str(), device.ebs.delete_on_termination))
            .collect();
        assert_eq!(fates, [("/dev/sda1", true), ("/dev/sdb", deletes)]);
        let clone = run(&cloud, name);
        assert_eq!(instance(&cloud, &clone).block_device_mappings.len(), 2);
    }
    assert_whole(&cloud);
}

#[test]
fn a_deregistered_image_cannot_be_launched_and_its_instances_live_on() {
    let home = Home::new();
    let cloud = home.cloud();
    let image = import(&cloud, "base");
    let id = run(&cloud, "base");
    let request = DeregisterImage {
        image: image.clone(),
        snapshots: OnDeregister::KeepSnapshots,
    };
    cloud.deregister_image(request).unwrap();
    assert_eq!(state(&cloud, &id), "running");
    let error = cloud.run_instances(RunInstances::of(image.as_str())).unwrap_err();
    assert_eq!(error.code(), Code::InvalidAmiIdUnavailable);
    assert_eq!(
        cloud
            .describe_snapshots(DescribeSnapshots::default())
            .unwrap()
            .snapshots
            .len(),
        1
    );
    cloud
        .stop_instances(crate::StopInstances {
            instances: vec![id.to_string()],
            ..Default::default()
        })
        .unwrap();
    cloud.start_instances(&[id.to_string()]).unwrap();
    assert_whole(&cloud);
}

#[test]
fn a_snapshot_that_an_image_names_stays_and_one_that_only_a_volume_stands_on_goes() {
    let home = Home::new();
    let cloud = home.cloud();
    let image = import(&cloud, "base");
    let snapshot = cloud
        .describe_snapshots(DescribeSnapshots::default())
        .unwrap()
        .snapshots
        .remove(0)
        .snapshot_id;
    let error = cloud.delete_snapshot(&snapshot).unwrap_err();
    assert_eq!(error.code(), Code::InvalidSnapshotInUse);
    assert!(error.to_string().contains(&image), "{error}");
    let id = run(&cloud, "base");
    let request = DeregisterImage {
        image,
        snapshots: OnDeregister::DeleteSnapshots,
    };
    let reply = cloud.deregister_image(request).unwrap().document;
    assert_eq!(reply.delete_snapshot_results[0].return_code, "success");
    assert!(
        cloud
            .describe_snapshots(DescribeSnapshots::default())
            .unwrap()
            .snapshots
            .is_empty()
    );
    // The volume still reads what the snapshot held.
    cloud.create_image(bake(&id, "again", Reboot::No)).unwrap();
    assert_eq!(content(&cloud, "again", 0, 4), b"from");
    cloud.terminate_instances(&[id.to_string()]).unwrap();
    let request = DeregisterImage {
        image: "again".to_owned(),
        snapshots: OnDeregister::DeleteSnapshots,
    };
    cloud.deregister_image(request).unwrap();
    assert!(
        cloud.layers.list().unwrap().is_empty(),
        "layers are left that nothing names"
    );
    assert_whole(&cloud);
}

#[test]
fn a_snapshot_of_a_volume_that_is_attached_to_nothing_can_be_taken() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let mut request = RunInstances::of("base");
    let from = VolumeSource::Empty(Bytes(1 << 30));
    request.volumes = vec![NewVolume {
        from,
        on_termination: OnTermination::Keep,
    }];
    let id = cloud.run_instances(request).unwrap().document.instances.remove(0);
    let volume = id.block_device_mappings[1].ebs.volume_id.clone();
    cloud.terminate_instances(&[id.instance_id]).unwrap();
    let request = CreateSnapshot {
        volume,
        description: Some("kept".to_owned()),
        tags: Vec::new(),
    };
    let snapshot = cloud.create_snapshot(request).unwrap().document;
    assert_eq!(
        (snapshot.state.as_str(), snapshot.progress),
        ("completed", "100%")
    );
    assert_whole(&cloud);
}

#[test]
fn a_chain_of_images_ends_at_the_depth_limit_with_a_clear_error() {
    let (_home, cloud, id) = started();
    let volume = instance(&cloud, &id).block_device_mappings[0]
        .ebs
        .volume_id
        .clone();
    let snapshot = || CreateSnapshot {
        volume: volume.clone(),
        description: None,
        tags: Vec::new(),
    };
    for _ in 2..256 {
        cloud.create_snapshot(snapshot()).unwrap();
    }
    let error = cloud.create_snapshot(snapshot()).unwrap_err();
    assert!(error.to_string().contains("256 layers deep"), "{error}");
    assert_eq!(state(&cloud, &id), "running");
}
