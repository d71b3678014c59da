//! The mux for the device that carries the port and for the VMM itself.

use super::Shared;
use super::state::{Answer, CloseGuest};
use crate::frame::{Frame, Kind, MessageError, encode_message};
use crate::message::{Failure, Reply, Request};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Why an internal call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No agent has been heard since the guest's last start.
    #[error("no agent answers in the guest")]
    NoAgent,
    /// The agent went away, or the mux ended, before the answer.
    #[error("the guest's agent went away before it answered")]
    Gone,
    /// No answer in time; the channel was closed, which also undoes a freeze.
    #[error("the guest's agent did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// More channels are open than the mux allows.
    #[error("too many requests to the guest's agent are under way")]
    TooMany,
    /// The agent refused.
    #[error("the guest's agent: {0}")]
    Refused(#[from] Failure),
    /// The request cannot be sent.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// A cheap handle of a [`super::Mux`], for any thread.
#[derive(Clone, Debug)]
pub struct MuxHandle {
    shared: Arc<Shared>,
}

impl MuxHandle {
    pub(super) fn new(shared: Arc<Shared>) -> MuxHandle {
        MuxHandle { shared }
    }

    /// Bytes that the guest wrote to its port. Never waits for a connection: what their credit
    /// allows is kept, the rest is refused.
    pub fn from_guest(&self, bytes: &[u8]) {
        self.shared.lock().heard(bytes);
        self.shared.answered.notify_all();
        self.shared.wake();
    }

    /// The guest has room again for bytes that the [`super::PortWriter`] refused.
    pub fn guest_ready(&self) {
        self.shared.wake();
    }

    /// The machine was reset, or the guest closed its end of the port: the agent that
    /// was there is gone, its channels are closed, and the next one is greeted. The device drops
    /// what it still holds for the guest first.
    pub fn reset(&self) {
        self.shared.lock().reset();
        self.shared.answered.notify_all();
        self.shared.wake();
    }

    /// Whether an agent has been heard since the last reset.
    pub fn is_agent_there(&self) -> bool {
        self.shared.lock().agent().is_some()
    }

    /// Asks the agent something that is answered by one [`Reply`] (all but an exec), and waits
    /// for the answer, at most `timeout`. An error of the agent is [`CallError::Refused`].
    pub fn call(&self, request: &Request, timeout: Duration) -> Result<Reply, CallError> {
        let deadline = Instant::now() + timeout;
        let mut bytes = Vec::new();
        encode_message(&mut bytes, 0, Kind::Request, request)?;
        let mut state = self.shared.lock();
        if state.agent().is_none() {
            return Err(CallError::NoAgent);
        }
        let id = state.open_call().ok_or(CallError::TooMany)?;
        let mut frames = crate::decoder::Decoder::in_step();
        frames.push(&bytes);
        while let Some(crate::decoder::Event::Frame(frame)) = frames.next() {
            send(&mut state, id, &frame);
        }
        self.shared.wake();
        loop {
            match state.answer(id) {
                Answer::Reply(reply) => {
                    state.close(id, CloseGuest::NotTold);
                    return match reply {
                        Reply::Error(failure) => Err(failure.into()),
                        reply => Ok(reply),
                    };
                }
                Answer::Never => {
                    state.close(id, CloseGuest::NotTold);
                    return Err(CallError::Gone);
                }
                Answer::NotYet => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.close(id, CloseGuest::Told);
                drop(state);
                self.shared.wake();
                return Err(CallError::Timeout(timeout));
            }
            let waited = self.shared.answered.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn send(state: &mut super::State, id: u16, frame: &Frame) {
    // A request breaks no rule of credit or direction.
    let _ = state.owner_frame(id, frame);
}
