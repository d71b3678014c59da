//! Which kernel is booted, and how it is entered.
//!
//! * [`pvgrub`] finds kernel, initramfs and command line on the root disk; else they are files of the
//!   host.
//! * [`payload`] unpacks the kernel.
//! * [`kernel`] is what the architecture then places in guest memory, to be entered by the first vCPU.
//! * [`firmware`] is what a machine boots by that finds its kernel itself.
//! * [`doctor`] says why a disk would not boot.
//! * [`operating_system`] says what is installed on a disk.
//! * [`source`] keeps what is needed to do the same again when the guest resets.

pub mod doctor;
pub mod firmware;
pub mod kernel;
pub mod operating_system;
mod os_release;
pub mod payload;
pub mod pvgrub;
pub mod source;
