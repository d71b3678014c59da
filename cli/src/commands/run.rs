//! `kiln run`: launch, wait, perhaps run a command, perhaps leave nothing.

use super::instance::{given, user_data};
use super::{Context, agent, cp};
use crate::args::copying::Out;
use crate::args::instance::{Boot, GuestOs, Run, Wait};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::progress::Waiting;
use crate::user_file::UserFile;
use kiln_control::{
    Bytes, Cloud, Code, DescribeInstances, Instance, InstanceId, InstanceState, LaunchBoot, Lifetime, Os,
    Reply, Reservation, RunInstances, Tag,
};
use std::time::Duration;

pub(crate) fn run(context: &Context, mut run: Run) -> Result<u8, Failure> {
    let command = std::mem::take(&mut run.command);
    let (copies, collects) = (std::mem::take(&mut run.copies), std::mem::take(&mut run.collects));
    for copy in &copies {
        // Known before a guest boots.
        copy.from.source()?;
    }
    let at_most = run.timeout.map(Duration::from_secs);
    let agent_timeout = context.guest_timeout(run.agent_timeout);
    let wait = match (run.wait, command.is_empty()) {
        (Some(wait), true) => wait,
        (None, true) if copies.is_empty() => Wait::Running,
        (None, true) | (_, false) => Wait::Agent,
    };
    let rm = run.rm;
    // With --rm there is something to clean up, and who stops waiting wants to know what goes on.
    let (interrupt, launching) = if rm || wait == Wait::Agent {
        (Interrupt::catch()?, Some(context.say_while_launching()?))
    } else {
        context.say_when_cut_short(
            "what was launched by now runs on (kiln list shows it, kiln terminate ends it); the next command undoes the rest",
        )?;
        (Interrupt::default(), None)
    };
    let kernel = run.kernel.as_ref().map(UserFile::name);
    let request = request(run)?;
    let image = request.image.clone();

    let waiting = Waiting::begin(context.progress(), format!("launching {}", request.image));
    let cloud = context.cloud()?;
    let launched = cloud
        .run_instances(request)
        .map_err(|error| of_kernel(error.into(), kernel.as_deref()))
        .inspect_err(|failure| {
            if kernel.is_none() && failure.has(Code::InvalidKernel) {
                context.hint(&format!(
                    "`kiln image doctor {image}` says what is wrong with its disk"
                ));
            }
        })?;
    drop(launching);
    let ids = ids(&launched.document)?;
    let done = (|| {
        context.warnings(&launched.warnings);
        if rm {
            interrupt.check()?;
        }
        let mut answered = None;
        if wait == Wait::Agent {
            waiting.now("waiting for the guest");
            for id in &ids {
                answered = Some((id, agent::wait(&cloud, id, agent_timeout, &interrupt)?));
            }
        }
        drop(waiting);
        let guest = |instance| cp::Guest {
            context,
            cloud: &cloud,
            instance,
            agent_timeout,
            interrupt: &interrupt,
        };
        for id in &ids {
            for copy in &copies {
                guest(id).take(copy)?;
            }
        }
        match answered {
            Some((id, agent)) if !command.is_empty() => {
                let ended = agent::command(&cloud, id, agent, command, &interrupt, at_most);
                collected(&guest(id), &collects, ended)
            }
            _ => {
                // What runs is told in any case.
                let reply = at_present(&cloud, &launched.document)
                    .unwrap_or_else(|_| Reply::new(launched.document.clone()));
                if rm {
                    context.print(&reply)?;
                    context.hint("it runs until its guest ends, or this command is interrupted");
                    until_over(&cloud, &ids, &interrupt)
                } else {
                    context.print_made(&reply)
                }
            }
        }
    })();
    let names: Vec<String> = ids.iter().map(|id| id.as_str().to_owned()).collect();
    if rm {
        let gone = cloud.terminate_instances(&names);
        // The command's own failure is the more interesting one.
        if let (Ok(_), Err(error)) = (&done, gone) {
            return Err(error.into());
        }
    } else if let Err(failure) = &done
        && (failure.is_of_impatience() || interrupt.came().is_some())
    {
        let names = names.join(" ");
        context.warn(&format!("{names} goes on: kiln terminate {names} ends it"));
    }
    done
}

/// What is to be had of a guest whose command has ended as it has: that counts, and after it whether all was had.
fn collected(guest: &cp::Guest<'_>, collects: &[Out], ended: Result<u8, Failure>) -> Result<u8, Failure> {
    let mut missed = None;
    for copy in collects {
        if let Err(failure) = guest.give(copy) {
            match ended {
                Ok(0) => missed = missed.or(Some(failure)),
                // One error is told at the end, and this is not the one.
                _ => guest.context.warn(&failure.message),
            }
        }
    }
    missed.map_or(ended, Err)
}

