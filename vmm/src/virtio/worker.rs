//! Device threads.
//!
//! A [`Worker`] is created with its device, before the guest runs, or when the host plugs the device in: the thread
//! announces its kind to [`ThreadSetup`] (which installs its system call filter) and then waits. Starting the device
//! hands it a [`Task`], stopping takes the task back. Nothing is spawned on behalf of the guest.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// What a device thread does, for the choice of its system call filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThreadKind {
    /// Reads and writes disk images.
    Block,
    /// Moves bytes between console ports and the host.
    Console,
    /// Moves frames between a network card and the host.
    Net,
    /// Fills buffers with random bytes.
    Rng,
    /// Gives memory back to the host.
    Balloon,
}

/// Called first thing on every device thread.
pub trait ThreadSetup: Send + Sync {
    /// Confines the calling thread for `kind`.
    fn enter(&self, kind: ThreadKind);
}

impl ThreadSetup for () {
    fn enter(&self, _kind: ThreadKind) {}
}

/// How a started device begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It serves its queues at once.
    Running,
    /// It touches nothing until it is resumed: a device of a machine that was saved and is still held.
    Paused,
}

/// The work of a started device.
pub trait Task: Send + 'static {
    /// Serves until `stop` is readable; on return nothing that was taken from a ring is unfinished.
    fn run(&mut self, stop: &Stop);
}

/// Tells a task to return. It stays set until the task has.
#[derive(Debug)]
pub struct Stop {
    /// For those who wait.
    event: EventFd,
    /// The same for those who only look, without a system call.
    set: AtomicBool,
}

