//! The card's thread: carries frames between the rings and the link.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::event::PollFlags;
use vmm_sys_util::eventfd::EventFd;

use super::frame::{self, HEADER, Refusal};
use super::link::Link;
use super::stream::Stream;
use super::{Card, MRG_RXBUF};
use crate::virtio::worker::{borrow, drain};
use crate::virtio::{Activation, Chain, DeviceError, QueueError, QueueState, Stop, Task, VirtQueue};

/// Frames that go one way before it is the other's turn.
const TURN: usize = 64;

/// Whether there may be more to do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Some,
    None,
}

/// What became of a frame for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// The guest has it, or will never have room for it.
    Done,
    /// The guest lends too few buffers now.
    Waits,
}

#[derive(Debug)]
pub(super) struct NetTask {
    receive: VirtQueue,
    transmit: VirtQueue,
    /// Of both queues.
    kicks: Vec<EventFd>,
    link: Arc<Link>,
    card: Card,
    /// A frame may fill several buffers.
    merges: bool,
    /// A frame waits for buffers.
    starves: bool,
    /// Of what the log has been told.
    told: Vec<Refusal>,
}

impl NetTask {
    /// # Errors
    /// The driver lacks a queue.
    pub(super) fn new(activation: Activation, card: Card, link: Arc<Link>) -> Result<Self, DeviceError> {
        let Activation {
            queues,
            kicks,
            features,
            ..
        } = activation;
        let mut queues = queues.into_iter();
        let mut next = |index| queues.next().flatten().ok_or(DeviceError::QueueMissing(index));
        Ok(Self {
            receive: next(0)?,
            transmit: next(1)?,
            kicks,
            link,
            card,
            merges: features & MRG_RXBUF != 0,
            starves: false,
            told: Vec::new(),
        })
    }

    pub(super) fn queues(&self) -> Vec<Option<QueueState>> {
        vec![Some(self.receive.state()), Some(self.transmit.state())]
    }

    /// One turn each way; whether there may be more to do. An error of a queue was told to the driver, and ends that
    /// queue only; one of the link ends the link.
    pub(super) fn is_busy(&mut self, link: &mut Option<Stream>) -> bool {
        let out = self.move_out(link.as_mut()).unwrap_or(Rest::None);
        let come = match link {
            None => Ok(Rest::None),
            Some(stream) => stream.flush().and_then(|()| self.move_in(stream)),
        };
        let come = come.unwrap_or_else(|why| {
            self.link.lose(link, &why);
            Rest::None
        });
        let has_room = link.as_ref().is_none_or(Stream::has_room);
        out == Rest::Some && has_room || come == Rest::Some
    }

    /// Frames of the guest, as long as there is room for them. Without a link they go nowhere.
    fn move_out(&mut self, mut link: Option<&mut Stream>) -> Result<Rest, QueueError> {
        let (mut rest, mut taken) = (Rest::Some, false);
        for _ in 0..TURN {
            // What has no room yet stays in the ring: the other side's slowness is the guest's.
            if link.as_ref().is_some_and(|stream| !stream.has_room()) {
                break;
            }
            let Some(chain) = self.transmit.pop_or_rearm()? else {
                rest = Rest::None;
                break;
            };
            let sent = match &mut link {
                Some(stream) => take(&self.transmit, &chain, self.card, stream),
                None => Ok(()),
            };
            self.transmit.complete(&chain, 0)?;
            taken = true;
            match sent {
                Err(Unsent::Broken(error)) => {
                    self.transmit.breaks(&error);
                    return Err(error);
                }
                Err(Unsent::Refused(why)) => self.refuse(why),
                Ok(()) => {}
            }
        }
        if taken {
            self.transmit.notify()?;
        }
        Ok(rest)
    }

    fn refuse(&mut self, why: Refusal) {
        if !self.told.contains(&why) {
            tracing::warn!("the guest sent {why}: it was dropped, as all such are from now on");
            self.told.push(why);
        }
    }

    /// Frames for the guest, as long as it lends buffers.
    fn move_in(&mut self, stream: &mut Stream) -> std::io::Result<Rest> {
        let (mut rest, mut given) = (Rest::Some, false);
        self.starves = false;
        for _ in 0..TURN {
            let Some(frame) = stream.next()? else {
                rest = Rest::None;
                break;
            };
            // A queue that is broken lends nothing any more.
            if self.deliver(frame).unwrap_or(Delivery::Waits) == Delivery::Waits {
                self.starves = true;
                rest = Rest::None;
                break;
            }
            stream.take();
            given = true;
        }
        if given {
            // What is wrong with the ring shows at the next frame.
            let _ = self.receive.notify();
        }
        Ok(rest)
    }

