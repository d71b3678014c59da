//! Compressed disk files: unpacked on this host before anything else is done with them, with holes where they have
//! nothing but zeroes.

use crate::failure::Failure;
use kiln_control::Progress;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Xz,
    Zstd,
}

/// What is read, and left out if it is zero, at a time.
const BLOCK: usize = 64 << 10;

impl Compression {
    /// By a file's first bytes.
    pub(crate) fn of(file: &File) -> Option<Self> {
        let mut head = [0; 6];
        file.read_exact_at(&mut head, 0).ok()?;
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }

    /// A reader of what the file unpacks to: of all its parts, where several were joined.
    fn reader<'a>(self, packed: impl Read + 'a) -> Box<dyn Read + 'a> {
        let packed = BufReader::with_capacity(1 << 20, packed);
        match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new(packed, true)),
            Self::Zstd => Box::new(Frames { packed, frame: None }),
        }
    }
}

/// The frames of a Zstandard file, one behind the other.
struct Frames<R: Read> {
    packed: BufReader<R>,
    frame: Option<Box<ruzstd::decoding::FrameDecoder>>,
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        use ruzstd::decoding::BlockDecodingStrategy;
        use std::io::BufRead;
        let failed = std::io::Error::other;
        loop {
            if self.frame.is_none() {
                if self.packed.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                let mut frame = Box::new(ruzstd::decoding::FrameDecoder::new());
                frame.reset(&mut self.packed).map_err(failed)?;
                self.frame = Some(frame);
            }
            let Some(frame) = &mut self.frame else { continue };
            if frame.can_collect() == 0 && !frame.is_finished() {
                let some = BlockDecodingStrategy::UptoBytes(to.len());
                frame.decode_blocks(&mut self.packed, some).map_err(failed)?;
            }
            match frame.read(to)? {
                0 if frame.is_finished() => self.frame = None,
                0 => {}
                got => return Ok(got),
            }
        }
    }
}

/// A disk that was unpacked; its file goes with this value.
#[derive(Debug)]
pub(crate) struct Unpacked {
    path: PathBuf,
    /// Locked as long as it is in use: one that nobody has locked was left by a command that was killed.
    _file: File,
}

