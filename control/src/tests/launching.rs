//! What a launch makes, and what it refuses.

use super::*;
use crate::OnShutdown;
use crate::instance::{KernelFiles, NewVolume, StopInstances, VolumeSource};
use crate::{Code, CreateSnapshot, DescribeVolumes, HugePages, InstanceType};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_launch_makes_a_running_instance_with_a_root_volume() {
    let home = Home::new();
    let cloud = home.cloud();
    let image = import(&cloud, "base");
    let id = run(&cloud, "base");
    let seen = instance(&cloud, &id);
    assert_eq!(seen.state.name.as_str(), "running");
    assert_eq!(seen.image_id, image);
    assert_eq!(seen.instance_type, InstanceType::default_here());
    assert_eq!(seen.block_device_mappings.len(), 1);
    assert_eq!(seen.block_device_mappings[0].device_name, "/dev/sda1");
    assert!(seen.block_device_mappings[0].ebs.delete_on_termination);
    assert_whole(&cloud);
}

#[test]
fn an_instances_document_is_ec2s() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    run(&cloud, "base");
    let json = serde_json::to_value(cloud.describe_instances(DescribeInstances::default()).unwrap()).unwrap();
    let one = &json["Reservations"][0]["Instances"][0];
    assert_eq!(one["State"], serde_json::json!({"Code": 16, "Name": "running"}));
    assert_eq!(one["BlockDeviceMappings"][0]["Ebs"]["Status"], "attached");
    assert_eq!(one["AmiLaunchIndex"], 0);
    assert_eq!(one["CpuOptions"]["CoreCount"], 2);
    let json =
        serde_json::to_value(cloud.describe_images(crate::DescribeImages::default()).unwrap()).unwrap();
    let image = &json["Images"][0];
    assert_eq!(image["State"], "available");
    assert_eq!(image["RootDeviceType"], "ebs");
    assert_eq!(image["VirtualizationType"], "paravirtual");
    assert_eq!(image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"], 1);
}

#[test]
fn several_instances_of_one_launch_share_a_reservation_and_nothing_else() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let mut request = RunInstances::of("base");
    request.count = 3;
    request.tags = named("web");
    let reservation = cloud.run_instances(request).unwrap().document;
    assert_eq!(reservation.instances.len(), 3);
    let indexes: Vec<u32> = reservation
        .instances
        .iter()
        .map(|one| one.ami_launch_index)
        .collect();
    assert_eq!(indexes, [0, 1, 2]);
    let mut volumes: Vec<&str> = reservation
        .instances
        .iter()
        .map(|one| one.block_device_mappings[0].ebs.volume_id.as_str())
        .collect();
    volumes.sort_unstable();
    volumes.dedup();
    assert_eq!(volumes.len(), 3);
    let error = cloud.resolve_instance("web").unwrap_err();
    assert!(error.to_string().contains("more than one instance"), "{error}");
    assert_whole(&cloud);
}

#[test]
fn a_launch_that_does_not_fit_the_host_is_refused_and_says_what_is_free() {
    let home = Home::new();
    let mut options = home.options();
    // Beside the guest's own, a machine needs 16 MiB.
    options.memory = Some(Bytes((3 << 30) + (16 << 20)));
    let cloud = Cloud::open_with(options, home.machines.clone()).unwrap();
    import(&cloud, "base");
    run(&cloud, "base");
    let mut request = RunInstances::of("base");
    request.instance_type = Some("m5.large".to_owned());
    let error = cloud.run_instances(request).unwrap_err();
    assert_eq!(error.code(), Code::InsufficientInstanceCapacity);
    assert!(
        error.to_string().contains("and 2 GiB of 3.0 GiB are free"),
        "{error}"
    );
    assert_whole(&cloud);
}

