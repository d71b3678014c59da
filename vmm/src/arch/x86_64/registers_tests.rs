//! The state of each entry path against the checks that a VM entry makes on Intel's CPUs.

use super::*;

/// Intel SDM volume 3C, section 27.3.1: checks on the guest state area, for a CPU whose "unrestricted
/// guest" is off where that is stricter.
fn check_vm_entry(regs: &kvm_regs, sregs: &kvm_sregs) {
    let long = sregs.efer & EFER_LMA != 0;
    // 27.3.1.1: control registers and EFER.
    assert_ne!(sregs.cr0 & CR0_NE, 0, "NE is fixed to 1 in VMX operation");
    if sregs.cr0 & CR0_PG != 0 {
        assert_ne!(sregs.cr0 & CR0_PE, 0, "paging implies protection");
    }
    assert_eq!(sregs.cr0 >> 32, 0);
    assert_eq!(sregs.cr0 & 0x1ffa_ffc0, 0, "reserved bits of CR0 are 0");
    if long {
        assert_ne!(sregs.cr4 & CR4_PAE, 0, "IA-32e mode implies PAE");
        assert_ne!(sregs.cr0 & CR0_PG, 0, "IA-32e mode implies paging");
    }
    assert_eq!(sregs.cr3 >> 46, 0, "CR3 is a physical address");
    assert_eq!(sregs.efer & !0xd01, 0, "reserved bits of EFER are 0");
    if sregs.cr0 & CR0_PG != 0 {
        assert_eq!(sregs.efer & EFER_LME != 0, long, "LME equals LMA under paging");
    }
    // 27.3.1.2: segments.
    let flat = [&sregs.cs, &sregs.ss, &sregs.ds, &sregs.es, &sregs.fs, &sregs.gs];
    for segment in flat {
        check_access_rights(segment);
        assert_eq!((segment.s, segment.base >> 32), (1, 0));
    }
    assert!([9, 11, 13, 15].contains(&sregs.cs.type_), "CS is accessed code");
    assert_eq!(sregs.cs.dpl, sregs.ss.dpl);
    if long {
        assert!(
            !(sregs.cs.l == 1 && sregs.cs.db == 1),
            "L and D exclude each other"
        );
    }
    assert!([3, 7].contains(&sregs.ss.type_), "SS is accessed, writable data");
    assert_eq!(
        sregs.ss.selector & 3,
        sregs.cs.selector & 3,
        "SS.RPL equals CS.RPL"
    );
    assert_eq!(u16::from(sregs.ss.dpl), sregs.ss.selector & 3);
    for segment in [&sregs.ds, &sregs.es, &sregs.fs, &sregs.gs] {
        assert_eq!(segment.type_ & 1, 1, "accessed");
        assert!(
            segment.type_ & 8 == 0 || segment.type_ & 2 != 0,
            "code is readable"
        );
        assert!(u16::from(segment.dpl) >= segment.selector & 3);
    }
    let task = &sregs.tr;
    assert_eq!(task.selector & 4, 0, "TR is in the GDT");
    assert!(task.type_ == 11 || (task.type_ == 3 && !long), "TR is busy");
    assert_eq!((task.s, task.present, task.unusable), (0, 1, 0));
    check_access_rights(task);
    if sregs.ldt.unusable == 0 {
        assert_eq!((sregs.ldt.type_, sregs.ldt.s, sregs.ldt.selector & 4), (2, 0, 0));
        check_access_rights(&sregs.ldt);
    }
    // 27.3.1.4: RIP and RFLAGS.
    if !(long && sregs.cs.l == 1) {
        assert_eq!(regs.rip >> 32, 0);
    }
    assert_eq!(regs.rflags & 0xffff_ffff_ffc0_8028, 0, "reserved flags are 0");
    assert_eq!(regs.rflags & 2, 2, "flag 1 is 1");
    assert_eq!(
        regs.rflags & (1 << 17 | 1 << 9 | 1 << 8),
        0,
        "no VM86, no interrupts, no trap"
    );
}

