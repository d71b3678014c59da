//! qcow2 files whose tables say what no writer would: read, checked and written within bounds.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kiln_imagefmt::transfer::Source;
use kiln_imagefmt::{Access, Chain, Disk, check_layer, read_exact_at, write_all_at};

use crate::bounded;

/// Numbers without pattern, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn of<T: Copy>(&mut self, what: &[T]) -> T {
        what[self.roll(what.len() as u64) as usize]
    }
}

/// A whole file, and where its tables are.
struct Sound {
    bytes: Vec<u8>,
    cluster: u64,
    /// The L1 table, one L2 table, the refcount table and one refcount block.
    tables: [u64; 4],
}

fn number(bytes: &[u8], at: u64) -> u64 {
    let bytes = bytes
        .get(at as usize..at as usize + 8)
        .expect("a field of the file");
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

impl Sound {
    fn read(path: &Path) -> Sound {
        let bytes = fs::read(path).expect("the file");
        let place = |at| number(&bytes, at) & 0x00ff_ffff_ffff_fe00;
        let (l1, counts) = (place(40), place(48));
        let l2 = (0..64)
            .map(|nth| place(l1 + nth * 8))
            .find(|l2| *l2 != 0)
            .expect("an L2 table");
        Sound {
            cluster: 1 << (number(&bytes, 16) & 0xffff_ffff),
            tables: [l1, l2, counts, place(counts)],
            bytes,
        }
    }

    /// Damages a field of the header, an entry, or a whole table.
    fn damaged(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for _ in 0..=dice.roll(3) {
            let place = |dice: &mut Dice| dice.roll(1 << 6) * self.cluster;
            let value = match dice.roll(9) {
                0 => u64::MAX,
                1 => 0,
                // Into the file, exact or not; beyond its end; where a sum or a shift overflows.
                2 => 1 << 63 | place(dice),
                3 => place(dice) | dice.of(&[1, 256, 511, 512, 2048]),
                4 => bytes.len() as u64 + place(dice),
                5 => dice.of(&[i64::MAX as u64, 1 << 55, 0x00ff_ffff_ffff_fe00, 1 << 63 | 1, !511]),
                // Compressed: anywhere, of any length.
                6 => 1 << 62 | dice.roll(1 << 22) | dice.roll(1 << 13) << 49,
                7 => dice.roll(1 << 40),
                _ => 1 << dice.roll(64),
            };
            let table = dice.of(&self.tables);
            let (at, len) = match dice.roll(8) {
                // Version, sizes, places and widths, by field.
                0..3 => dice.of(&[
                    (4, 4),
                    (8, 8),
                    (16, 4),
                    (20, 4),
                    (24, 8),
                    (36, 4),
                    (40, 8),
                    (48, 8),
                    (56, 4),
                    (60, 4),
                ]),
                3 => dice.of(&[(72, 8), (96, 4), (100, 4), (104, 8), (112, 8)]),
                4 => {
                    let all = bytes.iter_mut().skip(table as usize).take(self.cluster as usize);
                    let bytes = value.to_be_bytes();
                    all.zip(bytes.iter().cycle())
                        .for_each(|(place, byte)| *place = *byte);
                    continue;
                }
                _ => (table + dice.roll(40) * dice.of(&[2, 8]), 8),
            };
            let value = value.to_be_bytes();
            // Small numbers in the narrow fields, mostly.
            let value = if len == 4 && dice.roll(2) == 0 {
                (dice.roll(70) as u32).to_be_bytes().to_vec()
            } else {
                value[8 - len..].to_vec()
            };
            let at = at as usize;
            bytes.splice(at..at + len, value);
        }
        if dice.roll(8) == 0 {
            bytes.truncate(dice.roll(bytes.len() as u64) as usize);
        }
        bytes
    }
}

fn qemu_img(arguments: &[&str], ends: &[&Path]) {
    let output = std::process::Command::new("qemu-img")
        .args(arguments)
        .args(ends)
        .output();
    let output = output.expect("qemu-img runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Files of several makes, with data, compressed or not.
fn sound_files(folder: &Path) -> Vec<Sound> {
    let (raw, own) = (folder.join("raw"), folder.join("own"));
    let content: Vec<u8> = (0..3_u32 << 20).map(|nth| (nth >> 10) as u8).collect();
    fs::write(&raw, &content).expect("a file");
    kiln_imagefmt::create_base(&own, 3 << 20).expect("a layer");
    let disk = Chain::open_path(&own, Access::ReadWrite).expect("a disk");
    write_all_at(&disk, 0, &content[..1 << 20]).expect("it is written");
    disk.discard(1 << 16, 1 << 16).expect("it is discarded");
    drop(disk);
    let foreign = |options: &[&str]| {
        let path = folder.join("foreign");
        qemu_img(
            &[&["convert", "-f", "raw", "-O", "qcow2"], options].concat(),
            &[&raw, &path],
        );
        Sound::read(&path)
    };
    vec![
        Sound::read(&own),
        foreign(&["-c"]),
        foreign(&["-c", "-o", "compression_type=zstd"]),
        foreign(&["-o", "compat=0.10"]),
        foreign(&["-o", "cluster_size=512"]),
        foreign(&["-o", "refcount_bits=1"]),
        foreign(&["-o", "refcount_bits=64,cluster_size=4096"]),
        foreign(&["-c", "-o", "cluster_size=2M"]),
    ]
}

/// All that is done with a file: imported as far as it is looked at, read, checked, written.
fn use_up(path: &Path) {
    let open = |access| {
        let file = File::options()
            .read(true)
            .write(access == Access::ReadWrite)
            .open(path);
        Chain::open(vec![file.expect("the file")], access)
    };
    let _ = Source::open_path(path, None);
    if let Ok(disk) = open(Access::ReadOnly) {
        let mut some = vec![0; disk.size().min(3 << 20) as usize];
        let _ = read_exact_at(&disk, 0, &mut some);
        let _ = read_exact_at(&disk, disk.size().saturating_sub(512), &mut [0; 512]);
        for nth in 0..32 {
            let _ = read_exact_at(&disk, disk.size() / 32 * nth, &mut [0; 512]);
        }
    }
    let _ = check_layer(path);
    if let Ok(disk) = open(Access::ReadWrite) {
        let _ = write_all_at(&disk, 70_000, &[6; 200_000]);
        let _ = disk.discard(0, disk.size().min(1 << 20));
        let _ = disk.flush();
        drop(disk);
        // What may be written at all was in order; so it is afterwards.
        let report = check_layer(path).expect("it was just written");
        assert_eq!(report.corruptions, Vec::<String>::new());
    }
}

#[test]
fn hazard_tables_that_say_anything_cost_little_memory_and_time() {
    let name = "hostile_qcow2::hazard_tables_that_say_anything_cost_little_memory_and_time";
    bounded(name, 256 << 20, |turn| {
        let folder = tempfile::tempdir().expect("a folder");
        let files = sound_files(folder.path());
        let path = folder.path().join("damaged");
        for seed in 0..1200 {
            turn.next(format_args!("seed {seed}"));
            let mut dice = Dice(seed);
            let sound = &files[dice.roll(files.len() as u64) as usize];
            fs::write(&path, sound.damaged(&mut dice)).expect("a file");
            use_up(&path);
        }
    });
}

/// A file of one compressed cluster, and where its only L2 entry is.
fn one_cluster(folder: &Path, content: &[u8]) -> (PathBuf, u64) {
    let (raw, path) = (folder.join("raw"), folder.join("packed"));
    fs::write(&raw, content).expect("a file");
    qemu_img(
        &[
            "convert",
            "-c",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "-o",
            "cluster_size=2M",
        ],
        &[&raw, &path],
    );
    let l2 = Sound::read(&path).tables[1];
    (path, l2)
}

#[test]
fn hazard_a_cluster_that_inflates_a_thousand_times_costs_one_cluster() {
    let name = "hostile_qcow2::hazard_a_cluster_that_inflates_a_thousand_times_costs_one_cluster";
    bounded(name, 256 << 20, |turn| {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, l2) = one_cluster(folder.path(), &vec![0x41; 2 << 20]);
        let packed = fs::metadata(&path).expect("its size").len();
        // Packed a thousand times, it is read as what it is.
        let disk = Chain::open(vec![File::open(&path).expect("the file")], Access::ReadOnly).expect("a disk");
        let mut all = vec![0; 2 << 20];
        turn.next(format_args!("a cluster of {packed} bytes of file"));
        read_exact_at(&disk, 0, &mut all).expect("it is sound");
        assert!(all.iter().all(|byte| *byte == 0x41));
        // The same stream in a file of smaller clusters is too much for one of them.
        let bytes = fs::read(&path).expect("the file");
        let entry = number(&bytes, l2);
        let start = (entry & ((1 << 49) - 1)) as usize;
        let stream = &bytes[start..bytes.len().min(start + 60_000)];
        let small = folder.path().join("small");
        kiln_imagefmt::create_base(&small, 1 << 20).expect("a layer");
        let disk = Chain::open_path(&small, Access::ReadWrite).expect("a disk");
        write_all_at(&disk, 0, &[1; 1 << 16]).expect("it is written");
        drop(disk);
        let sound = Sound::read(&small);
        let end = sound.bytes.len() as u64;
        let file = File::options().write(true).open(&small).expect("the file");
        file.write_all_at(stream, end).expect("it is longer");
        file.set_len(end + (1 << 16)).expect("it is longer");
        let entry: u64 = 1 << 62 | end | 127 << 54;
        file.write_all_at(&entry.to_be_bytes(), sound.tables[1])
            .expect("the entry");
        let disk =
            Chain::open(vec![File::open(&small).expect("the file")], Access::ReadOnly).expect("a disk");
        turn.next(format_args!("a bomb"));
        let error = read_exact_at(&disk, 0, &mut [0; 512]).expect_err("it is a bomb");
        assert!(
            error.to_string().contains("inflates to more than a cluster"),
            "{error}"
        );
    });
}
