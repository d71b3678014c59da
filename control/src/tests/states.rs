//! Any order of commands, deaths of machines and moods of guests: the states stay right, and nothing is left over.

use super::*;
use crate::instance::{Ending, StopInstances};
use crate::{Code, DeregisterImage, OnDeregister};
use kiln_vmm::client::ExitReason;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Event {
    Run,
    Stop(usize),
    Start(usize),
    Reboot(usize),
    Terminate(usize),
    Bake(usize, bool),
    Deregister(usize),
    Dies(usize),
    Moods(Guests),
}

fn event() -> impl Strategy<Value = Event> {
    let one = 0..4usize;
    prop_oneof![
        3 => Just(Event::Run),
        2 => one.clone().prop_map(Event::Stop),
        2 => one.clone().prop_map(Event::Start),
        1 => one.clone().prop_map(Event::Reboot),
        1 => one.clone().prop_map(Event::Terminate),
        3 => (one.clone(), any::<bool>()).prop_map(|(one, reboot)| Event::Bake(one, reboot)),
        1 => one.clone().prop_map(Event::Deregister),
        1 => one.prop_map(Event::Dies),
        2 => prop_oneof![
            3 => Just(Guests::Obey),
            1 => Just(Guests::MindTheButton),
            1 => Just(Guests::Ignore),
            1 => Just(Guests::DoNotStart),
            1 => Just(Guests::DoNotFreeze),
            1 => Just(Guests::DieFrozen),
            1 => Just(Guests::DoNotSync),
        ].prop_map(Event::Moods),
    ]
}

/// What the instances and images must be.
#[derive(Default)]
struct Model {
    instances: BTreeMap<InstanceId, &'static str>,
    images: Vec<String>,
}

impl Model {
    fn nth(&self, n: usize) -> Option<InstanceId> {
        self.instances.keys().nth(n).cloned()
    }
}

fn play(home: &Home, events: &[Event]) {
    let cloud = home.cloud();
    let mut model = Model {
        images: vec![import(&cloud, "base")],
        ..Model::default()
    };
    let soon = Ending::Clean(Duration::from_millis(20));
    for (step, event) in events.iter().enumerate() {
        let mood = *home.machines.guests.lock().unwrap();
        let result = match event {
            Event::Moods(guests) => {
                home.guests(*guests);
                Ok(())
            }
            Event::Run => match model.images.first() {
                None => Ok(()),
                Some(image) => cloud
                    .run_instances(RunInstances::of(image.as_str()))
                    .map(|reply| {
                        let id = &reply.document.instances[0].instance_id;
                        model.instances.insert(InstanceId::parse(id).unwrap(), "running");
                    }),
            },
            Event::Deregister(n) => match model.images.get(*n).cloned() {
                None => Ok(()),
                Some(image) => {
                    model.images.remove(*n);
                    let request = DeregisterImage {
                        image,
                        snapshots: OnDeregister::DeleteSnapshots,
                    };
                    cloud.deregister_image(request).map(drop)
                }
            },
            Event::Stop(n)
            | Event::Start(n)
            | Event::Reboot(n)
            | Event::Terminate(n)
            | Event::Bake(n, _)
            | Event::Dies(n) => match model.nth(*n) {
                None => Ok(()),
                Some(id) => act(home, &cloud, &mut model, event, &id, mood, soon, step),
            },
        };
        if let Err(error) = result {
            let expected = match event {
                Event::Run | Event::Start(_) => mood == Guests::DoNotStart,
                Event::Bake(..) => matches!(mood, Guests::DoNotFreeze | Guests::DoNotSync),
                _ => false,
            };
            assert!(
                expected || error.code() == Code::IncorrectInstanceState,
                "{event:?}: {error}"
            );
        }
        for (id, expected) in &model.instances {
            assert_eq!(
                state(&cloud, id),
                *expected,
                "after {event:?} among {mood:?} guests"
            );
        }
        assert_whole(&cloud);
    }
    for image in &model.images {
        assert_eq!(content(&cloud, image, 0, 4), b"from");
    }
}

#[expect(clippy::too_many_arguments, reason = "the whole of a step of the model")]
fn act(
    home: &Home,
    cloud: &Cloud,
    model: &mut Model,
    event: &Event,
    id: &InstanceId,
    mood: Guests,
    soon: Ending,
    step: usize,
) -> crate::Result<()> {
    let which = vec![id.to_string()];
    let before = model.instances[id];
    let mut becomes = |state| {
        model.instances.insert(id.clone(), state);
    };
    match event {
        Event::Stop(_) => {
            let request = StopInstances {
                instances: which,
                ending: soon,
                ..Default::default()
            };
            cloud.stop_instances(request).map(|_| becomes("stopped"))
        }
        Event::Start(_) => cloud.start_instances(&which).map(|_| becomes("running")),
        Event::Reboot(_) => {
            let result = cloud.reboot_instances(&which, soon).map(drop);
            // Without an agent the machine is started anew, which may fail.
            if before == "running" && result.is_err() {
                becomes("stopped");
            }
            result
        }
        Event::Terminate(_) => cloud.terminate_instances(&which).map(|_| becomes("terminated")),
        Event::Bake(_, reboot) => {
            let reboot = if *reboot { Reboot::Yes } else { Reboot::No };
            let mut request = bake(id, &format!("baked-{step}"), reboot);
            request.timeout = Duration::from_millis(20);
            let result = cloud
                .create_image(request)
                .map(|reply| model.images.push(reply.document.image_id));
            let is_gone = matches!(
                (reboot, mood),
                (Reboot::Yes, Guests::DoNotStart) | (Reboot::No, Guests::DieFrozen)
            );
            if before == "running" && is_gone {
                model.instances.insert(id.clone(), "stopped");
            }
            result
        }
        Event::Dies(_) if before == "running" => {
            home.kill_machine(id, ExitReason::VmmError);
            becomes("stopped");
            Ok(())
        }
        _ => Ok(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn states_stay_right_in_any_order_of_events(events in prop::collection::vec(event(), 1..14)) {
        play(&Home::new(), &events);
    }
}
