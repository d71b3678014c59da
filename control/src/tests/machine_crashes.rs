//! A machine killed at each of its steps, as it starts and as its disks are frozen: nothing is lost, and it is known why
//! it is gone.

use super::real_machines::{RealHome, has_printed, kiln_vmm, open, stop, until, with_kernel};
use super::*;
use crate::catalog::volumes;
use kiln_imagefmt::{Access, Chain, Disk};

const HOME: &str = "KILN_TEST_DYING_HOME";
const SCENARIO: &str = "KILN_TEST_DYING_SCENARIO";

/// What is done with a machine that dies, and with what the points begin at which it does.
const SCENARIOS: &[(&str, &str)] = &[
    ("run", "launch."),
    ("start", "launch."),
    ("bake with reboot", "launch."),
    ("bake live", "freeze."),
];

/// What the guest has written before, and where.
const WRITTEN: &[u8] = b"written by the guest";
const PLACE: u64 = 1 << 20;

/// The command whose machine dies: the test program started anew, for this one test.
#[test]
fn the_command_whose_machine_is_killed() {
    let (Some(home), Ok(scenario)) = (std::env::var_os(HOME), std::env::var(SCENARIO)) else {
        return;
    };
    let cloud = open(home);
    let id = cloud.resolve_instance("stays").unwrap();
    // One that dies after it has said that it is ready has been started.
    let tried = |started: crate::Result<()>| {
        if let Err(error) = started {
            assert!(error.to_string().contains("was killed"), "{error}");
        }
    };
    match scenario.as_str() {
        "run" => {
            let request = with_kernel("base", &micro_guest::minds_the_button());
            tried(cloud.run_instances(request).map(drop));
        }
        "start" => tried(cloud.start_instances(&[id.to_string()]).map(drop)),
        "bake with reboot" => {
            let mut request = bake(&id, "new", Reboot::Yes);
            request.timeout = Duration::from_secs(60);
            cloud.create_image(request).unwrap();
        }
        "bake live" => {
            cloud.start_instances(&[id.to_string()]).unwrap();
            let reply = cloud.create_image(bake(&id, "new", Reboot::No)).unwrap();
            let said = reply.warnings.iter().any(|line| line.contains("in spite of"));
            assert!(said, "{:?}", reply.warnings);
        }
        other => panic!("{other}"),
    }
    println!("the command has ended");
}

/// A stopped instance, `stays`, whose guest has written to its disk.
fn prepare(home: &RealHome) -> InstanceId {
    let cloud = home.cloud();
    let mut request = with_kernel("base", &micro_guest::minds_the_button());
    request.tags = named("stays");
    let id = launch(&cloud, request);
    cloud.stop_instances(stop(&id, 60)).unwrap();
    let disks = cloud.catalog.read(|tx| volumes::of_instance(tx, &id)).unwrap();
    let disk = Chain::open_path(&cloud.layers.path(&disks[0].layer), Access::ReadWrite).unwrap();
    kiln_imagefmt::write_all_at(&disk, PLACE, WRITTEN).unwrap();
    disk.flush().unwrap();
    id
}

#[test]
fn hazard_a_machine_killed_at_any_step_loses_nothing_and_the_reason_is_known() {
    for (scenario, points) in SCENARIOS {
        for point in kiln_vmm::CRASH_POINTS
            .iter()
            .filter(|point| point.starts_with(points))
        {
            let home = RealHome::new();
            let id = prepare(&home);
            if *scenario == "bake with reboot" {
                home.cloud().start_instances(&[id.to_string()]).unwrap();
            }
            run_killed(&home, scenario, point);

            let cloud = home.cloud();
            let context = format!("{scenario} with a machine killed at {point}");
            println!("{context}: {:?}", cloud.notices());
            assert_whole(&cloud);
            let all = cloud.describe_instances(DescribeInstances::default()).unwrap();
            let died: Vec<Instance> = all
                .reservations
                .into_iter()
                .flat_map(|reservation| reservation.instances)
                .filter(|one| *scenario != "run" || one.instance_id != id.as_str())
                .collect();
            assert_eq!(died.len(), 1, "{context}");
            let of_launch = *scenario == "run" && *point != "launch.after_ready";
            let state = if of_launch { "terminated" } else { "stopped" };
            assert_eq!(died[0].state.name.as_str(), state, "{context}");
            let reason = died[0].state_reason.as_ref().unwrap();
            assert_eq!(reason.code, "Server.InternalError", "{context}");
            assert!(reason.message.contains("was killed"), "{context}: {reason:?}");

            if scenario.starts_with("bake") {
                assert_eq!(content(&cloud, "new", PLACE, WRITTEN.len()), WRITTEN, "{context}");
            }
            cloud.start_instances(&[id.to_string()]).unwrap();
            has_printed(&cloud, &id, "up");
            cloud.create_image(bake(&id, "newer", Reboot::No)).unwrap();
            assert_eq!(
                content(&cloud, "newer", PLACE, WRITTEN.len()),
                WRITTEN,
                "{context}"
            );
            assert_whole(&cloud);
        }
    }
}

fn run_killed(home: &RealHome, scenario: &str, point: &str) {
    let output = started_anew("tests::machine_crashes::the_command_whose_machine_is_killed")
        .env(HOME, home.path())
        .env(SCENARIO, scenario)
        .env("KILN_VMM", kiln_vmm())
        .env("KILN_VMM_CRASH_POINT", point)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario}, {point}: {text}");
    assert!(
        text.contains("the command has ended"),
        "{scenario}, {point}: {text}"
    );
    // One that dies after it has said that it is ready may do so a moment after its command has ended.
    let folders = || {
        std::fs::read_dir(home.path().join("instances"))
            .unwrap()
            .flatten()
    };
    until("the machine's end", || {
        folders().all(|folder| !kiln_vmm::client::is_running(&folder.path()).unwrap())
    });
}
