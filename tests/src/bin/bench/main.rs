//! Figures, as a table and as JSON: `bench WHAT OUT.json`.
//!
//! The two sides of each comparison alternate in one run, so that whatever else the host does falls on both. A ratio
//! above its bound is marked and ends in status 1.

mod boot;
mod comparison;
mod disk;
mod firmware;
mod freeze;
mod guest;
mod init;
mod launch;
mod memory;
mod port;
mod programs;
mod rival;
mod run;
mod save;
mod share;
mod storage_daemon;
mod tiny;
mod writer;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        init::init();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, seconds] = arguments.as_slice()
        && what == "write"
    {
        let seconds = seconds.parse().unwrap_or(1);
        return writer::write(seconds).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let [what, out] = arguments.as_slice() else {
        eprintln!("usage: bench boot|disk|firmware|freeze|guest|launch|run|save|start|writer OUT.json");
        return ExitCode::from(2);
    };
    let comparison = match what.as_str() {
        "boot" => boot::compare(),
        "disk" => disk::compare(),
        "firmware" => firmware::compare(),
        "freeze" => freeze::compare(),
        "guest" => guest::compare(),
        "launch" => launch::compare(),
        "run" => run::compare(),
        "save" => save::compare(),
        "start" => boot::compare_start(),
        "writer" => writer::compare(),
        other => {
            eprintln!(
                "error: nothing is known of {other}: boot, disk, firmware, freeze, guest, launch, run, save, start or writer"
            );
            return ExitCode::from(2);
        }
    };
    comparison.print();
    let document = serde_json::to_vec_pretty(&comparison.document()).expect("figures are plain numbers");
    if let Err(e) = std::fs::write(out, document) {
        eprintln!("error: cannot write {out}: {e}");
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::from(!comparison.is_met()))
}
