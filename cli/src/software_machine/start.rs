//! The commands' side of the supervisor: start it, take a lease, ask, stop, delete.

use super::image::{Base, Programs};
use super::layout::{Layout, Socket};
use super::qemu::Qemu;
use super::wire::{self, ProgramsWanted, Reply, Request, Status};
use super::{Error, Settings, data_disk};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The machine runs as long as this is held.
#[derive(Debug)]
pub(crate) struct Lease {
    layout: Layout,
    /// Its end is the lease's end.
    _stream: UnixStream,
    /// Why the machine had to be started again since somebody last used it.
    pub(crate) restarted: Option<String>,
}

impl Lease {
    /// A new channel to the machine's agent.
    pub(crate) fn agent(&self) -> Result<UnixStream, Error> {
        self.layout
            .connect(Socket::Agent)
            .map_err(|e| Error::new(format!("the software machine's agent cannot be reached: {e}")))
    }
}

/// How long a supervisor may take until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
/// How long it may be silent while it starts; it says something every five seconds.
const SILENT_AT_MOST: Duration = Duration::from_secs(60);

/// A lease on the machine of `home`, which is started if it does not run. `say` is told what
/// happens meanwhile.
pub(crate) fn lease(home: &Path, say: &mut dyn FnMut(&str)) -> Result<Lease, Error> {
    let layout = Layout::of(home);
    let programs = Programs::find()?;
    let wanted = ProgramsWanted {
        folder: programs.folder().to_path_buf(),
        stamp: programs.stamp(),
    };
    // A machine that is just ending refuses; the next one will not.
    let mut last = Error::new("the software machine does not start");
    for _ in 0..2 {
        let stream = match running(&layout)? {
            Some(stream) => stream,
            None => begin(home, &layout, say)?,
        };
        match take(&stream, &wanted, say) {
            Ok(restarted) => {
                return Ok(Lease {
                    layout,
                    _stream: stream,
                    restarted,
                });
            }
            Err(Refused::Ending) => wait_for_the_end(&layout),
            Err(Refused::Failed(error)) => {
                last = error;
                break;
            }
        }
    }
    Err(last)
}

enum Refused {
    /// The machine was stopped meanwhile: try again.
    Ending,
    Failed(Error),
}

fn take(
    stream: &UnixStream,
    wanted: &ProgramsWanted,
    say: &mut dyn FnMut(&str),
) -> Result<Option<String>, Refused> {
    let broken =
        |e: std::io::Error| Refused::Failed(Error::new(format!("the software machine's supervisor: {e}")));
    stream.set_read_timeout(Some(SILENT_AT_MOST)).map_err(broken)?;
    wire::send(
        stream,
        &Request::Lease {
            programs: wanted.clone(),
        },
    )
    .map_err(|_| Refused::Ending)?;
    let mut lines = BufReader::new(stream);
    loop {
        match wire::receive(&mut lines).map_err(broken)? {
            Some(Reply::Starting { what }) => say(&what),
            Some(Reply::Ready { restarted }) => return Ok(restarted),
            Some(Reply::Failed { message }) => return Err(Refused::Failed(Error::new(message))),
            // Ended, or ending so fast that it could not say so.
            Some(_) | None => return Err(Refused::Ending),
        }
    }
}

