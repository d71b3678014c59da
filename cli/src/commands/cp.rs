//! `kiln cp`, and the copies of `kiln run`: files into a guest and out of it, through its agent and by its own `tar`.

use super::{Context, agent};
use crate::args::copying::{Cp, Direction, In, Out};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{self, Format};
use crate::progress::{Copying, Waiting};
use crate::user_file::last_name;
use kiln_agent::client::{ExecRequest, ExecStatus, Signals, Streams, Unread};
use kiln_agent::tree::{Moved, UnpackError};
use kiln_control::{Cloud, Code, InstanceId, Progress};
use serde::Serialize;
use signal_hook::consts::SIGPIPE;
use std::ffi::{OsStr, OsString};
use std::io::{BufReader, BufWriter, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

/// Of what tar says in a guest, so much is kept.
const WORDS: u64 = 4096;
/// Unpacks standard input in a guest's folder. A link there that leads to a folder stays, and what belongs into that folder
/// is put there: GNU's tar has to be told so.
const UNPACK: &str =
    "tar --version 2>/dev/null | grep -q GNU && exec tar -x --keep-directory-symlink -f - -C \"$1\"
    exec tar -x -f - -C \"$1\"";
/// What a pipe is written in.
const PIECE: usize = 64 * 1024;

pub(crate) fn run(context: &Context, cp: Cp) -> Result<u8, Failure> {
    let agent_timeout = context.guest_timeout(cp.agent_timeout);
    let (instance, direction) = cp.parted()?;
    let interrupt = Interrupt::catch()?;
    let cloud = context.cloud()?;
    let instance = cloud.resolve_instance(&instance)?;
    let guest = Guest {
        context,
        cloud: &cloud,
        instance: &instance,
        agent_timeout,
        interrupt: &interrupt,
    };
    let moved = match direction {
        Direction::In(copy) => guest.take(&copy)?,
        Direction::Out(copy) => guest.give(&copy)?,
    };
    if context.format == Format::Json {
        output::document(&Copied {
            entries: moved.entries,
            bytes: moved.bytes,
        })?;
    }
    Ok(0)
}

/// What was copied, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Copied {
    entries: u64,
    bytes: u64,
}

/// A guest that files are copied to or from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest<'a> {
    pub(crate) context: &'a Context,
    pub(crate) cloud: &'a Cloud,
    pub(crate) instance: &'a InstanceId,
    pub(crate) agent_timeout: Duration,
    pub(crate) interrupt: &'a Interrupt,
}

/// What is at a path in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Folder,
    Other,
}

/// How a command in a guest ended, and what it said.
struct Ended {
    status: ExecStatus,
    words: String,
}

