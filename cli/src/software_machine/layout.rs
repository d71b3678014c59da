//! What lies in `KILN_HOME/machine`, and sockets whose paths are too long for `sun_path`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

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

    /// Held by the supervisor as long as it lives.
    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join("lock")
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

    #[test]
    fn a_socket_works_in_a_folder_whose_path_is_too_long_for_one() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let deep = home.path().join("x".repeat(120)).join("y".repeat(120));
        let layout = Layout::of(&deep);
        std::fs::create_dir_all(layout.folder()).expect("a temporary folder");
        let listener = layout.listen(Socket::Agent).expect("listens");
        layout.connect(Socket::Agent).expect("connects");
        drop(listener);
        assert!(layout.connect(Socket::Agent).is_err());
        layout
            .listen(Socket::Agent)
            .expect("an old socket is no obstacle");
    }
}
