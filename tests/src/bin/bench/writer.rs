//! What a live bake costs a program in the guest: the longest that a write of its takes, with a bake and without.

use crate::comparison::{Comparison, Figure, median_of};
use kiln_tests::Home;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

/// Runs of each.
const ROUNDS: usize = 5;
/// How long the program writes.
const SECONDS: u64 = 20;
/// When it is baked.
const BAKED_AFTER: u64 = 3;
/// Where it lies in the guest.
const PROGRAM: &str = "/root/writer";

/// What the program in the guest does: writes 4 KiB and syncs them, over and over, and prints the longest time from
/// one such write's end to the next one's, in microseconds.
pub(crate) fn write(seconds: u64) -> std::io::Result<()> {
    let mut file = std::fs::File::create("/root/written")?;
    let (began, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    for number in 0.. {
        file.seek(SeekFrom::Start(number % 256 * 4096))?;
        file.write_all(&[number as u8; 4096])?;
        file.sync_data()?;
        longest = longest.max(last.elapsed());
        last = Instant::now();
        if began.elapsed() > Duration::from_secs(seconds) {
            break;
        }
    }
    println!("{}", longest.as_micros());
    Ok(())
}

/// Lets it write in a Debian, in turn undisturbed and baked meanwhile.
pub(crate) fn compare() -> Comparison {
    let home = Home::new();
    let guest = home.launch("debian", &["--type", "t3.nano"]);
    let mut own = Vec::new();
    let program = std::fs::File::open("/proc/self/exe").and_then(|mut file| file.read_to_end(&mut own));
    program.expect("this program");
    let copy = format!("cat >{PROGRAM} && chmod +x {PROGRAM}");
    let arguments = ["exec", guest.id(), "--", "sh", "-c", &copy];
    kiln_tests::home::outcome(&mut home.command(&arguments), &own).succeeds();
    let run = format!("{PROGRAM} write {SECONDS}");
    let mut longest = [vec![], vec![]];
    let mut failure = None;
    for round in 0..ROUNDS {
        for (baked, samples) in longest.iter_mut().enumerate() {
            let said = std::thread::scope(|scope| {
                let writer = scope.spawn(|| guest.says(&run));
                if baked == 1 {
                    std::thread::sleep(Duration::from_secs(BAKED_AFTER));
                    let name = format!("writer-{round}");
                    home.kiln(&["image", "create", guest.id(), "--name", &name, "--no-reboot"])
                        .succeeds();
                    if writer.is_finished() {
                        failure = Some(format!("the bake took longer than {SECONDS} s of writing"));
                    }
                }
                writer.join().expect("it ends")
            });
            if baked == 1 {
                // What it writes to first after a bake is new once more, and is not to be found undisturbed.
                guest.says(&run);
            }
            let milliseconds = said.parse::<f64>().expect("microseconds") / 1000.0;
            let how = ["undisturbed", "with a live bake"][baked];
            eprintln!(
                "writer, round {} of {ROUNDS}, {how}: {milliseconds:.1} ms",
                round + 1
            );
            samples.push(milliseconds);
        }
    }
    Comparison {
        title: "A program that writes and syncs in a Debian, for 20 s at a time",
        each: median_of(ROUNDS),
        of: ["undisturbed", "with a live bake"],
        figures: vec![Figure::new(
            "longest from write to write",
            "ms",
            &mut longest,
            f64::INFINITY,
        )],
        failure,
    }
}
