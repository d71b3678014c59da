//! Commands killed, and hosts cut off from their power, at every single step on the file system.
//!
//! ```text
//!  command ──▶ recorder: every write, length, hole, mode, name and sync under the home (the catalogue's, too)
//!  cuts:  each prefix × what may be left of the changes that no sync has made durable
//!  judge: the home as it is left ──▶ opened by the next command ──▶ before or after, whole, nothing left over
//! ```
//! A killed command leaves a prefix with all of its changes and with its machines. A power cut leaves the machines dead
//! and any part of the changes: all, none, each one lost, each one alone.

mod host;
mod recorder;
mod tracer;

use self::host::{Host, Power, Tree};
use self::recorder::{ANSWER, Event, Recorder};
use super::crashes::{
    act, assert_guests_are_as_launched, assert_images_are_whole, assert_kernels_are_whole,
    assert_volumes_are_whole, prepare,
};
use super::*;
use crate::catalog::instances;
use crate::{DescribeSnapshots, DescribeVolumes};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const HOME: &str = "KILN_TEST_HOME";
const SCENARIO: &str = "KILN_TEST_SCENARIO";

/// The first image of a region.
const NEW_REGION: &str = "import into a new region";

const SCENARIOS: &[&str] = &[
    "collect",
    "deregister",
    "import",
    NEW_REGION,
    "run",
    "bake live",
    "bake with reboot",
    "bake stopped",
    "snapshot",
    "terminate",
    "volume create",
    "volume detach",
    "volume delete",
    "modify",
];

