//! The interrupt lines that are no messages: GSIs 0 to 23, wired to PICs and I/O APIC as on a PC. The
//! timer, line 0, is pin 2 of the I/O APIC.

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    kvm_irq_routing_entry, kvm_irq_routing_irqchip,
};

/// Their number: the pins of the I/O APIC.
pub const LINES: u32 = 24;

/// The wiring of lines to PIC and I/O APIC pins: at most two entries a line.
pub(crate) fn routes() -> Vec<kvm_irq_routing_entry> {
    let pin = |gsi, irqchip, pin| {
        let mut entry = kvm_irq_routing_entry {
            gsi,
            type_: KVM_IRQ_ROUTING_IRQCHIP,
            ..Default::default()
        };
        entry.u.irqchip = kvm_irq_routing_irqchip { irqchip, pin };
        entry
    };
    // Line 2 is the cascade between the PICs; on the I/O APIC its pin carries line 0.
    let master = (0..8)
        .filter(|&line| line != 2)
        .map(|line| pin(line, KVM_IRQCHIP_PIC_MASTER, line));
    let slave = (8..16).map(|line| pin(line, KVM_IRQCHIP_PIC_SLAVE, line - 8));
    let ioapic = (0..LINES)
        .filter(|&line| line != 2)
        .map(|line| pin(line, KVM_IRQCHIP_IOAPIC, if line == 0 { 2 } else { line }));
    master.chain(slave).chain(ioapic).collect()
}

/// What `KVM_IRQ_LINE` calls a line.
pub(crate) fn name(line: u32) -> u32 {
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_reaches_pin_2_of_the_io_apic() {
        let lines = routes();
        // SAFETY: every entry made there is of the kind irqchip.
        let pins = lines
            .iter()
            .map(|entry| (entry.gsi, unsafe { entry.u.irqchip }))
            .collect::<Vec<_>>();
        let of = |gsi, chip| {
            let mut found = pins.iter().filter(|pin| pin.0 == gsi && pin.1.irqchip == chip);
            found.next().map(|pin| pin.1.pin)
        };
        assert_eq!(of(0, KVM_IRQCHIP_IOAPIC), Some(2));
        assert_eq!(of(0, KVM_IRQCHIP_PIC_MASTER), Some(0));
        assert_eq!(of(2, KVM_IRQCHIP_IOAPIC), None);
        assert_eq!(of(4, KVM_IRQCHIP_IOAPIC), Some(4));
        assert_eq!(of(9, KVM_IRQCHIP_PIC_SLAVE), Some(1));
        assert_eq!(of(23, KVM_IRQCHIP_IOAPIC), Some(23));
    }
}
