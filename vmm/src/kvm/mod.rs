//! KVM (Linux `Documentation/virt/kvm/api.rst`), as far as it is the same on every architecture; the rest,
//! registers and interrupt controllers, is in [`crate::arch`]. Nobody else calls its ioctls.
//!
//! [`Hypervisor`] is `/dev/kvm`, checked for all that a machine needs; [`vm::Vm`] a virtual machine with
//! its interrupt controllers; [`vcpu::Vcpu`] a vCPU and its exits; [`irq::Router`] the table from
//! interrupts to irqfds.

pub mod irq;
pub mod kick;
pub mod memory_slots;
pub mod probe;
pub mod vcpu;
pub mod vm;

use std::path::{Path, PathBuf};

use kvm_bindings::KVM_API_VERSION;
use kvm_ioctls::{Cap, Kvm};
use thiserror::Error;

use crate::arch::native;

/// KVM refused.
#[derive(Debug, Error)]
pub enum KvmError {
    /// The device cannot be opened.
    #[error("{path} cannot be opened: {source} (kiln doctor says what to do)", path = path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// What opening it said.
        source: vmm_sys_util::errno::Error,
    },
    /// Not the stable interface.
    #[error("KVM's interface has version {0}, not {KVM_API_VERSION}")]
    Version(i32),
    /// The host's KVM lacks something that every machine needs.
    #[error("the host's KVM lacks {0:?}")]
    Lacks(Cap),
    /// Of this architecture no machine can be made yet.
    #[error("machines of {0} are not built yet: guests run on x86_64 hosts")]
    NotBuilt(&'static str),
    /// More vCPUs than the host can give one machine.
    #[error("{asked} vCPUs: the host's KVM gives a machine at most {most}")]
    TooManyCpus {
        /// Wanted.
        asked: usize,
        /// What `KVM_CAP_MAX_VCPUS` says.
        most: usize,
    },
    /// An ioctl failed.
    #[error("KVM: {call}: {source}")]
    Ioctl {
        /// The ioctl, and with what.
        call: &'static str,
        /// What it said.
        source: vmm_sys_util::errno::Error,
    },
    /// An event descriptor could not be made.
    #[error("no event descriptor: {0}")]
    EventFd(#[source] std::io::Error),
    /// The signal that kicks vCPUs could not be set up.
    #[error("no handler for the vCPUs' signal: {0}")]
    Signal(#[source] std::io::Error),
}

/// Names the ioctl in an error.
pub(crate) fn ioctl(call: &'static str) -> impl FnOnce(vmm_sys_util::errno::Error) -> KvmError {
    move |source| KvmError::Ioctl { call, source }
}

/// What every machine needs; all of it, and what its architecture adds, is older than Linux 4.20.
const NEEDED: &[Cap] = &[
    Cap::Irqfd,
    Cap::Ioeventfd,
    Cap::IoeventfdNoLength,
    Cap::UserMemory,
    Cap::MpState,
    Cap::ImmediateExit,
];

/// KVM on this host.
#[derive(Debug)]
pub struct Hypervisor {
    kvm: Kvm,
}

impl Hypervisor {
    /// Opens `/dev/kvm` and checks that it can do what a machine needs.
    pub fn open() -> Result<Self, KvmError> {
        Self::open_at(Path::new("/dev/kvm"))
    }

    /// The same with the device in another place.
    pub fn open_at(path: &Path) -> Result<Self, KvmError> {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| KvmError::Open {
            path: path.to_owned(),
            source: vmm_sys_util::errno::Error::new(libc::EINVAL),
        })?;
        let kvm = Kvm::new_with_path(name).map_err(|source| KvmError::Open {
            path: path.to_owned(),
            source,
        })?;
        match kvm.get_api_version() {
            version if version == KVM_API_VERSION as i32 => {}
            version => return Err(KvmError::Version(version)),
        }
        let mut needed = NEEDED.iter().chain(native::NEEDED);
        match needed.find(|&&cap| !kvm.check_extension(cap)) {
            Some(&cap) => Err(KvmError::Lacks(cap)),
            None => Ok(Self { kvm }),
        }
    }

    pub(crate) fn kvm(&self) -> &Kvm {
        &self.kvm
    }
}
