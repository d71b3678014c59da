//! The same with real machines: `kiln-vmm` on this host's `/dev/kvm`, with guests of a few instructions.

use super::*;
use crate::instance::{Ending, KernelFiles, NewVolume, StopInstances, VolumeSource};
use crate::supervisor::vmm::Vmms;
use crate::{
    AttachVolume, Code, CreateSnapshot, CreateVolume, DescribeVolumes, DetachVolume, Detaching, HugePages,
    OnShutdown,
};
use std::os::unix::process::ExitStatusExt;
use std::sync::OnceLock;
use std::time::Instant;

const HOME: &str = "KILN_TEST_REAL_HOME";
const SCENARIO: &str = "KILN_TEST_REAL_SCENARIO";

/// The program, built if it is not there or not the newest.
pub(super) fn kiln_vmm() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        if let Some(given) = std::env::var_os("KILN_VMM") {
            return PathBuf::from(given);
        }
        let own = std::env::current_exe().unwrap();
        let target = own.parent().and_then(|deps| deps.parent()).unwrap().to_owned();
        // A folder of the target's between the profile's and cargo's own, if a target was named.
        let levels = if std::env::var_os("CARGO_BUILD_TARGET").is_some() {
            2
        } else {
            1
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--package",
                "kiln-vmm",
                "--bin",
                "kiln-vmm",
                "--target-dir",
            ])
            .arg(target.ancestors().nth(levels).unwrap())
            .status()
            .unwrap();
        assert!(status.success(), "kiln-vmm does not build");
        target.join("kiln-vmm")
    });
    built.clone()
}

/// A home whose guests are real. What still runs at the end is killed.
pub(super) struct RealHome(tempfile::TempDir);

impl RealHome {
    pub(super) fn new() -> RealHome {
        let home = RealHome(tempfile::tempdir().unwrap());
        import(&home.cloud(), "base");
        home
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("home")
    }

    pub(super) fn cloud(&self) -> Cloud {
        open(self.path())
    }
}

pub(super) fn open(home: impl Into<PathBuf>) -> Cloud {
    let mut options = Options::new(home);
    options.memory = Some(Bytes(64 << 30));
    Cloud::open_with(options, Arc::new(Vmms::new(Some(kiln_vmm())))).unwrap()
}

impl Drop for RealHome {
    fn drop(&mut self) {
        let folders = std::fs::read_dir(self.path().join("instances"))
            .into_iter()
            .flatten();
        for folder in folders.flatten() {
            let _ = kiln_vmm::client::kill_by_force(&folder.path());
        }
    }
}

pub(super) fn with_kernel(image: &str, kernel: &[u8]) -> RunInstances {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(kernel).unwrap();
    let mut request = RunInstances::of(image);
    request.instance_type = Some("t2.nano".to_owned());
    request.kernel = Some(KernelFiles {
        kernel: file,
        initrd: None,
        cmdline: "micro".to_owned(),
    });
    request
}

pub(super) fn has_printed(cloud: &Cloud, id: &InstanceId, text: &str) {
    let log = cloud.instance_directory(id).join("console.log");
    until(text, || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains(text))
    });
}

pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(super) fn stop(id: &InstanceId, seconds: u64) -> StopInstances {
    let ending = Ending::Clean(Duration::from_secs(seconds));
    StopInstances {
        instances: vec![id.to_string()],
        ending,
        ..StopInstances::default()
    }
}

#[test]
fn a_guest_is_launched_stopped_by_its_button_started_again_and_terminated() {
    let home = RealHome::new();
    let cloud = home.cloud();
    let id = launch(&cloud, with_kernel("base", &micro_guest::minds_the_button()));
    has_printed(&cloud, &id, "up");
    let reply = cloud.stop_instances(stop(&id, 60)).unwrap();
    assert_eq!(reply.warnings, Vec::<String>::new());
    assert_eq!(state(&cloud, &id), "stopped");
    cloud.start_instances(&[id.to_string()]).unwrap();
    assert_eq!(state(&cloud, &id), "running");
    assert_whole(&cloud);
    cloud.terminate_instances(&[id.to_string()]).unwrap();
    assert!(!cloud.instance_directory(&id).exists());
    assert_whole(&cloud);
}

