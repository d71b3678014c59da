//! What differs from one CPU architecture to the next.
//!
//! [`native`] is that of this host, and so of its guests. Each architecture has the same names, and the
//! rest of the VMM uses no others:
//!
//! | name | what it is |
//! |---|---|
//! | `layout`, `MemoryMap` | where PCI's windows and RAM lie |
//! | `NEEDED`, `Chips`, `lines` | what KVM must be able to do; interrupt controllers and timers in the kernel; their lines |
//! | `CpuTemplate`, `VcpuState`, `SavedVcpu`, `vcpu` | what a vCPU shows of itself, and all that KVM keeps of it |
//! | `kernel`, `Entry`, `Tables` | a kernel in memory, how it is entered, what it is told of the machine |
//! | `Board` | the devices at fixed places |
//! | `Firmware`, `Surroundings` | firmware in its machine, and the devices that it needs |
//! | `probe` | whether this host's KVM can run kernels |
//! | `syscalls` | system calls that only this architecture has |

#[cfg(target_arch = "aarch64")]
pub mod aarch64;
pub mod description;
#[cfg(target_arch = "x86_64")]
pub mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64 as native;
#[cfg(target_arch = "x86_64")]
pub use x86_64 as native;
