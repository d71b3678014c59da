//! `kiln log INSTANCE [-f]`: what the guest printed on its console.

mod followed;

use super::{Context, instance::at_present};
use crate::args::instance::Log;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{self, GuestText, PLAIN};
use followed::{Followed, Print};
use kiln_control::{Cloud, Code, InstanceId, InstanceState};
use std::fs::File;
use std::io::{ErrorKind, IsTerminal};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// The log, and what was moved out of it when it was full.
const CURRENT: &str = "console.log";
const FORMER: &str = "console.log.1";
/// Read at a time.
const PIECE: usize = 64 * 1024;

pub(crate) fn run(context: &Context, log: &Log) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    let instance = cloud.resolve_instance(&log.instance)?;
    let folder = cloud.instance_directory(&instance);
    let is_terminated =
        at_present(&cloud, &instance)?.is_some_and(|found| found.state.name == InstanceState::Terminated);
    if is_terminated {
        return Err(Failure::coded(
            Code::IncorrectInstanceState.as_str(),
            format!(
                "the instance {} was terminated, and its log with it",
                instance.as_str()
            ),
        ));
    }
    let mut followed = Followed::new(&folder);
    let mut print = |bytes: &[u8]| output::bytes(bytes);
    if !std::io::stdout().is_terminal() {
        printed(&cloud, &instance, log, &mut followed, &mut print)?;
        return Ok(0);
    }
    // A colour of the guest's ends with the command, however that ends.
    interrupt::at_a_signal(|| {
        let _ = output::bytes(PLAIN);
    })?;
    let mut text = GuestText::default();
    let done = printed(&cloud, &instance, log, &mut followed, &mut |bytes| {
        print(&text.of(bytes))
    });
    print(text.end())?;
    done.map(|()| 0)
}

/// Prints it.
fn printed(
    cloud: &Cloud,
    instance: &InstanceId,
    log: &Log,
    followed: &mut Followed,
    print: Print<'_>,
) -> Result<(), Failure> {
    // The older half first: the log is rotated once it is full.
    followed.former(print)?;
    if log.follow {
        follow(cloud, instance, followed, print)
    } else {
        followed.more(print)
    }
}

fn open(path: &Path) -> Result<Option<File>, Failure> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(format!("cannot open {}: {error}", path.display()))),
    }
}

/// What the file has from `at` on, as far as there is room in `piece`; nothing at its end.
fn read<'a>(file: &File, path: &Path, at: u64, piece: &'a mut [u8]) -> Result<&'a [u8], Failure> {
    loop {
        match file.read_at(piece, at) {
            Ok(count) => return Ok(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Prints what is added until the instance has ended, or nobody reads any more.
fn follow(cloud: &Cloud, instance: &InstanceId, log: &mut Followed, print: Print<'_>) -> Result<(), Failure> {
    let mut rounds = 0_u32;
    loop {
        // Asked before reading: what was printed until then is printed below.
        let over = rounds.is_multiple_of(5) && has_ended(cloud, instance)?;
        rounds = rounds.wrapping_add(1);
        log.more(print)?;
        if over || !output::is_read() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn has_ended(cloud: &Cloud, instance: &InstanceId) -> Result<bool, Failure> {
    Ok(matches!(
        at_present(cloud, instance)?.map(|found| found.state.name),
        None | Some(InstanceState::Stopped | InstanceState::Terminated)
    ))
}
