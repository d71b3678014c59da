//! `kiln`: bakes and launches machine images.
//!
//! ```text
//!  args  ──>  commands  ──>  kiln-control (here)
//!                 │
//!                 └───────>  software_machine::forward  ──>  the same command in the machine
//! ```
//!
//! `args` says what can be asked for, `commands` does it, `output` prints it, `accel` decides where
//! guests run on this host.

mod accel;
mod args;
mod attach;
mod commands;
mod failure;
mod home;
mod interrupt;
mod output;
mod progress;
mod size;
mod software_machine;
mod user_file;

use clap::Parser;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    match argv.iter().map(|a| a.as_os_str()).collect::<Vec<_>>().as_slice() {
        [_, first, home] if *first == "machine-supervisor" => {
            return match software_machine::supervisor::run(Path::new(home)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            };
        }
        [_, first, program, rest @ ..] if *first == "machine-child" => {
            eprintln!("{}", software_machine::supervisor::become_child(program, rest));
            return ExitCode::FAILURE;
        }
        _ => {}
    }
    let cli = args::Cli::parse_from(&argv);
    let context = commands::Context::new(&cli.global);
    match commands::run(&context, cli.command, argv) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("{}", failure.render(context.format));
            ExitCode::from(failure.status)
        }
    }
}