    /// Puts a frame into as many buffers as it takes.
    fn deliver(&mut self, frame: &[u8]) -> Result<Delivery, QueueError> {
        let wanted = (HEADER + frame.len()) as u64;
        let (mut chains, mut room) = (Vec::new(), 0);
        while room < wanted {
            let Some(chain) = self.receive.pop_or_rearm()? else {
                put_back(&mut self.receive, chains);
                return Ok(Delivery::Waits);
            };
            room += chain.writable_len();
            chains.push(chain);
            if !self.merges && room < wanted {
                // The driver said how long a frame may be by what it lends (5.1.6.3.1).
                put_back(&mut self.receive, chains);
                return Ok(Delivery::Done);
            }
        }
        let count = u16::try_from(chains.len()).unwrap_or(u16::MAX);
        let written = fill(&self.receive, &chains, &frame::header(count), frame);
        let lens = written.as_ref().map(Vec::as_slice).unwrap_or_default();
        let lens = lens.iter().copied().chain(std::iter::repeat(0));
        let filled: Vec<(Chain, u32)> = chains.into_iter().zip(lens).collect();
        self.receive.complete_together(&filled)?;
        match written {
            Ok(_) => Ok(Delivery::Done),
            Err(error) => {
                self.receive.breaks(&error);
                Err(error)
            }
        }
    }
}

/// Gives back what was taken from a ring, the last first.
fn put_back(queue: &mut VirtQueue, chains: Vec<Chain>) {
    chains.into_iter().rev().for_each(|chain| queue.put_back(chain));
}

/// Fills `chains`, which have the room, with a header and a frame; how much is in each.
fn fill(
    queue: &VirtQueue,
    chains: &[Chain],
    header: &[u8; HEADER],
    frame: &[u8],
) -> Result<Vec<u32>, QueueError> {
    let mut written = Vec::with_capacity(chains.len());
    let mut parts = [&header[..], frame];
    for chain in chains {
        let mut at = 0;
        for part in &mut parts {
            let room = chain.writable_len() - at;
            let count = part.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let (now, later) = part.split_at(count);
            chain.write_at(queue.memory(), at, now)?;
            at += now.len() as u64;
            *part = later;
        }
        written.push(u32::try_from(at).unwrap_or(u32::MAX));
    }
    Ok(written)
}

/// Why a request was not sent.
enum Unsent {
    /// It is no frame that may be.
    Refused(Refusal),
    /// It is not in guest memory.
    Broken(QueueError),
}

/// Copies the frame of a request, and checks the copy, which the guest cannot change any more.
fn take(queue: &VirtQueue, chain: &Chain, card: Card, stream: &mut Stream) -> Result<(), Unsent> {
    let len = frame::len_of(chain.readable_len(), card.mtu).map_err(Unsent::Refused)?;
    stream.add(len, |room| {
        let mut header = [0; HEADER];
        chain
            .read_at(queue.memory(), 0, &mut header)
            .and_then(|()| chain.read_at(queue.memory(), HEADER as u64, room))
            .map_err(Unsent::Broken)?;
        frame::check(&header, room, card.mac).map_err(Unsent::Refused)
    })
}

impl Task for NetTask {
    fn run(&mut self, stop: &Stop) {
        let link = Arc::clone(&self.link);
        let mut stream = link.stream.lock();
        loop {
            while self.is_busy(&mut stream) {
                if stop.is_set() {
                    return;
                }
            }
            let mut sources: Vec<(BorrowedFd<'_>, PollFlags)> = self
                .kicks
                .iter()
                .map(|kick| (borrow(kick), PollFlags::IN))
                .collect();
            if let Some(stream) = &*stream {
                let mut wanted = PollFlags::empty();
                wanted.set(PollFlags::IN, !self.starves);
                wanted.set(PollFlags::OUT, stream.is_behind());
                // Without either it would still be told of the other side's end, again and again.
                if !wanted.is_empty() {
                    sources.push((stream.socket(), wanted));
                }
            }
            let Some(ready) = stop.wait_for(&sources, None) else {
                return;
            };
            for (bit, kick) in self.kicks.iter().enumerate() {
                if ready >> bit & 1 != 0 {
                    drain(kick);
                }
            }
        }
    }
}
