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

// They panic where nothing can be written: `output` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod accel;
mod args;
mod attach;
mod commands;
mod compressed;
mod download;
mod failure;
mod home;
mod interrupt;
mod official;
mod output;
mod private_key;
mod progress;
mod size;
mod software_machine;
mod usage;
mod user_file;

use clap::Parser;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    match argv.iter().map(|a| a.as_os_str()).collect::<Vec<_>>().as_slice() {
        [_, first, home] if *first == "machine-supervisor" => {
            return of_own(software_machine::supervisor::run(Path::new(home)));
        }
        [_, first, parent, program, rest @ ..] if *first == "machine-child" => {
            let failed = software_machine::supervisor::become_child(parent, program, rest);
            output::aside(&format!("{failed}\n"));
            return ExitCode::FAILURE;
        }
        [_, first, nanos] if *first == "machine-clock" => {
            return of_own(software_machine::set_clock(nanos));
        }
        _ => {}
    }
    let cli = match args::Cli::try_parse_from(&argv) {
        Ok(cli) => cli,
        Err(error) => return explain(&error, &argv),
    };
    trace(cli.global.verbose);
    let context = commands::Context::new(&cli.global, &cli.command);
    let done = interrupt::survive_file_limit().and_then(|()| commands::run(&context, cli.command, argv));
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            output::aside(&failure.render(context.format));
            ExitCode::from(failure.status)
        }
    }
}

/// The end of a part of this program that it starts itself. Who started it reads why from its stderr.
fn of_own(result: Result<(), software_machine::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::aside(&format!("{error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Help, or what was wrong with the arguments.
fn explain(error: &clap::Error, argv: &[OsString]) -> ExitCode {
    match usage::of(error, argv) {
        // clap knows best whether the terminal takes colours.
        usage::Usage::Help => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        usage::Usage::Wrong(failure) if failure.code.is_none() => {
            output::aside(&failure.message);
            ExitCode::from(failure.status)
        }
        usage::Usage::Wrong(failure) => {
            output::aside(&failure.render(usage::format_of(argv)));
            ExitCode::from(failure.status)
        }
    }
}

/// `-v`: what happens inside, on stderr. `RUST_LOG` says it more finely.
fn trace(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let chosen = match verbose {
        0 => EnvFilter::try_from_default_env().ok(),
        1 => Some(EnvFilter::new("info")),
        2 => Some(EnvFilter::new("debug")),
        _ => Some(EnvFilter::new("trace")),
    };
    if let Some(filter) = chosen {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .without_time()
            // It would tell of what cannot be written there, in vain and with a panic.
            .log_internal_errors(false)
            .init();
    }
}
