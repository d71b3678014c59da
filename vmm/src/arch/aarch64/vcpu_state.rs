//! The whole state of a vCPU: every register that KVM lists.

use kvm_bindings::{KVM_REG_SIZE_MASK, KVM_REG_SIZE_SHIFT, RegList, kvm_mp_state};
use serde::{Deserialize, Serialize};

use crate::kvm::vcpu::Vcpu;
use crate::kvm::{Hypervisor, KvmError, ioctl};

/// More registers than any processor has: some 300, and 600 with SVE.
const MOST: usize = 4096;

/// All that KVM keeps of a vCPU between two runs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VcpuState {
    registers: Vec<Register>,
    /// Whether it runs, or waits to be started.
    mp_state: kvm_mp_state,
}

/// A register by KVM's name, and what is in it.
#[derive(Debug, Serialize, Deserialize)]
struct Register(u64, Vec<u8>);

impl VcpuState {
    /// Reads the state of `vcpu`, which must not be running.
    pub fn read(_: &Hypervisor, vcpu: &Vcpu) -> Result<Self, KvmError> {
        let fd = vcpu.fd();
        let mut names = RegList::new(MOST)
            .map_err(|_| ioctl("list of registers")(vmm_sys_util::errno::Error::new(libc::E2BIG)))?;
        fd.get_reg_list(&mut names).map_err(ioctl("KVM_GET_REG_LIST"))?;
        let read = |&name: &u64| {
            let mut value = vec![0; 1 << ((name & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT)];
            fd.get_one_reg(name, &mut value)
                .map_err(ioctl("KVM_GET_ONE_REG"))?;
            Ok(Register(name, value))
        };
        Ok(Self {
            registers: names
                .as_slice()
                .iter()
                .map(read)
                .collect::<Result<_, KvmError>>()?,
            mp_state: fd.get_mp_state().map_err(ioctl("KVM_GET_MP_STATE"))?,
        })
    }

    /// Has KVM forget the pages that the guest gave it to write into. There are none: no place for stolen time is set up.
    pub fn part_from_memory(_: &Vcpu) -> Result<(), KvmError> {
        Ok(())
    }

    /// Puts the state back.
    pub fn write(&self, vcpu: &Vcpu) -> Result<(), KvmError> {
        let fd = vcpu.fd();
        for Register(name, value) in &self.registers {
            fd.set_one_reg(*name, value).map_err(ioctl("KVM_SET_ONE_REG"))?;
        }
        fd.set_mp_state(self.mp_state).map_err(ioctl("KVM_SET_MP_STATE"))
    }
}
