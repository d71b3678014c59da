//! A driver at the ring, for tests: what a guest's kernel does, and what a hostile one could do.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{
    Activation, Begin, EVENT_IDX, GuestMemory, INDIRECT_DESC, Interrupt, QueueError, QueueState, VERSION_1,
    VirtQueue, VirtioDevice,
};

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// Where the second region of [`memory`] begins, touching the first.
pub(crate) const SEAM: u64 = 0x20_0000;
/// Where memory ends; behind it is a hole.
pub(crate) const END: u64 = 0x40_0000;
/// Buffers of tests go here.
pub(crate) const DATA: u64 = 0x10_0000;

/// Every feature that concerns rings.
pub(crate) const ALL: u64 = VERSION_1 | EVENT_IDX | INDIRECT_DESC;

/// 4 MiB of guest memory in two regions that touch.
pub(crate) fn memory() -> GuestMemory {
    let regions = [
        (GuestAddress(0), SEAM as usize),
        (GuestAddress(SEAM), (END - SEAM) as usize),
    ];
    GuestMemoryMmap::from_ranges(&regions).expect("small mappings")
}

/// Interrupts as they were sent.
#[derive(Default)]
pub(crate) struct Recorder {
    state: Mutex<Recorded>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) used: u64,
    pub(crate) config: u64,
    pub(crate) broken: Vec<String>,
}

impl Recorder {
    pub(crate) fn broken(&self) -> Vec<String> {
        self.state.lock().expect("lock").broken.clone()
    }

    pub(crate) fn used(&self) -> u64 {
        self.state.lock().expect("lock").used
    }

    fn note(&self, f: impl FnOnce(&mut Recorded)) {
        f(&mut self.state.lock().expect("lock"));
        self.changed.notify_all();
    }

    /// Waits until `done` holds, at most a minute.
    pub(crate) fn wait(&self, mut done: impl FnMut(&Recorded) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut state = self.state.lock().expect("lock");
        while !done(&state) {
            assert!(
                Instant::now() < deadline,
                "nothing happened; broken: {:?}",
                state.broken
            );
            // Completions without an interrupt are polled for.
            state = self
                .changed
                .wait_timeout(state, Duration::from_millis(5))
                .expect("lock")
                .0;
        }
    }
}

impl Interrupt for Recorder {
    fn used_buffers(&self, _queue: u16) {
        self.note(|state| state.used += 1);
    }

    fn config_changed(&self) {
        self.note(|state| state.config += 1);
    }

    fn needs_reset(&self, why: &QueueError) {
        let why = why.to_string();
        self.note(|state| state.broken.push(why));
    }
}

/// One split queue in guest memory: descriptors, available and used ring, a page each.
pub(crate) struct Ring {
    pub(crate) memory: GuestMemory,
    at: u64,
    pub(crate) size: u16,
    available: u16,
    seen: u16,
    free: u16,
}

impl Ring {
    pub(crate) fn new(memory: &GuestMemory, at: u64, size: u16) -> Self {
        let page = [0u8; 0x4000];
        memory
            .write_slice(&page, GuestAddress(at))
            .expect("rings lie in memory");
        Self {
            memory: memory.clone(),
            at,
            size,
            available: 0,
            seen: 0,
            free: 0,
        }
    }

    pub(crate) fn state(&self) -> QueueState {
        QueueState {
            size: self.size,
            descriptors: self.at,
            available: self.at + 0x2000,
            used: self.at + 0x3000,
            next_available: 0,
            next_used: 0,
        }
    }

    pub(crate) fn queue(&self, index: u16, interrupt: &Arc<Recorder>, features: u64) -> VirtQueue {
        let interrupt = Arc::clone(interrupt) as Arc<dyn Interrupt>;
        let memory = self.memory.clone();
        VirtQueue::new(index, self.size, &self.state(), memory, interrupt, features).expect("a good ring")
    }

    /// Writes a descriptor of the table at `table`.
    pub(crate) fn descriptor_at(&self, table: u64, index: u16, (address, len, flags, next): Descriptor) {
        let at = table + u64::from(index) * 16;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.memory
            .write_slice(&bytes, GuestAddress(at))
            .expect("tables lie in memory");
    }

    pub(crate) fn descriptor(&self, index: u16, descriptor: Descriptor) {
        self.descriptor_at(self.at, index, descriptor);
    }

    /// Makes `head` available.
    pub(crate) fn offer(&mut self, head: u16) {
        let slot = self.at + 0x2000 + 4 + u64::from(self.available % self.size) * 2;
        self.memory.write_obj(head, GuestAddress(slot)).expect("ring");
        self.set_available(self.available.wrapping_add(1));
    }

    pub(crate) fn set_available(&mut self, index: u16) {
        self.available = index;
        self.memory
            .write_obj(index, GuestAddress(self.at + 0x2002))
            .expect("ring");
    }

