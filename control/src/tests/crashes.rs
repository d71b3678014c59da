//! A command killed at each of its steps: what it was about has happened or it has not, never half of it, and the next
//! command finds nothing left over.

use super::kernels::{change, given, kernels_in};
use super::*;
use crate::catalog::volumes;
use crate::instance::{Ending, KernelChoice, StopInstances, VolumeSource, Waiting};
use crate::{AttachVolume, CreateVolume, DetachVolume, Detaching, OnShutdown};
use crate::{Code, CreateSnapshot, DeregisterImage, DescribeImages, Lifetime, OnDeregister};
use kiln_imagefmt::Disk;
use kiln_tests::SmallDisk;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;

pub(super) const HOME: &str = "KILN_TEST_HOME";
pub(super) const SCENARIO: &str = "KILN_TEST_SCENARIO";
const POINT: &str = "KILN_CRASH_POINT";

/// What is killed while the guest has not ended yet.
const SLOW: &str = " of a slow guest";

/// What is killed with a guest that has no agent.
const BUTTON: &str = " by the button";

/// What is done to an instance that runs.
const LIVE: &str = " live";

/// What is killed with a guest that lets go of no disk.
const FORCE: &str = " by force";

/// An instance that is to go when it stops.
const GOES: &str = "stop of one that is to go";

/// The kernel that the stopped instance was launched with.
const FIRST_KERNEL: &[u8] = b"the first kernel";

/// The kernel that it is given later.
const NEXT_KERNEL: &[u8] = b"the next kernel, which is longer";

/// What the command does that is killed; the points at which it can be.
const SCENARIOS: &[(&str, &[&str])] = &[
    (
        "import",
        &[
            "import_image.after_intent",
            "import_image.after_copy",
            "import_image.after_seal",
        ],
    ),
    (
        "run",
        &[
            "run_instances.after_reservation",
            "run_instances.after_folder",
            "run_instances.after_overlays",
            "run_instances.after_attach",
            "run_instances.after_spawn",
            "run_instances.after_running",
        ],
    ),
    (
        "run --rm",
        &[
            "run_instances.after_reservation",
            "run_instances.after_spawn",
            "run_instances.after_running",
        ],
    ),
    (
        "bake live",
        &[
            "create_image.after_intent",
            "create_image.after_overlays",
            "create_image.before_freeze",
            "create_image.after_freeze",
            "create_image.after_seal",
            "create_image.after_commit",
        ],
    ),
    (
        "bake with reboot",
        &[
            "create_image.after_intent",
            "ending.after_asking",
            "create_image.after_ending",
            "create_image.after_overlays",
            "create_image.before_freeze",
            "create_image.after_freeze",
            "create_image.after_seal",
            "create_image.after_commit",
            "create_image.after_restart",
        ],
    ),
    (
        "bake stopped",
        &[
            "create_image.after_intent",
            "create_image.after_overlays",
            "create_image.after_seal",
        ],
    ),
    (
        "snapshot",
        &[
            "create_image.after_overlays",
            "create_image.after_freeze",
            "create_image.after_commit",
        ],
    ),
    ("start", &["start.after_claim", "start.after_spawn"]),
    ("stop", &["stop.after_claim", "stop.after_end"]),
    ("stop --no-wait", &["stop.after_asking"]),
    (GOES, &["stop.after_end", "terminate.after_claim"]),
    (
        "reboot of a slow guest",
        &["reboot.after_claim", "reboot.after_button"],
    ),
    (
        "reboot by the button",
        &["reboot.before_restart", "reboot.after_restart"],
    ),
    (
        "volume create",
        &[
            "create_volume.after_intent",
            "create_volume.after_layer",
            "create_volume.after_commit",
        ],
    ),
    (
        "volume attach",
        &["attach_volume.before_commit", "attach_volume.after_commit"],
    ),
    (
        "volume detach",
        &["detach_volume.before_commit", "detach_volume.after_commit"],
    ),
    (
        "volume attach live",
        &[
            "attach_volume.after_intent",
            "attach_volume.after_plugging",
            "attach_volume.after_commit",
        ],
    ),
    (
        "volume detach live",
        &[
            "detach_volume.after_intent",
            "detach_volume.after_asking",
            "detach_volume.before_commit",
            "detach_volume.after_commit",
        ],
    ),
    ("volume detach live by force", &["detach_volume.after_force"]),
    (
        "volume delete",
        &["collect.after_condemning", "collect.after_removing"],
    ),
    (
        "modify",
        &[
            "modify.after_intent",
            "modify.after_files",
            "modify.after_commit",
            "modify.after_removing",
        ],
    ),
    (
        "terminate",
        &[
            "terminate.after_claim",
            "terminate.after_end",
            "terminate.after_volumes",
            "terminate.after_commit",
            "collect.after_condemning",
            "collect.after_removing",
        ],
    ),
];

