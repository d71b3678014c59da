//! Topology as kernels read it, for both vendors.

use super::*;

fn leaf(function: u32, index: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function,
        index,
        ..Default::default()
    }
}

/// A host of the given vendor, with caches of levels 1 to 3 and nested virtualization.
fn host(name: &[u8; 12], highest: u32) -> Vec<kvm_cpuid_entry2> {
    let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
    let mut entries = vec![kvm_cpuid_entry2 {
        eax: highest,
        ebx: word(0),
        edx: word(4),
        ecx: word(8),
        ..leaf(0, 0)
    }];
    entries.push(kvm_cpuid_entry2 {
        ebx: 0xaa55_0800,
        ecx: VMX,
        edx: 0x0783_fbff,
        ..leaf(1, 0)
    });
    let caches = if name == b"GenuineIntel" { 4 } else { 0x8000_001d };
    for (index, level) in [1u32, 1, 2, 3].into_iter().enumerate() {
        let eax = (0x3f << 26) | (0xfff << 14) | (level << 5) | 1;
        entries.push(kvm_cpuid_entry2 {
            eax,
            ..leaf(caches, index as u32)
        });
    }
    entries.push(kvm_cpuid_entry2 {
        ecx: SHADOW_STACKS | 1 << 1,
        ..leaf(7, 0)
    });
    entries.push(kvm_cpuid_entry2 {
        ecx: 1 << 7,
        ..leaf(7, 1)
    });
    entries.push(kvm_cpuid_entry2 {
        edx: 77,
        ..leaf(0xb, 0)
    });
    entries.push(kvm_cpuid_entry2 {
        edx: 77,
        ..leaf(0x1f, 0)
    });
    entries.push(kvm_cpuid_entry2 {
        ecx: SVM | TOPOLOGY_EXTENSIONS,
        ..leaf(0x8000_0001, 0)
    });
    entries.push(kvm_cpuid_entry2 {
        eax: 0x3030,
        ecx: 0x7007,
        ..leaf(0x8000_0008, 0)
    });
    entries.push(leaf(0x8000_000a, 0));
    entries.push(kvm_cpuid_entry2 {
        eax: 9,
        ebx: 9,
        ecx: 9,
        ..leaf(0x8000_001e, 0)
    });
    entries.push(kvm_cpuid_entry2 {
        ebx: 64,
        ..leaf(0x8000_0026, 0)
    });
    entries
}

