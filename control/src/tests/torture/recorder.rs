//! What a command does to the files of its home, in order.

use super::tracer::{Call, Witness};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One step on the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// An empty file gets this name.
    Create(PathBuf),
    Folder(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Length(PathBuf, u64),
    Hole(PathBuf, u64, u64),
    Mode(PathBuf, u32),
    Rename(PathBuf, PathBuf),
    /// A file or an empty folder loses its name.
    Remove(PathBuf),
    /// The contents and length of a file, or the names in a folder, are durable.
    Sync(PathBuf),
    /// The command has answered.
    Answer,
}

/// What the command prints once it is answered.
pub(super) const ANSWER: &str = "the command has been answered\n";

pub(super) struct Recorder {
    home: PathBuf,
    pub(super) tape: Vec<Event>,
}

/// What a call on the home was about to do; the position of a `write` is known when it is over.
pub(super) enum About {
    Nothing,
    Events(Vec<Event>),
    Append(PathBuf, PathBuf, Vec<u8>),
    /// A copy within the kernel to a file by a descriptor, at its cursor.
    Copy(PathBuf, PathBuf),
}

impl Recorder {
    pub(super) fn of(home: PathBuf) -> Recorder {
        Recorder {
            home,
            tape: Vec::new(),
        }
    }

    /// Where a descriptor leads, if that is a file of the home with a name.
    fn file(&self, call: Call, argument: usize) -> Option<PathBuf> {
        let path = std::fs::read_link(self.descriptor(call, argument)).ok()?;
        self.inside(path).filter(|path| path.exists())
    }

    fn descriptor(&self, call: Call, argument: usize) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            call.thread, call.arguments[argument] as i32
        ))
    }

    /// The index of a write-ahead log is memory that the processes share; it is made anew after a crash.
    fn inside(&self, path: PathBuf) -> Option<PathBuf> {
        let counts = path.starts_with(&self.home) && !path.to_string_lossy().ends_with("-shm");
        counts.then_some(path)
    }

    /// The path that a call names, from the working folder or from the folder of a descriptor.
    fn path(&self, call: Call, folder: Option<usize>, argument: usize) -> Option<PathBuf> {
        let mut text = Vec::new();
        let mut at = call.arguments[argument];
        // A text may end right before memory that is not there: byte by byte.
        let memory = File::open(format!("/proc/{}/mem", call.thread)).unwrap();
        loop {
            let mut byte = [0];
            memory.read_exact_at(&mut byte, at).ok()?;
            if byte == [0] {
                break;
            }
            text.push(byte[0]);
            at += 1;
        }
        let path = PathBuf::from(String::from_utf8(text).unwrap());
        if path.is_absolute() {
            return self.inside(path);
        }
        let folder = folder.filter(|folder| call.arguments[*folder] as i32 != libc::AT_FDCWD)?;
        let folder = std::fs::read_link(self.descriptor(call, folder)).ok()?;
        self.inside(folder.join(path))
    }

    /// What the opening of a file does to the folder.
    fn opens(&self, path: Option<PathBuf>, flags: i32) -> About {
        let Some(path) = path else { return About::Nothing };
        let is_there = path.symlink_metadata().is_ok();
        About::Events(match (is_there, flags) {
            (false, flags) if flags & libc::O_CREAT != 0 => vec![Event::Create(path)],
            (true, flags) if flags & libc::O_TRUNC != 0 => vec![Event::Length(path, 0)],
            _ => vec![],
        })
    }

    fn holes(&self, call: Call) -> Option<Event> {
        let path = self.file(call, 0)?;
        let [_, mode, at, len, ..] = call.arguments;
        assert_eq!(
            mode as i32,
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            "{path:?}"
        );
        Some(Event::Hole(path, at, len))
    }
}

fn bytes(call: Call, at: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    let memory = File::open(format!("/proc/{}/mem", call.thread)).unwrap();
    memory.read_exact_at(&mut bytes, at).unwrap();
    bytes
}

/// The bytes of a list of pieces (`struct iovec`).
fn gathered(call: Call) -> Vec<u8> {
    let list = bytes(call, call.arguments[1], call.arguments[2] * 16);
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let pieces = list.chunks_exact(16);
    pieces
        .flat_map(|piece| bytes(call, number(&piece[..8]), number(&piece[8..])))
        .collect()
}

fn once(event: Option<Event>) -> About {
    event.map_or(About::Nothing, |event| About::Events(vec![event]))
}

impl Witness for Recorder {
    type Before = About;