/// What the killed command finds: a running instance, a stopped one with a kernel that it was given, an image.
pub(super) fn prepare(home: &Home) -> (Cloud, InstanceId, InstanceId) {
    let cloud = home.cloud();
    import(&cloud, "base");
    let mut request = RunInstances::of("base");
    request.tags = named("runs");
    let runs = launch(&cloud, request);
    home.machines
        .guest_writes(&cloud.instance_directory(&runs), 0, 1 << 20, &[b'1'; 512]);
    let mut request = RunInstances::of("base");
    request.tags = named("stands");
    request.kernel = Some(given(FIRST_KERNEL, None, "first"));
    let stands = launch(&cloud, request);
    cloud.stop_instances(stop("stands", Waiting::UntilDone)).unwrap();
    (cloud, runs, stands)
}

fn stop(name: &str, waiting: Waiting) -> StopInstances {
    StopInstances {
        instances: vec![name.to_owned()],
        waiting,
        ..StopInstances::default()
    }
}

/// Does what a scenario is about; `Err` if Kiln says no.
pub(super) fn act(cloud: &Cloud, scenario: &str) -> crate::Result<()> {
    let bake = |name: &str, reboot| CreateImage {
        instance: name.to_owned(),
        ..super::bake(&any(), "new", reboot)
    };
    let scenario = scenario
        .trim_end_matches(SLOW)
        .trim_end_matches(BUTTON)
        .trim_end_matches(FORCE);
    match scenario {
        "import" => drop(import(cloud, "new")),
        "run" | "run --rm" => {
            let mut request = RunInstances::of("base");
            request.count = 2;
            if scenario == "run --rm" {
                request.count = 1;
                request.lifetime = Lifetime::Session;
                request.on_shutdown = OnShutdown::Terminate;
            }
            cloud.run_instances(request)?;
        }
        "bake live" => drop(cloud.create_image(bake("runs", Reboot::No))?),
        "bake with reboot" => drop(cloud.create_image(bake("runs", Reboot::Yes))?),
        "bake stopped" => drop(cloud.create_image(bake("stands", Reboot::Yes))?),
        "snapshot" => {
            let id = cloud.resolve_instance("runs")?;
            let volume = instance(cloud, &id).block_device_mappings[0]
                .ebs
                .volume_id
                .clone();
            cloud.create_snapshot(CreateSnapshot {
                volume,
                description: None,
                tags: Vec::new(),
            })?;
        }
        GOES => {
            let mut request = RunInstances::of("base");
            request.on_shutdown = OnShutdown::Terminate;
            let id = launch(cloud, request);
            cloud.stop_instances(stop(id.as_str(), Waiting::UntilDone))?;
        }
        "start" => drop(cloud.start_instances(&["stands".to_owned()])?),
        "reboot" => drop(cloud.reboot_instances(&["runs".to_owned()], Ending::default())?),
        "stop" => drop(cloud.stop_instances(stop("runs", Waiting::UntilDone))?),
        "stop --no-wait" => drop(cloud.stop_instances(stop("runs", Waiting::No))?),
        "terminate" => drop(cloud.terminate_instances(&["runs".to_owned()])?),
        "deregister" => {
            let request = DeregisterImage {
                image: "base".to_owned(),
                snapshots: OnDeregister::DeleteSnapshots,
            };
            cloud.deregister_image(request)?;
        }
        "volume create" | "volume attach" | "volume attach live" | "volume detach" | "volume detach live"
        | "volume delete" => {
            let volume = cloud.create_volume(&CreateVolume {
                from: VolumeSource::Empty(Bytes(SIZE)),
                tags: named("new"),
            })?;
            let volume = volume.document.volume_id;
            if scenario.contains("tach") {
                let instance = if scenario.ends_with(LIVE) {
                    "runs"
                } else {
                    "stands"
                };
                cloud.attach_volume(&AttachVolume {
                    volume: volume.clone(),
                    instance: instance.to_owned(),
                    device: None,
                })?;
            }
            if scenario.starts_with("volume detach") {
                cloud.detach_volume(&detaching(&volume))?;
            }
            if scenario == "volume delete" {
                cloud.delete_volume(&volume)?;
            }
        }
        "modify" => {
            let kernel = KernelChoice::Given(given(NEXT_KERNEL, Some(b"its initrd"), "next"));
            cloud.modify_instance(&change("stands", kernel))?;
        }
        "collect" => drop(cloud.collect()?),
        other => panic!("{other}"),
    }
    Ok(())
}

