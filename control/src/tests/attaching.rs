//! Volumes that are made by themselves, and what a stopped instance has of them.

use super::*;
use crate::catalog::volumes;
use crate::instance::VolumeSource;
use crate::{
    AttachVolume, Code, CreateSnapshot, CreateVolume, DescribeVolumes, DetachVolume, Detaching, Volume,
    VolumeAttachment, VolumeId,
};
use std::sync::Barrier;

fn empty(size: u64) -> CreateVolume {
    CreateVolume {
        from: VolumeSource::Empty(Bytes(size)),
        tags: Vec::new(),
    }
}

fn of_snapshot(snapshot: &str, size: Option<u64>) -> CreateVolume {
    CreateVolume {
        from: VolumeSource::Snapshot {
            snapshot: snapshot.to_owned(),
            size: size.map(Bytes),
        },
        tags: Vec::new(),
    }
}

fn make(cloud: &Cloud, request: &CreateVolume) -> String {
    cloud.create_volume(request).unwrap().document.volume_id
}

fn attach(
    cloud: &Cloud,
    volume: &str,
    instance: &InstanceId,
    device: Option<&str>,
) -> crate::Result<VolumeAttachment> {
    let request = AttachVolume {
        volume: volume.to_owned(),
        instance: instance.to_string(),
        device: device.map(str::to_owned),
    };
    Ok(cloud.attach_volume(&request)?.document)
}

fn detaching(volume: &str) -> DetachVolume {
    DetachVolume {
        volume: volume.to_owned(),
        manner: Detaching::Ask,
        patience: None,
    }
}

fn start(cloud: &Cloud, id: &InstanceId) -> crate::Result<()> {
    cloud.start_instances(&[id.to_string()]).map(drop)
}

/// A home with a stopped instance.
fn stopped() -> (Home, Cloud, InstanceId) {
    let (home, cloud, id) = started();
    stop(&cloud, &id);
    (home, cloud, id)
}

fn root_of(cloud: &Cloud, id: &InstanceId) -> String {
    instance(cloud, id).block_device_mappings[0].ebs.volume_id.clone()
}

fn described(cloud: &Cloud, volume: &str) -> Volume {
    let request = DescribeVolumes {
        volumes: vec![volume.to_owned()],
        filters: Vec::new(),
    };
    cloud.describe_volumes(request).unwrap().volumes.remove(0)
}

/// The beginning of a volume that no machine has.
fn holds(cloud: &Cloud, volume: &str, len: usize) -> Vec<u8> {
    let id = VolumeId::parse(volume).unwrap();
    let row = cloud.catalog.read(|tx| volumes::get(tx, &id)).unwrap();
    let disk = cloud.layers.open_chain(&row.layer).unwrap();
    let mut bytes = vec![0; len];
    kiln_imagefmt::read_exact_at(&disk, 0, &mut bytes).unwrap();
    bytes
}

/// The disks of an instance's machine, as it was started last.
fn disks(cloud: &Cloud, id: &InstanceId) -> Vec<String> {
    let spec = machine_spec(cloud, id);
    let devices = spec["devices"].as_array().unwrap().iter();
    devices
        .filter(|device| device["kind"] == "block")
        .map(|disk| disk["id"].as_str().unwrap().to_owned())
        .collect()
}

fn snapshot_of(cloud: &Cloud, volume: &str) -> String {
    let request = CreateSnapshot {
        volume: volume.to_owned(),
        description: None,
        tags: Vec::new(),
    };
    cloud.create_snapshot(request).unwrap().document.snapshot_id
}

