//! The host's side of [`MsiRouter`] and [`Doorbells`]: KVM.

use std::io;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::{Doorbells, MsiMessage, MsiRouter, MsiVector};

use crate::kvm::irq;
use crate::kvm::vm::Vm;

impl From<MsiMessage> for irq::Message {
    fn from(message: MsiMessage) -> Self {
        Self {
            address: message.address,
            data: message.data,
            requester: message.requester,
        }
    }
}

impl MsiVector for irq::Route {
    fn signal(&self) -> io::Result<()> {
        irq::Route::signal(self);
        Ok(())
    }

    fn update(&self, message: MsiMessage) -> io::Result<()> {
        irq::Route::update(self, message.into()).map_err(io::Error::other)
    }
}

impl MsiRouter for Arc<irq::Router> {
    fn add(&self, message: MsiMessage) -> io::Result<Arc<dyn MsiVector>> {
        let route = irq::Router::add(self, message.into()).map_err(io::Error::other)?;
        Ok(Arc::new(route))
    }
}

impl Doorbells for Vm {
    fn register(&self, address: u64, fd: &EventFd) -> io::Result<()> {
        self.register_doorbell(address, fd).map_err(io::Error::other)
    }

    fn unregister(&self, address: u64, fd: &EventFd) -> io::Result<()> {
        self.unregister_doorbell(address, fd).map_err(io::Error::other)
    }
}