/// At once, and by force if need be.
fn detaching(volume: &str) -> DetachVolume {
    DetachVolume {
        volume: volume.to_owned(),
        manner: Detaching::Force,
        patience: Some(std::time::Duration::ZERO),
    }
}

fn any() -> InstanceId {
    InstanceId::parse("i-00000000000000000").unwrap()
}

/// The command that is killed: the test program started anew, for this one test.
#[test]
fn the_command_that_is_killed() {
    let (Some(home), Ok(scenario)) = (std::env::var_os(HOME), std::env::var(SCENARIO)) else {
        return;
    };
    let mut options = Options::new(home);
    options.memory = Some(Bytes(64 << 30));
    let machines = StandIns::default();
    if scenario.ends_with(SLOW) {
        *machines.guests.lock().unwrap() = Guests::Ignore;
    }
    if scenario.ends_with(BUTTON) {
        *machines.guests.lock().unwrap() = Guests::MindTheButton;
    }
    if scenario.ends_with(FORCE) {
        *machines.guests.lock().unwrap() = Guests::HoldOn;
    }
    let cloud = Cloud::open_with(options, Arc::new(machines)).unwrap();
    act(&cloud, &scenario).unwrap();
}

pub(super) fn killed_at(home: &Home, scenario: &str, point: &str) {
    let output = started_anew("tests::crashes::the_command_that_is_killed")
        .env(HOME, home.path())
        .env(SCENARIO, scenario)
        .env(POINT, point)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.signal(),
        Some(9),
        "{scenario} did not come to {point}: {text}"
    );
}

#[test]
fn hazard_a_command_killed_at_any_step_leaves_before_or_after_and_nothing_over() {
    for (scenario, points) in SCENARIOS {
        for point in *points {
            let home = Home::new();
            let (cloud, runs, stands) = prepare(&home);
            drop(cloud);
            killed_at(&home, scenario, point);

            let cloud = home.cloud();
            let context = format!("{scenario} killed at {point}: {:?}", cloud.notices());
            println!("{context}");
            assert_whole(&cloud);
            assert!(
                home.cloud().notices().is_empty(),
                "{context}: recovery is not done at once"
            );
            let states = [state(&cloud, &runs), state(&cloud, &stands)];
            let right: &[[&str; 2]] = match *scenario {
                "start" => &[["running", "running"], ["running", "stopped"]],
                "stop" | "stop --no-wait" => &[
                    ["running", "stopped"],
                    ["stopping", "stopped"],
                    ["stopped", "stopped"],
                ],
                "terminate" => &[["terminated", "stopped"]],
                _ => &[["running", "stopped"]],
            };
            assert!(right.contains(&states), "{context}: {states:?}");
            assert_images_are_whole(&cloud, &context);
            assert_guests_are_as_launched(&cloud, scenario, &context);
            assert_volumes_are_whole(&cloud, &context);
            assert_kernels_are_whole(&cloud, &stands, &context);
            assert_can_be_done_again(&cloud, scenario, &context);
            drop(cloud);
            assert_whole(&home.cloud());
        }
    }
}

