//! Doorbells: registers whose writing wakes a thread without an exit to this process.

use std::io;

use vmm_sys_util::eventfd::EventFd;

/// Registers eventfds to be written when the guest stores to an address: the fast way of a doorbell.
pub trait Doorbells: Send + Sync {
    /// Any store at `address`, of whatever value and length, writes `fd` from now on.
    ///
    /// # Errors
    /// The host refuses; the store then arrives as an ordinary access.
    fn register(&self, address: u64, fd: &EventFd) -> io::Result<()>;

    /// Ends what [`register`](Self::register) began, with the same arguments.
    ///
    /// # Errors
    /// There was no such registration.
    fn unregister(&self, address: u64, fd: &EventFd) -> io::Result<()>;
}
