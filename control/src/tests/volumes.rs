//! Volumes that outlive their instance.

use super::*;
use crate::instance::{NewVolume, VolumeSource};
use crate::{Code, CreateSnapshot, DescribeVolumes};

/// An instance with a second disk that stays, and that disk.
fn with_a_volume_that_stays(cloud: &Cloud) -> (InstanceId, String) {
    let mut request = RunInstances::of("base");
    request.volumes = vec![NewVolume {
        from: VolumeSource::Empty(Bytes(SIZE)),
        on_termination: OnTermination::Keep,
    }];
    let launched = cloud.run_instances(request).unwrap().document;
    let id = InstanceId::parse(&launched.instances[0].instance_id).unwrap();
    let volume = instance(cloud, &id).block_device_mappings[1]
        .ebs
        .volume_id
        .clone();
    (id, volume)
}

#[test]
fn a_volume_is_deleted_once_its_instance_is_gone_and_its_snapshots_live_on() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let (id, volume) = with_a_volume_that_stays(&cloud);
    let refused = |code| {
        let error = cloud.delete_volume(&volume).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        error.to_string()
    };
    assert!(refused(Code::VolumeInUse).contains(id.as_str()));
    home.machines
        .guest_writes(&cloud.instance_directory(&id), 1, 0, &[b'v'; 512]);
    let stop = crate::instance::StopInstances {
        instances: vec![id.to_string()],
        ..Default::default()
    };
    cloud.stop_instances(stop).unwrap();
    refused(Code::VolumeInUse);
    cloud.terminate_instances(&[id.to_string()]).unwrap();
    let snapshot = CreateSnapshot {
        volume: volume.clone(),
        description: None,
        tags: Vec::new(),
    };
    let snapshot = cloud.create_snapshot(snapshot).unwrap().document.snapshot_id;

    let deleted = cloud.delete_volume(&volume).unwrap().document;
    assert_eq!(deleted.as_str(), volume);
    refused(Code::InvalidVolumeNotFound);
    let volumes = cloud.describe_volumes(DescribeVolumes::default()).unwrap();
    assert!(volumes.volumes.is_empty());
    let mut request = RunInstances::of("base");
    request.volumes = vec![NewVolume {
        from: VolumeSource::Snapshot { snapshot, size: None },
        on_termination: OnTermination::Delete,
    }];
    let heirs = cloud.run_instances(request).unwrap().document.instances;
    let heir = InstanceId::parse(&heirs[0].instance_id).unwrap();
    let disks = cloud
        .catalog
        .read(|tx| crate::catalog::volumes::of_instance(tx, &heir))
        .unwrap();
    let disk = cloud.layers.open_chain(&disks[1].layer).unwrap();
    let mut bytes = [0; 512];
    kiln_imagefmt::read_exact_at(&disk, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [b'v'; 512]);
    assert_whole(&cloud);
}

#[test]
fn a_volume_that_is_being_copied_is_not_deleted() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let (id, volume) = with_a_volume_that_stays(&cloud);
    cloud.terminate_instances(&[id.to_string()]).unwrap();
    let volume_id = crate::VolumeId::parse(&volume).unwrap();
    let (work, ()) = crate::work::Work::begin(&cloud, "import", |tx, operation| {
        crate::catalog::volumes::claim(tx, operation, &volume_id)
    })
    .unwrap();
    let error = cloud.delete_volume(&volume).unwrap_err();
    assert_eq!(error.code(), Code::IncorrectState, "{error}");
    work.finish(|_| Ok(())).unwrap();
    cloud.delete_volume(&volume).unwrap();
    assert_whole(&cloud);
}
