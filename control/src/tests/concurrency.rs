//! Several commands at once.

use super::*;
use crate::instance::StopInstances;
use crate::{Code, Result};

/// Runs several commands at once, each with the home opened anew, as processes would.
fn at_once<T: Send>(
    home: &Home,
    commands: usize,
    one: impl Fn(usize, &Cloud) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let barrier = std::sync::Barrier::new(commands);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..commands)
            .map(|number| {
                let (barrier, one) = (&barrier, &one);
                scope.spawn(move || {
                    let cloud = home.cloud();
                    barrier.wait();
                    one(number, &cloud)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn two_commands_on_one_instance_never_meet() {
    let (home, cloud, id) = started();
    for round in 0..10 {
        let results = at_once(&home, 4, |number, cloud| {
            let which = vec![id.to_string()];
            match number {
                0 => cloud
                    .create_image(bake(&id, &format!("baked-{round}"), Reboot::No))
                    .map(drop),
                1 => cloud
                    .create_image(bake(&id, &format!("rebooted-{round}"), Reboot::Yes))
                    .map(drop),
                2 => cloud
                    .stop_instances(StopInstances {
                        instances: which,
                        ..Default::default()
                    })
                    .map(drop),
                _ => cloud.reboot_instances(&which, crate::Ending::default()).map(drop),
            }
        });
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(error.code(), Code::IncorrectInstanceState, "{error}");
        }
        assert!(results.iter().any(Result::is_ok), "{results:?}");
        assert_whole(&cloud);
        cloud.start_instances(&[id.to_string()]).unwrap();
    }
}

#[test]
fn one_name_is_given_once() {
    let home = Home::new();
    let cloud = home.cloud();
    let results = at_once(&home, 4, |_, cloud| {
        let request = ImportImage {
            source_name: "x.raw".to_owned(),
            ..importing("one", disk_file(b"x"))
        };
        cloud.import_image(request)
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.code(), Code::InvalidAmiNameDuplicate, "{error}");
    }
    assert_whole(&cloud);
}

#[test]
fn hazard_one_client_token_makes_one_launch() {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let results = at_once(&home, 8, |_, cloud| {
        let mut request = RunInstances::of("base");
        request.client_token = Some("once".to_owned());
        cloud.run_instances(request)
    });
    let ids: std::collections::BTreeSet<String> = results
        .into_iter()
        .map(|result| result.unwrap().document.reservation_id)
        .collect();
    assert_eq!(ids.len(), 1);
    let all = cloud.describe_instances(DescribeInstances::default()).unwrap();
    assert_eq!(all.reservations[0].instances.len(), 1);
    assert_whole(&cloud);
}

#[test]
fn the_hosts_memory_is_given_once() {
    let home = Home::new();
    import(&home.cloud(), "base");
    let barrier = std::sync::Barrier::new(4);
    let launched: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut options = home.options();
                    options.memory = Some(Bytes(5 << 29));
                    let cloud = Cloud::open_with(options, home.machines.clone()).unwrap();
                    barrier.wait();
                    usize::from(cloud.run_instances(RunInstances::of("base")).is_ok())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(launched, 2);
}

#[test]
fn work_of_a_living_command_is_not_taken_for_cut_short() {
    let (home, cloud, id) = started();
    home.guests(Guests::Ignore);
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| {
            let ending = crate::Ending::Clean(Duration::from_secs(60));
            let request = StopInstances {
                instances: vec![id.to_string()],
                ending,
                ..Default::default()
            };
            cloud.stop_instances(request)
        });
        while state(&home.cloud(), &id) != "stopping" {
            assert!(!stopping.is_finished());
        }
        let other = home.cloud();
        assert!(other.notices().is_empty(), "{:?}", other.notices());
        let error = other.create_image(bake(&id, "baked", Reboot::No)).unwrap_err();
        assert_eq!(error.code(), Code::IncorrectInstanceState);
        home.kill_machine(&id, kiln_vmm::client::ExitReason::Shutdown);
        stopping.join().unwrap().unwrap();
    });
    assert_eq!(state(&cloud, &id), "stopped");
}