impl Unpacked {
    /// Its path on this host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // What cannot be removed now is when somebody unpacks the next.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Unpacks the file `from`, called `name`, into a folder of the cache. What is no disk by its beginning is refused before
/// the rest is unpacked.
pub(crate) fn unpack(
    from: &File,
    name: &str,
    compression: Compression,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<Unpacked, Failure> {
    let folder = cache.join("unpacked");
    let of_place = |verb: &str, error: &std::io::Error| {
        Failure::new(format!(
            "cannot {verb} {}: {error} (XDG_CACHE_HOME names another place)",
            folder.display()
        ))
    };
    std::fs::create_dir_all(&folder).map_err(|error| of_place("make", &error))?;
    // Until its own file is locked, nobody else looks for files that nobody has locked.
    let cleaning = File::open(&folder).map_err(|error| of_place("open", &error))?;
    rustix::fs::flock(&cleaning, FlockOperation::LockExclusive)
        .map_err(|error| of_place("lock", &error.into()))?;
    remove_what_was_left(&folder);
    let path = folder.join(format!("{}.disk", uuid::Uuid::new_v4().simple()));
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(|error| of_place("write in", &error))?;
    let unpacked = Unpacked {
        path: path.clone(),
        _file: file.try_clone().map_err(|error| of_place("write in", &error))?,
    };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| of_place("lock a file in", &error.into()))?;
    drop(cleaning);
    crate::interrupt::at_a_signal(move || {
        let _ = std::fs::remove_file(&path);
    })?;
    let damaged = |error: &std::io::Error| {
        let kind = compression.name();
        let message = format!("{name} cannot be unpacked: its {kind} data is damaged or cut off ({error})");
        Failure::coded("InvalidParameterValue", message)
    };
    let total = from.metadata().map_or(0, |metadata| metadata.len());
    let packed = Counted {
        from: from.try_clone().map_err(|error| damaged(&error))?,
        done: 0,
        total,
        progress,
    };
    let mut reader = compression.reader(packed);
    let mut length = 0_u64;
    let mut block = vec![0; BLOCK];
    loop {
        let got = fill(&mut reader, &mut block).map_err(|error| damaged(&error))?;
        let Some(bytes) = block.get(..got).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        if length == 0 {
            kiln_control::check_beginning(bytes, &unpacked_name(name))?;
        }
        if bytes.iter().any(|byte| *byte != 0) {
            file.write_all_at(bytes, length)
                .map_err(|error| of_place("write in", &error))?;
        }
        length = length.saturating_add(got as u64);
    }
    file.set_len(length)
        .map_err(|error| of_place("write in", &error))?;
    Ok(unpacked)
}

/// What messages call that which a file unpacks to.
pub(crate) fn unpacked_name(name: &str) -> String {
    format!("{name}, unpacked,")
}

/// Removes the files of commands that were killed.
fn remove_what_was_left(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_free = File::open(entry.path())
            .is_ok_and(|file| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok());
        if is_free {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Reads until the block is full or there is no more.
fn fill(from: &mut dyn Read, block: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The packed file, read from its beginning, with word of how far.
struct Counted<'a> {
    from: File,
    done: u64,
    total: u64,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let got = self.from.read_at(to, self.done)?;
        self.done += got as u64;
        self.progress.at(self.done, self.total);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    struct Silent;
    impl Progress for Silent {
        fn at(&self, _: u64, _: u64) {}
    }

    /// What a program of the host makes of these bytes.
    fn packed_by(program: &[&str], content: &[u8]) -> File {
        let mut plain = tempfile::tempfile().expect("a file");
        plain.write_all(content).expect("written");
        plain.seek(SeekFrom::Start(0)).expect("a file");
        let out = tempfile::tempfile().expect("a file");
        let status = Command::new(program[0])
            .args(&program[1..])
            .stdin(Stdio::from(plain))
            .stdout(out.try_clone().expect("a file"))
            .status();
        assert!(status.expect(program[0]).success());
        out
    }

    fn disk() -> Vec<u8> {
        let mut disk = vec![0; 8 << 20];
        disk[..512].fill(7);
        disk[5 << 20..][..100_000].fill(9);
        disk.extend([1, 2, 3]);
        disk
    }

    #[test]
    fn a_disk_of_each_compression_is_unpacked_with_its_holes() {
        let cache = tempfile::tempdir().expect("a folder");
        for program in [&["gzip", "-c"][..], &["xz", "-c", "-T1"], &["zstd", "-c", "-q"]] {
            let packed = packed_by(program, &disk());
            let compression = Compression::of(&packed).expect("it is known by its first bytes");
            assert_eq!(compression.name(), program[0]);
            let unpacked = unpack(&packed, "a", compression, cache.path(), &Silent).expect("whole");
            assert!(
                std::fs::read(unpacked.path()).expect("there") == disk(),
                "{program:?}"
            );
            let taken = unpacked.path().metadata().expect("there").blocks() * 512;
            assert!(taken < 1 << 20, "{taken} bytes on disk");
            let path = unpacked.path().to_owned();
            drop(unpacked);
            assert!(!path.exists());
        }
    }

    #[test]
    fn parts_that_were_joined_are_all_unpacked() {
        let cache = tempfile::tempdir().expect("a folder");
        for program in [&["gzip", "-c"][..], &["xz", "-c"], &["zstd", "-c", "-q"]] {
            let mut joined = tempfile::tempfile().expect("a file");
            for part in [b"one\0", b"two\0"] {
                let mut part = packed_by(program, part);
                part.seek(SeekFrom::Start(0)).expect("a file");
                std::io::copy(&mut part, &mut joined).expect("copied");
            }
            let compression = Compression::of(&joined).expect("it is known");
            let unpacked = unpack(&joined, "a", compression, cache.path(), &Silent).expect("whole");
            assert_eq!(std::fs::read(unpacked.path()).expect("there"), b"one\0two\0");
        }
    }

    #[test]
    fn hazard_what_is_no_disk_is_refused_before_all_of_it_is_unpacked() {
        let cache = tempfile::tempdir().expect("a folder");
        let mut archive = b"PK\x03\x04".to_vec();
        archive.resize(8 << 20, 7);
        let long = packed_by(&["gzip", "-c"], &archive);
        // That it is cut off would be told if all of it were read.
        let length = long.metadata().expect("a file").len();
        long.set_len(length - 100).expect("cut");
        let short = packed_by(&["gzip", "-c"], b"hello\n");
        for (packed, found) in [(&long, "a zip archive"), (&short, "text")] {
            let refused = unpack(packed, "a.gz", Compression::Gzip, cache.path(), &Silent);
            let message = refused.expect_err("it is no disk").message;
            let wanted = format!("a.gz, unpacked, is {found}; raw and qcow2 disk images can be imported");
            assert!(message.contains(&wanted), "{message}");
            let left = std::fs::read_dir(cache.path().join("unpacked")).expect("a folder");
            assert_eq!(left.count(), 0);
        }
    }

    #[test]
    fn a_file_that_is_cut_off_is_refused_by_its_name_and_leaves_nothing() {
        let cache = tempfile::tempdir().expect("a folder");
        for program in [&["gzip", "-c"][..], &["xz", "-c"], &["zstd", "-c", "-q"]] {
            let packed = packed_by(program, &disk());
            let length = packed.metadata().expect("a file").len();
            packed.set_len(length / 2).expect("cut");
            let compression = Compression::of(&packed).expect("its beginning is whole");
            let refused = unpack(&packed, "half.gz", compression, cache.path(), &Silent);
            let failure = refused.expect_err("it is cut off");
            assert!(
                failure.message.contains("half.gz cannot be unpacked"),
                "{failure:?}"
            );
            let left = std::fs::read_dir(cache.path().join("unpacked")).expect("a folder");
            assert_eq!(left.count(), 0);
        }
    }

    #[test]
    fn what_a_killed_command_left_is_removed_and_what_is_in_use_is_not() {
        let cache = tempfile::tempdir().expect("a folder");
        let packed = packed_by(&["gzip", "-c"], b"disk\0");
        let used = unpack(&packed, "a", Compression::Gzip, cache.path(), &Silent).expect("whole");
        let left = cache.path().join("unpacked/left.disk");
        std::fs::write(&left, "of a killed one").expect("written");
        let other = unpack(&packed, "a", Compression::Gzip, cache.path(), &Silent).expect("whole");
        assert!(!left.exists() && used.path().exists() && other.path().exists());
    }
}
