//! `kiln-vmm`: one process, one guest.

use std::process::ExitCode;

use clap::Parser;
use kiln_vmm::by_hand::{self, Args};
use kiln_vmm::spec::MachineSpec;

fn main() -> ExitCode {
    let args = Args::parse();
    let level = if args.verbose {
        tracing::Level::INFO
    } else {
        tracing::Level::WARN
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .init();
    let exits = by_hand::counting(args.count_exits);
    let spec = match &args.spec {
        Some(file) => match MachineSpec::read(file) {
            Ok(spec) => spec,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        },
        None => args.machine(),
    };
    by_hand::run(&spec, exits)
}