/// The command that is recorded: the test program started anew, for this one test.
#[test]
fn the_command_that_is_recorded() {
    let (Some(home), Ok(scenario)) = (std::env::var_os(HOME), std::env::var(SCENARIO)) else {
        return;
    };
    let mut options = Options::new(home);
    options.memory = Some(Bytes(64 << 30));
    options.region = region_of(&scenario, options.region);
    let cloud = Cloud::open_with(options, Arc::new(StandIns::default())).unwrap();
    act(&cloud, scenario.trim_end_matches(" into a new region")).unwrap();
    std::io::stdout().write_all(ANSWER.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

fn region_of(scenario: &str, usual: crate::Region) -> crate::Region {
    if scenario == NEW_REGION {
        crate::Region::parse("eu-north-1").unwrap()
    } else {
        usual
    }
}

/// A command on a home: how it was before, and what was done to it.
struct Life {
    scenario: &'static str,
    home: Home,
    stands: InstanceId,
    start: Tree,
    tape: Vec<Event>,
}

fn record(scenario: &'static str) -> Life {
    let home = Home::new();
    let (_, _, stands) = prepare(&home);
    if scenario == "collect" {
        let is_layer = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "qcow2");
        let known = Tree::read(&home.path());
        let layer = known.files().find(is_layer).unwrap();
        std::fs::copy(layer, layer.with_file_name("layer-0123456789abcdef0.qcow2")).unwrap();
    }
    let start = Tree::read(&home.path());
    let mut recorder = Recorder::of(home.path());
    let mut command = started_anew("tests::torture::the_command_that_is_recorded");
    command.env(HOME, home.path()).env(SCENARIO, scenario);
    assert!(tracer::trace(&mut command, &mut recorder), "{scenario} failed");
    assert!(
        recorder.tape.contains(&Event::Answer),
        "{scenario} was not answered"
    );
    Life {
        scenario,
        home,
        stands,
        start,
        tape: recorder.tape,
    }
}

/// All, none, each one lost, each one alone; of so many changes.
fn selections(pending: usize) -> Vec<Vec<bool>> {
    let one = |nth: usize, is_there: bool| (0..pending).map(|other| (other == nth) == is_there).collect();
    let each = (0..pending).flat_map(|nth| [one(nth, true), one(nth, false)]);
    [vec![true; pending], vec![false; pending]]
        .into_iter()
        .chain(each)
        .collect()
}

/// Judges every n-th state of a life; how many there were.
fn cut_everywhere(life: &Life, every: usize) -> usize {
    let mut host = Host::of(life.start.clone());
    let mut seen = HashSet::new();
    let mut judged = 0;
    let mut answered = false;
    for after in 0..=life.tape.len() {
        if let Some(event) = after.checked_sub(1).and_then(|last| life.tape.get(last)) {
            host.happens(event);
            answered |= *event == Event::Answer;
        }
        for (nth, left) in selections(host.pending.len()).into_iter().enumerate() {
            let powers: &[Power] = if nth == 0 {
                &[Power::On, Power::Cut]
            } else {
                &[Power::Cut]
            };
            for power in powers {
                let there: Vec<usize> = host.there(&left);
                if !seen.insert((answered, *power, there)) || !seen.len().is_multiple_of(every) {
                    continue;
                }
                let mut tree = host.durable.clone();
                let kept = host.pending.iter().zip(&left).filter(|(_, left)| **left);
                kept.for_each(|((_, change), _)| tree.apply(change));
                tree.write(&life.home.path(), *power);
                let context = format!(
                    "{} at step {after} of {} ({:?}), power {power:?}, {left:?}",
                    life.scenario,
                    life.tape.len(),
                    life.tape.get(after.saturating_sub(1)).map(brief),
                );
                if let Err(wrong) = catch_unwind(AssertUnwindSafe(|| judge(life, &context, answered))) {
                    println!("{context}");
                    resume_unwind(wrong);
                }
                judged += 1;
            }
        }
    }
    judged
}

/// An event without its bytes.
fn brief(event: &Event) -> String {
    format!("{event:?}").chars().take(160).collect()
}

fn open(life: &Life) -> Cloud {
    let mut options = life.home.options();
    options.region = region_of(life.scenario, options.region);
    Cloud::open_with(options, life.home.machines.clone()).unwrap()
}

/// The next command finds the home as it was before or as it should be after, and nothing left over.
fn judge(life: &Life, context: &str, answered: bool) {
    let cloud = open(life);
    if life.scenario == "collect" && !answered {
        // What was to be collected may be there still.
        cloud.collect().unwrap();
    }
    assert_whole(&cloud);
    assert!(open(life).notices().is_empty(), "recovery is not done at once");
    if answered {
        assert_is_done(&cloud, life);
    }
    let context = format!("{}: {context}", life.scenario);
    assert_guests_are_as_launched(&cloud, life.scenario, &context);
    assert_volumes_are_whole(&cloud, &context);
    if life.scenario != NEW_REGION {
        assert_kernels_are_whole(&cloud, &life.stands, &context);
    }
    assert_images_are_whole(&cloud, &context);
}

/// What was answered is true after any crash.
fn assert_is_done(cloud: &Cloud, life: &Life) {
    match life.scenario {
        "import" | NEW_REGION | "bake live" | "bake with reboot" | "bake stopped" => {
            cloud.resolve_image("new").unwrap();
        }
        "deregister" => assert!(cloud.resolve_image("base").is_err()),
        "terminate" => assert!(cloud.resolve_instance("runs").is_err()),
        "run" => assert_eq!(
            launched(cloud),
            2,
            "of two instances that were launched some are lost"
        ),
        "snapshot" => {
            let known = cloud.describe_snapshots(DescribeSnapshots::default()).unwrap();
            assert_eq!(known.snapshots.len(), 2, "the base's and the new one");
        }
        "volume create" | "volume detach" => {
            let request = DescribeVolumes {
                volumes: vec!["new".to_owned()],
                filters: Vec::new(),
            };
            let known = cloud.describe_volumes(request).unwrap().volumes;
            assert_eq!(known[0].state.as_str(), "available");
        }
        "volume delete" => assert!(cloud.resolve_volumes(&["new".to_owned()]).is_err()),
        "modify" => {
            let row = cloud.catalog.read(|tx| instances::get(tx, &life.stands));
            assert_ne!(row.unwrap().boot.kernel_names().unwrap().1, None, "its initrd");
        }
        // Whatever was to be collected would be found as left over.
        "collect" => {}
        other => panic!("{other}"),
    }
}

/// Instances that live, but for those which were there before: they have names.
fn launched(cloud: &Cloud) -> usize {
    let all = cloud.describe_instances(DescribeInstances::default()).unwrap();
    let instances = all.reservations.iter().flat_map(|one| &one.instances);
    instances
        .filter(|one| crate::name_of(&one.tags).is_none() && one.state.name.as_str() != "terminated")
        .count()
}

#[test]
fn a_crash_or_a_power_cut_at_any_step_leaves_before_or_after() {
    let judged: usize = SCENARIOS
        .iter()
        .map(|scenario| cut_everywhere(&record(scenario), 61))
        .sum();
    println!("figure: {judged} states");
    assert!(judged > 50, "only {judged} states were tried");
}

#[test]
#[ignore = "minutes: `make torture` runs it"]
fn torture_of_commands_leaves_before_or_after() {
    let judged: usize = SCENARIOS
        .iter()
        .map(|scenario| cut_everywhere(&record(scenario), 1))
        .sum();
    println!("figure: {judged} states");
    assert!(judged > 5_000, "only {judged} states were tried");
}

#[test]
fn what_was_answered_needs_nothing_that_was_not_synced() {
    for scenario in SCENARIOS {
        let life = record(scenario);
        let mut host = Host::of(life.start.clone());
        life.tape.iter().for_each(|event| host.happens(event));
        host.durable.write(&life.home.path(), Power::Cut);
        judge(
            &life,
            "power cut after the answer, nothing left that was not synced",
            true,
        );
    }
}

/// The catalogue says what the layers' files do not hold yet: their syncs come too late, or never.
#[test]
fn a_commit_before_the_sync_of_its_layer_is_found() {
    let mut life = record("import");
    let is_layer = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "qcow2");
    life.tape
        .retain(|event| !matches!(event, Event::Sync(path) if is_layer(path)));
    let found = found_in(&life);
    assert!(found.contains("LayerDamaged"), "{found}");
}

/// The command answers though its last commit to the catalogue is not durable yet.
#[test]
fn an_answer_before_the_sync_of_its_commit_is_found() {
    let mut life = record("run");
    let answer = life
        .tape
        .iter()
        .position(|event| *event == Event::Answer)
        .unwrap();
    let is_log = |event: &Event| matches!(event, Event::Sync(path) if path.ends_with("kiln.db-wal"));
    let last = life.tape[..answer].iter().rposition(is_log).unwrap();
    life.tape.remove(last);
    let found = found_in(&life);
    assert!(found.contains("some are lost"), "{found}");
}

/// What the judge says of a life in which something is wrong.
fn found_in(life: &Life) -> String {
    let found = catch_unwind(AssertUnwindSafe(|| cut_everywhere(life, 5)));
    let found = found.expect_err("nothing was found");
    found.downcast_ref::<String>().unwrap().clone()
}