#[test]
fn a_volume_is_made_empty_or_of_a_snapshot_and_no_smaller_than_that() {
    let (_home, cloud, id) = stopped();
    let mut request = empty(8 << 20);
    request.tags = named("data");
    let made = cloud.create_volume(&request).unwrap().document;
    assert_eq!(made.state.as_str(), "available");
    assert_eq!(
        (made.bytes, made.size, made.snapshot_id.as_str()),
        (Bytes(8 << 20), 1, "")
    );
    assert!(made.attachments.is_empty());
    assert_eq!(described(&cloud, "data").volume_id, made.volume_id);
    assert_eq!(holds(&cloud, &made.volume_id, 9), [0; 9]);

    let snapshot = snapshot_of(&cloud, &root_of(&cloud, &id));
    for (size, bytes) in [(None, SIZE), (Some(3 * SIZE), 3 * SIZE)] {
        let made = cloud
            .create_volume(&of_snapshot(&snapshot, size))
            .unwrap()
            .document;
        assert_eq!((made.bytes, &made.snapshot_id), (Bytes(bytes), &snapshot));
        assert_eq!(holds(&cloud, &made.volume_id, 9), b"from the ");
    }
    for (request, code) in [
        (
            of_snapshot(&snapshot, Some(SIZE / 2)),
            Code::InvalidParameterValue,
        ),
        (
            of_snapshot("snap-00000000000000000", None),
            Code::InvalidSnapshotNotFound,
        ),
        (empty(0), Code::InvalidParameterValue),
        (empty(1000), Code::InvalidParameterValue),
        (empty(65 << 40), Code::InvalidParameterValue),
    ] {
        let error = cloud.create_volume(&request).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    assert_whole(&cloud);
}

#[test]
fn a_volume_goes_from_one_stopped_instance_to_the_next_with_what_was_written_and_stays_at_their_end() {
    let (home, cloud, first) = stopped();
    let second = run(&cloud, "base");
    stop(&cloud, &second);
    let volume = make(&cloud, &empty(SIZE));
    let place = attach(&cloud, &volume, &first, None).unwrap();
    assert_eq!((place.device.as_str(), place.state), ("/dev/sdb", "attached"));
    assert!(!place.delete_on_termination);
    assert_eq!(described(&cloud, &volume).state.as_str(), "in-use");
    start(&cloud, &first).unwrap();
    assert_eq!(
        disks(&cloud, &first),
        [root_of(&cloud, &first), volume.clone()],
        "the root comes first"
    );
    home.machines
        .guest_writes(&cloud.instance_directory(&first), 1, 0, b"written");
    stop(&cloud, &first);
    let was = cloud.detach_volume(&detaching(&volume)).unwrap().document;
    assert_eq!(
        (was.state, was.instance_id.as_str(), was.device.as_str()),
        ("detached", first.as_str(), "/dev/sdb")
    );
    assert_eq!(described(&cloud, &volume).state.as_str(), "available");
    start(&cloud, &first).unwrap();
    assert_eq!(disks(&cloud, &first).len(), 1);

    attach(&cloud, &volume, &second, Some("/dev/sdf")).unwrap();
    assert_eq!(
        instance(&cloud, &second).block_device_mappings[1].device_name,
        "/dev/sdf"
    );
    start(&cloud, &second).unwrap();
    cloud.terminate_instances(&[second.to_string()]).unwrap();
    assert_eq!(described(&cloud, &volume).state.as_str(), "available");
    assert_eq!(holds(&cloud, &volume, 7), b"written");
    cloud.delete_volume(&volume).unwrap();
    assert_whole(&cloud);
}

#[test]
fn the_root_of_an_instance_that_runs_and_disks_of_one_that_is_gone_stay_as_they_are() {
    let (_home, cloud, id) = started();
    let volume = make(&cloud, &empty(SIZE));
    let root = root_of(&cloud, &id);
    let refusals = [
        attach(&cloud, &volume, &id, Some("/dev/sda1")).unwrap_err(),
        cloud.detach_volume(&detaching(&root)).unwrap_err(),
    ];
    let way_out = format!("stop it first (`kiln stop {id}`)");
    assert_eq!(refusals[1].code(), Code::OperationNotPermitted, "{}", refusals[1]);
    assert!(refusals[1].to_string().contains(&way_out), "{}", refusals[1]);
    // It has a root already.
    assert_eq!(refusals[0].code(), Code::InvalidParameterValue, "{}", refusals[0]);
    cloud.terminate_instances(&[id.to_string()]).unwrap();
    let error = attach(&cloud, &volume, &id, None).unwrap_err();
    assert_eq!(error.code(), Code::IncorrectInstanceState, "{error}");
    assert!(error.to_string().ends_with("needs it to be stopped"), "{error}");
    assert_whole(&cloud);
}

#[test]
fn a_volume_is_attached_once_and_no_device_is_had_twice() {
    let (_home, cloud, id) = stopped();
    let volume = make(&cloud, &empty(SIZE));
    let other = make(&cloud, &empty(SIZE));
    let error = cloud.detach_volume(&detaching(&volume)).unwrap_err();
    assert_eq!(error.code(), Code::IncorrectState, "{error}");
    attach(&cloud, &volume, &id, Some("/dev/sdf1")).unwrap();
    let error = attach(&cloud, &volume, &id, None).unwrap_err();
    assert_eq!(error.code(), Code::VolumeInUse, "{error}");
    let error = cloud.delete_volume(&volume).unwrap_err();
    assert_eq!(error.code(), Code::VolumeInUse, "{error}");
    let way_out = format!("kiln volume detach {volume}");
    assert!(error.to_string().contains(&way_out), "{error}");
    for device in ["/dev/sdf1", "/dev/sdf", "/dev/sda1", "/dev/vdb", ""] {
        let error = attach(&cloud, &other, &id, Some(device)).unwrap_err();
        assert_eq!(error.code(), Code::InvalidParameterValue, "{device}: {error}");
    }
    for (volume, instance, code) in [
        ("vol-00000000000000000", id.as_str(), Code::InvalidVolumeNotFound),
        (
            other.as_str(),
            "i-00000000000000000",
            Code::InvalidInstanceIdNotFound,
        ),
    ] {
        let request = AttachVolume {
            volume: volume.to_owned(),
            instance: instance.to_owned(),
            device: None,
        };
        assert_eq!(cloud.attach_volume(&request).unwrap_err().code(), code);
    }
    assert_whole(&cloud);
}

#[test]
fn an_instance_has_no_more_volumes_than_fit() {
    let (_home, cloud, id) = stopped();
    for letter in 'b'..='z' {
        let volume = make(&cloud, &empty(SIZE));
        let place = attach(&cloud, &volume, &id, None).unwrap();
        assert_eq!(place.device, format!("/dev/sd{letter}"));
    }
    let volume = make(&cloud, &empty(SIZE));
    for device in [None, Some("/dev/hdc")] {
        let error = attach(&cloud, &volume, &id, device).unwrap_err();
        assert_eq!(error.code(), Code::AttachmentLimitExceeded, "{error}");
    }
    start(&cloud, &id).unwrap();
    assert_eq!(disks(&cloud, &id).len(), 26);
}

#[test]
fn a_root_is_detached_and_another_takes_its_place() {
    let (_home, cloud, id) = stopped();
    let data = make(&cloud, &empty(SIZE));
    attach(&cloud, &data, &id, None).unwrap();
    let root = root_of(&cloud, &id);
    cloud.detach_volume(&detaching(&root)).unwrap();
    let refusals = [
        start(&cloud, &id).unwrap_err(),
        cloud
            .create_image(bake(&id, "rootless", Reboot::Yes))
            .unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.code(), Code::IncorrectState, "{error}");
        let told = "does not have a volume attached at root (/dev/sda1)";
        assert!(error.to_string().contains(told), "{error}");
    }
    assert_eq!(state(&cloud, &id), "stopped");
    assert_whole(&cloud);

    let heir = make(&cloud, &of_snapshot(&snapshot_of(&cloud, &root), None));
    attach(&cloud, &heir, &id, Some("/dev/sda1")).unwrap();
    start(&cloud, &id).unwrap();
    assert_eq!(disks(&cloud, &id), [heir.clone(), data], "it comes first");
    cloud.create_image(bake(&id, "of the heir", Reboot::No)).unwrap();
    assert_eq!(content(&cloud, "of the heir", 0, 9), b"from the ");
    let child = run(&cloud, "of the heir");
    assert_eq!(disks(&cloud, &child).len(), 2);
    cloud
        .terminate_instances(&[id.to_string(), child.to_string()])
        .unwrap();
    for stays in [&root, &heir] {
        assert_eq!(described(&cloud, stays).state.as_str(), "available");
    }
    assert_whole(&cloud);
}

