//! A minimal virtual machine monitor on KVM: one process, one guest.
//!
//! The process builds a PC of the shape of QEMU's q35, loads a Linux kernel into its memory (given by
//! name, or found on the root disk as PV-GRUB found it), or has firmware find one, and runs it until it powers off.
//!
//! ```text
//!  spec.json --spec--> machine::assemble ----> kvm (vm, vcpus, slots, irq) -- arch (chips, registers)
//!                        |        |                     ^
//!                        |        +-- bus: ports, MMIO -+-- exits
//!                        |              |        |
//!                        |       arch (board)   pci -- virtio (block, rng, console)
//!                        |           legacy
//!                        v
//!                      boot (pvgrub, payload) --> arch (kernel, tables) --> guest memory --> machine::run
//! ```
//!
//! * [`spec::MachineSpec`] is the machine as JSON: a list of device specs, whose types live with the
//!   devices.
//! * `machine::Machine` is that machine put together; `run` returns when the guest has ended.
//! * [`bus::BusDevice`] is what answers at a port or an address.
//! * [`saved`] is a machine on disk, to go on from.
//! * `kvm`, and `arch` for what is not the same on every architecture, are the only callers of KVM's ioctls.

pub mod arch;
pub mod boot;
pub mod bus;
pub mod by_hand;
pub mod client;
pub mod console_log;
pub mod control;
mod crash;
pub mod exit_record;
pub mod instance;
pub mod instance_dir;
pub mod kvm;
pub mod legacy;
pub mod machine;
pub mod memory;
pub mod parent;
pub mod pci;
pub mod sandbox;
pub mod saved;
pub mod smbios;
pub mod spec;
pub mod terminal;
pub mod virtio;
pub mod vmm_log;

pub use crash::CRASH_POINTS;
