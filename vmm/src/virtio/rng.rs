//! Entropy device (5.4): fills the driver's buffers with random bytes of the host.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use super::worker::{borrow, drain};
use super::{
    Activation, DeviceError, DeviceState, DeviceType, QueueError, QueueState, Stop, Task, ThreadKind,
    ThreadSetup, VirtQueue, VirtioDevice, Worker,
};

/// Entries of the one queue.
const QUEUE_SIZE: u16 = 64;
/// Bytes given for one request, however large its buffer: no request costs more than one page of work.
/// A driver asks again for more.
const MAX_REQUEST: u64 = 4096;
/// Bytes a second, if the spec names no other rate: more than any kernel asks for, little enough that a
/// guest that asks without end takes a few per cent of one CPU of the host.
const DEFAULT_RATE: NonZeroU32 = NonZeroU32::new(1 << 20).expect("not 0");

/// An entropy device of a machine's spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RngSpec {
    /// Most bytes a second; by default 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<NonZeroU32>,
}

/// The device has no state of its own: random bytes are not saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RngState {}

/// The device.
#[derive(Debug)]
pub struct Rng {
    worker: Worker<Filler>,
    rate: NonZeroU32,
}

impl Rng {
    /// Makes the device and its thread.
    ///
    /// # Errors
    /// The host gives no thread.
    pub fn new(spec: &RngSpec, setup: Arc<dyn ThreadSetup>) -> Result<Self, DeviceError> {
        let worker = Worker::spawn("virtio-rng".into(), ThreadKind::Rng, setup).map_err(|source| {
            DeviceError::Host {
                what: "thread of the entropy device",
                source,
            }
        })?;
        Ok(Self {
            worker,
            rate: spec.rate.unwrap_or(DEFAULT_RATE),
        })
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> DeviceType {
        DeviceType::Rng
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn start(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let queue = activation
            .queues
            .into_iter()
            .next()
            .flatten()
            .ok_or(DeviceError::QueueMissing(0))?;
        let kick = activation
            .kicks
            .into_iter()
            .next()
            .ok_or(DeviceError::QueueMissing(0))?;
        let filler = Filler {
            queue,
            kick,
            allowance: Allowance::new(self.rate),
        };
        self.worker.start(filler, activation.begin);
        Ok(())
    }

    fn pause(&mut self) {
        self.worker.pause();
    }

    fn resume(&mut self) {
        self.worker.resume();
    }

    fn reset(&mut self) {
        self.worker.reset();
    }

    fn queues(&self) -> Vec<Option<QueueState>> {
        self.worker
            .paused()
            .map(|filler| Some(filler.queue.state()))
            .into_iter()
            .collect()
    }

    fn state(&self) -> DeviceState {
        DeviceState::Rng(RngState {})
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        match state {
            DeviceState::Rng(RngState {}) => Ok(()),
            other => Err(DeviceError::State(format!("it is of {}", other.name()))),
        }
    }
}

/// Bytes that may still be given: filled up at `rate`, at most one second's worth.
#[derive(Debug)]
struct Allowance {
    rate: NonZeroU32,
    bytes: u64,
    since: Instant,
}

impl Allowance {
    fn new(rate: NonZeroU32) -> Self {
        Self {
            rate,
            bytes: u64::from(rate.get()),
            since: Instant::now(),
        }
    }

    /// Takes up to `want` bytes, at least 1 if any; 0 means to come back after [`Self::wait`].
    fn take(&mut self, want: u64) -> u64 {
        let rate = u64::from(self.rate.get());
        let elapsed = self.since.elapsed();
        let earned = u128::from(rate).saturating_mul(elapsed.as_micros()) / 1_000_000;
        if earned > 0 {
            self.bytes = self
                .bytes
                .saturating_add(u64::try_from(earned).unwrap_or(rate))
                .min(rate);
            self.since = Instant::now();
        }
        let given = want.min(self.bytes);
        self.bytes -= given;
        given
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(20)
    }
}

#[derive(Debug)]
struct Filler {
    queue: VirtQueue,
    kick: EventFd,
    allowance: Allowance,
}

impl Filler {
    /// Serves what is available. True if the allowance ended before the requests did.
    fn serve(&mut self, stop: &Stop) -> Result<bool, QueueError> {
        let mut served: u16 = 0;
        let mut exhausted = false;
        loop {
            while let Some(chain) = self.queue.pop()? {
                let want = chain.writable_len().min(MAX_REQUEST);
                let count = self.allowance.take(want);
                if count == 0 && want > 0 {
                    self.queue.put_back(chain);
                    exhausted = true;
                    break;
                }
                let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
                let filled = fill(&mut bytes);
                let result = chain.write_at(self.queue.memory(), 0, &bytes[..filled]);
                if let Err(error) = result {
                    // Nothing was written, and there is no status to say so: the driver is broken.
                    self.queue.complete(&chain, 0)?;
                    self.queue.breaks(&error);
                    return Err(error);
                }
                self.queue.complete(&chain, u32::try_from(filled).unwrap_or(0))?;
                served += 1;
                if served >= QUEUE_SIZE {
                    served = 0;
                    self.queue.notify()?;
                    if stop.is_set() {
                        return Ok(false);
                    }
                }
            }
            if exhausted || !self.queue.rearm()? {
                break;
            }
        }
        self.queue.notify()?;
        Ok(exhausted)
    }
}

impl Task for Filler {
    fn run(&mut self, stop: &Stop) {
        loop {
            // An error was told to the driver, and the queue is empty from then on.
            let exhausted = self.serve(stop).unwrap_or(false);
            let timeout = exhausted.then(|| self.allowance.wait());
            let sources = [borrow(&self.kick)];
            // A driver out of allowance is not listened to: its kicks would only wake us.
            let sources = if exhausted { &sources[..0] } else { &sources[..] };
            if stop.wait(sources, timeout).is_none() {
                return;
            }
            drain(&self.kick);
        }
    }
}

/// Fills `bytes`, returns how many; less only if the host's generator fails.
fn fill(bytes: &mut [u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        match getrandom(&mut bytes[done..], GetRandomFlags::empty()) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::warn!(%error, "no random bytes from the host");
                break;
            }
        }
    }
    done
}

#[cfg(test)]
mod tests;