fn check_access_rights(segment: &kvm_segment) {
    assert_eq!((segment.present, segment.unusable), (1, 0));
    let (low, high) = (segment.limit & 0xfff, segment.limit >> 20);
    assert!(
        low == 0xfff || segment.g == 0,
        "limit {:#x} is not in pages",
        segment.limit
    );
    assert!(
        high == 0 || segment.g == 1,
        "limit {:#x} is not in bytes",
        segment.limit
    );
}

fn state(entry: Entry) -> (kvm_regs, kvm_sregs) {
    let mut sregs = kvm_sregs {
        apic_base: 0xfee0_0900,
        ..Default::default()
    };
    let regs = entry.state(&mut sregs);
    assert_eq!(sregs.apic_base, 0xfee0_0900, "the APIC's base is KVM's");
    (regs, sregs)
}

#[test]
fn the_pvh_state_passes_intel_s_entry_checks() {
    let (regs, sregs) = state(Entry::Pvh {
        entry: 0x100_0000,
        start_info: 0x7000,
    });
    check_vm_entry(&regs, &sregs);
    // Xen's boot ABI.
    assert_eq!((regs.rip, regs.rbx), (0x100_0000, 0x7000));
    assert_eq!(
        (sregs.cs.db, sregs.cs.l, sregs.cs.base, sregs.cs.limit),
        (1, 0, 0, 0xffff_ffff)
    );
    assert_eq!((sregs.tr.base, sregs.tr.limit), (0, 0x67));
    assert_eq!((sregs.cr4, sregs.efer, sregs.cr0 & CR0_PG), (0, 0, 0));
}

#[test]
fn the_32_bit_linux_state_passes_intel_s_entry_checks() {
    let (regs, sregs) = state(Entry::Linux32 {
        entry: 0x10_0000,
        zero_page: 0x7000,
    });
    check_vm_entry(&regs, &sregs);
    assert_eq!((regs.rip, regs.rsi), (0x10_0000, 0x7000));
    assert_eq!((regs.rbp, regs.rdi, regs.rbx), (0, 0, 0), "as the protocol wants");
    assert_eq!(
        (sregs.cs.selector, sregs.ds.selector, sregs.cs.db, sregs.cs.l),
        (0x10, 0x18, 1, 0)
    );
    assert_eq!((sregs.cr4, sregs.efer, sregs.cr0 & CR0_PG), (0, 0, 0));
}

#[test]
fn the_64_bit_linux_state_passes_intel_s_entry_checks() {
    let (regs, sregs) = state(Entry::Linux64 {
        entry: 0x100_0200,
        zero_page: 0x7000,
    });
    check_vm_entry(&regs, &sregs);
    assert_eq!((regs.rip, regs.rsi), (0x100_0200, 0x7000));
    assert_eq!(
        (sregs.cs.selector, sregs.ds.selector, sregs.cs.l),
        (0x10, 0x18, 1)
    );
}

#[test]
fn descriptors_in_memory_say_what_the_registers_hold() {
    assert_eq!(descriptor(&code_segment(true)), 0x00af_9b00_0000_ffff);
    assert_eq!(descriptor(&code_segment(false)), 0x00cf_9b00_0000_ffff);
    assert_eq!(descriptor(&data_segment()), 0x00cf_9300_0000_ffff);
    assert_eq!(descriptor(&task_segment()), 0x0000_8b00_0000_0067);
}

#[test]
fn page_tables_map_each_address_to_itself() {
    let memory = crate::memory::map(&[(0, 1 << 20)]).expect("a megabyte is granted");
    let entry = Entry::Linux64 {
        entry: 0,
        zero_page: 0,
    };
    entry
        .write_tables(&memory)
        .expect("the tables lie in the first megabyte");
    let read = |at: u64| {
        memory
            .read_obj::<u64>(GuestAddress(at))
            .expect("inside the megabyte")
    };
    for address in [0u64, 0x12_3456, 0x4000_0000, 0xfee0_0000, 0xffff_ffff] {
        let level3 = read(PAGE_TABLES) & !0xfff;
        let level2 = read(level3 + (address >> 30) * 8) & !0xfff;
        let page = read(level2 + ((address >> 21) & 0x1ff) * 8);
        assert_eq!(page & 0x83, 0x83);
        assert_eq!((page & !0x1f_ffff) | (address & 0x1f_ffff), address);
    }
}