/// A failure that may be the given kernel's, with its name: the machine has a copy of it.
fn of_kernel(failure: Failure, kernel: Option<&str>) -> Failure {
    match kernel {
        Some(name) if failure.has(Code::InvalidKernel) => Failure {
            message: format!("{} (--kernel {name})", failure.message),
            ..failure
        },
        _ => failure,
    }
}

fn request(run: Run) -> Result<RunInstances, Failure> {
    let mut tags = run.tags;
    if let Some(name) = run.name {
        tags.push(Tag::new(Tag::NAME, name)?);
    }
    let kernel = match run.kernel {
        None => None,
        Some(kernel) => Some(given(&kernel, run.initrd, run.cmdline)?),
    };
    Ok(RunInstances {
        instance_type: run.instance_type,
        huge_pages: run.huge_pages,
        count: run.count,
        tags,
        root_size: run.root_size.map(|size| Bytes(size.bytes())),
        volumes: run.volumes,
        boot: match run.boot {
            Boot::Auto => LaunchBoot::Auto,
            Boot::Fast => LaunchBoot::Fast,
            Boot::Bios => LaunchBoot::Bios,
            Boot::Uefi => LaunchBoot::Uefi,
            Boot::Pv => LaunchBoot::Paravirtual,
        },
        os: match run.os {
            None => Os::OfImage,
            Some(GuestOs::Linux) => Os::Linux,
            Some(GuestOs::Windows) => Os::Windows,
        },
        kernel,
        append: run.cmdline_append,
        key_name: run.key,
        user_data: run.user_data.as_ref().map(user_data).transpose()?,
        lifetime: if run.rm {
            Lifetime::Session
        } else {
            Lifetime::Persistent
        },
        ..RunInstances::of(run.image)
    })
}

fn ids(launched: &Reservation) -> Result<Vec<InstanceId>, Failure> {
    let all = launched
        .instances
        .iter()
        .map(|instance| InstanceId::parse(&instance.instance_id));
    Ok(all.collect::<Result<_, _>>()?)
}

/// The instances as they are now: they may have gone on since they were launched.
fn at_present(cloud: &Cloud, launched: &Reservation) -> Result<Reply<Reservation>, Failure> {
    let all = launched.instances.iter();
    let now = cloud.describe_instances(DescribeInstances {
        instances: all.map(|instance| instance.instance_id.clone()).collect(),
        ..DescribeInstances::default()
    })?;
    let found = now.reservations.into_iter().next();
    Ok(Reply::new(found.unwrap_or_else(|| launched.clone())))
}

/// `run --rm` without a command: until the guests have ended, or a signal came. One that did not end by itself, nor was
/// told to, is a failure.
fn until_over(cloud: &Cloud, ids: &[InstanceId], interrupt: &Interrupt) -> Result<u8, Failure> {
    let instances: Vec<String> = ids.iter().map(|id| id.as_str().to_owned()).collect();
    loop {
        if let Some(signal) = interrupt.came() {
            return Ok(128 + signal);
        }
        cloud.refresh()?;
        let which = DescribeInstances {
            instances: instances.clone(),
            ..DescribeInstances::default()
        };
        let found = cloud.describe_instances(which)?;
        let mut all = found.reservations.iter().flat_map(|r| &r.instances);
        let is_over = |instance: &Instance| {
            matches!(
                instance.state.name,
                InstanceState::Stopped | InstanceState::Terminated
            )
        };
        if all.clone().all(is_over) {
            return all.find_map(broke_off).map_or(Ok(0), Err);
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// The failure of an instance whose guest crashed, or whose machine failed or was killed.
fn broke_off(instance: &Instance) -> Option<Failure> {
    let reason = instance.state_reason.as_ref()?;
    let has_failed = !reason.is_wanted();
    has_failed.then(|| Failure::new(format!("{} has ended: {}", instance.instance_id, reason.message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_a_given_kernel_names_the_users_file() {
        let failure = |code: &str| Failure::coded(code, "it cannot be used");
        let told = |code, kernel| of_kernel(failure(code), kernel).message;
        assert_eq!(
            told("InvalidKernel", Some("./a.out")),
            "it cannot be used (--kernel ./a.out)"
        );
        for (code, kernel) in [
            ("InvalidKernel", None),
            ("InvalidAMIID.NotFound", Some("./a.out")),
        ] {
            assert_eq!(told(code, kernel), "it cannot be used");
        }
    }
}
