//! The interrupt lines that are no messages: the first shared peripheral interrupts (SPIs) of the GIC, a
//! pin each.

use kvm_bindings::{
    KVM_ARM_IRQ_TYPE_SHIFT, KVM_ARM_IRQ_TYPE_SPI, KVM_IRQ_ROUTING_IRQCHIP, kvm_irq_routing_entry,
    kvm_irq_routing_irqchip,
};

/// Their number.
pub const LINES: u32 = 32;

/// The GIC's number of the first of them.
const FIRST_SPI: u32 = 32;

/// The wiring of lines to pins of the GIC.
pub(crate) fn routes() -> Vec<kvm_irq_routing_entry> {
    let pin = |line| {
        let mut entry = kvm_irq_routing_entry {
            gsi: line,
            type_: KVM_IRQ_ROUTING_IRQCHIP,
            ..Default::default()
        };
        entry.u.irqchip = kvm_irq_routing_irqchip {
            irqchip: 0,
            pin: line,
        };
        entry
    };
    (0..LINES).map(pin).collect()
}

/// What `KVM_IRQ_LINE` calls a line.
pub(crate) fn name(line: u32) -> u32 {
    KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (FIRST_SPI + line)
}
