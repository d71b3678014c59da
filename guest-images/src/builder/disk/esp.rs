//! The EFI system partition: a FAT16 file system with the one program that any UEFI starts from a
//! disk that it does not know (UEFI Specification 2.10, section 3.5.1.1).

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// The path of x86-64's.
const FOLDERS: [&str; 2] = ["EFI", "EFI/BOOT"];
const LOADER: &str = "EFI/BOOT/BOOTX64.EFI";

/// Makes the file system in these bytes of the disk, which read as zeros, with `loader` in it. `id` is
/// its serial number. All times are FAT's first day, 1980-01-01.
pub(super) fn write(
    disk: &mut (impl Read + Write + Seek),
    place: Range<u64>,
    id: u32,
    loader: &[u8],
) -> io::Result<()> {
    let mut partition = Partition { disk, place, at: 0 };
    let options = fatfs::FormatVolumeOptions::new()
        .fat_type(fatfs::FatType::Fat16)
        .volume_id(id)
        .volume_label(*b"EFI        ");
    fatfs::format_volume(&mut partition, options)?;
    partition.at = 0;
    let files = fatfs::FileSystem::new(&mut partition, fatfs::FsOptions::new().time_provider(&FirstDay))?;
    for folder in FOLDERS {
        files.root_dir().create_dir(folder)?;
    }
    let mut file = files.root_dir().create_file(LOADER)?;
    file.write_all(loader)?;
    file.flush()?;
    drop(file);
    files.unmount()
}

/// The time of all files: the first that FAT knows. Without one they would have a month 0.
#[derive(Debug)]
struct FirstDay;

impl fatfs::TimeProvider for FirstDay {
    fn get_current_date(&self) -> fatfs::Date {
        fatfs::Date {
            year: 1980,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> fatfs::DateTime {
        let time = fatfs::Time {
            hour: 0,
            min: 0,
            sec: 0,
            millis: 0,
        };
        fatfs::DateTime {
            date: self.get_current_date(),
            time,
        }
    }
}

/// As a disk of its own.
struct Partition<'a, D> {
    disk: &'a mut D,
    /// In bytes.
    place: Range<u64>,
    at: u64,
}

impl<D: Seek> Partition<'_, D> {
    /// Goes to where the next byte is; how many there are from it on, of `wanted`.
    fn seek_disk(&mut self, wanted: usize) -> io::Result<usize> {
        let start = self.place.start.saturating_add(self.at);
        let left = usize::try_from(self.place.end.saturating_sub(start)).unwrap_or(usize::MAX);
        self.disk.seek(SeekFrom::Start(start))?;
        Ok(wanted.min(left))
    }
}

impl<D: Read + Seek> Read for Partition<'_, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.seek_disk(buffer.len())?;
        let read = self.disk.read(&mut buffer[..length])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl<D: Write + Seek> Write for Partition<'_, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.seek_disk(bytes.len())?;
        let written = self.disk.write(&bytes[..length])?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl<D> Seek for Partition<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self.place.end.saturating_sub(self.place.start);
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => length.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
