//! Volumes that come to an instance that runs, and go from it.

use super::*;
use crate::catalog::volumes;
use crate::instance::VolumeSource;
use crate::{
    AttachVolume, Code, CreateVolume, DescribeImages, DescribeVolumes, DetachVolume, Detaching, Filter,
    VolumeAttachment, VolumeId,
};
use kiln_vmm::client::ExitReason;
use std::time::Duration;

fn make(cloud: &Cloud) -> String {
    let request = CreateVolume {
        from: VolumeSource::Empty(Bytes(SIZE)),
        tags: Vec::new(),
    };
    cloud.create_volume(&request).unwrap().document.volume_id
}

fn attach(cloud: &Cloud, volume: &str, instance: &InstanceId) -> crate::Result<VolumeAttachment> {
    let request = AttachVolume {
        volume: volume.to_owned(),
        instance: instance.to_string(),
        device: None,
    };
    Ok(cloud.attach_volume(&request)?.document)
}

/// Without waiting for a guest.
fn detach(cloud: &Cloud, volume: &str, manner: Detaching) -> crate::Result<VolumeAttachment> {
    let request = DetachVolume {
        volume: volume.to_owned(),
        manner,
        patience: Some(Duration::ZERO),
    };
    Ok(cloud.detach_volume(&request)?.document)
}

/// How far a volume is with coming or going; nothing if it is attached to nothing.
fn how_far(cloud: &Cloud, volume: &str) -> Option<&'static str> {
    let request = DescribeVolumes {
        volumes: vec![volume.to_owned()],
        filters: Vec::new(),
    };
    let found = cloud.describe_volumes(request).unwrap().volumes.remove(0);
    found.attachments.first().map(|place| place.state)
}

fn machine(home: &Home, cloud: &Cloud, id: &InstanceId) -> Vec<String> {
    home.machines.disks(&cloud.instance_directory(id))
}

#[test]
fn a_volume_comes_to_an_instance_that_runs_is_baked_with_it_and_goes_to_the_next() {
    let (home, cloud, id) = started();
    let volume = make(&cloud);
    let place = attach(&cloud, &volume, &id).unwrap();
    assert_eq!((place.device.as_str(), place.state), ("/dev/sdb", "attached"));
    assert!(!place.delete_on_termination);
    assert_eq!(machine(&home, &cloud, &id).last(), Some(&volume));
    let error = attach(&cloud, &volume, &id).unwrap_err();
    assert_eq!(error.code(), Code::VolumeInUse, "{error}");

    let folder = cloud.instance_directory(&id);
    home.machines.guest_writes(&folder, 1, 0, b"written");
    cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap();
    let images = cloud.describe_images(DescribeImages::default()).unwrap().images;
    let baked = images.iter().find(|image| image.name == "baked").unwrap();
    assert_eq!(baked.block_device_mappings.len(), 2, "the image has it, too");

    // It has its place at the next start, too.
    stop(&cloud, &id);
    cloud.start_instances(&[id.to_string()]).unwrap();
    assert_eq!(machine(&home, &cloud, &id).last(), Some(&volume));

    let was = detach(&cloud, &volume, Detaching::Ask).unwrap();
    assert_eq!((was.state, was.device.as_str()), ("detached", "/dev/sdb"));
    assert_eq!(machine(&home, &cloud, &id).len(), 1);
    let other = run(&cloud, "base");
    attach(&cloud, &volume, &other).unwrap();
    cloud.terminate_instances(&[other.to_string()]).unwrap();
    let row = cloud
        .catalog
        .read(|tx| volumes::get(tx, &VolumeId::parse(&volume).unwrap()))
        .unwrap();
    let disk = cloud.layers.open_chain(&row.layer).unwrap();
    let mut bytes = [0; 7];
    kiln_imagefmt::read_exact_at(&disk, 0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"written");
    cloud.delete_volume(&volume).unwrap();
    assert_whole(&cloud);
}

#[test]
fn a_disk_that_cannot_be_plugged_in_leaves_the_volume_as_it_was() {
    let (home, cloud, id) = started();
    let volume = make(&cloud);
    home.guests(Guests::DoNotPlug);
    let error = attach(&cloud, &volume, &id).unwrap_err();
    assert_eq!(error.code(), Code::InternalError, "{error}");
    assert_eq!(how_far(&cloud, &volume), None);
    assert_whole(&cloud);
    // One that is there although its answer did not come is attached.
    home.guests(Guests::PlugSilently);
    attach(&cloud, &volume, &id).unwrap();
    assert_eq!(how_far(&cloud, &volume), Some("attached"));
    assert_whole(&cloud);
}

