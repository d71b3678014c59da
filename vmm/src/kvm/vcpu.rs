//! A vCPU: entering the guest and what comes out of it.

use kvm_bindings::{KVM_EXIT_IO_OUT, kvm_run};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::kick::Running;
use super::{KvmError, ioctl};
use crate::arch::native;

/// Why the guest was left.
#[derive(Debug)]
pub enum Exit<'a> {
    /// `in`, or `rep ins`: `data` holds one or several values of `size` bytes, to be filled in.
    PortRead {
        /// The port.
        port: u16,
        /// Bytes a value: 1, 2 or 4.
        size: usize,
        /// Room for the values.
        data: &'a mut [u8],
    },
    /// `out`, or `rep outs`: `data` holds one or several values of `size` bytes.
    PortWrite {
        /// The port.
        port: u16,
        /// Bytes a value: 1, 2 or 4.
        size: usize,
        /// The values.
        data: &'a [u8],
    },
    /// A read where no RAM is.
    MemoryRead {
        /// Guest physical address.
        address: u64,
        /// Room for 1 to 8 bytes.
        data: &'a mut [u8],
    },
    /// A write where no RAM is.
    MemoryWrite {
        /// Guest physical address.
        address: u64,
        /// 1 to 8 bytes.
        data: &'a [u8],
    },
    /// A signal, or nothing in particular: look for orders and go on.
    Interrupted,
    /// A triple fault: the CPU asks for a reset.
    TripleFault,
    /// The CPU cannot go on; the text says why.
    Failed(String),
}

/// What kind of exit it was, without its data.
enum Kind {
    Port,
    Memory,
    Interrupted,
    TripleFault,
    Failed(String),
}

/// A vCPU.
#[derive(Debug)]
pub struct Vcpu {
    fd: VcpuFd,
}

impl Vcpu {
    pub(super) fn new(fd: VcpuFd) -> Self {
        Self { fd }
    }

    /// The descriptor, for the architecture's registers.
    pub(crate) fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    /// Makes this vCPU the one that [`super::kick::Kicker`] gets out of the guest when it kicks the
    /// calling thread, while `body` runs.
    pub fn with_kicks<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        let run: *mut kvm_run = self.fd.get_kvm_run();
        // SAFETY: the page is mapped as long as `self` lives, which `body` only borrows; the value is
        // dropped at the end of this function, on this thread.
        let _running = unsafe { Running::new(run) };
        body(self)
    }

    /// Forgets the kicks that came so far. Whoever calls it looks for orders afterwards, before
    /// [`Self::run`]: so none is lost.
    pub fn clear_kicks(&mut self) {
        self.fd.set_kvm_immediate_exit(0);
    }

    /// Completes the access that the last exit left open, without running the guest on: afterwards
    /// the registers are whole, to be read, written or saved. Where the instruction goes on with another
    /// access, as a copied string does, that is for `serve`.
    pub fn complete(&mut self, mut serve: impl FnMut(Exit<'_>)) {
        // With the flag set KVM finishes the access and returns EINTR before entering the guest.
        self.fd.set_kvm_immediate_exit(1);
        loop {
            match self.run() {
                Ok(Exit::Interrupted | Exit::TripleFault | Exit::Failed(_)) | Err(_) => break,
                Ok(part) => serve(part),
            }
        }
        self.fd.set_kvm_immediate_exit(0);
    }

    /// Tells the guest, as far as it listens, that the vCPU was held: its watchdog then does not take
    /// that for a hang.
    pub fn excuse(&self) {
        native::vcpu::excuse(&self.fd);
    }

    /// Runs the guest until something must be done for it.
    pub fn run(&mut self) -> Result<Exit<'_>, KvmError> {
        let kind = match self.fd.run() {
            Ok(VcpuExit::IoIn(..) | VcpuExit::IoOut(..)) => Kind::Port,
            Ok(VcpuExit::MmioRead(..) | VcpuExit::MmioWrite(..)) => Kind::Memory,
            Ok(VcpuExit::Intr | VcpuExit::Hlt | VcpuExit::IrqWindowOpen | VcpuExit::SetTpr) => {
                Kind::Interrupted
            }
            Ok(VcpuExit::Shutdown) => Kind::TripleFault,
            Ok(VcpuExit::FailEntry(reason, cpu)) => Kind::Failed(format!(
                "the CPU refused to enter the guest (hardware reason {reason:#x}, host CPU {cpu})"
            )),
            Ok(VcpuExit::InternalError) => Kind::Failed("KVM cannot emulate an instruction".into()),
            Ok(other) => Kind::Failed(format!("unexpected exit {other:?}")),
            Err(errno) if [libc::EINTR, libc::EAGAIN].contains(&errno.errno()) => Kind::Interrupted,
            Err(errno) => return Err(ioctl("KVM_RUN")(errno)),
        };
        Ok(match kind {
            Kind::Port => self.port_access(),
            Kind::Memory => self.memory_access(),
            Kind::Interrupted => Exit::Interrupted,
            Kind::TripleFault => Exit::TripleFault,
            Kind::Failed(why) => Exit::Failed(self.describe(why)),
        })
    }

    fn port_access(&mut self) -> Exit<'_> {
        let run: *mut kvm_run = self.fd.get_kvm_run();
        // SAFETY: the exit reason is KVM_EXIT_IO, so `io` is the member that KVM filled in, and its
        // data lies within the pages that are mapped behind `run` for as long as `self` is borrowed.
        let (io, data) = unsafe {
            let io = (*run).__bindgen_anon_1.io;
            let len = usize::from(io.size) * io.count as usize;
            let start = run.cast::<u8>().add(io.data_offset as usize);
            (io, std::slice::from_raw_parts_mut(start, len))
        };
        let (port, size) = (io.port, usize::from(io.size).max(1));
        if u32::from(io.direction) == KVM_EXIT_IO_OUT {
            Exit::PortWrite { port, size, data }
        } else {
            Exit::PortRead { port, size, data }
        }
    }

    fn memory_access(&mut self) -> Exit<'_> {
        let run = self.fd.get_kvm_run();
        // SAFETY: the exit reason is KVM_EXIT_MMIO, so `mmio` is the member that KVM filled in.
        let mmio = unsafe { &mut run.__bindgen_anon_1.mmio };
        let len = (mmio.len as usize).min(mmio.data.len());
        let (data, _) = mmio.data.split_at_mut(len);
        if mmio.is_write != 0 {
            Exit::MemoryWrite {
                address: mmio.phys_addr,
                data,
            }
        } else {
            Exit::MemoryRead {
                address: mmio.phys_addr,
                data,
            }
        }
    }

    /// Adds to `why` where the vCPU stood.
    fn describe(&self, why: String) -> String {
        match native::vcpu::place(&self.fd) {
            Some(place) => format!("{why}; {place}"),
            None => why,
        }
    }
}
