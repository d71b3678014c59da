//! `kiln log INSTANCE [-f]`: what the guest printed on its console.

use super::{Context, instance::at_present};
use crate::args::instance::Log;
use crate::failure::Failure;
use crate::output;
use kiln_control::{Cloud, Code, InstanceId, InstanceState};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    // The older half first: the log is rotated once it is full.
    for name in ["console.log.1", "console.log"] {
        if !log.follow || name != "console.log" {
            copy(&folder.join(name))?;
        }
    }
    if log.follow {
        follow(&cloud, &instance, &folder)?;
    }
    Ok(0)
}

fn copy(path: &Path) -> Result<(), Failure> {
    let Some(file) = open(path)? else {
        return Ok(());
    };
    rest(&file, path, 0, &mut |bytes| output::bytes(bytes)).map(drop)
}

fn open(path: &Path) -> Result<Option<File>, Failure> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(format!("cannot open {}: {error}", path.display()))),
    }
}

/// Prints from `at` to the file's end, piece by piece; where that was.
fn rest(
    file: &File,
    path: &Path,
    mut at: u64,
    print: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read_at(&mut piece, at) {
            Ok(0) => return Ok(at),
            Ok(n) => {
                print(piece.get(..n).unwrap_or(&[]))?;
                at = at.saturating_add(u64::try_from(n).unwrap_or(0));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
        }
    }
}

/// Prints what is added until the instance has ended, or nobody reads any more.
fn follow(cloud: &Cloud, instance: &InstanceId, folder: &Path) -> Result<(), Failure> {
    let mut log = Followed::new(folder);
    let mut rounds = 0_u32;
    loop {
        // Asked before reading: what was printed until then is printed below.
        let over = rounds.is_multiple_of(5) && has_ended(cloud, instance)?;
        rounds = rounds.wrapping_add(1);
        log.more(&mut |bytes| output::bytes(bytes))?;
        if over || !output::is_read() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A log, and how much of it was printed. When it is full its content is moved to the former log, and it begins
/// anew; the file stays the same.
struct Followed {
    current: PathBuf,
    former: PathBuf,
    /// Bytes of the current log that were printed.
    at: u64,
}

impl Followed {
    fn new(folder: &Path) -> Self {
        Self {
            current: folder.join("console.log"),
            former: folder.join("console.log.1"),
            at: 0,
        }
    }

    /// Prints what was added, first the end of what was moved meanwhile.
    fn more(&mut self, print: &mut dyn FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        let Some(file) = open(&self.current)? else {
            return Ok(());
        };
        let length = file.metadata().map_or(0, |is| is.len());
        if length < self.at {
            if let Some(former) = open(&self.former)? {
                rest(&former, &self.former, self.at, print)?;
            }
            self.at = 0;
        }
        self.at = rest(&file, &self.current, self.at, print)?;
        Ok(())
    }
}

fn has_ended(cloud: &Cloud, instance: &InstanceId) -> Result<bool, Failure> {
    Ok(matches!(
        at_present(cloud, instance)?.map(|found| found.state.name),
        None | Some(InstanceState::Stopped | InstanceState::Terminated)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_followed_log_is_whole_across_a_rotation() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("room");
        let mut log = Followed::new(folder.path());
        let mut seen = String::new();
        let mut more = |seen: &mut String| {
            let mut print = |bytes: &[u8]| {
                seen.push_str(&String::from_utf8_lossy(bytes));
                Ok(())
            };
            log.more(&mut print).expect("it can be read");
        };
        more(&mut seen);
        write("console.log", "one\ntwo\n");
        more(&mut seen);
        more(&mut seen);
        // As the machine does it: content moved, file emptied, gone on.
        write("console.log.1", "one\ntwo\nthree\n");
        write("console.log", "four\n");
        more(&mut seen);
        assert_eq!(seen, "one\ntwo\nthree\nfour\n");
    }
}