#[test]
fn a_guest_that_does_not_let_go_keeps_the_volume_and_what_becomes_of_it_later_is_recorded() {
    let (home, cloud, id) = started();
    let volume = make(&cloud);
    attach(&cloud, &volume, &id).unwrap();
    home.guests(Guests::HoldOn);
    for _ in 0..2 {
        let error = detach(&cloud, &volume, Detaching::Ask).unwrap_err();
        assert_eq!(error.code(), Code::IncorrectState, "{error}");
        let told = error.to_string();
        assert!(told.contains("unmount it") && told.contains("--force"), "{told}");
        assert_eq!(how_far(&cloud, &volume), Some("busy"));
        let busy = DescribeVolumes {
            volumes: Vec::new(),
            filters: vec![Filter::parse("attachment.status=busy").unwrap()],
        };
        assert_eq!(cloud.describe_volumes(busy).unwrap().volumes.len(), 1);
        assert!(home.cloud().notices().is_empty(), "nothing has happened");
    }
    // The instance can be worked on meanwhile.
    cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap();
    home.machines.guest_lets_go(&cloud.instance_directory(&id));
    let again = home.cloud();
    assert_eq!(
        again.notices(),
        [format!("volume {volume} is detached from {id} now")]
    );
    assert_eq!(how_far(&again, &volume), None);
    attach(&again, &volume, &id).unwrap();
    assert_whole(&again);
}

#[test]
fn a_volume_is_taken_away_by_force_from_a_guest_that_holds_on() {
    let (home, cloud, id) = started();
    let volume = make(&cloud);
    attach(&cloud, &volume, &id).unwrap();
    home.guests(Guests::HoldOn);
    detach(&cloud, &volume, Detaching::Ask).unwrap_err();
    let was = detach(&cloud, &volume, Detaching::Force).unwrap();
    assert_eq!(was.state, "detached");
    let asked = home.asked();
    assert!(asked.ends_with(&["let go", "force"]), "{asked:?}");
    assert_whole(&cloud);
}

#[test]
fn what_a_guest_was_asked_for_is_detached_when_its_instance_ends_however_it_does() {
    for ending in ["stop", "terminate", "crash"] {
        let (home, cloud, id) = started();
        let volume = make(&cloud);
        attach(&cloud, &volume, &id).unwrap();
        home.guests(Guests::HoldOn);
        detach(&cloud, &volume, Detaching::Ask).unwrap_err();
        home.guests(Guests::Obey);
        match ending {
            "stop" => stop(&cloud, &id),
            "terminate" => drop(cloud.terminate_instances(&[id.to_string()]).unwrap()),
            _ => home.kill_machine(&id, ExitReason::GuestCrash),
        }
        let again = home.cloud();
        assert_eq!(how_far(&again, &volume), None, "{ending}");
        again.delete_volume(&volume).unwrap();
        assert_whole(&again);
    }
}

#[test]
fn a_command_that_waits_for_a_guest_has_the_instance_and_the_volume_for_itself() {
    let (home, cloud, id) = started();
    let volume = make(&cloud);
    attach(&cloud, &volume, &id).unwrap();
    home.guests(Guests::HoldOn);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            home.cloud().detach_volume(&DetachVolume {
                volume: volume.clone(),
                manner: Detaching::Ask,
                patience: None,
            })
        });
        while how_far(&cloud, &volume) != Some("detaching") {
            std::thread::sleep(Duration::from_millis(2));
        }
        let error = detach(&cloud, &volume, Detaching::Ask).unwrap_err();
        assert!(error.to_string().contains("busy"), "{error}");
        let error = cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap_err();
        assert_eq!(error.code(), Code::IncorrectInstanceState, "{error}");
        let folder = cloud.instance_directory(&id);
        while home.machines.leaving(&folder).is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
        home.machines.guest_lets_go(&folder);
        assert_eq!(waits.join().unwrap().unwrap().document.state, "detached");
    });
    assert_whole(&cloud);
}
