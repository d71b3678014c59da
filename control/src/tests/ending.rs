//! How instances end, and begin again.

use super::*;
use crate::OnShutdown;
use crate::instance::{Ending, StopInstances, Waiting};
use crate::{Code, DescribeVolumes, Lifetime};
use kiln_vmm::client::ExitReason;

fn stop(id: &InstanceId, ending: Ending) -> StopInstances {
    StopInstances {
        instances: vec![id.to_string()],
        ending,
        waiting: Waiting::UntilDone,
    }
}

const SOON: Ending = Ending::Clean(Duration::from_millis(60));
/// For guests that do as they are told: no busy host makes them late.
const IN_TIME: Ending = Ending::Clean(Duration::from_secs(60));

#[test]
fn a_guest_with_an_agent_is_stopped_cleanly_and_started_again_with_its_disk() {
    let (home, cloud, id) = started();
    let before = instance(&cloud, &id).block_device_mappings[0]
        .ebs
        .volume_id
        .clone();
    let reply = cloud.stop_instances(stop(&id, SOON)).unwrap();
    assert_eq!(reply.warnings, Vec::<String>::new());
    let change = &reply.document.stopping_instances[0];
    assert_eq!((change.previous_state.code, change.current_state.code), (16, 80));
    assert_eq!(home.asked(), ["agent"]);
    let seen = instance(&cloud, &id);
    assert_eq!(seen.state_reason.unwrap().code, "Client.UserInitiatedShutdown");
    assert!(
        seen.state_transition_reason.starts_with("User initiated (2")
            && seen.state_transition_reason.ends_with(" GMT)"),
        "{}",
        seen.state_transition_reason
    );
    cloud.start_instances(&[id.to_string()]).unwrap();
    assert_eq!(
        instance(&cloud, &id).block_device_mappings[0].ebs.volume_id,
        before
    );
    assert_eq!(state(&cloud, &id), "running");
}

#[test]
fn a_guest_without_an_agent_is_stopped_by_the_power_button() {
    let (home, cloud, id) = started();
    home.guests(Guests::MindTheButton);
    let reply = cloud.stop_instances(stop(&id, SOON)).unwrap();
    assert_eq!(reply.warnings, Vec::<String>::new());
    assert_eq!(home.asked(), ["agent", "button"]);
}

#[test]
fn hazard_a_guest_that_ignores_everything_ends_by_the_deadline_and_that_is_said() {
    let (home, cloud, id) = started();
    home.guests(Guests::Ignore);
    let reply = cloud.stop_instances(stop(&id, SOON)).unwrap();
    assert!(
        reply.warnings[0].contains("ended by force"),
        "{:?}",
        reply.warnings
    );
    assert_eq!(home.asked().last(), Some(&"kill"));
    assert_eq!(state(&cloud, &id), "stopped");
}

#[test]
fn stopping_what_is_stopped_and_starting_what_runs_are_no_errors() {
    let (_home, cloud, id) = started();
    cloud.start_instances(&[id.to_string()]).unwrap();
    cloud.stop_instances(stop(&id, SOON)).unwrap();
    let change = cloud
        .stop_instances(stop(&id, SOON))
        .unwrap()
        .document
        .stopping_instances
        .remove(0);
    assert_eq!(change.previous_state.code, 80);
    cloud.terminate_instances(&[id.to_string()]).unwrap();
    cloud.terminate_instances(&[id.to_string()]).unwrap();
    let error = cloud.start_instances(&[id.to_string()]).unwrap_err();
    assert_eq!(error.code(), Code::IncorrectInstanceState);
}

#[test]
fn a_machine_that_died_shows_as_stopped_with_the_reason_and_can_be_started() {
    for (reason, code) in [
        (ExitReason::VmmError, "Server.InternalError"),
        (ExitReason::Killed, "Server.InternalError"),
        (ExitReason::HostLost, "Server.InternalError"),
        (ExitReason::GuestCrash, "Client.InternalError"),
        (ExitReason::Shutdown, "Client.InstanceInitiatedShutdown"),
    ] {
        let (home, cloud, id) = started();
        home.kill_machine(&id, reason);
        let seen = instance(&cloud, &id);
        assert_eq!(seen.state.name.as_str(), "stopped");
        assert_eq!(seen.state_reason.unwrap().code, code, "{reason:?}");
        cloud.start_instances(&[id.to_string()]).unwrap();
        assert_eq!(state(&cloud, &id), "running");
        assert_eq!(instance(&cloud, &id).state_reason, None);
    }
}

#[test]
fn a_start_that_fails_leaves_the_instance_stopped_with_the_reason() {
    let (home, cloud, id) = started();
    cloud.stop_instances(stop(&id, SOON)).unwrap();
    home.guests(Guests::DoNotStart);
    cloud.start_instances(&[id.to_string()]).unwrap_err();
    let seen = instance(&cloud, &id);
    assert_eq!(seen.state.name.as_str(), "stopped");
    assert!(seen.state_reason.unwrap().message.contains("no menu"));
    assert_whole(&cloud);
}