#[test]
fn hazard_a_real_guest_that_ignores_the_button_is_ended_by_force_and_that_is_said() {
    let home = RealHome::new();
    let cloud = home.cloud();
    let id = launch(&cloud, with_kernel("base", &micro_guest::ignores_everything()));
    has_printed(&cloud, &id, "up");
    let began = Instant::now();
    let reply = cloud.stop_instances(stop(&id, 1)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(120));
    assert!(reply.warnings[0].contains("by force"), "{:?}", reply.warnings);
    assert_eq!(state(&cloud, &id), "stopped");
}

#[test]
fn a_running_guest_is_baked_again_and_again_and_each_bake_launches() {
    let home = RealHome::new();
    let cloud = home.cloud();
    let mut request = with_kernel("base", &micro_guest::minds_the_button());
    let from = VolumeSource::Empty(Bytes(1 << 30));
    request.volumes = vec![NewVolume {
        from,
        on_termination: OnTermination::Delete,
    }];
    let id = launch(&cloud, request);
    for round in 0..3 {
        let name = format!("live-{round}");
        let reply = cloud.create_image(bake(&id, &name, Reboot::No)).unwrap();
        assert!(
            reply.warnings[0].contains("no agent answers"),
            "{:?}",
            reply.warnings
        );
        assert_eq!(content(&cloud, &name, 0, 19), b"from the base image");
        let clone = launch(&cloud, with_kernel(&name, &micro_guest::minds_the_button()));
        assert_eq!(instance(&cloud, &clone).block_device_mappings.len(), 2);
        cloud.terminate_instances(&[clone.to_string()]).unwrap();
    }
    let mut request = bake(&id, "rebooted", Reboot::Yes);
    request.timeout = Duration::from_secs(60);
    let reply = cloud.create_image(request).unwrap();
    // It boots by a kernel that was given: its disk has none.
    let [warning] = &reply.warnings[..] else {
        panic!("one warning: {:?}", reply.warnings)
    };
    assert!(warning.starts_with("NothingToBoot: "), "{warning}");
    assert_eq!(state(&cloud, &id), "running");
    let volume = instance(&cloud, &id).block_device_mappings[1]
        .ebs
        .volume_id
        .clone();
    cloud
        .create_snapshot(CreateSnapshot {
            volume,
            description: None,
            tags: Vec::new(),
        })
        .unwrap();
    assert_whole(&cloud);
    cloud.stop_instances(stop(&id, 60)).unwrap();
    assert_whole(&cloud);
}

#[test]
fn a_machine_that_is_killed_shows_as_stopped_with_the_reason_and_starts_again() {
    let home = RealHome::new();
    let cloud = home.cloud();
    let id = launch(&cloud, with_kernel("base", &micro_guest::minds_the_button()));
    kiln_vmm::client::kill_by_force(&cloud.instance_directory(&id)).unwrap();
    until("the machine's end", || state(&cloud, &id) == "stopped");
    let reason = instance(&cloud, &id).state_reason.unwrap();
    assert_eq!(reason.code, "Server.InternalError");
    assert!(reason.message.contains("killed"), "{reason:?}");
    cloud.start_instances(&[id.to_string()]).unwrap();
    has_printed(&cloud, &id, "up");
    assert_whole(&cloud);
}

#[test]
fn a_guest_that_powers_itself_off_is_stopped_or_terminated() {
    let home = RealHome::new();
    let cloud = home.cloud();
    let stays = launch(&cloud, with_kernel("base", &micro_guest::ends_by_itself()));
    let mut request = with_kernel("base", &micro_guest::ends_by_itself());
    request.on_shutdown = OnShutdown::Terminate;
    let goes = launch(&cloud, request);
    until("the guest's end", || state(&cloud, &stays) == "stopped");
    let reason = instance(&cloud, &stays).state_reason.unwrap();
    assert_eq!(reason.code, "Client.InstanceInitiatedShutdown");
    until("the guest's end", || state(&cloud, &goes) == "terminated");
    assert_whole(&cloud);
}