/// An image is there with all it should hold, and can be launched, or it is not there.
pub(super) fn assert_images_are_whole(cloud: &Cloud, context: &str) {
    for image in cloud.describe_images(DescribeImages::default()).unwrap().images {
        assert_eq!(image.state.as_str(), "available", "{context}");
        assert_eq!(content(cloud, &image.image_id, 0, 4), b"from", "{context}");
        if image.source_instance_id.is_some() {
            let expected = if context.starts_with("bake stopped") {
                [0; 512]
            } else {
                [b'1'; 512]
            };
            assert_eq!(
                content(cloud, &image.image_id, 1 << 20, 512),
                expected,
                "{context}"
            );
        }
        let id = run(cloud, &image.image_id);
        cloud.terminate_instances(&[id.to_string()]).unwrap();
    }
}

/// Of a launch, all instances run or none does; of a session, none.
pub(super) fn assert_guests_are_as_launched(cloud: &Cloud, scenario: &str, context: &str) {
    let all = cloud.describe_instances(DescribeInstances::default()).unwrap();
    for reservation in all.reservations {
        let states: BTreeSet<&str> = reservation
            .instances
            .iter()
            .map(|one| one.state.name.as_str())
            .collect();
        assert_eq!(states.len(), 1, "{context}: {states:?}");
        let is_new = name_of_first(&reservation).is_none();
        if is_new && ["run --rm", GOES].contains(&scenario) {
            assert_eq!(states, BTreeSet::from(["terminated"]), "{context}");
        }
        for one in &reservation.instances {
            let dir = cloud.home.join("instances").join(&one.instance_id);
            assert_eq!(dir.exists(), one.state.name.as_str() != "terminated", "{context}");
        }
    }
}

/// A volume is attached or it is not, and its disk is there.
pub(super) fn assert_volumes_are_whole(cloud: &Cloud, context: &str) {
    let rows = cloud
        .catalog
        .read(|tx| volumes::all(tx, cloud.region.as_str(), &cloud.account))
        .unwrap();
    for row in rows {
        let state = match row.attachment {
            Some(_) => "in-use",
            None => "available",
        };
        assert_eq!(row.state.as_str(), state, "{context}: {}", row.id);
        assert_eq!(
            cloud.layers.open_chain(&row.layer).unwrap().size(),
            row.size.0,
            "{context}"
        );
    }
}

/// The stopped instance has the kernel that it was launched with or the next one, and no other.
pub(super) fn assert_kernels_are_whole(cloud: &Cloud, stands: &InstanceId, context: &str) {
    let row = cloud
        .catalog
        .read(|tx| crate::catalog::instances::get(tx, stands))
        .unwrap();
    let folder = cloud.instance_directory(stands);
    let (kernel, initrd) = row.boot.kernel_names().unwrap();
    let all: Vec<PathBuf> = initrd
        .iter()
        .chain([&kernel])
        .map(|name| folder.join(name))
        .collect();
    assert_eq!(kernels_in(&folder), all, "{context}");
    let holds = if initrd.is_some() {
        NEXT_KERNEL
    } else {
        FIRST_KERNEL
    };
    assert_eq!(std::fs::read(folder.join(kernel)).unwrap(), holds, "{context}");
}

fn name_of_first(reservation: &crate::Reservation) -> Option<&str> {
    crate::name_of(&reservation.instances.first()?.tags)
}

fn assert_can_be_done_again(cloud: &Cloud, scenario: &str, context: &str) {
    if cloud.resolve_image("new").is_ok() {
        let request = DeregisterImage {
            image: "new".to_owned(),
            snapshots: OnDeregister::DeleteSnapshots,
        };
        cloud.deregister_image(request).unwrap();
    }
    match act(cloud, scenario) {
        Ok(()) => {}
        // What has been terminated cannot be terminated by its name again.
        Err(error) => assert_eq!(
            error.code(),
            Code::InvalidInstanceIdNotFound,
            "{context}: {error}"
        ),
    }
}

