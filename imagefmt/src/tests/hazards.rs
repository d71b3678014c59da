//! What broke systems like this one, one test each.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use super::harness::{CLUSTER, Folder, run};
use super::power_cut::Machine;
use super::simulated::World;
use crate::disk::{Access, Disk, DiskErrorKind, write_all_at};
use crate::gate::{GateError, resolve_chain};
use crate::io::Host;
use crate::qcow2::{Layer, format};
use crate::{Chain, create_overlay};

const SIZE: u64 = 1 << 20;

#[test]
fn hazard_backing_names_that_lead_out_of_the_folder_are_refused() {
    let folder = Folder::new();
    folder.base("base", SIZE);
    for name in [
        "/etc/shadow",
        "../base",
        "sub/base",
        "..",
        "json:{\"driver\":\"file\"}",
        "nbd://host/export",
        "https://host/disk",
        "file:base",
        "fat:rw:.",
    ] {
        let path = folder.overlay("evil", name, SIZE);
        folder.overlay("deeper", "evil", SIZE);
        for top in ["evil", "deeper"] {
            match resolve_chain(&folder.path(top)) {
                Err(GateError::Name { name: refused, .. }) => assert_eq!(refused, name),
                other => panic!("{name}: {other:?}"),
            }
            let error = Chain::open_path(&folder.path(top), Access::ReadOnly).unwrap_err();
            assert_eq!(error.kind(), DiskErrorKind::Refused);
            assert!(error.to_string().contains(name), "{error}");
        }
        fs::remove_file(path).unwrap();
        fs::remove_file(folder.path("deeper")).unwrap();
    }
}