/// Starts a supervisor and waits until it listens. If two commands do so at once, one of the
/// supervisors finds the lock taken and ends.
fn begin(home: &Path, layout: &Layout, say: &mut dyn FnMut(&str)) -> Result<UnixStream, Error> {
    let cache = crate::home::cache();
    if !Base::is_cached(&cache) {
        say("downloading its kernel");
        Base::ensure(&cache)?;
    }
    let qemu = Qemu::find(&cache);
    if !qemu.as_ref().is_some_and(Qemu::is_sound) {
        say("fetching QEMU");
        match (Qemu::fetch(&cache, say), qemu) {
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) => say(&format!(
                "{error}; an older one serves, which can lose interrupts"
            )),
            (Ok(()), _) => {}
        }
    }
    layout.make_folder()?;
    let open = || File::options().create(true).append(true).open(layout.log());
    // Only what the present machine has to say is of interest.
    File::create(layout.log()).map_err(|e| Error::io("write", &layout.log(), &e))?;
    let own = std::env::current_exe().map_err(|e| Error::new(format!("cannot find my own program: {e}")))?;
    let spawn = || {
        let (out, err) = (open(), open());
        let (out, err) = out
            .and_then(|out| Ok((out, err?)))
            .map_err(|e| Error::io("write", &layout.log(), &e))?;
        Command::new(&own)
            .arg("machine-supervisor")
            .arg(home)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .current_dir("/")
            .spawn()
            .map_err(|e| Error::new(format!("cannot start the software machine's supervisor: {e}")))
    };
    let mut child = spawn()?;
    let began = Instant::now();
    loop {
        if let Ok(stream) = layout.connect(Socket::Supervisor) {
            return Ok(stream);
        }
        let ended = child.try_wait().ok().flatten();
        if ended.is_some_and(|status| status.success()) {
            // The lock was taken: by another supervisor, which will listen, or by the QEMU of one that
            // was killed, which is about to end.
            std::thread::sleep(Duration::from_millis(200));
            if layout.connect(Socket::Supervisor).is_err() {
                child = spawn()?;
            }
        } else if let Some(status) = ended {
            let log = std::fs::read_to_string(layout.log()).unwrap_or_default();
            let last = log.lines().last().unwrap_or("no message").to_owned();
            return Err(Error::new(format!(
                "the software machine's supervisor ended ({status}): {last}"
            )));
        }
        if began.elapsed() > LISTENS_WITHIN {
            return Err(Error::new(format!(
                "the software machine's supervisor does not listen; see {}",
                layout.log().display()
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A supervisor's lock is free when it is gone.
fn wait_for_the_end(layout: &Layout) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(180) {
        let free = File::open(layout.lock())
            .map(|lock| rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_ok())
            .unwrap_or(true);
        if free {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Stores what the user chose. It holds from the machine's next start on.
pub(crate) fn settle(home: &Path, chosen: Settings) -> Result<Settings, Error> {
    chosen.check()?;
    let layout = Layout::of(home);
    match (chosen.disk, data_disk::size(&layout.data_disk())) {
        (Some(wanted), Some(is)) if wanted < is => {
            return Err(Error::of_parameter(format!(
                "the software machine's disk has {is} and cannot shrink to {wanted}: `kiln machine delete` removes it, \
                 with every image and instance in it"
            )));
        }
        _ => {}
    }
    layout.make_folder()?;
    let settings = Settings::read(&layout.settings())?.overlaid(chosen);
    settings.write(&layout.settings())?;
    Ok(settings)
}

/// A connection to the machine's supervisor; none if there is none. That it is somebody else's machine is an error, for
/// root too: what root leaves in there its owner cannot use.
fn running(layout: &Layout) -> Result<Option<UnixStream>, Error> {
    let me = rustix::process::geteuid().as_raw();
    if layout.folder().metadata().is_ok_and(|folder| folder.uid() != me) {
        return Err(not_yours(layout.folder()));
    }
    match layout.connect(Socket::Supervisor) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(not_yours(layout.folder())),
        Err(_) => Ok(None),
    }
}

/// That this user may not look into a machine's folder: it is another's, or lies where they may not look at all.
fn not_yours(folder: &Path) -> Error {
    let why = match folder.symlink_metadata() {
        Ok(_) => "belongs to another user",
        Err(_) => "cannot be looked for: you may not look in there (permission denied)",
    };
    Error::new(format!(
        "the software machine in {} {why}: choose a folder of your own by --home or KILN_HOME",
        folder.display()
    ))
}

/// The running machine; none if it does not run.
pub(crate) fn status(home: &Path) -> Result<Option<Status>, Error> {
    let Some(stream) = running(&Layout::of(home))? else {
        return Ok(None);
    };
    match ask(&stream, &Request::Status, Duration::from_secs(10))? {
        Some(Reply::Status(status)) => Ok(Some(status)),
        _ => Ok(None),
    }
}

/// Ends the machine, its instances first. False if it did not run.
pub(crate) fn stop(home: &Path) -> Result<bool, Error> {
    let layout = Layout::of(home);
    let Some(stream) = running(&layout)? else {
        return Ok(false);
    };
    match ask(&stream, &Request::Stop, Duration::from_secs(240))? {
        Some(Reply::Failed { message }) => Err(Error::new(message)),
        _ => {
            wait_for_the_end(&layout);
            Ok(true)
        }
    }
}

fn ask(stream: &UnixStream, request: &Request, at_most: Duration) -> Result<Option<Reply>, Error> {
    let broken = |e: std::io::Error| Error::new(format!("the software machine's supervisor: {e}"));
    stream.set_read_timeout(Some(at_most)).map_err(broken)?;
    // One that has just gone cannot be asked.
    if let Err(error) = wire::send(stream, request) {
        return match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Ok(None),
            _ => Err(broken(error)),
        };
    }
    wire::receive(BufReader::new(stream)).map_err(broken)
}

/// Removes the machine and its disk, that is, the whole store in it. False if there is none.
///
/// All but the lock, which is held meanwhile: what another command starts then is a new machine, and later.
pub(crate) fn delete(home: &Path) -> Result<bool, Error> {
    let layout = Layout::of(home);
    stop(home)?;
    let lock = match layout.open_lock() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        lock => lock.map_err(|e| Error::io("open", &layout.lock(), &e))?,
    };
    let began = Instant::now();
    while rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        if began.elapsed() > LISTENS_WITHIN {
            return Err(Error::new(format!(
                "the software machine in {} is in use: another command starts it, or it is just ending; try again",
                layout.folder().display()
            )));
        }
        if !stop(home)? {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let failed = |e: std::io::Error| Error::io("remove the files in", layout.folder(), &e);
    let mut removed = false;
    for entry in std::fs::read_dir(layout.folder()).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path != layout.lock() {
            std::fs::remove_file(path).map_err(failed)?;
            removed = true;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Size;

    #[test]
    fn a_machine_that_may_not_be_looked_for_is_not_called_anothers() {
        let home = tempfile::tempdir().expect("a temporary folder");
        for (folder, words) in [("", "belongs to another user"), ("hidden", "permission denied")] {
            let said = not_yours(&home.path().join(folder)).to_string();
            assert!(said.contains(words) && said.contains("KILN_HOME"), "{said}");
        }
    }

    #[test]
    fn a_disk_that_is_to_shrink_is_refused_with_both_sizes_and_nothing_is_kept() {
        const GIB: u64 = 1 << 30;
        let home = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::of(home.path());
        let choose = |gib: u64| {
            let disk = Some(Size::from_bytes(gib * GIB));
            settle(
                home.path(),
                Settings {
                    disk,
                    ..Settings::default()
                },
            )
        };
        choose(12).expect("before there is one, anything goes");
        choose(8).expect("before there is one, anything goes");
        let lock = File::create(layout.lock()).expect("a file");
        data_disk::ensure(&layout.data_disk(), 8 * GIB, &lock).expect("mke2fs works");
        let refused = choose(5).expect_err("it cannot shrink");
        assert_eq!(refused.code(), "InvalidParameterValue");
        let said = refused.to_string();
        assert!(said.contains("has 8 GiB") && said.contains("to 5 GiB"), "{said}");
        let kept = Settings::read(&layout.settings()).expect("settings");
        assert_eq!(kept.disk_bytes(), 8 * GIB);
        choose(8).expect("as it is");
        choose(9).expect("it grows");
    }
}
