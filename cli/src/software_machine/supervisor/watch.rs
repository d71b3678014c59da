//! A running machine: is it alive, is it needed, and how it ends.

use super::boot::{Machine, last_words};
use super::clock::Told;
use super::shared::{Phase, Shared};
use crate::output;
use crate::software_machine::wire::ProgramsWanted;
use crate::software_machine::{Error, agent, image::Programs, layout::Layout};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A machine without commands and instances ends after this time.
const IDLE_LIMIT: Duration = Duration::from_secs(600);
/// How often the agent is asked whether it lives.
const PULSE: Duration = Duration::from_secs(10);
/// Without an answer for so long the machine is taken for dead. Its guests may well keep both of its
/// processors busy for a while.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// Powering off takes a second, the instances' own stop up to a minute.
const END_LIMIT: Duration = Duration::from_secs(150);

/// Stops the instances in the machine cleanly, then the machine.
const END: &str = "for region in /kiln/regions/*; do
    export KILN_REGION=${region##*/}
    ids=$(kiln list --quiet --filter instance-state-name=running 2>/dev/null)
    [ -z \"$ids\" ] || kiln stop --timeout 60 $ids >/dev/null 2>&1
done
sync; umount -l /host 2>/dev/null; umount /kiln 2>/dev/null || mount -o remount,ro /kiln
sync; poweroff -f";

/// Watches until the machine has ended: `Ok` when it was meant to.
pub(super) fn watch(
    mut machine: Machine,
    layout: &Layout,
    shared: &Arc<Shared>,
    lock: &File,
) -> Result<(), Error> {
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let pulse = {
        let (layout, shared, over) = (layout.clone(), Arc::clone(shared), Arc::clone(&over));
        std::thread::spawn(move || take_pulse(&layout, &shared, &over))
    };
    let result = until_it_ends(&mut machine, layout, shared, lock);
    over.store(true, std::sync::atomic::Ordering::Release);
    pulse.thread().unpark();
    drop(machine);
    result
}

fn until_it_ends(machine: &mut Machine, layout: &Layout, shared: &Shared, lock: &File) -> Result<(), Error> {
    let (idle_limit, silence_limit) = (idle_limit(), silence_limit());
    loop {
        if is_removed(lock) {
            // With its folder, that is, with its disk: there is nothing to shut down, and no way to it.
            output::aside("the machine's folder was removed\n");
            return Ok(());
        }
        if let Some(status) = machine
            .qemu
            .try_wait()
            .map_err(|e| Error::new(format!("cannot wait for QEMU: {e}")))?
        {
            return Err(Error::new(format!(
                "the software machine's QEMU ended ({status}){}",
                last_words(layout)
            )));
        }
        if shared.silent_for() > silence_limit {
            return Err(Error::new(format!(
                "the software machine was silent for {} s{}",
                silence_limit.as_secs(),
                last_words(layout)
            )));
        }
        if shared.phase() == Phase::Stopping {
            return end(machine, layout);
        }
        if shared.idle_for().is_some_and(|idle| idle > idle_limit) {
            // That takes a while, in which somebody may come.
            if has_instances(layout) {
                shared.not_idle();
            } else if shared.end_if_idle(idle_limit) {
                continue;
            }
        }
        shared.wait_for_change(&Phase::Running, Duration::from_millis(500));
    }
}

/// Whether a file that is open has no name any more.
fn is_removed(file: &File) -> bool {
    file.metadata().is_ok_and(|is| is.nlink() == 0)
}

fn take_pulse(layout: &Layout, shared: &Shared, over: &std::sync::atomic::AtomicBool) {
    while !over.load(std::sync::atomic::Ordering::Acquire) {
        if agent::hello(layout, Duration::from_secs(60)).is_ok() {
            shared.heard();
        }
        std::thread::park_timeout(PULSE);
    }
}

/// Tests do not want to wait for ten minutes.
fn idle_limit() -> Duration {
    seconds("KILN_MACHINE_IDLE_SECONDS").unwrap_or(IDLE_LIMIT)
}

fn silence_limit() -> Duration {
    seconds("KILN_MACHINE_SILENCE_SECONDS").unwrap_or(SILENCE_LIMIT)
}

fn seconds(variable: &str) -> Option<Duration> {
    std::env::var(variable)
        .ok()?
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// Does a VMM run in there? If that cannot be told, it does.
fn has_instances(layout: &Layout) -> bool {
    let asked = agent::run(layout, &["pidof", "kiln-vmm"], Duration::from_secs(30));
    asked.map_or(true, |output| output.status == 0)
}

fn end(machine: &mut Machine, layout: &Layout) -> Result<(), Error> {
    let began = Instant::now();
    // The machine ends under this command: that it has no status is no error.
    let _ = agent::run(layout, &["sh", "-c", END], END_LIMIT);
    while began.elapsed() < END_LIMIT {
        if matches!(machine.qemu.try_wait(), Ok(Some(_))) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    output::aside(&format!(
        "the machine did not power off within {} s: killed\n",
        END_LIMIT.as_secs()
    ));
    Ok(())
}

/// Makes the machine's programs and its clock those of the host. One at a time.
pub(super) fn refresh(layout: &Layout, shared: &Shared, wanted: &ProgramsWanted) -> Result<(), Error> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    refresh_clock(layout, shared);
    refresh_programs(layout, shared, wanted)
}

/// Copies the host's programs into the machine if it carries others.
fn refresh_programs(layout: &Layout, shared: &Shared, wanted: &ProgramsWanted) -> Result<(), Error> {
    if shared.stamp() == wanted.stamp {
        return Ok(());
    }
    let script = "cd \"/host$0\" && for f in \"$@\"; do cp \"$f\" \"/bin/.$f.new\" && mv \"/bin/.$f.new\" \"/bin/$f\" || exit; done";
    let folder = wanted.folder.to_string_lossy().into_owned();
    let mut argv = vec!["sh", "-c", script, &folder];
    argv.extend(Programs::names());
    let output = agent::run(layout, &argv, Duration::from_secs(60))?;
    if output.status != 0 {
        return Err(Error::new(format!(
            "cannot bring new programs into the software machine: {}",
            output.text
        )));
    }
    shared.set_stamp(wanted.stamp.clone());
    Ok(())
}

/// Tells the machine the present time, if its clock may be wrong. Where that fails, commands run all the same, and the
/// next one tells it again.
fn refresh_clock(layout: &Layout, shared: &Shared) {
    let now = Told::now();
    if shared.told().is_some_and(|told| told.holds_at(now)) {
        return;
    }
    let clock = ["kiln", "machine-clock", &now.nanos()];
    let told = match agent::run(layout, &clock, Duration::from_secs(60)) {
        Ok(output) if output.status == 0 => now.answered_at(Told::now()),
        Ok(output) => {
            output::aside(&format!("the machine's clock cannot be set: {}\n", output.text));
            None
        }
        Err(error) => {
            output::aside(&format!("the machine's clock cannot be set: {error}\n"));
            None
        }
    };
    shared.set_told(told);
}
