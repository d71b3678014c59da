//! The guest's agent behind the multiplexer of its port.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_agent::message::{Request, SEED_LEN};
use kiln_agent::mux::{CallError, MuxHandle};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{ControlError, ErrorKind, GuestAgent};

/// How long a thaw may take to be confirmed. File systems thaw in no time; the agent may be slow
/// on an emulated CPU.
const THAW_PATIENCE: Duration = Duration::from_secs(5);
/// How long setting the clock, and seeding, may take: the same.
const SET_PATIENCE: Duration = Duration::from_secs(5);

/// The agent, reached through a mux of this process.
#[derive(Debug, Clone)]
pub struct MuxAgent(MuxHandle);

impl MuxAgent {
    /// The agent behind `handle`.
    pub fn new(handle: MuxHandle) -> Self {
        Self(handle)
    }

    fn call(&self, request: &Request, patience: Duration) -> Result<(), ControlError> {
        let failed = |error: CallError| ControlError::new(ErrorKind::Agent, error.to_string());
        self.0.call(request, patience).map(drop).map_err(failed)
    }
}

impl GuestAgent for MuxAgent {
    fn is_heard(&self) -> bool {
        self.0.is_agent_there()
    }

    fn freeze(&self, lease: Duration) -> Result<(), ControlError> {
        let deadline_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.call(&Request::Freeze { deadline_ms }, lease)
    }

    fn thaw(&self) -> Result<(), ControlError> {
        self.call(&Request::Thaw, THAW_PATIENCE)
    }

    fn set_clock(&self) -> Result<(), ControlError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.call(&Request::SetClock { unix_ns }, SET_PATIENCE)
    }

    fn seed(&self) -> Result<(), ControlError> {
        let mut bytes = [0; SEED_LEN];
        getrandom(&mut bytes, GetRandomFlags::empty())
            .map_err(|errno| ControlError::new(ErrorKind::Agent, format!("no random bytes: {errno}")))?;
        self.call(&Request::Seed { bytes }, SET_PATIENCE)
    }
}
