use super::*;
use crate::tests::simulated::World;

/// Clusters that one block counts.
const BLOCK: u64 = 32768;

/// A file that ends at the given cluster, whose table has room for three blocks and has none.
fn empty(end: u64) -> Refcounts {
    let geometry = Geometry::new(16).unwrap();
    let table = (HostOffset(65536), vec![0; 3]);
    Refcounts::new(World::default().file(), geometry, table, Extents::default(), end)
}

/// A file that ends at the given cluster and has so many blocks, from the cluster 2 on.
fn counted(end: u64, blocks: u64) -> Refcounts {
    let geometry = Geometry::new(16).unwrap();
    let table = (
        HostOffset(65536),
        (0..blocks).map(|nth| (nth + 2) << 16).collect(),
    );
    Refcounts::new(World::default().file(), geometry, table, Extents::default(), end)
}

/// The count of a cluster in what a commit would write.
fn written(changes: &CountChanges, cluster: u64) -> Option<u16> {
    let page = changes
        .pages
        .iter()
        .find(|(number, ..)| *number == cluster / PAGE)?;
    page.2.get((cluster % PAGE) as usize).copied()
}

#[test]
fn a_new_block_counts_itself_also_where_it_takes_the_last_cluster_that_it_counts() {
    let mut counts = empty(BLOCK - 1);
    let new = counts.allocate(4).unwrap();
    assert_eq!(
        new,
        Allocation {
            start: HostCluster(BLOCK + 1),
            count: 4,
            fresh: true
        }
    );
    assert_eq!(counts.table, [(BLOCK - 1) << 16, BLOCK << 16, 0]);
    let changes = counts.take_changes();
    assert_eq!(counts.file_len(), (BLOCK + 5) << 16);
    let mut places: Vec<_> = changes.pages.iter().map(|(page, at, _)| (*page, at.0)).collect();
    places.sort_unstable();
    // The last page of the first block, and the first one of the second.
    assert_eq!(places, [(15, ((BLOCK - 1) << 16) + 15 * 4096), (16, BLOCK << 16)]);
    let named = [
        (0, HostOffset(65536), (BLOCK - 1) << 16),
        (1, HostOffset(65536 + 8), BLOCK << 16),
    ];
    assert_eq!(changes.table, named);
}

#[test]
fn what_could_not_be_written_is_written_the_next_time() {
    let mut counts = empty(BLOCK - 1);
    counts.allocate(4).unwrap();
    let changes = counts.take_changes();
    let nothing = counts.take_changes();
    assert_eq!(
        (nothing.pages.len(), nothing.table.len()),
        (0, 0),
        "it is on its way"
    );
    counts.written(&changes, Err(()));
    let again = counts.take_changes();
    assert_eq!((again.pages.len(), &again.table), (2, &changes.table));
    counts.written(&again, Ok(()));
    let nothing = counts.take_changes();
    assert_eq!((nothing.pages.len(), nothing.table.len()), (0, 0));
}

#[test]
fn a_row_never_crosses_a_block_and_what_is_left_over_is_free() {
    let mut counts = empty(BLOCK - 3);
    let new = counts.allocate_row(8).unwrap();
    assert_eq!(new.start, HostCluster(BLOCK + 1));
    assert_eq!(counts.free.iter().collect::<Vec<_>>(), [(BLOCK - 2, 2)]);
    assert_eq!(counts.allocate(5).unwrap().start, HostCluster(BLOCK - 2));
}

#[test]
fn a_row_that_just_fits_takes_the_rest_of_a_block() {
    let mut counts = counted(BLOCK - 8, 2);
    assert_eq!(counts.allocate_row(8).unwrap().start, HostCluster(BLOCK - 8));
    assert_eq!(counts.free.iter().count(), 0);
}

#[test]
fn what_is_asked_for_beyond_a_blocks_end_comes_in_two_pieces() {
    let mut counts = counted(BLOCK - 3, 2);
    let pieces = [counts.allocate(8).unwrap(), counts.allocate(5).unwrap()];
    assert_eq!(
        pieces.map(|piece| (piece.start.0, piece.count)),
        [(BLOCK - 3, 3), (BLOCK, 5)]
    );
}

#[test]
fn a_full_table_is_an_error_with_its_name() {
    let mut counts = empty(3 * BLOCK);
    let error = counts.allocate(1).unwrap_err();
    let told = format!(
        "the refcount table is full at {} bytes of file",
        3 * BLOCK * 65536
    );
    assert!(error.to_string().contains(&told), "{error}");
}

#[test]
fn clusters_are_free_when_their_last_reference_is_gone() {
    let mut counts = empty(BLOCK);
    let new = counts.allocate(3).unwrap();
    counts.set(new.start.0 + 1, 1, 2).unwrap();
    let unused = counts.count_down(&[(new.start.0, 3)]);
    assert_eq!(unused.iter().count(), 2);
    counts.add_free(&unused);
    assert!(!counts.allocate(1).unwrap().fresh);
}

#[test]
fn a_run_of_clusters_may_reach_over_pages_of_counts() {
    let mut counts = counted(BLOCK, 1);
    let (first, last) = (PAGE - 3, 2 * PAGE + 4);
    counts.set(first, last - first + 1, 1).unwrap();
    counts.set(PAGE + 7, 1, 2).unwrap();
    let changes = counts.take_changes();
    let seen = [
        first - 1,
        first,
        PAGE - 1,
        PAGE,
        PAGE + 7,
        2 * PAGE,
        last,
        last + 1,
    ];
    assert_eq!(
        seen.map(|cluster| written(&changes, cluster)),
        [0, 1, 1, 1, 2, 1, 1, 0].map(Some)
    );
    let unused = counts.count_down(&[(first, last - first + 1)]);
    assert_eq!(
        unused.iter().collect::<Vec<_>>(),
        [(first, PAGE + 7 - first), (PAGE + 8, last - PAGE - 7)]
    );
}