impl Guest<'_> {
    /// Copies into the guest, as root's.
    pub(crate) fn take(&self, copy: &In) -> Result<Moved, Failure> {
        let source = copy.from.source()?;
        let bytes = source.bytes()?;
        let to = own_path(&copy.to);
        let name = source.last_name();
        // `tar` makes what it is told in the folder that it is told.
        let (folder, name) = match (self.find(&to)?, name) {
            (Found::Folder, name) => (to, name.map(OsStr::to_owned)),
            (Found::Other, _) if source.is_folder => {
                return Err(self.wrong(&copy.to, "is no folder: a folder cannot take its place"));
            }
            _ if !source.is_folder && is_said_to_be_a_folder(&to) => {
                return Err(self.wrong(&copy.to, "is no folder"));
            }
            _ => {
                let (folder, name) = parent_and_name(&to);
                match self.find(&folder)? {
                    Found::Folder => (folder, Some(name)),
                    Found::Nothing => return Err(self.wrong(&folder, "is not there")),
                    Found::Other => return Err(self.wrong(&folder, "is no folder")),
                }
            }
        };
        let tar = ["sh", "-c", UNPACK, "sh"].map(OsString::from);
        let tar = tar.into_iter().chain([folder]).collect();
        let bar = Copying::begin(self.context.progress(), "copying in");
        let (read, write) = std::io::pipe().map_err(|error| no_pipe(&error))?;
        let (packed, ended) = std::thread::scope(|scope| {
            let packing = scope.spawn(|| {
                let out = BufWriter::with_capacity(PIECE, write);
                source.pack(name.as_deref(), out, |done| bar.at(done, bytes))
            });
            let ended = self.exec(tar, Some(read.as_fd()), None);
            // Who still packs learns that nobody reads.
            drop(read);
            (packing.join(), ended)
        });
        drop(bar);
        let packed = packed.unwrap_or_else(|_| Err(Failure::new("the copy broke off")));
        let ended = ended?;
        let packed = packed?;
        self.must_be_done(&ended)?;
        let moved = packed.ok_or_else(|| self.broke_off(&ended))?;
        self.tell(&moved, &ended);
        Ok(moved)
    }

    /// Copies out of the guest, as the user's own.
    pub(crate) fn give(&self, copy: &Out) -> Result<Moved, Failure> {
        let from = own_path(&copy.from);
        let name = last_name(Path::new(&from));
        let to = copy.to.destination(name)?;
        let mut tar: Vec<OsString> = ["tar", "-c", "-f", "-"].map(OsString::from).into();
        match self.find(&from)? {
            Found::Nothing => return Err(self.wrong(&copy.from, "is not there")),
            Found::Folder => tar.extend(["-C".into(), from, ".".into()]),
            Found::Other if is_said_to_be_a_folder(&from) => {
                return Err(self.wrong(&copy.from, "is no folder"));
            }
            Found::Other => {
                // A link is what it leads to.
                let (folder, name) = parent_and_name(&from);
                let mut own = OsString::from("./");
                own.push(name);
                tar.extend(["-h".into(), "-C".into(), folder, own]);
            }
        }
        let waiting = Waiting::begin(self.context.progress(), "copying out");
        let mut said = 0;
        let told = |bytes: u64| {
            if bytes >> 20 != said {
                said = bytes >> 20;
                waiting.now(format!("copying out: {said} MiB"));
            }
        };
        let (read, write) = std::io::pipe().map_err(|error| no_pipe(&error))?;
        let (unpacked, ended) = std::thread::scope(|scope| {
            let unpacking = scope.spawn(|| {
                let mut stream = BufReader::with_capacity(PIECE, read);
                let unpacked = to.unpack(&mut stream, told);
                if unpacked.is_ok() {
                    // tar fills its last block up, and would miss who reads that.
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                }
                unpacked
            });
            let ended = self.exec(tar, None, Some(write.as_fd()));
            drop(write);
            (unpacking.join(), ended)
        });
        drop(waiting);
        let ended = ended?;
        let moved = match unpacked {
            Ok(Ok(moved)) => moved,
            // Without a whole stream, what tar said counts.
            Ok(Err(error @ (UnpackError::Stream(_) | UnpackError::Read(_)))) => {
                if ended.status != ExecStatus::Signaled(SIGPIPE) {
                    self.must_be_done(&ended)?;
                }
                return Err(self.of_guest(&to.failed(&error).message));
            }
            Ok(Err(error)) => return Err(to.failed(&error)),
            Err(_) => return Err(Failure::new("the copy broke off")),
        };
        self.must_be_done(&ended)?;
        to.complete()?;
        self.tell(&moved, &ended);
        Ok(moved)
    }

    fn find(&self, path: &OsStr) -> Result<Found, Failure> {
        let is = |option: &str| {
            let ended = self.exec(vec!["test".into(), option.into(), path.to_owned()], None, None)?;
            match ended.status {
                ExecStatus::Exited(0) => Ok(true),
                ExecStatus::Exited(1) => Ok(false),
                _ => Err(self.broke_off(&ended)),
            }
        };
        Ok(match is("-d")? {
            true => Found::Folder,
            false if is("-e")? => Found::Other,
            false => Found::Nothing,
        })
    }

    /// Runs a command, with signals of this process handed on to it.
    fn exec(
        &self,
        argv: Vec<OsString>,
        stdin: Option<BorrowedFd<'_>>,
        stdout: Option<BorrowedFd<'_>>,
    ) -> Result<Ended, Failure> {
        let agent = agent::wait(self.cloud, self.instance, self.agent_timeout, self.interrupt)?;
        let signals = Signals::catch().map_err(|error| no_pipe(&error))?;
        self.interrupt.check()?;
        let request = ExecRequest {
            argv,
            env: vec![("LC_ALL".into(), "C".into())],
            ..ExecRequest::default()
        };
        let session = agent
            .exec(request)
            .map_err(|error| agent::broken_off(self.cloud, self.instance, &error))?;
        let (heard, said) = std::io::pipe().map_err(|error| no_pipe(&error))?;
        let (status, words) = std::thread::scope(|scope| {
            let listening = scope.spawn(|| {
                let mut words = Vec::new();
                let mut heard = heard;
                let _ = heard.by_ref().take(WORDS).read_to_end(&mut words);
                let _ = std::io::copy(&mut heard, &mut std::io::sink());
                words
            });
            let status = session.run(Streams {
                stdin,
                stdout: stdout.unwrap_or(said.as_fd()),
                stderr: said.as_fd(),
                unread: Unread::BreaksPipe,
                signals: Some(&signals),
                terminal: None,
                at_most: None,
            });
            drop(said);
            (status, listening.join().unwrap_or_default())
        });
        let status = status.map_err(|error| agent::broken_off(self.cloud, self.instance, &error))?;
        self.interrupt.check()?;
        Ok(Ended {
            status,
            words: String::from_utf8_lossy(&words).into_owned(),
        })
    }

    /// That `tar` did all that it was to do; a file that changed under it is told and is none of its failures.
    fn must_be_done(&self, ended: &Ended) -> Result<(), Failure> {
        match ended.status {
            ExecStatus::Exited(0) => Ok(()),
            ExecStatus::Exited(1) if ended.has_only_changed() => Ok(()),
            _ => Err(self.broke_off(ended)),
        }
    }

    fn broke_off(&self, ended: &Ended) -> Failure {
        let why = match (&ended.status, ended.words.trim()) {
            (status, "") => match (status.message(), status) {
                (Some(message), _) => message.to_owned(),
                (None, ExecStatus::Signaled(signal)) => format!("signal {signal} ended its `tar`"),
                (None, status) => format!("its `tar` ended with status {}", status.code()),
            },
            (_, words) => words.to_owned(),
        };
        self.of_guest(&why)
    }

    fn of_guest(&self, why: &str) -> Failure {
        Failure::new(format!("{}: {why}", self.instance.as_str()))
    }

    fn wrong(&self, path: &OsStr, why: &str) -> Failure {
        Failure::coded(
            Code::InvalidParameterValue.as_str(),
            format!("{}:{} {why}", self.instance.as_str(), path.display()),
        )
    }

    fn tell(&self, moved: &Moved, ended: &Ended) {
        if !moved.left_out.is_empty() {
            let names: Vec<String> = moved.left_out.iter().map(|p| p.display().to_string()).collect();
            self.context.warn(&format!(
                "left out what is no file, folder or symbolic link: {}",
                names.join(", ")
            ));
        }
        if !ended.words.trim().is_empty() {
            self.context.warn(&self.of_guest(&ended.words).message);
        }
    }
}