#[test]
fn every_crash_point_is_tried() {
    let tried: BTreeSet<&str> = SCENARIOS
        .iter()
        .flat_map(|(_, points)| points.iter().copied())
        .collect();
    let known: BTreeSet<&str> = crate::CRASH_POINTS.iter().copied().collect();
    assert_eq!(tried, known);
}

#[test]
fn a_machine_that_died_with_the_command_that_froze_it_goes_on_from_its_overlay() {
    for point in ["create_image.before_freeze", "create_image.after_freeze"] {
        let home = Home::new();
        let (cloud, runs, _) = prepare(&home);
        drop(cloud);
        killed_at(&home, "bake live", point);
        home.kill_machine(&runs, kiln_vmm::client::ExitReason::HostLost);
        let cloud = home.cloud();
        assert_whole(&cloud);
        assert_eq!(state(&cloud, &runs), "stopped");
        assert_eq!(content(&cloud, "new", 1 << 20, 512), [b'1'; 512], "{point}");
        cloud.start_instances(&[runs.to_string()]).unwrap();
        home.machines
            .guest_writes(&cloud.instance_directory(&runs), 0, 1 << 20, &[b'2'; 512]);
        assert_eq!(content(&cloud, "new", 1 << 20, 512), [b'1'; 512], "{point}");
        cloud.create_image(bake(&runs, "newer", Reboot::No)).unwrap();
        assert_eq!(content(&cloud, "newer", 1 << 20, 512), [b'2'; 512], "{point}");
        assert_whole(&cloud);
    }
}

#[test]
fn a_launch_and_its_session_of_one_millisecond_are_undone_in_their_order() {
    // The ids are random: one round in two would meet the session first.
    for _ in 0..8 {
        let home = Home::new();
        import(&home.cloud(), "base");
        killed_at(&home, "run --rm", "run_instances.after_reservation");
        let catalog = crate::catalog::Catalog::open(&home.path()).unwrap();
        let same = catalog.write(|tx| Ok(tx.execute("UPDATE operations SET created = 1", [])?));
        assert_eq!(same.unwrap(), 2);
        let cloud = home.cloud();
        let [notice] = &cloud.notices()[..] else {
            panic!("{:?}", cloud.notices());
        };
        assert!(notice.contains("has been undone"), "{notice}");
        assert_whole(&cloud);
    }
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let Some(disk) = SmallDisk::here() else {
        return SmallDisk::start("tests::crashes::a_full_disk_is_named_and_loses_nothing", 24, &[]);
    };
    let home = disk.path().join("home");
    let machines = Arc::new(StandIns::default());
    let mut options = Options::new(&home);
    options.memory = Some(Bytes(64 << 30));
    let cloud = Cloud::open_with(options, machines.clone()).unwrap();
    import(&cloud, "base");
    let id = run(&cloud, "base");
    // From a little room to none: every step of the work meets the full disk once.
    for room in (0..40).map(|n| n * 16384) {
        disk.fill(room);
        for reboot in [Reboot::No, Reboot::Yes] {
            match cloud.create_image(bake(&id, &format!("baked-{room}-{reboot:?}"), reboot)) {
                Ok(_) => {}
                Err(error) => {
                    // Not even undoing may fit: then the instance stays taken until there is room.
                    let codes = [Code::InsufficientVolumeCapacity, Code::IncorrectInstanceState];
                    assert!(codes.contains(&error.code()), "with {room}: {error}");
                }
            }
        }
        disk.clear();
        let again = Cloud::open_with(
            Options {
                memory: Some(Bytes(64 << 30)),
                ..Options::new(&home)
            },
            machines.clone(),
        )
        .unwrap();
        assert_whole(&again);
        if state(&again, &id) != "running" {
            again.start_instances(&[id.to_string()]).unwrap();
        }
        machines.guest_writes(&again.instance_directory(&id), 0, 1 << 20, &[b'1'; 512]);
    }
    cloud.create_image(bake(&id, "at the end", Reboot::No)).unwrap();
    assert_eq!(content(&cloud, "at the end", 1 << 20, 512), [b'1'; 512]);
}