#[test]
fn hazard_links_and_special_files_in_a_chain_are_refused_without_opening_what_they_hide() {
    let folder = Folder::new();
    folder.base("base", SIZE);
    std::os::unix::fs::symlink(folder.path("base"), folder.path("link")).unwrap();
    run("mkfifo", &[folder.path("fifo").to_str().unwrap()]).unwrap();
    fs::create_dir(folder.path("dir")).unwrap();
    for name in ["link", "fifo", "dir"] {
        let top = folder.overlay("top", name, SIZE);
        // A FIFO that is opened for reading blocks until someone writes.
        let begun = Instant::now();
        for path in [&top, &folder.path(name)] {
            let error = resolve_chain(path).unwrap_err();
            assert!(matches!(error, GateError::NotRegular { .. }), "{name}: {error}");
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        fs::remove_file(top).unwrap();
    }
    let top = folder.overlay("top", "missing", SIZE);
    let error = Chain::open_path(&top, Access::ReadOnly).unwrap_err();
    assert_eq!(error.kind(), DiskErrorKind::NotFound);
    assert!(error.to_string().contains("the backing file of"), "{error}");
}

#[test]
fn hazard_backing_loops_end_in_an_error() {
    let folder = Folder::new();
    folder.overlay("a", "b", SIZE);
    folder.overlay("b", "a", SIZE);
    folder.overlay("self", "self", SIZE);
    folder.overlay("one", "two", SIZE);
    fs::hard_link(folder.path("one"), folder.path("two")).unwrap();
    for top in ["a", "b", "self", "one", "two"] {
        assert!(
            matches!(resolve_chain(&folder.path(top)), Err(GateError::Loop { .. })),
            "{top}"
        );
    }
    // The same by descriptors, where no name is looked up.
    let files = vec![folder.file("one"), folder.file("two")];
    let error = Chain::open(files, Access::ReadOnly).unwrap_err();
    assert!(error.to_string().contains("occurs twice"), "{error}");
}

#[test]
fn hazard_ten_thousand_layers_are_refused_at_once() {
    let folder = Folder::new();
    folder.base("00000", SIZE);
    let template = fs::read(folder.overlay("template", "99999", SIZE)).unwrap();
    let name_at = template.windows(5).position(|window| window == b"99999").unwrap() as u64;
    for nth in 1..10_000 {
        let file = File::create(folder.path(&format!("{nth:05}"))).unwrap();
        file.write_all_at(&template[..4096], 0).unwrap();
        file.write_all_at(format!("{:05}", nth - 1).as_bytes(), name_at)
            .unwrap();
        file.set_len(template.len() as u64).unwrap();
    }
    let begun = Instant::now();
    assert!(matches!(
        resolve_chain(&folder.path("09999")),
        Err(GateError::TooDeep { .. })
    ));
    assert!(begun.elapsed() < Duration::from_secs(60));
    // As deep as is allowed, it is read.
    let disk = Chain::open_path(&folder.path("00255"), Access::ReadOnly);
    assert_eq!(disk.unwrap().depth(), 256);
}

#[test]
fn hazard_overwriting_one_cluster_does_not_grow_the_file() {
    let mut machine = Machine::new();
    let disk = machine.disk.take().unwrap();
    write_all_at(&disk, 0, &[1; 512]).unwrap();
    disk.flush().unwrap();
    let before = machine.world.host(0).length().unwrap();
    for round in 0..100_000_u32 {
        write_all_at(&disk, 0, &round.to_le_bytes()).unwrap();
        disk.flush().unwrap();
    }
    assert_eq!(machine.world.host(0).length().unwrap(), before);
    // Nor does giving the cluster back and taking it again.
    for round in 0..2_000_u32 {
        disk.discard(0, CLUSTER).unwrap();
        disk.flush().unwrap();
        write_all_at(&disk, 0, &round.to_le_bytes()).unwrap();
        disk.flush().unwrap();
    }
    assert!(machine.world.host(0).length().unwrap() <= before + CLUSTER);
    // Nor does a guest that never flushes, but for what may wait.
    for round in 0..3_000_u32 {
        disk.discard(0, CLUSTER).unwrap();
        disk.settle().unwrap();
        write_all_at(&disk, 0, &round.to_le_bytes()).unwrap();
        disk.settle().unwrap();
    }
    let most = before + (64 << 20) + 4 * CLUSTER;
    assert!(machine.world.host(0).length().unwrap() <= most);
}

#[test]
fn creating_an_overlay_costs_the_same_for_any_size() {
    let folder = Folder::new();
    let cost = |name: &str, size: u64| {
        folder.base("base", size);
        let path = folder.path(name);
        create_overlay(&path, "base", size).unwrap();
        fs::remove_file(folder.path("base")).unwrap();
        let metadata = fs::metadata(path).unwrap();
        (metadata.len(), metadata.blocks() * 512)
    };
    let (small, large) = (cost("small", 1 << 30), cost("large", 1 << 40));
    assert_eq!(small.0, large.0);
    assert!(small.1.abs_diff(large.1) <= CLUSTER, "{small:?} {large:?}");
    assert!(large.0 <= 4 * CLUSTER);
}

#[test]
fn hazard_a_sealed_layer_is_not_opened_for_writing() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.base("base", SIZE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let error = Chain::open_path(&path, Access::ReadWrite).unwrap_err();
    assert!(
        matches!(error.kind(), DiskErrorKind::Refused | DiskErrorKind::Io),
        "{error}"
    );
    folder.open_read_only("base");
}

fn host_with(bytes: &[u8]) -> Host {
    let host = World::default().file();
    host.write_bytes(0, bytes).unwrap();
    host
}

#[test]
fn hazard_damaged_tables_end_in_an_error_or_in_bytes() {
    use super::simulated::Dice;
    use crate::disk::read_exact_at;
    let world = World::default();
    format(&world.file(), None, SIZE).unwrap();
    let disk = Chain::open_hosts(vec![world.host(0)], Access::ReadWrite).unwrap();
    write_all_at(&disk, 3000, &[5; 300_000]).unwrap();
    disk.discard(CLUSTER, CLUSTER).unwrap();
    drop(disk);
    let whole = world.bytes(0);
    let mut dice = Dice(7);
    let begun = Instant::now();
    for _ in 0..500 {
        let mut bytes = whole.clone();
        for _ in 0..=dice.roll(3) {
            // Header, refcount table, refcount block, L1, L2: where an entry or field is, most often.
            let cluster = dice.roll(6) * CLUSTER;
            let at = (cluster + dice.roll(20) * if cluster == 0 { 8 } else { 4 }) as usize;
            let value = match dice.roll(5) {
                0 => u64::MAX,
                1 => (1 << 63) | (dice.roll(16) * CLUSTER),
                2 => dice.roll(1 << 20),
                3 => 1 << dice.roll(64),
                _ => dice.roll(u64::MAX),
            };
            bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
        }
        if let Ok(disk) = Chain::open_hosts(vec![host_with(&bytes)], Access::ReadOnly) {
            let mut some = vec![0; disk.size().min(SIZE) as usize];
            let _ = read_exact_at(&disk, 0, &mut some);
            let mut end = [0; 512];
            let _ = read_exact_at(&disk, disk.size().saturating_sub(512), &mut end);
        }
        if let Ok(layer) = Layer::open(host_with(&bytes)) {
            let _ = layer.inspect();
        }
        // What may be written at all was in order; so it is afterwards.
        let host = host_with(&bytes);
        if let Ok(disk) = Chain::open_hosts(vec![host.clone()], Access::ReadWrite) {
            let _ = write_all_at(&disk, 70_000, &[6; 200_000]);
            let _ = disk.flush();
            drop(disk);
            let found = Layer::open(host).unwrap().inspect().unwrap();
            assert_eq!(found.corruptions, Vec::<String>::new());
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(600));
}

#[test]
fn hazard_tables_that_are_named_twice_are_read_once_and_told() {
    let world = World::default();
    format(&world.file(), None, 1 << 30).unwrap();
    let disk = Chain::open_hosts(vec![world.host(0)], Access::ReadWrite).unwrap();
    write_all_at(&disk, 0, &[5; 512]).unwrap();
    drop(disk);
    let whole = world.bytes(0);
    let word = |cluster: u64, nth: u64| (cluster * CLUSTER + nth * 8) as usize;
    // The first entry of the L1 table and of the refcount table, each at the place of the second, too.
    for (cluster, words) in [(3, "L2 table"), (1, "refcount block")] {
        let mut bytes = whole.clone();
        bytes.copy_within(word(cluster, 0)..word(cluster, 1), word(cluster, 1));
        let found = Layer::open(host_with(&bytes)).unwrap().inspect().unwrap();
        let told = |words: &str| found.corruptions.iter().any(|told| told.contains(words));
        assert!(told(words) && told("in use already"), "{:?}", found.corruptions);
    }
}
