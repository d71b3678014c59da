//! `kiln log INSTANCE [-f]`: what the guest printed on its console.

use super::{Context, instance::at_present};
use crate::args::instance::Log;
use crate::failure::Failure;
use crate::output;
use kiln_control::{Cloud, InstanceId, InstanceState};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) fn run(context: &Context, log: &Log) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    let instance = cloud.resolve_instance(&log.instance)?;
    let folder = cloud.instance_directory(&instance);
    // The older half first: the log is rotated once it is full.
    for name in ["console.log.1", "console.log"] {
        if !log.follow || name != "console.log" {
            copy(&folder.join(name))?;
        }
    }
    if log.follow {
        follow(&cloud, &instance, folder.join("console.log"))?;
    }
    Ok(0)
}

fn copy(path: &Path) -> Result<(), Failure> {
    let Some(mut file) = open(path)? else {
        return Ok(());
    };
    rest(&mut file, path)
}

fn open(path: &Path) -> Result<Option<File>, Failure> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(format!("cannot open {}: {error}", path.display()))),
    }
}

/// Prints from where the file stands to its end, piece by piece.
fn rest(file: &mut File, path: &Path) -> Result<(), Failure> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => output::bytes(piece.get(..n).unwrap_or(&[]))?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
        }
    }
}

/// Prints what is added, also across a rotation, until the instance has ended.
fn follow(cloud: &Cloud, instance: &InstanceId, path: PathBuf) -> Result<(), Failure> {
    let mut current: Option<File> = None;
    let mut rounds = 0_u32;
    loop {
        // Asked before reading: what was printed until then is printed below.
        let over = rounds.is_multiple_of(5) && has_ended(cloud, instance)?;
        rounds = rounds.wrapping_add(1);
        if let Some(file) = &mut current {
            rest(file, &path)?;
            if is_another(file, &path) {
                current = None;
            } else if file
                .metadata()
                .is_ok_and(|is| file.stream_position().is_ok_and(|at| is.len() < at))
            {
                let _ = file.seek(SeekFrom::Start(0));
            }
        }
        if current.is_none() {
            current = open(&path)?;
            if let Some(file) = &mut current {
                rest(file, &path)?;
            }
        }
        if over {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Was the file under this name replaced?
fn is_another(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) != (named.dev(), named.ino()),
        _ => false,
    }
}

fn has_ended(cloud: &Cloud, instance: &InstanceId) -> Result<bool, Failure> {
    Ok(matches!(
        at_present(cloud, instance)?.map(|found| found.state.name),
        None | Some(InstanceState::Stopped | InstanceState::Terminated)
    ))
}