#[test]
fn a_disk_without_a_menu_is_registered_with_a_warning_and_refused_at_launch() {
    let home = RealHome::new();
    let cloud = home.cloud();
    let request = ImportImage {
        source_name: "odd.raw".to_owned(),
        ..importing("odd", disk_file(b"no file system"))
    };
    let reply = cloud.import_image(request).unwrap();
    assert!(!reply.warnings.is_empty());
    let error = cloud.run_instances(RunInstances::of("odd")).unwrap_err();
    assert_eq!(error.code(), Code::InvalidKernel, "{error}");
    let error = cloud
        .run_instances(with_kernel("base", b"no kernel at all"))
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidKernel, "{error}");
    assert_whole(&cloud);
}

#[test]
fn huge_pages_that_the_host_lacks_are_a_lack_of_capacity_that_leaves_nothing_but_the_reason() {
    let home = RealHome::new();
    let cloud = home.cloud();
    let mut request = with_kernel("base", &micro_guest::minds_the_button());
    // No host has set 768 GiB aside.
    request.instance_type = Some("r5.24xlarge".to_owned());
    request.huge_pages = HugePages::Of1GiB;
    let error = cloud.run_instances(request).unwrap_err();
    assert_eq!(error.code(), Code::InsufficientInstanceCapacity, "{error}");
    assert!(error.to_string().contains("write to nr_hugepages"), "{error}");
    let all = cloud.describe_instances(DescribeInstances::default()).unwrap();
    let one = &all.reservations[0].instances[0];
    assert_eq!(one.state.name.as_str(), "terminated");
    let reason = one.state_reason.as_ref().unwrap();
    assert!(reason.message.contains("nr_hugepages"), "{reason:?}");
    let volumes = cloud.describe_volumes(DescribeVolumes::default()).unwrap();
    assert!(volumes.volumes.is_empty());
    assert_whole(&cloud);
}

/// The command that is killed: the test program started anew, for this one test.
#[test]
fn the_command_with_a_real_machine_that_is_killed() {
    let (Some(home), Ok(scenario)) = (std::env::var_os(HOME), std::env::var(SCENARIO)) else {
        return;
    };
    let cloud = open(home);
    let kernel = micro_guest::minds_the_button();
    match scenario.as_str() {
        "run" => drop(launch(&cloud, with_kernel("base", &kernel))),
        "bake" => {
            let id = cloud.resolve_instance("runs").unwrap();
            cloud.create_image(bake(&id, "new", Reboot::No)).unwrap();
        }
        "attach" => drop(plug(&cloud, &cloud.resolve_instance("runs").unwrap())),
        "detach" => {
            let volume = plug(&cloud, &cloud.resolve_instance("runs").unwrap());
            unplug(&cloud, &volume, Detaching::Force).unwrap();
        }
        other => panic!("{other}"),
    }
}

/// Attaches a new volume.
fn plug(cloud: &Cloud, id: &InstanceId) -> String {
    let request = CreateVolume {
        from: VolumeSource::Empty(Bytes(SIZE)),
        tags: Vec::new(),
    };
    let volume = cloud.create_volume(&request).unwrap().document.volume_id;
    let request = AttachVolume {
        volume: volume.clone(),
        instance: id.to_string(),
        device: None,
    };
    cloud.attach_volume(&request).unwrap();
    volume
}

/// Without waiting for the guest.
fn unplug(cloud: &Cloud, volume: &str, manner: Detaching) -> crate::Result<()> {
    let request = DetachVolume {
        volume: volume.to_owned(),
        manner,
        patience: Some(Duration::ZERO),
    };
    cloud.detach_volume(&request).map(drop)
}

/// The volumes that an instance has, and the disks of its machine.
fn disks(cloud: &Cloud, id: &InstanceId) -> (Vec<String>, Vec<String>) {
    let mappings = instance(cloud, id).block_device_mappings;
    let status = cloud.machines.status(&cloud.instance_directory(id)).unwrap();
    (
        mappings.into_iter().map(|disk| disk.ebs.volume_id).collect(),
        status.disks.into_iter().map(|disk| disk.id).collect(),
    )
}

