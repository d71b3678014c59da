//! The same with real machines: `kiln-vmm` on this host's `/dev/kvm`, running a guest of a few instructions.
