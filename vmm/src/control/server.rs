//! The thread that waits for clients and for orders.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::process::Uid;

use super::{Context, MachineControl, connection};
use crate::parent::link::{Order, ToParent};
use crate::parent::signals::Signals;
use crate::sandbox::{self, ThreadKind};

/// Clients at one time: a supervisor, commands, someone who looks. More are turned away.
pub const MAX_CLIENTS: usize = 16;
/// Clients that are being turned away at one time, which takes a moment: their request is read
/// first. More are hung up on: a crowd at the door must not cost more threads than the guests.
const MAX_TURNED_AWAY: usize = 16;

/// Where orders come from that do not come over the socket.
#[derive(Debug)]
pub enum Orders {
    /// The parent process. Its end is the machine's.
    Parent(ToParent),
    /// Signals to this process itself, which runs without a parent.
    Signals(Signals),
}

/// The running server. Dropping it ends the waiting thread; clients' threads end with the process.
#[derive(Debug)]
pub struct Server {
    stop: Arc<rustix::fd::OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `listener` and `orders` on a thread of their own.
    ///
    /// # Errors
    /// The host gives no thread or descriptor.
    pub fn start(
        listener: Option<UnixListener>,
        orders: Orders,
        machine: Arc<dyn MachineControl>,
    ) -> io::Result<Self> {
        if let Some(listener) = &listener {
            // A client that went away between poll and accept must not hold up the next one.
            listener.set_nonblocking(true)?;
        }
        let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let waiter = Waiter {
            listener,
            orders,
            stop: Arc::clone(&stop),
            context: Arc::new(Context {
                machine,
                freezing: AtomicBool::new(false),
            }),
            clients: Places::new(MAX_CLIENTS),
            turned_away: Places::new(MAX_TURNED_AWAY),
            own_user: rustix::process::geteuid(),
            interrupts: 0,
        };
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                if let Err(error) = sandbox::confine(ThreadKind::Control) {
                    waiter.context.machine.kill(&error.to_string());
                    return;
                }
                waiter.run();
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The counter cannot be full: it is written once.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic of it has been reported where it happened.
            let _ = thread.join();
        }
    }
}

struct Waiter {
    listener: Option<UnixListener>,
    orders: Orders,
    stop: Arc<rustix::fd::OwnedFd>,
    context: Arc<Context>,
    clients: Places,
    turned_away: Places,
    own_user: Uid,
    /// How often Ctrl-C was pressed.
    interrupts: u32,
}

impl Waiter {
    fn run(mut self) {
        loop {
            let mut polled = vec![
                PollFd::new(&self.stop, PollFlags::IN),
                PollFd::from_borrowed_fd(self.orders.as_fd(), PollFlags::IN),
            ];
            if let Some(listener) = &self.listener {
                polled.push(PollFd::new(listener, PollFlags::IN));
            }
            match rustix::event::poll(&mut polled, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => {
                    self.context
                        .machine
                        .kill(&format!("the control thread cannot wait: {errno}"));
                    return;
                }
            }
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready.first() == Some(&true) {
                return;
            }
            if ready.get(1) == Some(&true) && !self.obey() {
                return;
            }
            if ready.get(2) == Some(&true) {
                self.accept();
            }
        }
    }

    /// Does what is ordered; false if there is nobody any more who could order anything.
    fn obey(&mut self) -> bool {
        let order = match &self.orders {
            Orders::Parent(parent) => match parent.next_order() {
                Some(order) => order,
                None => {
                    self.context.machine.kill("the parent process is gone");
                    return false;
                }
            },
            Orders::Signals(signals) => match signals.next() {
                Some(libc::SIGINT) => {
                    self.interrupts += 1;
                    if self.interrupts > 1 {
                        Order::Kill
                    } else {
                        Order::PowerButton
                    }
                }
                Some(libc::SIGTERM | libc::SIGHUP) => Order::PowerButton,
                _ => return true,
            },
        };
        match order {
            Order::PowerButton => {
                if let Err(error) = self.context.machine.powerdown() {
                    tracing::warn!("the power button: {error}");
                }
            }
            Order::Kill => self.context.machine.kill("killed by a signal"),
        }
        true
    }

    fn accept(&self) {
        let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) else {
            return;
        };
        let user = rustix::net::sockopt::socket_peercred(&stream).map(|peer| peer.uid);
        if user != Ok(self.own_user) {
            tracing::warn!("a client of another user was turned away");
            self.turn_away(stream, "this machine belongs to another user");
        } else if let Some(place) = self.clients.take() {
            let context = Arc::clone(&self.context);
            begin(place, move || connection::serve(stream, &context));
        } else {
            self.turn_away(stream, "too many clients are connected to this machine");
        }
    }

    fn turn_away(&self, stream: UnixStream, why: &'static str) {
        if let Some(place) = self.turned_away.take() {
            begin(place, move || connection::turn_away(stream, why));
        }
    }
}

/// Does `work` on a thread of its own, for as long as a place is taken.
fn begin(place: Place, work: impl FnOnce() + Send + 'static) {
    let started = std::thread::Builder::new()
        .name("control-client".to_owned())
        .spawn(move || {
            work();
            drop(place);
        });
    if let Err(error) = started {
        tracing::warn!("no thread for a client: {error}");
    }
}

/// How many places are taken, and how many there are.
struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// One place, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Places {
    fn new(most: usize) -> Self {
        Self {
            taken: Arc::new(AtomicUsize::new(0)),
            most,
        }
    }

    fn take(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.taken));
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsFd for Orders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Parent(parent) => parent.as_fd(),
            Self::Signals(signals) => signals.as_fd(),
        }
    }
}