/// A file with its first block alone, as a crash may leave it: it reaches beyond what that counts, and what was not
/// used by then is free.
fn cut_off(end: u64) -> Refcounts {
    let mut counts = counted(end, 1);
    counts.table.resize(3, 0);
    counts.free.insert(BLOCK - 8, 40);
    counts
}

#[test]
fn free_clusters_whose_block_a_crash_has_lost_get_another() {
    let taken = Allocation {
        start: HostCluster(BLOCK - 8),
        count: 16,
        fresh: false,
    };
    let seen = [BLOCK - 9, BLOCK - 8, BLOCK, BLOCK + 7, BLOCK + 8];
    let mut counts = cut_off(BLOCK + 32);
    assert_eq!(counts.allocate(16).unwrap(), taken);
    assert_eq!(counts.table, [2 << 16, (BLOCK + 32) << 16, 0]);
    let changes = counts.take_changes();
    assert_eq!(seen.map(|at| written(&changes, at)), [0, 1, 1, 1, 0].map(Some));
    assert_eq!(written(&changes, BLOCK + 32), Some(1), "the block counts itself");

    // The file ends within the third block, which is there already.
    let mut counts = cut_off(2 * BLOCK + 32);
    counts.allocate_row(1).unwrap();
    assert_eq!(counts.allocate(16).unwrap(), taken);
    let place = (2 * BLOCK + 34) << 16;
    assert_eq!(counts.table, [2 << 16, place, (2 * BLOCK + 32) << 16]);
    let changes = counts.take_changes();
    assert_eq!(seen.map(|at| written(&changes, at)), [0, 1, 1, 1, 0].map(Some));
    assert_eq!(
        written(&changes, 2 * BLOCK + 34),
        Some(1),
        "the third block counts it"
    );
    assert_eq!(counts.allocate(40).unwrap().count, 24);

    // They all lie in the second block, which is lost as the third one is, where the file ends: that comes first, and counts
    // the other.
    let mut counts = cut_off(2 * BLOCK + 32);
    counts.free.take(8);
    assert_eq!(counts.allocate(16).unwrap().start, HostCluster(BLOCK));
    let (second, third) = (2 * BLOCK + 33, 2 * BLOCK + 32);
    assert_eq!(counts.table, [2 << 16, second << 16, third << 16]);
    let changes = counts.take_changes();
    let seen = [BLOCK - 1, BLOCK, BLOCK + 15, BLOCK + 16, third, second];
    assert_eq!(
        seen.map(|at| written(&changes, at)),
        [None, Some(1), Some(1), Some(0), Some(1), Some(1)]
    );
}

#[test]
fn a_count_that_no_block_has_is_an_error_with_its_cluster() {
    let refused = empty(BLOCK).set(3 * PAGE + 5, 1, 1).unwrap_err().to_string();
    assert!(refused.contains(&(3 * PAGE).to_string()), "{refused}");
}

#[test]
fn a_run_that_ends_with_a_page_needs_no_other() {
    let mut counts = counted(BLOCK, 1);
    counts.set(0, PAGE, 1).unwrap();
    assert_eq!(counts.take_changes().pages.len(), 1);
}

#[test]
fn neighbours_are_forgotten_as_one_run() {
    let mut counts = counted(BLOCK, 1);
    for (start, count) in [(5, 2), (7, 1), (20, 1), (3, 4), (12, 1)] {
        counts.forget(HostCluster(start), count);
    }
    let waiting = counts.waiting();
    assert_eq!(waiting.load(Ordering::Relaxed), 9);
    assert_eq!(counts.take_pending(), [(5, 3), (20, 1), (3, 4), (12, 1)]);
    assert_eq!(waiting.load(Ordering::Relaxed), 0);
    assert!(counts.take_pending().is_empty());
    counts.return_pending(vec![(5, 3)]);
    assert_eq!(waiting.load(Ordering::Relaxed), 3);
    assert_eq!(counts.take_pending(), [(5, 3)]);
}

#[test]
fn pages_in_memory_are_bounded_but_for_those_that_are_not_yet_on_disk() {
    let most = PAGES as u64;
    let mut counts = counted(most * 2 * PAGE, most * 2 * PAGE / BLOCK);
    let touch = |counts: &mut Refcounts, pages: std::ops::Range<u64>| {
        pages.for_each(|page| counts.set(page * PAGE, 1, 7).unwrap());
    };
    touch(&mut counts, 0..most + 20);
    let changes = counts.take_changes();
    assert_eq!(
        changes.pages.len(),
        PAGES + 20,
        "none was dropped before it was written"
    );
    // They are on their way: whoever read them again now would see what was before.
    touch(&mut counts, most + 20..most + 40);
    assert_eq!(counts.pages.len(), PAGES + 40);
    counts.written(&changes, Ok(()));
    touch(&mut counts, most + 40..most + 60);
    assert_eq!(
        counts.pages.len(),
        PAGES + 40,
        "each new one takes the place of another"
    );
    assert_eq!(counts.take_changes().pages.len(), 40);
}

#[test]
fn pages_are_kept_as_long_as_there_is_room() {
    let mut counts = counted(BLOCK, 1);
    for page in 0..8 {
        counts.set(page * PAGE, 1, 1).unwrap();
        let changes = counts.take_changes();
        counts.written(&changes, Ok(()));
    }
    assert_eq!(counts.pages.len(), 8);
}