    /// Writes and offers a chain of buffers: address, length, and whether the device may write it.
    pub(crate) fn chain(&mut self, buffers: &[(u64, u32, bool)]) -> u16 {
        let head = self.free;
        for (n, (address, len, writable)) in buffers.iter().enumerate() {
            let index = self.free;
            self.free = (self.free + 1) % self.size;
            let last = n + 1 == buffers.len();
            let flags = if *writable { WRITE } else { 0 } | if last { 0 } else { NEXT };
            self.descriptor(index, (*address, *len, flags, self.free));
        }
        self.offer(head);
        head
    }

    /// Number of requests completed so far.
    pub(crate) fn completed(&self) -> u16 {
        self.memory
            .read_obj(GuestAddress(self.at + 0x3002))
            .expect("ring")
    }

    /// Whether all that was offered is completed.
    pub(crate) fn is_done(&self) -> bool {
        self.completed() == self.available
    }

    /// What was completed since the last call: head and bytes written.
    pub(crate) fn used(&mut self) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        while self.seen != self.completed() {
            let at = self.at + 0x3004 + u64::from(self.seen % self.size) * 8;
            let id = self.memory.read_obj(GuestAddress(at)).expect("ring");
            let len = self.memory.read_obj(GuestAddress(at + 4)).expect("ring");
            found.push((id, len));
            self.seen = self.seen.wrapping_add(1);
        }
        found
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .expect("in memory");
    }

    pub(crate) fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(address))
            .expect("in memory");
        bytes
    }
}

/// Address, length, flags, next.
pub(crate) type Descriptor = (u64, u32, u16, u16);

/// A started device with its rings.
pub(crate) struct Guest<D> {
    pub(crate) device: D,
    pub(crate) rings: Vec<Ring>,
    pub(crate) interrupt: Arc<Recorder>,
    pub(crate) kicks: Vec<EventFd>,
    pub(crate) memory: GuestMemory,
    features: u64,
}

impl<D: VirtioDevice> Guest<D> {
    /// Starts `device` with all queues of their largest size.
    pub(crate) fn start(device: D, features: u64) -> Self {
        let memory = memory();
        let sizes = device.queue_sizes().to_vec();
        let rings = (0..)
            .zip(&sizes)
            .map(|(n, size)| Ring::new(&memory, 0x4000 + n * 0x4000, *size));
        let rings: Vec<_> = rings.collect();
        let kicks = sizes
            .iter()
            .map(|_| EventFd::new(EFD_NONBLOCK).expect("eventfd"))
            .collect();
        let interrupt = Arc::new(Recorder::default());
        let mut guest = Self {
            device,
            rings,
            interrupt,
            kicks,
            memory,
            features,
        };
        let states: Vec<_> = guest.rings.iter().map(|ring| Some(ring.state())).collect();
        guest.activate(&states);
        guest
    }

    /// Starts the device with the rings as far as `states` says.
    pub(crate) fn activate(&mut self, states: &[Option<QueueState>]) {
        let queues = (0..).zip(states).map(|(index, state)| {
            let state = state.as_ref()?;
            let interrupt = Arc::clone(&self.interrupt) as Arc<dyn Interrupt>;
            let memory = self.memory.clone();
            let max = self.rings[usize::from(index)].size;
            Some(VirtQueue::new(index, max, state, memory, interrupt, self.features).expect("good rings"))
        });
        let activation = Activation {
            memory: self.memory.clone(),
            queues: queues.collect(),
            kicks: self
                .kicks
                .iter()
                .map(|kick| kick.try_clone().expect("clone"))
                .collect(),
            interrupt: Arc::clone(&self.interrupt) as Arc<dyn Interrupt>,
            features: self.features,
            begin: Begin::Running,
        };
        self.device.start(activation).expect("starts");
    }

    pub(crate) fn kick(&self, queue: usize) {
        self.kicks[queue].write(1).expect("kick");
    }

    /// Kicks `queue` and waits until `count` requests in all are completed.
    pub(crate) fn wait(&mut self, queue: usize, count: u16) -> Vec<(u32, u32)> {
        self.kick(queue);
        let ring = &self.rings[queue];
        self.interrupt.wait(|_| ring.completed() >= count);
        self.rings[queue].used()
    }

    /// Kicks `queue` and waits until the driver is declared broken; returns why.
    pub(crate) fn wait_broken(&self, queue: usize) -> String {
        self.kick(queue);
        self.interrupt.wait(|state| !state.broken.is_empty());
        self.interrupt.broken().remove(0)
    }
}

/// User and system time of this process's threads whose name starts with `prefix`.
pub(crate) fn cpu_time_of(prefix: &str) -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("proc").flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else {
            continue;
        };
        if stat[open + 1..close].starts_with(prefix) {
            let fields: Vec<&str> = stat[close + 2..].split(' ').collect();
            ticks += fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        }
    }
    Duration::from_millis(ticks * 10)
}
