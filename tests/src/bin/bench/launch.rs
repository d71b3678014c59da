//! What a launch and a live bake cost, for a small disk and for one of a tebibyte.

use crate::comparison::{Comparison, Figure, ROUNDS, median_of, timed};
use kiln_tests::{Guest, Home};
use std::os::unix::fs::MetadataExt;

const SIZES: [&str; 2] = ["1G", "1T"];

/// Launches and bakes both, in turn.
pub(crate) fn compare() -> Comparison {
    let mut figures = vec![overlay_bytes()];
    figures.extend(launch_and_bake());
    Comparison {
        title: "A small and a large root disk",
        each: median_of(ROUNDS),
        of: ["1 GiB", "1 TiB"],
        figures,
        failure: None,
    }
}

/// Launches `tiny` with a root disk of each size and bakes it while it runs, in turn.
fn launch_and_bake() -> [Figure; 2] {
    let home = Home::new();
    let (mut runs, mut bakes) = ([vec![], vec![]], [vec![], vec![]]);
    for round in 0..ROUNDS {
        for (n, size) in SIZES.into_iter().enumerate() {
            let run = ["-q", "run", "tiny", "--root-size", size];
            let id = timed(&mut runs[n], || home.kiln(&run)).succeeds().text();
            let guest = Guest::new(&home, id);
            guest.exec("true").succeeds();
            let name = format!("bench-{size}-{round}");
            let bake = [
                "-q",
                "image",
                "create",
                guest.id(),
                "--name",
                &name,
                "--no-reboot",
            ];
            timed(&mut bakes[n], || home.kiln(&bake)).succeeds();
            home.kiln(&["terminate", guest.id()]).succeeds();
        }
    }
    [
        Figure::new("kiln run", "ms", &mut runs, 1.2),
        Figure::new("kiln image create --no-reboot", "ms", &mut bakes, 1.2),
    ]
}

/// What the writable layer of a launch costs on disk.
fn overlay_bytes() -> Figure {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bytes = [vec![], vec![]];
    for (n, size) in [1u64 << 30, 1 << 40].into_iter().enumerate() {
        let path = folder.path().join(format!("{size}.qcow2"));
        kiln_imagefmt::create_overlay(&path, "base.qcow2", size).expect("an overlay is created");
        bytes[n].push(std::fs::metadata(&path).expect("its metadata").blocks() as f64 * 512.0);
    }
    let cluster = 65536.0;
    let bound = (bytes[0][0] + cluster) / bytes[0][0].max(1.0);
    Figure::new("new overlay on disk", "bytes", &mut bytes, bound)
}