#[test]
fn an_instance_keeps_the_pages_of_its_memory_and_those_of_the_pool_are_counted_apart() {
    let home = Home::new();
    let mut options = home.options();
    options.memory = Some(Bytes(3 << 30));
    let cloud = Cloud::open_with(options, home.machines.clone()).unwrap();
    import(&cloud, "base");
    // Of the pool: more than what is left for others, and nothing of it.
    let mut request = RunInstances::of("base");
    request.instance_type = Some("m5.large".to_owned());
    request.huge_pages = HugePages::Of1GiB;
    let id = launch(&cloud, request);
    let other = run(&cloud, "base");
    let pages = |id: &InstanceId| {
        let text = std::fs::read(cloud.instance_directory(id).join("spec.json")).unwrap();
        let spec: kiln_vmm::spec::MachineSpec = serde_json::from_slice(&text).unwrap();
        (spec.huge_pages, instance(&cloud, id).huge_pages)
    };
    assert_eq!(pages(&id), (HugePages::Of1GiB, HugePages::Of1GiB));
    assert_eq!(pages(&other), (HugePages::Transparent, HugePages::Transparent));
    let which = vec![id.to_string()];
    let request = StopInstances {
        instances: which.clone(),
        ..StopInstances::default()
    };
    cloud.stop_instances(request).unwrap();
    std::fs::remove_file(cloud.instance_directory(&id).join("spec.json")).unwrap();
    cloud.start_instances(&which).unwrap();
    assert_eq!(pages(&id), (HugePages::Of1GiB, HugePages::Of1GiB));
    let json = serde_json::to_value(instance(&cloud, &id)).unwrap();
    assert_eq!(json["HugePages"], "1G");
    let json = serde_json::to_value(instance(&cloud, &other)).unwrap();
    assert_eq!(json.get("HugePages"), None);
    assert_whole(&cloud);
}

#[test]
fn memory_that_is_no_whole_number_of_huge_pages_is_refused_before_anything_is_made() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    for (type_name, pages) in [("t1.micro", HugePages::Of2MiB), ("t3.nano", HugePages::Of1GiB)] {
        let mut request = RunInstances::of("base");
        request.instance_type = Some(type_name.to_owned());
        request.huge_pages = pages;
        let error = cloud.run_instances(request).unwrap_err();
        assert_eq!(error.code(), Code::InvalidParameterCombination);
        assert!(
            error.to_string().contains(&format!("pages of {pages}")),
            "{error}"
        );
    }
    let all = cloud.describe_instances(DescribeInstances::default()).unwrap();
    assert!(all.reservations.is_empty());
    assert_eq!(home.asked(), Vec::<&str>::new());
    assert_whole(&cloud);
}

#[test]
fn a_machine_that_does_not_start_leaves_nothing_but_the_reason() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    home.guests(Guests::DoNotStart);
    let mut request = RunInstances::of("base");
    request.count = 2;
    let error = cloud.run_instances(request).unwrap_err();
    assert_eq!(error.code(), Code::InvalidKernel);
    let all = cloud.describe_instances(DescribeInstances::default()).unwrap();
    for one in &all.reservations[0].instances {
        assert_eq!(one.state.name.as_str(), "terminated");
        assert!(one.state_reason.as_ref().unwrap().message.contains("no menu"));
    }
    assert!(
        cloud
            .describe_volumes(DescribeVolumes::default())
            .unwrap()
            .volumes
            .is_empty()
    );
    assert_whole(&cloud);
}

#[test]
fn additional_volumes_get_names_after_the_roots_and_their_own_fate() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let first = run(&cloud, "base");
    let volume = instance(&cloud, &first).block_device_mappings[0]
        .ebs
        .volume_id
        .clone();
    let request = CreateSnapshot {
        volume,
        description: None,
        tags: named("kept"),
    };
    cloud.create_snapshot(request).unwrap();
    let mut request = RunInstances::of("base");
    request.root_size = Some(Bytes(2 << 30));
    request.volumes = vec![
        NewVolume {
            from: VolumeSource::Empty(Bytes(1 << 30)),
            on_termination: OnTermination::Keep,
        },
        NewVolume {
            from: VolumeSource::Snapshot {
                snapshot: "kept".to_owned(),
                size: None,
            },
            on_termination: OnTermination::Delete,
        },
    ];
    let one = cloud.run_instances(request).unwrap().document.instances.remove(0);
    let devices: Vec<(&str, bool)> = one
        .block_device_mappings
        .iter()
        .map(|disk| (disk.device_name.as_str(), disk.ebs.delete_on_termination))
        .collect();
    assert_eq!(
        devices,
        [("/dev/sda1", true), ("/dev/sdb", false), ("/dev/sdc", true)]
    );
    let root = &one.block_device_mappings[0].ebs.volume_id;
    let volumes = cloud
        .describe_volumes(DescribeVolumes::default())
        .unwrap()
        .volumes;
    let root = volumes.iter().find(|volume| &volume.volume_id == root).unwrap();
    assert_eq!(root.size, 2);

    cloud.terminate_instances(&[one.instance_id]).unwrap();
    let left = cloud
        .describe_volumes(DescribeVolumes::default())
        .unwrap()
        .volumes;
    let free: Vec<_> = left
        .iter()
        .filter(|volume| volume.state.as_str() == "available")
        .collect();
    assert_eq!(free.len(), 1);
    assert_eq!(free[0].size, 1);
    assert_whole(&cloud);
}