    fn enters(&mut self, call: Call) -> About {
        let [first, second, third, fourth, ..] = call.arguments;
        let appended = |bytes: Vec<u8>| match self.file(call, 0) {
            Some(path) => About::Append(path, self.descriptor(call, 0), bytes),
            None if first == 1 && bytes.starts_with(ANSWER.as_bytes()) => once(Some(Event::Answer)),
            None => About::Nothing,
        };
        let file = || self.file(call, 0);
        let path = || self.path(call, None, 0);
        let path_in = || self.path(call, Some(0), 1);
        match call.number {
            libc::SYS_open => self.opens(path(), second as i32),
            libc::SYS_openat => self.opens(path_in(), third as i32),
            libc::SYS_write => appended(bytes(call, second, third)),
            libc::SYS_writev => appended(gathered(call)),
            libc::SYS_pwrite64 => {
                once(file().map(|path| Event::Write(path, fourth, bytes(call, second, third))))
            }
            libc::SYS_pwritev => once(file().map(|path| Event::Write(path, fourth, gathered(call)))),
            libc::SYS_ftruncate => once(file().map(|path| Event::Length(path, second))),
            libc::SYS_fallocate => once(self.holes(call)),
            libc::SYS_fsync | libc::SYS_fdatasync => once(file().map(Event::Sync)),
            libc::SYS_fchmod => once(file().map(|path| Event::Mode(path, second as u32))),
            libc::SYS_chmod => once(path().map(|path| Event::Mode(path, second as u32))),
            libc::SYS_fchmodat => once(path_in().map(|path| Event::Mode(path, third as u32))),
            libc::SYS_mkdir => once(path().map(Event::Folder)),
            libc::SYS_mkdirat => once(path_in().map(Event::Folder)),
            libc::SYS_unlink | libc::SYS_rmdir => once(path().map(Event::Remove)),
            libc::SYS_unlinkat => once(path_in().map(Event::Remove)),
            libc::SYS_rename => once(path().zip(self.path(call, None, 1)).map(renamed)),
            libc::SYS_renameat | libc::SYS_renameat2 => {
                once(path_in().zip(self.path(call, Some(2), 3)).map(renamed))
            }
            libc::SYS_mmap => {
                let is_shared = fourth as i32 & libc::MAP_SHARED != 0 && third as i32 & libc::PROT_WRITE != 0;
                let mapped = is_shared.then(|| self.file(call, 4)).flatten();
                assert_eq!(mapped, None, "writes through memory cannot be seen");
                About::Nothing
            }
            libc::SYS_copy_file_range => match self.file(call, 2) {
                Some(path) => About::Copy(path, self.descriptor(call, 2)),
                None => About::Nothing,
            },
            libc::SYS_sendfile | libc::SYS_splice => {
                let to = if call.number == libc::SYS_sendfile { 0 } else { 2 };
                assert_eq!(
                    self.file(call, to),
                    None,
                    "copies within the kernel are not understood"
                );
                About::Nothing
            }
            libc::SYS_link | libc::SYS_linkat | libc::SYS_symlink | libc::SYS_truncate => {
                panic!("system call {} is not understood", call.number)
            }
            _ => About::Nothing,
        }
    }

    fn leaves(&mut self, _call: Call, before: About, result: Option<u64>) {
        let Some(result) = result else { return };
        match before {
            About::Nothing => {}
            About::Events(events) => self.tape.extend(events),
            About::Append(path, descriptor, mut bytes) => {
                bytes.truncate(result as usize);
                self.tape
                    .push(Event::Write(path, position(&descriptor) - result, bytes));
            }
            About::Copy(_, _) if result == 0 => {}
            About::Copy(path, descriptor) => {
                let at = position(&descriptor) - result;
                let mut bytes = vec![0; result as usize];
                File::open(&path).unwrap().read_exact_at(&mut bytes, at).unwrap();
                self.tape.push(Event::Write(path, at, bytes));
            }
        }
    }
}

/// Where the cursor of a descriptor is.
fn position(descriptor: &Path) -> u64 {
    let info = descriptor.to_string_lossy().replace("/fd/", "/fdinfo/");
    let info = std::fs::read_to_string(info).unwrap();
    let position = info.lines().find_map(|line| line.strip_prefix("pos:")).unwrap();
    position.trim().parse().unwrap()
}

fn renamed((from, to): (PathBuf, PathBuf)) -> Event {
    Event::Rename(from, to)
}

/// Whether a file belongs to a machine, not to the command.
pub(super) fn is_of_machine(path: &Path) -> bool {
    ["running", "running.new", "exit.json", "exit.new"]
        .iter()
        .any(|name| path.ends_with(name))
}
