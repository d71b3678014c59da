use std::collections::HashSet;

use super::*;
use crate::disk::{Disk, DiskErrorKind, write_all_at};
use crate::{Access, Chain};

const SIZE: u64 = 1 << 20;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("us-east-1")).unwrap();
    (dir, store)
}

#[test]
fn a_layer_is_made_sealed_listed_and_removed() {
    let (_dir, store) = store();
    let base = store.create_base(SIZE).unwrap();
    write_all_at(
        &Chain::open_path(&store.path(&base), Access::ReadWrite).unwrap(),
        0,
        &[1; 512],
    )
    .unwrap();
    store.seal(&base).unwrap();
    store.seal(&base).unwrap();
    let top = store.create_overlay(&base, Some(2 * SIZE)).unwrap();
    assert_eq!(
        (store.size(&base).unwrap(), store.size(&top).unwrap()),
        (SIZE, 2 * SIZE)
    );
    assert_eq!(store.ancestors(&top).unwrap(), std::slice::from_ref(&base));
    let sealed: Vec<_> = store
        .list()
        .unwrap()
        .into_iter()
        .filter(|layer| layer.sealed)
        .collect();
    assert_eq!(sealed.len(), 1);
    assert_eq!(sealed[0].id, base);
    store.remove(&top).unwrap();
    store.remove(&top).unwrap();
    assert!(!store.exists(&top) && store.exists(&base));
    assert_eq!(store.size(&top).unwrap_err().kind(), DiskErrorKind::NotFound);
}

#[test]
fn an_overlay_is_never_smaller_than_what_it_lies_on() {
    let (_dir, store) = store();
    let base = store.create_base(SIZE).unwrap();
    let error = store.create_overlay(&base, Some(SIZE / 2)).unwrap_err();
    assert_eq!(error.kind(), DiskErrorKind::Refused);
}

#[test]
fn the_largest_disk_that_can_be_made_can_be_opened_and_none_is_made_that_cannot() {
    let (_dir, store) = store();
    for size in (47..54).map(|bits| 1 << bits) {
        match store.create_base(size) {
            Ok(id) => {
                let chain = Chain::open_path(&store.path(&id), Access::ReadWrite).unwrap();
                assert_eq!(chain.size(), size);
            }
            Err(error) => assert!(size > 1 << 50, "{error}"),
        }
    }
    assert_eq!(store.list().unwrap().len(), 4);
}

#[test]
fn collecting_keeps_what_live_layers_lie_on() {
    let (_dir, store) = store();
    let base = store.create_base(SIZE).unwrap();
    let middle = store.create_overlay(&base, None).unwrap();
    let live = store.create_overlay(&middle, None).unwrap();
    let dead = store.create_overlay(&middle, None).unwrap();
    let alone = store.create_base(SIZE).unwrap();
    std::fs::write(store.layers().join("notes.txt"), "not ours").unwrap();
    let lock = store.lock().unwrap();
    let collected = store.collect(&lock, &HashSet::from([live.clone()])).unwrap();
    assert_eq!(
        HashSet::from_iter(collected.removed),
        HashSet::from([dead, alone])
    );
    assert!(store.exists(&base) && store.exists(&middle) && store.exists(&live));
    assert!(store.layers().join("notes.txt").exists());
}

#[test]
fn nothing_is_collected_while_a_live_chain_is_unreadable() {
    let (_dir, store) = store();
    let base = store.create_base(SIZE).unwrap();
    let live = store.create_overlay(&base, None).unwrap();
    let dead = store.create_base(SIZE).unwrap();
    std::fs::write(store.path(&base), "no longer qcow2").unwrap();
    assert!(
        store
            .collect(&store.lock().unwrap(), &HashSet::from([live]))
            .is_err()
    );
    assert!(store.exists(&dead));
}

#[test]
fn a_layer_that_contradicts_itself_is_not_sealed() {
    let (_dir, store) = store();
    let id = store.create_base(SIZE).unwrap();
    let disk = Chain::open_path(&store.path(&id), Access::ReadWrite).unwrap();
    write_all_at(&disk, 0, &[1; 512]).unwrap();
    drop(disk);
    // The L1 table, in the fourth cluster, no longer says `copied`.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(store.path(&id))
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0], 3 << 16).unwrap();
    let error = store.seal(&id).unwrap_err();
    assert_eq!(error.kind(), DiskErrorKind::Corrupt, "{error}");
    assert!(!store.is_sealed(&id).unwrap());
}

#[test]
fn a_layer_that_ends_within_its_last_cluster_is_damaged() {
    let (_dir, store) = store();
    let id = store.create_base(SIZE).unwrap();
    let disk = Chain::open_path(&store.path(&id), Access::ReadWrite).unwrap();
    write_all_at(&disk, 0, &[1; 512]).unwrap();
    drop(disk);
    assert!(crate::check_layer(&store.path(&id)).unwrap().is_clean());
    let file = OpenOptions::new().write(true).open(store.path(&id)).unwrap();
    file.set_len(file.metadata().unwrap().len() - 512).unwrap();
    let found = crate::check_layer(&store.path(&id)).unwrap();
    assert!(
        found.corruptions[0].contains("ends within a cluster"),
        "{found:?}"
    );
    store.seal(&id).unwrap_err();
}

#[test]
fn a_layer_that_could_not_be_brought_to_disk_is_not_sealed() {
    let (_dir, store) = store();
    let id = store.create_base(SIZE).unwrap();
    let failing = |_: &File| Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
    let error = set_sealed(&store.path(&id), failing).unwrap_err();
    assert!(error.to_string().contains("cannot seal"), "{error}");
    assert!(!store.is_sealed(&id).unwrap());
}

#[test]
fn a_layer_whose_sealing_is_given_up_can_be_written_again() {
    let (_dir, store) = store();
    let id = store.create_base(SIZE).unwrap();
    store.seal(&id).unwrap();
    store.unseal(&id).unwrap();
    store.unseal(&id).unwrap();
    let mode = std::fs::metadata(store.path(&id)).unwrap().mode();
    assert_eq!(mode & 0o777, WRITABLE);
}

#[test]
fn a_store_is_made_wherever_it_is_missing_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let region = dir.path().join("regions").join("eu-west-1");
    let made = Store::open(&region).unwrap().create_base(SIZE).unwrap();
    assert!(Store::open(&region).unwrap().exists(&made));
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Store::open(&dir.path().join("file").join("region")).unwrap_err();
    assert!(error.to_string().contains("cannot create"), "{error}");
}
