//! What lies in `KILN_HOME/machine`, and sockets whose paths are too long for `sun_path`.

use super::Error;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Nobody but the owner.
const PRIVATE: u32 = 0o700;

/// The folder of one software machine.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// The machine of the store in `home`.
    pub(crate) fn of(home: &Path) -> Self {
        Self {
            folder: home.join("machine"),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder, and the home if there is none. Only their owner may look into them: the disk holds all
    /// that guests hold.
    pub(crate) fn make_folder(&self) -> Result<(), Error> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE)
            .create(&self.folder)
            .and_then(|()| std::fs::set_permissions(&self.folder, Permissions::from_mode(PRIVATE)))
            .map_err(|e| Error::of_place(&self.folder, &e, "--home or KILN_HOME"))
    }

    /// Held by the supervisor as long as it lives.
    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// That file, made if need be. It is never removed, so that there is one lock.
    pub(crate) fn open_lock(&self) -> io::Result<File> {
        let mut options = File::options();
        options.create(true).truncate(false).write(true).open(self.lock())
    }

    /// The data disk: the store, as the machine sees it.
    pub(crate) fn data_disk(&self) -> PathBuf {
        self.folder.join("data.ext4")
    }

    /// Made anew at each start.
    pub(crate) fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs")
    }

    /// What the user chose with `kiln machine start`.
    pub(crate) fn settings(&self) -> PathBuf {
        self.folder.join("settings.json")
    }

    /// The machine's serial port.
    pub(crate) fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// What QEMU and the supervisor had to say.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("supervisor.log")
    }

    /// Listens on a socket in this folder; an old one is removed. The caller holds the lock.
    pub(crate) fn listen(&self, socket: Socket) -> io::Result<UnixListener> {
        let (folder, short) = self.short(socket)?;
        match std::fs::remove_file(&short) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&short);
        drop(folder);
        listener
    }

    /// Connects to a socket in this folder.
    pub(crate) fn connect(&self, socket: Socket) -> io::Result<UnixStream> {
        let (folder, short) = self.short(socket)?;
        let stream = UnixStream::connect(&short);
        drop(folder);
        stream
    }

    /// A path of a bounded length to a socket, good while the returned folder is open: a socket's
    /// path may have 107 bytes, a `KILN_HOME` may be longer.
    fn short(&self, socket: Socket) -> io::Result<(File, PathBuf)> {
        let folder = File::open(&self.folder)?;
        let path = PathBuf::from(format!(
            "/proc/self/fd/{}/{}",
            folder.as_raw_fd(),
            socket.file_name()
        ));
        Ok((folder, path))
    }
}

/// The sockets of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Socket {
    /// The supervisor's own: leases, status, stop.
    Supervisor,
    /// Each connection is a channel to the agent in the machine.
    Agent,
}

impl Socket {
    fn file_name(self) -> &'static str {
        match self {
            Socket::Supervisor => "supervisor.sock",
            Socket::Agent => "agent.sock",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_socket_works_in_a_folder_whose_path_is_too_long_for_one() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let deep = home.path().join("x".repeat(120)).join("y".repeat(120));
        let layout = Layout::of(&deep);
        layout.make_folder().expect("a temporary folder");
        let listener = layout.listen(Socket::Agent).expect("listens");
        layout.connect(Socket::Agent).expect("connects");
        drop(listener);
        assert!(layout.connect(Socket::Agent).is_err());
        layout
            .listen(Socket::Agent)
            .expect("an old socket is no obstacle");
    }

    #[test]
    fn only_the_owner_may_look_into_the_folder_and_a_new_home() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let home = parent.path().join("home");
        let layout = Layout::of(&home);
        layout.make_folder().expect("a folder");
        let mode = |path: &Path| path.metadata().expect("it is there").mode() & 0o777;
        assert_eq!((mode(&home), mode(layout.folder())), (PRIVATE, PRIVATE));
        std::fs::set_permissions(layout.folder(), Permissions::from_mode(0o755)).expect("the owner may");
        layout.make_folder().expect("a folder that is there");
        assert_eq!(mode(layout.folder()), PRIVATE);
    }
}
