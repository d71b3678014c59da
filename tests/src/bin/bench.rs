//! Figures of the main job: what a launch and a live bake cost, for a small disk and for one of a tebibyte.
//!
//! `bench OUT.json`: prints a table and writes the same as JSON. The two sizes alternate in one run, so that whatever else
//! the host does falls on both. A ratio above its bound is marked and ends in status 1.

use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::time::Instant;

use kiln_tests::{Guest, Home};

const ROUNDS: usize = 11;
const SIZES: [&str; 2] = ["1G", "1T"];

/// Medians of the small and of the large disk for one thing measured.
struct Figure {
    what: &'static str,
    unit: &'static str,
    medians: [f64; 2],
    bound: f64,
}

impl Figure {
    fn new(what: &'static str, unit: &'static str, samples: &mut [Vec<f64>; 2], bound: f64) -> Figure {
        let medians = [median(&mut samples[0]), median(&mut samples[1])];
        Figure {
            what,
            unit,
            medians,
            bound,
        }
    }

    fn ratio(&self) -> f64 {
        self.medians[1] / self.medians[0].max(f64::MIN_POSITIVE)
    }

    fn is_met(&self) -> bool {
        self.ratio() <= self.bound
    }
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn timed<T>(samples: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    samples.push(start.elapsed().as_secs_f64() * 1000.0);
    done
}

/// Launches `tiny` with a root disk of each size and bakes it while it runs, in turn.
fn launch_and_bake(figures: &mut Vec<Figure>) {
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
    figures.push(Figure::new("kiln run", "ms", &mut runs, 1.2));
    figures.push(Figure::new(
        "kiln image create --no-reboot",
        "ms",
        &mut bakes,
        1.2,
    ));
}

/// What the writable layer of a launch costs on disk.
fn overlay_bytes(figures: &mut Vec<Figure>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bytes = [vec![], vec![]];
    for (n, size) in [1u64 << 30, 1 << 40].into_iter().enumerate() {
        let path = folder.path().join(format!("{size}.qcow2"));
        kiln_imagefmt::create_overlay(&path, "base.qcow2", size).expect("an overlay is created");
        bytes[n].push(std::fs::metadata(&path).expect("its metadata").blocks() as f64 * 512.0);
    }
    let cluster = 65536.0;
    let bound = (bytes[0][0] + cluster) / bytes[0][0].max(1.0);
    figures.push(Figure::new("new overlay on disk", "bytes", &mut bytes, bound));
}

fn main() -> ExitCode {
    let mut figures = vec![];
    overlay_bytes(&mut figures);
    launch_and_bake(&mut figures);

    println!("| median of {ROUNDS} | 1 GiB | 1 TiB | ratio | bound | |\n|---|---|---|---|---|---|");
    for f in &figures {
        let mark = if f.is_met() { "met" } else { "**not met**" };
        println!(
            "| {} ({}) | {:.1} | {:.1} | {:.2} | {:.2} | {mark} |",
            f.what,
            f.unit,
            f.medians[0],
            f.medians[1],
            f.ratio(),
            f.bound
        );
    }
    let ratios: Vec<String> = figures
        .iter()
        .map(|f| format!("{} {:.2}", f.what, f.ratio()))
        .collect();
    println!("figure: 1 TiB against 1 GiB: {}", ratios.join(", "));
    if let Some(out) = std::env::args().nth(1) {
        let rows: Vec<_> = figures
            .iter()
            .map(|f| {
                serde_json::json!({"what": f.what, "unit": f.unit, "1G": f.medians[0], "1T": f.medians[1],
                "ratio": f.ratio(), "bound": f.bound, "met": f.is_met()})
            })
            .collect();
        let document = serde_json::to_vec_pretty(&rows).expect("figures are plain numbers");
        if let Err(e) = std::fs::write(&out, document) {
            eprintln!("error: cannot write {out}: {e}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::from(u8::from(!figures.iter().all(Figure::is_met)))
}