fn find(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> kvm_cpuid_entry2 {
    let mut found = entries
        .iter()
        .filter(|entry| (entry.function, entry.index) == (function, index));
    let entry = *found
        .next()
        .unwrap_or_else(|| panic!("no leaf {function:#x}.{index}"));
    assert!(
        found.next().is_none(),
        "leaf {function:#x}.{index} is there twice"
    );
    entry
}

fn each_size(vendor: &[u8; 12], highest: u32, check: impl Fn(u8, u8, &[kvm_cpuid_entry2])) {
    for cpus in [1u8, 2, 3, 4, 8, 9, 64, 128, 254] {
        let template = Template::of(&host(vendor, highest), cpus, true);
        for cpu in [0, cpus / 2, cpus - 1] {
            check(cpus, cpu, &template.entries_of(cpu));
        }
    }
}

#[test]
fn every_vcpu_sees_its_apic_id_in_each_place() {
    for vendor in [b"GenuineIntel", b"AuthenticAMD"] {
        each_size(vendor, 0x20, |cpus, cpu, entries| {
            assert_eq!(find(entries, 1, 0).ebx >> 24, u32::from(cpu));
            for function in [0xb, 0x1f] {
                for index in 0..3 {
                    assert_eq!(find(entries, function, index).edx, u32::from(cpu), "{cpus} vCPUs");
                }
            }
        });
    }
}

#[test]
fn extended_topology_counts_one_package_of_cores() {
    each_size(b"GenuineIntel", 0x20, |cpus, _, entries| {
        for function in [0xb, 0x1f] {
            let [threads, cores, end] = [0, 1, 2].map(|index| find(entries, function, index));
            assert_eq!((threads.eax, threads.ebx, threads.ecx), (0, 1, 0x100));
            assert_eq!((cores.ebx, cores.ecx), (u32::from(cpus), 0x201));
            assert!(
                1u32 << cores.eax >= u32::from(cpus),
                "{cpus} vCPUs, shift {}",
                cores.eax
            );
            assert_eq!((end.eax, end.ebx, end.ecx), (0, 0, 2));
        }
    });
}

#[test]
fn leaf_1f_is_absent_where_the_host_ends_before_it() {
    let entries = Template::of(&host(b"GenuineIntel", 0xd), 4, true).entries_of(0);
    assert!(!entries.iter().any(|entry| entry.function == 0x1f));
    assert!(entries.iter().any(|entry| entry.function == 0xb));
}

#[test]
fn an_old_host_gets_leaf_b_all_the_same() {
    let entries = Template::of(&host(b"AuthenticAMD", 0x5), 4, true).entries_of(0);
    assert_eq!(find(&entries, 0, 0).eax, 0xb);
}

#[test]
fn intel_s_leaf_4_counts_cores_and_shares_the_last_cache() {
    each_size(b"GenuineIntel", 0x20, |cpus, _, entries| {
        let ids = u32::from(cpus).next_power_of_two();
        for (index, sharing) in [0, 0, 0, ids - 1].into_iter().enumerate() {
            let eax = find(entries, 4, index as u32).eax;
            assert_eq!(eax >> 26, (ids - 1).min(63));
            assert_eq!((eax >> 14) & 0xfff, sharing, "{cpus} vCPUs, cache {index}");
        }
    });
}

#[test]
fn amd_s_leaves_count_cores() {
    each_size(b"AuthenticAMD", 0x10, |cpus, cpu, entries| {
        let sizes = find(entries, 0x8000_0008, 0).ecx;
        assert_eq!(sizes & 0xff, u32::from(cpus) - 1);
        assert!(1u32 << (sizes >> 12) >= u32::from(cpus));
        let ids = find(entries, 0x8000_001e, 0);
        assert_eq!((ids.eax, ids.ebx, ids.ecx), (cpu.into(), cpu.into(), 0));
        assert_eq!(find(entries, 0x8000_0001, 0).ecx & CMP_LEGACY != 0, cpus > 1);
        assert!(!entries.iter().any(|entry| entry.function == 0x8000_0026));
    });
}

#[test]
fn the_logical_processor_count_covers_all_apic_ids() {
    each_size(b"GenuineIntel", 0x20, |cpus, _, entries| {
        let leaf = find(entries, 1, 0);
        assert_eq!(leaf.edx & HTT != 0, cpus > 1);
        assert!((leaf.ebx >> 16) & 0xff >= u32::from(cpus));
        assert_eq!(leaf.ebx & 0xffff, 0x0800, "the cache line size stays the host's");
    });
}

#[test]
fn the_guest_knows_its_hypervisor_and_cannot_be_one() {
    for vendor in [b"GenuineIntel", b"AuthenticAMD"] {
        let entries = Template::of(&host(vendor, 0x20), 2, true).entries_of(1);
        assert_eq!(
            find(&entries, 1, 0).ecx & (HYPERVISOR | TSC_DEADLINE | VMX),
            HYPERVISOR | TSC_DEADLINE
        );
    }
    let entries = Template::of(&host(b"AuthenticAMD", 0x10), 2, false).entries_of(1);
    assert_eq!(find(&entries, 0x8000_0001, 0).ecx & SVM, 0);
    assert_eq!(find(&entries, 1, 0).ecx & TSC_DEADLINE, 0);
    assert!(!entries.iter().any(|entry| entry.function == 0x8000_000a));
}

#[test]
fn a_guest_has_no_shadow_stacks_since_where_they_are_is_not_saved() {
    each_size(b"GenuineIntel", 0x20, |_, _, entries| {
        assert_eq!(
            find(entries, 7, 0).ecx,
            1 << 1,
            "the rest of the leaf is the host's"
        );
        assert_eq!(
            find(entries, 7, 1).ecx,
            1 << 7,
            "in another subleaf the bit means another thing"
        );
    });
}

#[test]
fn a_machine_that_calls_itself_hyperv_does_not_call_itself_kvm() {
    let mut host = host(b"GenuineIntel", 0x20);
    host.push(kvm_cpuid_entry2 {
        function: 0x4000_0000,
        ebx: u32::from_le_bytes(*b"KVMK"),
        ..Default::default()
    });
    let mut template = Template::of(&host, 2, true);
    assert_eq!(
        find(&template.entries_of(0), 0x4000_0000, 0).ebx.to_le_bytes(),
        *b"KVMK"
    );
    template.call_itself_hyperv();
    let entries = template.entries_of(1);
    let first = find(&entries, 0x4000_0000, 0);
    let name: Vec<u8> = [first.ebx, first.ecx, first.edx]
        .iter()
        .flat_map(|part| part.to_le_bytes())
        .collect();
    assert_eq!(name, b"Microsoft Hv");
    for leaf in 0x4000_0001..=first.eax {
        find(&entries, leaf, 0);
    }
    assert_eq!(find(&entries, 0x4000_0001, 0).eax.to_le_bytes(), *b"Hv#1");
}
