//! Figures, as a table and as JSON: `bench WHAT OUT.json`.
//!
//! The two sides of each comparison alternate in one run, so that whatever else the host does falls on both. A ratio
//! above its bound is marked and ends in status 1.

mod boot;
mod comparison;
mod disk;
mod guest;
mod init;
mod launch;
mod rival;
mod run;
mod save;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        init::init();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, out] = arguments.as_slice() else {
        eprintln!("usage: bench boot|disk|guest|launch|run|save|start OUT.json");
        return ExitCode::from(2);
    };
    let comparison = match what.as_str() {
        "boot" => boot::compare(),
        "disk" => disk::compare(),
        "guest" => guest::compare(),
        "launch" => launch::compare(),
        "run" => run::compare(),
        "save" => save::compare(),
        "start" => boot::compare_start(),
        other => {
            eprintln!("error: nothing is known of {other}: boot, disk, guest, launch, run, save or start");
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
