//! What is behind the console ports of an instance: the log, and the agent's multiplexer.

use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_agent::mux::Mux;

use crate::console_log::ConsoleLog;
use crate::control::{GuestAgent, MuxAgent};
use crate::machine::Ports;
use crate::parent::StartError;
use crate::sandbox::ConfinedPort;
use crate::terminal::{Terminal, TerminalOutput};
use crate::virtio::console::{PortBackend, PortInput, PortRole, PortSpec};

/// Connects the ports of the spec.
pub(super) struct InstancePorts {
    log: ConsoleLog,
    /// The first console's; further ones have the log alone.
    terminal: Option<Arc<Terminal>>,
    agent: Arc<Agent>,
}

/// The agent's socket, and what it became when the port was connected.
pub(super) struct Agent(Mutex<State>);

enum State {
    /// The port has not been connected.
    Waiting(Option<UnixListener>),
    /// Its mux runs.
    Served(Mux),
    /// Its mux could not be started.
    Failed(std::io::Error),
}

impl InstancePorts {
    /// Ports whose output goes to `log`, and the first console's to `terminal`; the agent's is served on
    /// `agent`.
    pub(super) fn new(
        log: ConsoleLog,
        terminal: Option<Arc<Terminal>>,
        agent: Option<UnixListener>,
    ) -> (Self, Arc<Agent>) {
        let agent = Arc::new(Agent(Mutex::new(State::Waiting(agent))));
        (
            Self {
                log,
                terminal,
                agent: Arc::clone(&agent),
            },
            agent,
        )
    }
}

impl Ports for InstancePorts {
    fn connect(&mut self, spec: &PortSpec, input: &PortInput) -> Arc<dyn PortBackend> {
        match spec.role {
            PortRole::Console => match self.terminal.take() {
                Some(terminal) => {
                    terminal.connect(Box::new(input.clone()));
                    Arc::new(TerminalOutput::new(self.log.writer(), terminal))
                }
                None => Arc::new(self.log.writer()),
            },
            PortRole::Agent => self.agent.connect(input),
        }
    }
}

impl Agent {
    fn connect(&self, input: &PortInput) -> Arc<dyn PortBackend> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Waiting(listener) = &mut *state else {
            return Arc::new(Nowhere);
        };
        // One port has the agent; a second one that says so leads nowhere.
        let Some(listener) = listener.take() else {
            return Arc::new(Nowhere);
        };
        match Mux::over_port(listener, Box::new(ConfinedPort::new(input.clone()))) {
            Ok(mux) => {
                let handle = mux.handle();
                *state = State::Served(mux);
                Arc::new(handle)
            }
            Err(error) => {
                *state = State::Failed(error);
                Arc::new(Nowhere)
            }
        }
    }

    /// The agent as the control socket needs it, once the machine is assembled.
    pub(super) fn get(&self) -> Result<Option<Arc<dyn GuestAgent>>, StartError> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Waiting(_) => Ok(None),
            State::Served(mux) => Ok(Some(Arc::new(MuxAgent::new(mux.handle())))),
            State::Failed(error) => Err(StartError::new("agent", error)),
        }
    }
}

/// Takes everything, answers nothing.
struct Nowhere;

impl PortBackend for Nowhere {
    fn guest_wrote(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }
}