impl Stop {
    /// One that is not set.
    ///
    /// # Errors
    /// No descriptor can be had.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Self {
            event,
            set: AtomicBool::new(false),
        })
    }

    fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        // The counter saturates at 2^64-2; a failed write means that it is readable already.
        let _ = self.event.write(1);
    }

    fn clear(&self) {
        self.set.store(false, Ordering::SeqCst);
        drain(&self.event);
    }

    /// Waits until `stop` or one of `sources` is readable, at most for `timeout`.
    ///
    /// Returns `None` for stop, else which sources are ready (bit *n* for `sources[n]`; none after a
    /// timeout). At most 64 sources are looked at.
    pub fn wait(&self, sources: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Option<u64> {
        self.poll(sources.iter().map(|fd| (*fd, PollFlags::IN)), timeout)
    }

    /// The same for sources that may be waited for to be writable, too. One whose other side is gone is always ready.
    pub fn wait_for(
        &self,
        sources: &[(BorrowedFd<'_>, PollFlags)],
        timeout: Option<Duration>,
    ) -> Option<u64> {
        self.poll(sources.iter().copied(), timeout)
    }

    fn poll<'a>(
        &'a self,
        sources: impl Iterator<Item = (BorrowedFd<'a>, PollFlags)>,
        timeout: Option<Duration>,
    ) -> Option<u64> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let stop = (borrow(&self.event), PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = std::iter::once(stop)
            .chain(sources.take(64))
            .map(|(fd, wanted)| PollFd::from_borrowed_fd(fd, wanted))
            .collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR | Errno::AGAIN) => return Some(0),
            // Descriptors and the list are ours; nothing else can go wrong, and a thread that cannot
            // wait must not spin.
            Err(_) => return None,
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if ready.next().unwrap_or(true) {
            return None;
        }
        Some(
            ready
                .rev()
                .fold(0, |bits, is_ready| bits << 1 | u64::from(is_ready)),
        )
    }

    /// True if the task must return.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }
}

/// Borrows the descriptor of an eventfd for `poll`.
pub(crate) fn borrow(fd: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `fd` lives, and the result cannot outlive it.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

/// Empties a counter that `poll` reported; a counter that is empty already is as good.
pub(crate) fn drain(fd: &EventFd) {
    let _ = fd.read();
}

/// One device thread that runs a task of type `T` while the device is started.
///
/// *idle* → [`start`](Self::start) → *running* ⇄ ([`pause`](Self::pause) / [`resume`](Self::resume))
/// *paused*; [`reset`](Self::reset) → *idle*.
#[derive(Debug)]
pub struct Worker<T> {
    stop: Arc<Stop>,
    inbox: Option<Sender<T>>,
    outbox: Receiver<T>,
    running: bool,
    held: Option<T>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Task> Worker<T> {
    /// Creates the thread, idle. `name` is cut to 15 bytes by the kernel.
    ///
    /// # Errors
    /// The host gives no thread or descriptor.
    pub fn spawn(name: String, kind: ThreadKind, setup: Arc<dyn ThreadSetup>) -> io::Result<Self> {
        let stop = Arc::new(Stop::new()?);
        let (inbox, tasks) = channel::<T>();
        let (done, outbox) = channel();
        let stop_of_thread = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            setup.enter(kind);
            while let Ok(mut task) = tasks.recv() {
                task.run(&stop_of_thread);
                if done.send(task).is_err() {
                    break;
                }
            }
        })?;
        let (inbox, thread) = (Some(inbox), Some(thread));
        Ok(Self {
            stop,
            inbox,
            outbox,
            running: false,
            held: None,
            thread,
        })
    }

    /// *idle* → *running*, or → *paused*. A task that runs or is held is dropped first.
    pub fn start(&mut self, task: T, begin: Begin) {
        self.reset();
        self.held = Some(task);
        if begin == Begin::Running {
            self.resume();
        }
    }

    /// *paused* → *running*.
    pub fn resume(&mut self) {
        if let (Some(task), Some(inbox)) = (self.held.take(), &self.inbox) {
            // The thread ends only with this worker, or by a panic, after which nothing runs.
            self.running = inbox.send(task).is_ok();
        }
    }

    /// Asks the task to return, without waiting for it.
    pub fn ask_to_stop(&self) {
        if self.running {
            self.stop.set();
        }
    }

    /// *running* → *paused*; returns when the task has.
    pub fn pause(&mut self) {
        if self.running {
            self.ask_to_stop();
            self.held = self.outbox.recv().ok();
            self.running = false;
            self.stop.clear();
        }
    }

    /// → *idle*; gives the task back, if there was one.
    pub fn reset(&mut self) -> Option<T> {
        self.pause();
        self.held.take()
    }

    /// Whether a task runs.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Changes the task of a paused device.
    pub fn change(&mut self, change: impl FnOnce(&mut T)) {
        if let Some(task) = &mut self.held {
            change(task);
        }
    }

    /// The task of a paused device.
    pub fn paused(&self) -> Option<&T> {
        self.held.as_ref()
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.stop.set();
        self.inbox = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counts(EventFd, u64);

    impl Task for Counts {
        fn run(&mut self, stop: &Stop) {
            while let Some(ready) = stop.wait(&[borrow(&self.0)], None) {
                if ready & 1 != 0 {
                    self.1 += self.0.read().expect("readable");
                }
            }
        }
    }

    #[test]
    fn a_task_runs_between_start_and_stop_and_comes_back_with_its_state() {
        let mut worker = Worker::spawn("test".into(), ThreadKind::Rng, Arc::new(())).expect("thread");
        let fd = EventFd::new(EFD_NONBLOCK).expect("eventfd");
        let mut task = Counts(fd.try_clone().expect("clone"), 0);
        for round in 1..=3 {
            worker.start(task, Begin::Running);
            fd.write(5).expect("write");
            let deadline = std::time::Instant::now() + Duration::from_secs(60);
            let probe = Stop::new().expect("stop");
            while probe.wait(&[borrow(&fd)], Some(Duration::ZERO)) == Some(1) {
                assert!(std::time::Instant::now() < deadline);
            }
            task = worker.reset().expect("comes back");
            assert_eq!(task.1, 5 * round);
        }
        assert!(worker.reset().is_none());
    }
}
