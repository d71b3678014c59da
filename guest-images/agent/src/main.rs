//! `kiln-agent`: the daemon in the guest. Started by the guest's init, without arguments; it finds
//! its port by name and waits for it if it is not there yet.
//!
//! `kiln-agent --port PATH` serves that device node instead.

use kiln_agent::PORT_NAME;
use kiln_agent::daemon::{Daemon, Duties, Port, Served, find_port};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: kiln-agent [--port PATH] | --version";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => None,
        ["--port", path] => Some(PathBuf::from(path)),
        ["--version"] => {
            let _ = writeln!(std::io::stdout(), "kiln-agent {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        _ => {
            let _ = writeln!(std::io::stderr(), "{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "kiln-agent: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(port: Option<PathBuf>) -> std::io::Result<()> {
    let mut daemon = Daemon::new(Duties::Guest)?;
    let mut said = false;
    loop {
        match port.clone().or_else(find_port).map(|path| Port::open(&path)) {
            Some(Ok(port)) => {
                said = false;
                if daemon.serve(port)? == Served::Stopped {
                    return Ok(());
                }
            }
            failed => {
                // Said once: a guest elsewhere has no such port, and its log is not ours to fill.
                if !std::mem::replace(&mut said, true) {
                    let mut log = std::io::stderr();
                    let _ = match failed {
                        Some(Err(e)) => {
                            writeln!(log, "kiln-agent: cannot open the port {PORT_NAME} yet: {e}")
                        }
                        _ => writeln!(log, "kiln-agent: waiting for the port {PORT_NAME}"),
                    };
                }
                if daemon.idle(Duration::from_millis(200)) == Served::Stopped {
                    return Ok(());
                }
            }
        }
    }
}