#[test]
fn a_reboot_is_a_reset_that_the_agent_makes_or_the_deadline() {
    let (home, cloud, id) = started();
    cloud.reboot_instances(&[id.to_string()], IN_TIME).unwrap();
    assert_eq!(home.asked(), ["agent"]);
    home.guests(Guests::MindTheButton);
    cloud.reboot_instances(&[id.to_string()], IN_TIME).unwrap();
    assert!(home.asked().ends_with(&["button", "spawn"]));
    home.guests(Guests::ObeySilently);
    let reply = cloud.reboot_instances(&[id.to_string()], IN_TIME).unwrap();
    assert_eq!(home.asked(), ["agent"], "it has begun anew: not once more");
    assert_eq!(reply.warnings, Vec::<String>::new());
    home.guests(Guests::Ignore);
    let reply = cloud.reboot_instances(&[id.to_string()], SOON).unwrap();
    assert!(reply.warnings[0].contains("by force"), "{:?}", reply.warnings);
    assert_eq!(state(&cloud, &id), "running");
    assert_whole(&cloud);
}

#[test]
fn a_guest_that_powers_off_just_when_its_reboot_is_at_its_deadline_is_started_again() {
    let (home, cloud, id) = started();
    home.asked();
    home.guests(Guests::EndAtTheReset);
    let at_once = Ending::Clean(Duration::ZERO);
    let reply = cloud.reboot_instances(&[id.to_string()], at_once).unwrap();
    assert_eq!(home.asked(), ["agent", "reset", "spawn"]);
    assert_eq!(reply.warnings, Vec::<String>::new());
    assert_eq!(state(&cloud, &id), "running");
    assert_whole(&cloud);
}

/// Work that is cut short while the guest powers off, and where.
const CUT_SHORT: [(&str, &str); 2] = [
    ("bake with reboot of a slow guest", "ending.after_asking"),
    ("reboot of a slow guest", "reboot.after_button"),
];

#[test]
fn hazard_a_guest_that_still_ends_when_its_reboot_is_cut_short_is_started_again() {
    for (scenario, point) in CUT_SHORT {
        let home = Home::new();
        let (cloud, runs, _) = crashes::prepare(&home);
        let dir = cloud.instance_directory(&runs);
        drop(cloud);
        crashes::killed_at(&home, scenario, point);
        home.asked();
        // It is still there at the first look, and ends while it is waited for.
        let machines = home.machines.clone();
        home.machines.meanwhile.is(move || {
            let ends = machines.clone();
            machines
                .meanwhile
                .is(move || ends.end(&dir, ExitReason::Shutdown));
        });
        let cloud = home.cloud();
        assert_eq!(home.asked(), ["spawn"], "{scenario}: {:?}", cloud.notices());
        assert_eq!(state(&cloud, &runs), "running", "{scenario}");
        assert_whole(&cloud);
    }
}

#[test]
fn hazard_the_command_after_one_that_was_cut_short_asks_no_guest_to_end_and_ends_none() {
    for (scenario, point) in CUT_SHORT {
        let home = Home::new();
        let (cloud, runs, _) = crashes::prepare(&home);
        drop(cloud);
        crashes::killed_at(&home, scenario, point);
        home.asked();
        home.guests(Guests::Ignore);
        let cloud = home.cloud();
        assert_eq!(home.asked(), [""; 0], "{scenario}: {:?}", cloud.notices());
        let [notice] = &cloud.notices()[..] else {
            panic!("{scenario}: {:?}", cloud.notices());
        };
        assert!(notice.contains("has been left alone"), "{notice}");
        assert_eq!(state(&cloud, &runs), "running", "{scenario}");
        assert_whole(&cloud);
    }
}

#[test]
fn a_reboot_that_is_cut_short_once_its_guest_has_ended_starts_it_once_and_tells_what_came_of_it() {
    for (point, guests, asked, state_after, told) in [
        (
            "reboot.before_restart",
            Guests::Obey,
            &["spawn"][..],
            "running",
            "has been finished",
        ),
        (
            "reboot.before_restart",
            Guests::DoNotStart,
            &["spawn"],
            "stopped",
            "could not be started again",
        ),
        (
            "reboot.after_restart",
            Guests::Obey,
            &[],
            "running",
            "is now what its machine is",
        ),
    ] {
        let home = Home::new();
        let (cloud, runs, _) = crashes::prepare(&home);
        drop(cloud);
        crashes::killed_at(&home, "reboot by the button", point);
        home.asked();
        home.guests(guests);
        let cloud = home.cloud();
        assert_eq!(home.asked(), asked, "{point}: {:?}", cloud.notices());
        let [notice] = &cloud.notices()[..] else {
            panic!("{point}: {:?}", cloud.notices());
        };
        assert!(notice.contains(told), "{point}: {notice}");
        assert_eq!(state(&cloud, &runs), state_after, "{point}");
        assert_whole(&cloud);
    }
}

