//! `kiln-vmm`: one process, one guest.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use kiln_vmm::by_hand::{self, Args};
use kiln_vmm::instance;
use kiln_vmm::parent::{self, ReadySender, StartError};
use kiln_vmm::spec::MachineSpec;
use kiln_vmm::vmm_log::Bounded;

fn main() -> ExitCode {
    let args = Args::parse();
    let is_instance = args.ready_fd.is_some();
    let level = if args.verbose || is_instance {
        tracing::Level::INFO
    } else {
        tracing::Level::WARN
    };
    let messages = tracing_subscriber::fmt()
        .with_max_level(level)
        // It would tell of what cannot be written to stderr, there, and panic: on a full disk that ends the guest.
        .log_internal_errors(false)
        .with_ansi(!is_instance);
    if is_instance {
        messages.with_writer(Bounded::new(std::io::stderr)).init();
    } else {
        messages.with_writer(std::io::stderr).init();
    }
    match &args.spec {
        Some(file) => match MachineSpec::read(file) {
            Ok(spec) => match &spec.directory {
                Some(dir) => run_instance(&spec, dir, args.ready_fd),
                None => by_hand::run(&spec, by_hand::counting(args.count_exits)),
            },
            Err(error) => fail(args.ready_fd, &StartError::new("spec", error)),
        },
        None => {
            let exits = by_hand::counting(args.count_exits);
            by_hand::run(&args.machine(), exits)
        }
    }
}

fn run_instance(spec: &MachineSpec, dir: &Path, ready_fd: Option<i32>) -> ExitCode {
    if let Err(error) = parent::forget_environment() {
        return fail(ready_fd, &StartError::new("host", error));
    }
    match take(ready_fd) {
        Ok(ready) => instance::run(spec, dir, ready),
        Err(error) => fail(None, &error),
    }
}

fn take(ready_fd: Option<i32>) -> Result<Option<OwnedFd>, StartError> {
    let bad = |error| StartError::new("usage", format!("--ready-fd: {error}"));
    ready_fd.map(parent::take_ready_fd).transpose().map_err(bad)
}

/// Says why nothing runs, where whoever started this listens.
fn fail(ready_fd: Option<i32>, error: &StartError) -> ExitCode {
    ReadySender::new(take(ready_fd).ok().flatten()).error(error);
    ExitCode::FAILURE
}
