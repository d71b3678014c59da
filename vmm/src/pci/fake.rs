//! A host for tests: remembers messages and doorbells.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::EventFd;

use super::{Doorbells, MsiMessage, MsiRouter, MsiVector};

/// Messages sent and routes made.
#[derive(Default)]
pub(crate) struct Messages {
    pub(crate) sent: Mutex<Vec<MsiMessage>>,
    pub(crate) changes: Mutex<u32>,
}

impl Messages {
    pub(crate) fn sent(&self) -> Vec<MsiMessage> {
        std::mem::take(&mut self.sent.lock().expect("lock"))
    }
}

/// The router in front of [`Messages`].
pub(crate) struct Router(pub(crate) Arc<Messages>);

struct Vector(Mutex<MsiMessage>, Arc<Messages>);

impl MsiRouter for Router {
    fn add(&self, message: MsiMessage) -> io::Result<Arc<dyn MsiVector>> {
        *self.0.changes.lock().expect("lock") += 1;
        Ok(Arc::new(Vector(Mutex::new(message), Arc::clone(&self.0))))
    }
}

impl MsiVector for Vector {
    fn signal(&self) -> io::Result<()> {
        self.1
            .sent
            .lock()
            .expect("lock")
            .push(*self.0.lock().expect("lock"));
        Ok(())
    }

    fn update(&self, message: MsiMessage) -> io::Result<()> {
        *self.1.changes.lock().expect("lock") += 1;
        *self.0.lock().expect("lock") = message;
        Ok(())
    }
}

/// Doorbells by address.
#[derive(Default)]
pub(crate) struct Bells(pub(crate) Mutex<BTreeMap<u64, i32>>);

impl Bells {
    pub(crate) fn addresses(&self) -> Vec<u64> {
        self.0.lock().expect("lock").keys().copied().collect()
    }
}

impl Doorbells for Bells {
    fn register(&self, address: u64, fd: &EventFd) -> io::Result<()> {
        match self.0.lock().expect("lock").insert(address, fd.as_raw_fd()) {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn unregister(&self, address: u64, fd: &EventFd) -> io::Result<()> {
        let mut bells = self.0.lock().expect("lock");
        match bells.remove(&address) {
            Some(registered) if registered == fd.as_raw_fd() => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