#[test]
fn what_a_command_is_at_work_on_is_neither_attached_nor_detached() {
    let (_home, cloud, id) = stopped();
    let volume = make(&cloud, &empty(SIZE));
    let volume_id = VolumeId::parse(&volume).unwrap();
    let root = root_of(&cloud, &id);
    let (work, ()) = crate::work::Work::begin(&cloud, "start", |tx, operation| {
        crate::catalog::operations::claim(tx, operation, &id)
    })
    .unwrap();
    for error in [
        attach(&cloud, &volume, &id, None).unwrap_err(),
        cloud.detach_volume(&detaching(&root)).unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::IncorrectInstanceState);
        assert!(error.to_string().contains("busy"), "{error}");
    }
    work.finish(|_| Ok(())).unwrap();
    let (work, ()) = crate::work::Work::begin(&cloud, "freeze", |tx, operation| {
        volumes::claim(tx, operation, &volume_id)
    })
    .unwrap();
    let error = attach(&cloud, &volume, &id, None).unwrap_err();
    assert_eq!(error.code(), Code::IncorrectState, "{error}");
    work.finish(|_| Ok(())).unwrap();
    attach(&cloud, &volume, &id, None).unwrap();
    assert_whole(&cloud);
}

#[test]
fn of_two_commands_that_attach_one_volume_at_once_one_has_it() {
    let (home, cloud, first) = stopped();
    let second = run(&cloud, "base");
    stop(&cloud, &second);
    for _ in 0..8 {
        let volume = make(&cloud, &empty(SIZE));
        let clouds = [home.cloud(), home.cloud()];
        let together = Barrier::new(2);
        let tried: Vec<_> = std::thread::scope(|scope| {
            let commands: Vec<_> = clouds
                .iter()
                .zip([&first, &second])
                .map(|(cloud, id)| {
                    let (together, volume) = (&together, &volume);
                    scope.spawn(move || {
                        together.wait();
                        attach(cloud, volume, id, None)
                    })
                })
                .collect();
            commands.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let refused: Vec<Code> = tried
            .iter()
            .filter_map(|one| Some(one.as_ref().err()?.code()))
            .collect();
        assert_eq!(refused, [Code::VolumeInUse]);
        assert_eq!(described(&cloud, &volume).attachments.len(), 1);
    }
    assert_whole(&cloud);
}
