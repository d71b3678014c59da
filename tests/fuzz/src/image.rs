//! Image files: layers, chains, imports.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use kiln_imagefmt::transfer::{Detected, Source, detect};
use kiln_imagefmt::{
    Access, Chain, Disk, Unmap, check_layer, create_overlay, read_exact_at, repair_leaks, resolve_chain,
    write_all_at,
};

use crate::sparse;

/// The most ranges that are read of one image: its tables may name as many as they like.
const RANGES: usize = 64;

/// A folder of this process, in memory.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/kiln-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("/dev/shm can be written");
    folder
});

/// Writes a file of the folder, with holes for zeroes.
fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.join(name);
    let file = File::create(&path).expect("the folder can be written");
    file.set_len(bytes.len() as u64).expect("it can grow");
    for (nth, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, nth as u64 * 4096)
                .expect("it can be written");
        }
    }
    path
}

/// Reads where the tables say that there is data, and the disk's two ends.
fn read(disk: &Chain) -> bool {
    let mut bytes = vec![0; 64 << 10];
    let mut at = 0;
    let mut fine = true;
    for _ in 0..RANGES {
        let Ok(Some(range)) = disk.next_data(at) else {
            break;
        };
        let len = (range.end - range.start).min(bytes.len() as u64);
        fine &= read_exact_at(disk, range.start, &mut bytes[..len as usize]).is_ok();
        at = range.end;
    }
    let end = disk.size().saturating_sub(700);
    let len = disk.size() - end;
    fine &= read_exact_at(disk, end, &mut bytes[..len as usize]).is_ok();
    fine
}

/// A layer: header, tables and all counts checked; opened, and read. Whether all of it was in order.
pub fn layer(input: &[u8]) -> bool {
    let path = put("layer", &sparse::unpack(input));
    let sound = check_layer(&path).is_ok_and(|report| report.corruptions.is_empty());
    sound & Chain::open_path(&path, Access::ReadOnly).is_ok_and(|disk| read(&disk))
}

/// A layer that is opened for writing, repaired, written to, grown and discarded; if it was sound before, it is sound
/// afterwards, and shows what was written.
pub fn overlay(input: &[u8]) -> bool {
    let path = put("overlay", &sparse::unpack(input));
    let sound = repair_leaks(&path).is_ok_and(|report| report.corruptions.is_empty());
    let Ok(disk) = Chain::open_path(&path, Access::ReadWrite) else {
        return false;
    };
    let before = disk.size();
    if before > 1 << 40 || !write(&disk) {
        return false;
    }
    drop(disk);
    if sound {
        let report = check_layer(&path).expect("a layer that was opened is opened again");
        assert!(report.is_clean(), "{report:?}");
    }
    sound
}

/// Whether all of the writes were possible, and can be read.
fn write(disk: &Chain) -> bool {
    let places = [0, 65_000, disk.size() / 2, disk.size().saturating_sub(600)];
    let written = places
        .iter()
        .take_while(|at| write_all_at(disk, **at, b"what was written is read").is_ok())
        .count();
    let mut back = [0; 24];
    for at in &places[..written] {
        if read_exact_at(disk, *at, &mut back).is_ok()
            && places.iter().filter(|other| other.abs_diff(*at) < 24).count() == 1
        {
            assert_eq!(&back, b"what was written is read");
        }
    }
    let fine = written == places.len() && disk.flush().is_ok();
    let fine = fine & disk.discard(0, disk.size().min(1 << 20)).is_ok();
    let fine = fine & disk.write_zeroes(disk.size() / 2, 512, Unmap::Forbidden).is_ok();
    fine & disk.grow(disk.size() + (1 << 20)).is_ok() & disk.flush().is_ok()
}

/// A top whose header names what it likes, in a folder with other layers. Nothing outside of the folder is named in
/// the answer.
pub fn chain(input: &[u8]) -> bool {
    static BASE: LazyLock<()> = LazyLock::new(|| {
        let base = FOLDER.join("base");
        kiln_imagefmt::create_base(&base, 1 << 20).expect("the folder can be written");
        create_overlay(&FOLDER.join("middle"), "base", 1 << 20).expect("the folder can be written");
    });
    LazyLock::force(&BASE);
    let path = put("top", &sparse::unpack(input));
    let Ok(found) = resolve_chain(&path) else {
        return false;
    };
    for file in &found {
        assert_eq!(file.parent(), Some(Path::new(&*FOLDER)), "{found:?}");
    }
    Chain::open_path(&path, Access::ReadOnly).is_ok_and(|disk| read(&disk)) && found.len() > 1
}

/// A file that is to be imported: told by its content, checked, and read where it says that it has data.
pub fn import(input: &[u8]) -> bool {
    let bytes = sparse::unpack(input);
    let tail = bytes.len().saturating_sub(512);
    let _: Detected = detect(&bytes, &bytes[tail..]);
    let path = put("import", &bytes);
    let Ok(source) = Source::open_path(&path, None) else {
        return false;
    };
    let mut at = 0;
    for _ in 0..RANGES {
        let Ok(Some(range)) = source.extents().next(at) else {
            break;
        };
        assert!(
            range.start >= at && range.end > range.start,
            "{range:?} after {at}"
        );
        at = range.end;
    }
    true
}