/// A disk that was taken away by force is gone at once for its guest; the machine closes its files in its own time, and
/// the first command after that records it.
fn files_are_closed(cloud: &Cloud, id: &InstanceId) {
    let dir = cloud.instance_directory(id);
    until("a disk that was taken is closed", || {
        let disks = cloud.machines.status(&dir).unwrap().disks;
        disks.iter().all(|disk| !disk.leaving)
    });
}

#[test]
fn a_volume_comes_to_a_real_machine_is_baked_with_it_and_is_taken_from_it() {
    let home = RealHome::new();
    let cloud = home.cloud();
    let id = launch(&cloud, with_kernel("base", &micro_guest::minds_the_button()));
    has_printed(&cloud, &id, "up");
    let volume = plug(&cloud, &id);
    let (catalogue, machine) = disks(&cloud, &id);
    assert_eq!((catalogue.last(), &catalogue), (Some(&volume), &machine));
    // A live bake makes it two layers deep.
    cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap();
    let error = unplug(&cloud, &volume, Detaching::Ask).unwrap_err();
    assert_eq!(error.code(), Code::IncorrectState, "{error}");
    assert_eq!(disks(&cloud, &id).1.len(), 2, "the guest has not let go");
    unplug(&cloud, &volume, Detaching::Force).unwrap();
    let (catalogue, machine) = disks(&cloud, &id);
    assert_eq!((catalogue.len(), &catalogue), (1, &machine));
    let request = AttachVolume {
        volume: volume.clone(),
        instance: id.to_string(),
        device: None,
    };
    cloud.attach_volume(&request).unwrap();
    cloud.stop_instances(stop(&id, 60)).unwrap();
    cloud.start_instances(&[id.to_string()]).unwrap();
    assert_eq!(
        disks(&cloud, &id).1.last(),
        Some(&volume),
        "at the next start, too"
    );
    cloud.terminate_instances(&[id.to_string()]).unwrap();
    cloud.delete_volume(&volume).unwrap();
    assert_whole(&cloud);
}

#[test]
fn hazard_a_command_killed_around_a_real_freeze_leaves_a_guest_that_goes_on() {
    for (scenario, point) in [
        ("run", "run_instances.after_attach"),
        ("run", "run_instances.after_spawn"),
        ("bake", "create_image.before_freeze"),
        ("bake", "create_image.after_freeze"),
        ("bake", "create_image.after_commit"),
        ("attach", "attach_volume.after_intent"),
        ("attach", "attach_volume.after_plugging"),
        ("detach", "detach_volume.after_intent"),
        ("detach", "detach_volume.after_force"),
    ] {
        let home = RealHome::new();
        let cloud = home.cloud();
        let mut request = with_kernel("base", &micro_guest::minds_the_button());
        request.tags = named("runs");
        let id = launch(&cloud, request);
        drop(cloud);
        let output = started_anew("tests::real_machines::the_command_with_a_real_machine_that_is_killed")
            .env(HOME, home.path())
            .env(SCENARIO, scenario)
            .env("KILN_VMM", kiln_vmm())
            .env("KILN_CRASH_POINT", point)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.signal(),
            Some(9),
            "{scenario} did not come to {point}: {text}"
        );
        files_are_closed(&home.cloud(), &id);
        let cloud = home.cloud();
        println!("{scenario} killed at {point}: {:?}", cloud.notices());
        assert_whole(&cloud);
        assert_eq!(state(&cloud, &id), "running");
        let (catalogue, machine) = disks(&cloud, &id);
        assert_eq!(catalogue, machine, "{scenario} killed at {point}");
        cloud.create_image(bake(&id, "newer", Reboot::No)).unwrap();
        assert_eq!(
            cloud.stop_instances(stop(&id, 60)).unwrap().warnings,
            Vec::<String>::new()
        );
        cloud.start_instances(&[id.to_string()]).unwrap();
        assert_whole(&cloud);
    }
}
