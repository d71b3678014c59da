//! `kiln machine …`

use super::Context;
use crate::args::machine::{Delete, Machine, Shell, Start};
use crate::attach::Input;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::size::Size;
use crate::software_machine::{self, Settings, Status, forward};
use kiln_agent::client::Unread;
use serde_json::json;
use std::io::IsTerminal;

pub(crate) fn run(context: &Context, command: Machine) -> Result<u8, Failure> {
    match command {
        Machine::Start(start) => self::start(context, &start),
        Machine::Stop => stop(context),
        Machine::Status => status(context),
        Machine::Shell(shell) => self::shell(context, shell),
        Machine::Delete(delete) => self::delete(context, &delete),
    }
}

fn start(context: &Context, start: &Start) -> Result<u8, Failure> {
    let chosen = Settings {
        memory: start.memory,
        cpus: start.cpus,
        disk: start.disk,
    };
    if chosen != Settings::default() {
        software_machine::settle(&context.home, chosen)?;
        if software_machine::status(&context.home)?.is_some() {
            context.hint(
                "the machine runs already: what you chose holds from its next start on (kiln machine stop)",
            );
        }
    }
    drop(context.lease()?);
    status(context)
}

fn stop(context: &Context) -> Result<u8, Failure> {
    if !software_machine::stop(&context.home)? {
        context.hint("the software machine does not run");
    }
    Ok(0)
}

fn status(context: &Context) -> Result<u8, Failure> {
    let status = software_machine::status(&context.home)?;
    match (context.format, status) {
        (Format::Json, status) => output::document(&json!({"Machine": status}))?,
        (_, None) => output::line("stopped")?,
        (Format::Id, Some(status)) => output::line(&status.state)?,
        (Format::Table, Some(status)) => {
            output::line(&summary(&status))?;
            if let Some(reason) = status.last_failure {
                output::line(&format!(
                    "started again {}, the last time because {reason}",
                    output::count(status.restarts, "time")
                ))?;
            }
        }
    }
    Ok(0)
}

/// What a running machine is, in a line.
fn summary(status: &Status) -> String {
    let disk = status
        .disk
        .map(|most| format!(", a disk of at most {}", Size::from_bytes(most)));
    format!(
        "{} for {} s: {}, {} of memory{}, {}",
        status.state,
        status.uptime_seconds,
        output::count(status.cpus, "processor"),
        Size::from_bytes(status.memory),
        disk.unwrap_or_default(),
        output::count(status.commands, "command")
    )
}

fn shell(context: &Context, shell: Shell) -> Result<u8, Failure> {
    let lease = context.lease().map_err(Failure::while_handing_on)?;
    let command = if shell.command.is_empty() {
        vec!["sh".into()]
    } else {
        shell.command
    };
    let ended = forward::run(
        &lease,
        command,
        forward::Cwd::Root,
        Input::Own,
        Unread::BreaksPipe,
        None,
    )
    .map_err(|e| Failure::from(e).while_handing_on())?;
    if let Some(message) = ended.message() {
        return Err(Failure {
            status: ended.code(),
            ..Failure::new(message)
        });
    }
    Ok(ended.code())
}

fn delete(context: &Context, delete: &Delete) -> Result<u8, Failure> {
    if !delete.force {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage(
                "this removes every image, volume and instance in the software machine: say --force if you mean it",
            ));
        }
        output::aside(&format!(
            "This removes every image, volume and instance in the software machine of {}. Go on? [y/N] ",
            context.home.display()
        ));
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|e| Failure::new(e.to_string()))?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(Failure::new("nothing was removed"));
        }
    }
    if !software_machine::delete(&context.home)? {
        context.hint("there is no software machine");
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_machine_tells_how_large_it_is_its_disk_too() {
        let status = Status {
            state: "running".to_owned(),
            uptime_seconds: 7,
            memory: 6 << 30,
            cpus: 1,
            disk: Some(256 << 30),
            commands: 2,
            restarts: 0,
            last_failure: None,
        };
        assert_eq!(
            summary(&status),
            "running for 7 s: 1 processor, 6 GiB of memory, a disk of at most 256 GiB, 2 commands"
        );
    }
}