#[test]
fn a_root_smaller_than_the_images_is_refused() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let mut request = RunInstances::of("base");
    request.root_size = Some(Bytes(1 << 20));
    assert_eq!(
        cloud.run_instances(request).unwrap_err().code(),
        Code::InvalidBlockDeviceMapping
    );
}

#[test]
fn a_kernel_given_at_launch_is_copied_into_the_instance() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let mut kernel = tempfile::tempfile().unwrap();
    kernel.write_all(b"a kernel").unwrap();
    let mut request = RunInstances::of("base");
    request.count = 2;
    request.kernel = Some(KernelFiles {
        kernel,
        initrd: None,
        cmdline: "quiet".to_owned(),
    });
    for one in cloud.run_instances(request).unwrap().document.instances {
        let dir = cloud.instance_directory(&InstanceId::parse(&one.instance_id).unwrap());
        assert_eq!(std::fs::read(dir.join("kernel")).unwrap(), b"a kernel");
        let spec = std::fs::read_to_string(dir.join("spec.json")).unwrap();
        assert!(spec.contains("\"cmdline\": \"quiet\""), "{spec}");
    }
}

#[test]
fn a_client_token_makes_a_retry_answer_with_the_first_tries_instances() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let request = || {
        let mut request = RunInstances::of("base");
        request.client_token = Some("once".to_owned());
        request
    };
    let first = cloud.run_instances(request()).unwrap().document;
    let again = cloud.run_instances(request()).unwrap().document;
    assert_eq!(first.reservation_id, again.reservation_id);
    let mut other = request();
    other.count = 2;
    assert_eq!(
        cloud.run_instances(other).unwrap_err().code(),
        Code::IdempotentParameterMismatch
    );
    let all = cloud.describe_instances(DescribeInstances::default()).unwrap();
    assert_eq!(all.reservations.len(), 1);
}

#[test]
fn a_guest_that_ends_by_itself_is_stopped_or_terminated_as_was_asked_for() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let stays = run(&cloud, "base");
    let mut request = RunInstances::of("base");
    request.on_shutdown = OnShutdown::Terminate;
    let goes = launch(&cloud, request);
    for id in [&stays, &goes] {
        home.kill_machine(id, kiln_vmm::client::ExitReason::Shutdown);
    }
    assert_eq!(state(&cloud, &stays), "stopped");
    assert_eq!(state(&cloud, &goes), "terminated");
    assert!(!cloud.instance_directory(&goes).exists());
    assert_whole(&cloud);
}

#[test]
fn a_home_is_made_in_a_folder_that_may_be_written_but_not_read() {
    let home = Home::new();
    let mode = |mode| {
        std::fs::set_permissions(home.folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o333);
    // In a user namespace of its own: without root's right to read everything.
    let output = Command::new("unshare")
        .arg("-U")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crashes::the_command_that_is_killed"])
        .env(crashes::HOME, home.path())
        .env(crashes::SCENARIO, "import")
        .output()
        .unwrap();
    mode(0o700);
    assert!(output.status.success(), "{output:?}");
    assert!(home.cloud().resolve_image("new").is_ok());
}

#[test]
fn a_home_path_longer_than_a_sockets_address_can_be_is_fine() {
    let home = Home::new();
    let mut options = home.options();
    options.home = home.path().join("long".repeat(40));
    let cloud = Cloud::open_with(options, home.machines.clone()).unwrap();
    import(&cloud, "base");
    run(&cloud, "base");
}
