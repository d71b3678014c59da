//! What a vCPU is made as: the host's own processor, with PSCI 0.2 to start others, reset and power off.

use kvm_bindings::{KVM_ARM_TARGET_GENERIC_V8, KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2, kvm_vcpu_init};

use crate::kvm::vcpu::Vcpu;
use crate::kvm::{Hypervisor, KvmError, ioctl};

/// What all vCPUs of a machine share.
#[derive(Debug, Clone)]
pub struct Template(());

impl Template {
    /// That of a machine of any number of vCPUs; Hyper-V is of other processors.
    pub fn new(_: &Hypervisor, _: u8, _: bool) -> Result<Self, KvmError> {
        Ok(Self(()))
    }

    /// Makes `vcpu`, number `id`, such a processor; all but the first wait until they are started.
    pub fn show(&self, vcpu: &Vcpu, id: u8) -> Result<(), KvmError> {
        let mut init = kvm_vcpu_init {
            target: KVM_ARM_TARGET_GENERIC_V8,
            ..Default::default()
        };
        let [features, ..] = &mut init.features;
        *features = 1 << KVM_ARM_VCPU_PSCI_0_2 | u32::from(id > 0) << KVM_ARM_VCPU_POWER_OFF;
        vcpu.fd().vcpu_init(&init).map_err(ioctl("KVM_ARM_VCPU_INIT"))
    }
}