#[test]
fn a_terminated_instance_takes_its_disks_with_it_and_is_known_for_an_hour() {
    let (_home, cloud, id) = started();
    cloud.terminate_instances(&[id.to_string()]).unwrap();
    assert_eq!(state(&cloud, &id), "terminated");
    assert!(
        cloud
            .describe_volumes(DescribeVolumes::default())
            .unwrap()
            .volumes
            .is_empty()
    );
    assert!(!cloud.instance_directory(&id).exists());
    cloud
        .catalog
        .write(|tx| {
            tx.execute(
                "UPDATE instances SET terminated = terminated - 3600 * 1000 - 1",
                [],
            )?;
            Ok(())
        })
        .unwrap();
    assert!(
        cloud
            .describe_instances(DescribeInstances::default())
            .unwrap()
            .reservations
            .is_empty()
    );
    assert_whole(&cloud);
}

#[test]
fn a_stop_without_waiting_is_seen_to_be_done_later() {
    let (home, cloud, id) = started();
    home.guests(Guests::Ignore);
    let request = StopInstances {
        waiting: Waiting::No,
        ..stop(&id, SOON)
    };
    cloud.stop_instances(request).unwrap();
    assert_eq!(state(&cloud, &id), "stopping");
    home.kill_machine(&id, ExitReason::Shutdown);
    let seen = instance(&cloud, &id);
    assert_eq!(seen.state.name.as_str(), "stopped");
    assert_eq!(seen.state_reason.unwrap().code, "Client.UserInitiatedShutdown");
}

#[test]
fn an_instance_that_is_to_go_when_it_stops_is_terminated_and_never_recorded_as_stopped() {
    for by_itself in [false, true] {
        let home = Home::new();
        let cloud = home.cloud();
        import(&cloud, "base");
        let mut request = RunInstances::of("base");
        request.on_shutdown = OnShutdown::Terminate;
        let id = launch(&cloud, request);
        // A command that is killed there would leave it so for ever.
        let never_stopped =
            "CREATE TRIGGER never_stopped BEFORE UPDATE ON instances WHEN NEW.state = 'stopped'
                             BEGIN SELECT RAISE(ABORT, 'recorded as stopped'); END";
        cloud
            .catalog
            .write(|tx| Ok(tx.execute_batch(never_stopped)?))
            .unwrap();
        if by_itself {
            home.kill_machine(&id, ExitReason::Shutdown);
        } else {
            cloud.stop_instances(stop(&id, SOON)).unwrap();
        }
        assert_eq!(state(&cloud, &id), "terminated");
        assert_whole(&cloud);
    }
}

#[test]
fn an_instance_that_is_to_go_when_it_stops_is_terminated_though_its_reboot_was_cut_short() {
    let home = Home::new();
    let (cloud, runs, _) = crashes::prepare(&home);
    cloud
        .catalog
        .write(|tx| Ok(tx.execute("UPDATE instances SET on_shutdown = 'terminate'", [])?))
        .unwrap();
    drop(cloud);
    crashes::killed_at(&home, "reboot", "reboot.after_claim");
    home.kill_machine(&runs, ExitReason::Shutdown);
    let cloud = home.cloud();
    assert_eq!(state(&cloud, &runs), "terminated", "{:?}", cloud.notices());
    assert_whole(&cloud);
}

#[test]
fn an_instance_of_a_session_goes_with_its_command() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let mut request = RunInstances::of("base");
    request.lifetime = Lifetime::Session;
    let id = launch(&cloud, request);
    // Another command leaves it alone while this one lives.
    assert_eq!(state(&home.cloud(), &id), "running");
    drop(cloud);
    // A program that another test starts at this very moment has the command's files open until it begins.
    let next = (0..500)
        .find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            Some(home.cloud()).filter(|next| state(next, &id) == "terminated")
        })
        .expect("it goes");
    assert!(
        next.notices()[0].contains("outlived its command"),
        "{:?}",
        next.notices()
    );
    assert_whole(&next);
}

/// Its folder is a loop of links: nobody can look into it, root no more than others.
#[test]
fn an_instance_that_cannot_be_looked_at_is_told_and_stands_in_no_others_way() {
    let (home, cloud, id) = started();
    let other = run(&cloud, "base");
    let dir = cloud.instance_directory(&id);
    let aside = dir.with_extension("aside");
    std::fs::rename(&dir, &aside).unwrap();
    std::os::unix::fs::symlink(&dir, &dir).unwrap();
    home.kill_machine(&other, kiln_vmm::client::ExitReason::Shutdown);
    let cloud = home.cloud();
    let notices = cloud.notices();
    assert!(
        notices.len() == 1 && notices[0].contains(&format!("{id} cannot be looked at")),
        "{notices:?}"
    );
    assert_eq!(state(&cloud, &other), "stopped");
    cloud.start_instances(&[other.to_string()]).unwrap();
    let findings = cloud.check().unwrap().findings;
    let codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"FolderUnreadable"), "{findings:?}");
    std::fs::remove_file(&dir).unwrap();
    std::fs::rename(&aside, &dir).unwrap();
    assert_eq!(state(&home.cloud(), &id), "running");
    assert_whole(&home.cloud());
}
