//! What the commands do: a file a group.

mod agent;
mod build;
mod completions;
mod console;
mod context;
mod cp;
mod diagnose;
mod doctor;
mod image;
mod import;
mod instance;
mod key;
mod log;
mod machine;
mod official;
mod run;
mod stats;
mod storage;
mod upkeep;
mod waiting;

pub(crate) use context::Context;

use crate::args::image::Image;
use crate::args::key::Key;
use crate::args::{Command, storage as args_of_storage};
use crate::attach::Input;
use crate::failure::Failure;
use kiln_agent::client::Unread;

/// Does what was asked for; the exit status.
pub(crate) fn run(context: &Context, command: Command, argv: Vec<std::ffi::OsString>) -> Result<u8, Failure> {
    // What touches no store works on this host, always.
    let command = match command {
        Command::Machine(command) => return machine::run(context, command),
        Command::Completions(of) => return completions::run(&of),
        Command::Doctor => return doctor::run(context),
        #[cfg(any(debug_assertions, feature = "crash-points"))]
        Command::CrashPoints => return upkeep::crash_points(),
        Command::Type(args_of_storage::Type::List(list)) => return storage::types(context, &list),
        other => other,
    };
    if let Command::Run(run) = &command {
        if run.command.is_empty() && argv.last().is_some_and(|last| last == "--") {
            return Err(Failure::usage(
                "no command follows `--`: name one, or leave `--` out",
            ));
        }
        run.check()?;
    }
    let hands_on = command.hands_on_a_status();
    let offered = match &command {
        Command::Run(run) => official::offer(context, &run.image),
        _ => Ok(()),
    };
    let done = offered.and_then(|()| here_or_there(context, command, argv));
    if hands_on {
        done.map_err(Failure::while_handing_on)
    } else {
        done
    }
}

/// What becomes of a command in the machine that nobody reads here any more: what it would do by itself with a pipe of
/// its own.
fn unread(command: &Command) -> Unread {
    match command {
        command if command.hands_on_a_status() => Unread::BreaksPipe,
        Command::Console(_) => Unread::IsDone,
        Command::Log(log) if log.follow => Unread::IsDone,
        Command::Stats(stats) if stats.watch.is_some() => Unread::IsDone,
        _ => Unread::GoesOn,
    }
}

/// Whether a command is run on the host, wherever images are: it finds its way to them by itself.
fn begins_here(command: &Command) -> bool {
    match command {
        Command::Image(Image::Build(_) | Image::Import(_)) => true,
        Command::Key(Key::Create(_) | Key::Delete(_)) => true,
        Command::Image(Image::List(list)) => list.official,
        Command::Image(Image::Doctor(diagnose)) => diagnose.file().is_some(),
        _ => false,
    }
}

fn here_or_there(context: &Context, command: Command, argv: Vec<std::ffi::OsString>) -> Result<u8, Failure> {
    if !begins_here(&command) && context.is_forwarded(&command)? {
        let reads = if command.reads_input() {
            Input::Own
        } else {
            Input::None
        };
        let arguments = argv.into_iter().skip(1).collect();
        return context.forward(arguments, reads, unread(&command), None);
    }
    let launched = match &command {
        Command::Run(run) => Some(run.image.clone()),
        _ => None,
    };
    let done = match command {
        Command::Image(command) => image::run(context, command),
        Command::Run(run) => self::run::run(context, *run),
        Command::List(list) => instance::list(context, list),
        Command::Show(which) => instance::show(context, which),
        Command::Exec(exec) => agent::exec(context, exec),
        Command::Cp(copy) => cp::run(context, copy),
        Command::Console(at) => console::run(context, &at),
        Command::Log(log) => log::run(context, &log),
        Command::Stats(stats) => stats::run(context, &stats),
        Command::Stop(stop) => instance::stop(context, stop),
        Command::Start(start) => instance::start(context, &start),
        Command::Reboot(reboot) => instance::reboot(context, &reboot),
        Command::Terminate(which) => instance::terminate(context, &which),
        Command::Modify(modify) => instance::modify(context, *modify),
        Command::Wait(wait) => waiting::run(context, &wait),
        Command::Tag(tag) => instance::tag(context, tag),
        Command::Snapshot(command) => storage::snapshot(context, command),
        Command::Volume(command) => storage::volume(context, command),
        Command::Key(command) => key::run(context, command),
        Command::Check => upkeep::check(context),
        Command::Gc => upkeep::collect(context),
        #[cfg(any(debug_assertions, feature = "crash-points"))]
        Command::CrashPoints => upkeep::crash_points(),
        Command::Machine(_) | Command::Completions(_) | Command::Doctor | Command::Type(_) => {
            Err(Failure::new("this command works on the host"))
        }
    };
    done.inspect_err(|failure| context.explain(failure, launched.as_deref()))
}