impl Ended {
    /// Whether all that tar found fault with is that a file was written to under it.
    fn has_only_changed(&self) -> bool {
        let mut lines = self.words.lines().peekable();
        lines.peek().is_some() && lines.all(|line| line.ends_with("file changed as we read it"))
    }
}

fn no_pipe(error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot copy: {error}"))
}

/// A path that begins with a dash is no option.
fn own_path(path: &OsStr) -> OsString {
    let mut own = OsString::new();
    if path.as_encoded_bytes().starts_with(b"-") {
        own.push("./");
    }
    own.push(path);
    own
}

fn is_said_to_be_a_folder(path: &OsStr) -> bool {
    path.as_encoded_bytes().ends_with(b"/") || last_name(Path::new(path)).is_none()
}

/// The folder that a path is in, and its name there.
fn parent_and_name(path: &OsStr) -> (OsString, OsString) {
    let path = Path::new(path);
    let name = path.file_name().unwrap_or(OsStr::new("."));
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    (
        parent.unwrap_or(Path::new(".")).as_os_str().to_owned(),
        name.to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_guest_is_parted_and_is_never_an_option() {
        for (path, parent, name) in [
            ("/etc/hosts", "/etc", "hosts"),
            ("/x", "/", "x"),
            ("x", ".", "x"),
            ("-x", ".", "-x"),
            ("a/-x", "a", "-x"),
        ] {
            let parted = parent_and_name(&own_path(OsStr::new(path)));
            assert_eq!(parted, (OsString::from(parent), OsString::from(name)), "{path}");
        }
    }

    #[test]
    fn a_file_that_was_written_to_meanwhile_is_no_failure() {
        let only = |words: &str| {
            let ended = Ended {
                status: ExecStatus::Exited(1),
                words: words.to_owned(),
            };
            ended.has_only_changed()
        };
        assert!(only("tar: ./log: file changed as we read it\n"));
        assert!(!only(""));
        assert!(!only(
            "tar: ./a: file changed as we read it\ntar: ./b: Cannot open: Permission denied\n"
        ));
    }
}
