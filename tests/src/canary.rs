//! A file of the host that no image may lead anybody to: who opens it is noticed.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// The file, watched.
pub struct Canary {
    path: PathBuf,
    watch: OwnedFd,
}

impl Canary {
    /// Makes it in `folder`.
    #[track_caller]
    pub fn new(folder: &Path) -> Canary {
        let path = folder.join("canary");
        fs::write(&path, vec![b'!'; 1 << 20]).expect("a canary");
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("a watch");
        let touches = WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::MODIFY;
        inotify::add_watch(&watch, &path, touches).expect("it is watched");
        Canary { path, watch }
    }

    /// The first sector of a qcow2 file of 1 MiB that has it as its raw backing file.
    #[track_caller]
    pub fn header(&self) -> [u8; 512] {
        let name = self.path.to_str().expect("a path in UTF-8").as_bytes();
        let mut header = [0; 512];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            header[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        let length = u32::try_from(name.len()).expect("a short path");
        put(b"QFI\xfb");
        put(&2_u32.to_be_bytes());
        put(&96_u64.to_be_bytes());
        put(&length.to_be_bytes());
        // Clusters of 64 KiB, the size, no encryption; one entry of L1, at 64 KiB.
        put(&16_u32.to_be_bytes());
        put(&(1_u64 << 20).to_be_bytes());
        put(&[0; 4]);
        put(&1_u32.to_be_bytes());
        put(&(1_u64 << 16).to_be_bytes());
        // One cluster of refcounts, at 128 KiB; no snapshots.
        put(&(2_u64 << 16).to_be_bytes());
        put(&1_u32.to_be_bytes());
        put(&[0; 12]);
        // Extensions: the backing file's format; the end.
        put(&0xe279_2aca_u32.to_be_bytes());
        put(&3_u32.to_be_bytes());
        put(b"raw\0\0\0\0\0");
        put(&[0; 8]);
        put(name);
        header
    }

    /// Asserts that nobody has opened, read or written it.
    #[track_caller]
    pub fn is_untouched(&self) {
        assert!(!self.was_touched(), "{} was opened", self.path.display());
    }

    /// Whether anybody has, since this was last asked.
    #[track_caller]
    pub fn was_touched(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.watch, &mut buffer);
        let mut touched = false;
        loop {
            match events.next() {
                Ok(event) => touched |= !event.events().contains(ReadFlags::IGNORED),
                Err(Errno::WOULDBLOCK) => return touched,
                Err(error) => panic!("the watch cannot be read: {error}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Canary;

    #[test]
    fn who_takes_the_header_for_one_opens_the_canary() {
        let folder = tempfile::tempdir().expect("a folder");
        let canary = Canary::new(folder.path());
        canary.is_untouched();
        let disk = folder.path().join("disk");
        let mut bytes = vec![0; 1 << 20];
        bytes[..512].copy_from_slice(&canary.header());
        std::fs::write(&disk, bytes).expect("a disk");
        canary.is_untouched();
        let guess = std::process::Command::new("qemu-img")
            .arg("map")
            .arg(&disk)
            .output();
        let told = guess.expect("qemu-img runs");
        assert!(canary.was_touched(), "{}", String::from_utf8_lossy(&told.stderr));
        canary.is_untouched();
    }
}
