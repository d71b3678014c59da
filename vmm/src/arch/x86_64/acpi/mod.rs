//! The ACPI tables (specification 6.5): which processors, interrupt controllers, buses and fixed
//! registers the machine has.
//!
//! They are built once, as [`blob::Blob`]s that point to each other by name. For a kernel that is
//! entered directly [`blob::place`] puts them at an address; [`loader`] tells firmware, which places
//! tables itself, the same pointers and checksums.

pub mod blob;
mod dsdt;
mod fadt;
pub mod generation;
mod hotplug;
pub mod loader;
mod madt;

use acpi_tables::Aml;
use acpi_tables::mcfg::MCFG;

use super::layout::ECAM;
use crate::pci::SlotSet;
use blob::{Blob, Checksum, Pointer};

/// Who made the tables.
const OEM_ID: [u8; 6] = *b"KILN  ";
const OEM_TABLE_ID: [u8; 8] = *b"KILNVM  ";
const OEM_REVISION: u32 = 1;

/// The last PCI bus. There is no bridge, so it is the first one; a kernel that is told of 256 looks for
/// host bridges on each, which costs 16,000 exits.
const LAST_BUS: u8 = 0;

/// The name of the blob that a guest is pointed to.
pub const RSDP: &str = "RSDP";

/// What the tables say that is not the same for all machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Number of vCPUs; their APIC ids are 0 and up.
    pub cpus: u8,
    /// The machine's generation id.
    pub generation: [u8; 16],
    /// The slots of hot-plug.
    pub pluggable: SlotSet,
}

/// All tables.
pub fn tables(description: &Description) -> Vec<Blob> {
    let mut mcfg = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    mcfg.add_ecam(ECAM, 0, 0, LAST_BUS);
    let described = [
        dsdt::blob(description.pluggable),
        Blob::table("APIC", madt::bytes(description.cpus)),
        Blob::table("MCFG", bytes_of(&mcfg)),
        fadt::blob(),
    ];
    let mut all = vec![rsdp(), xsdt(&described)];
    all.extend(described);
    all.push(generation::blob(description.generation));
    all
}

/// The extended table of pointers to tables (5.2.8); the DSDT is reached through the FADT.
fn xsdt(tables: &[Blob]) -> Blob {
    let listed: Vec<_> = tables
        .iter()
        .map(|table| table.name)
        .filter(|&name| name != "DSDT")
        .collect();
    let mut xsdt = acpi_tables::xsdt::XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    for _ in &listed {
        xsdt.add_entry(0);
    }
    let mut blob = Blob::table("XSDT", bytes_of(&xsdt));
    blob.pointers = listed
        .into_iter()
        .enumerate()
        .map(|(index, target)| Pointer {
            offset: 36 + 8 * index,
            size: 8,
            target,
        })
        .collect();
    blob
}

/// The root pointer (5.2.5.3), revision 2, with a checksum for its first 20 bytes and one for all.
fn rsdp() -> Blob {
    Blob {
        name: RSDP,
        bytes: bytes_of(&acpi_tables::rsdp::Rsdp::new(OEM_ID, 0)),
        align: 16,
        pointers: vec![Pointer {
            offset: 24,
            size: 8,
            target: "XSDT",
        }],
        checksums: vec![
            Checksum {
                offset: 8,
                covers: 0..20,
            },
            Checksum {
                offset: 32,
                covers: 0..36,
            },
        ],
    }
}

fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    fn word(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Walks from the root as a kernel does and returns each table by its signature.
    fn walk(cpus: u8) -> Vec<(String, Vec<u8>)> {
        const BASE: u64 = 0xe_0000;
        let description = Description {
            cpus,
            generation: [0xa5; 16],
            pluggable: SlotSet::of_bits(0x7fff_fff0),
        };
        let placed = blob::place(&tables(&description), BASE).expect("every name is there");
        assert!(
            placed.bytes.len() < 0x1_0000,
            "the tables fit before those of SMBIOS"
        );
        let at = |address: u64| &placed.bytes[(address - BASE) as usize..];
        let root = at(placed.address_of(RSDP).expect("the root is there"));
        assert_eq!(
            (&root[..8], sum(&root[..20]), sum(&root[..36])),
            (&b"RSD PTR "[..], 0, 0)
        );
        let table = |address: u64| {
            let bytes = at(address);
            let len = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")) as usize;
            assert_eq!(
                sum(&bytes[..len]),
                0,
                "checksum of {:?}",
                String::from_utf8_lossy(&bytes[..4])
            );
            (
                String::from_utf8_lossy(&bytes[..4]).into_owned(),
                bytes[..len].to_vec(),
            )
        };
        let (name, xsdt) = table(word(root, 24));
        assert_eq!(name, "XSDT");
        let mut found: Vec<_> = xsdt[36..].chunks(8).map(|entry| table(word(entry, 0))).collect();
        let fadt = found
            .iter()
            .find(|table| table.0 == "FACP")
            .expect("a FADT")
            .1
            .clone();
        assert_eq!(
            u64::from(u32::from_le_bytes(fadt[40..44].try_into().expect("4"))),
            word(&fadt, 140)
        );
        found.push(table(word(&fadt, 140)));
        found
    }

    #[test]
    fn a_kernel_finds_every_table_and_all_checksums_hold() {
        for cpus in [1, 2, 8, 254] {
            let names: Vec<_> = walk(cpus).into_iter().map(|table| table.0).collect();
            assert_eq!(names, ["APIC", "MCFG", "FACP", "DSDT"]);
        }
    }

    #[test]
    fn the_generation_id_lies_where_its_device_says() {
        let description = Description {
            cpus: 1,
            generation: *b"sixteen bytes of",
            pluggable: SlotSet::of_bits(0x7fff_fff0),
        };
        let placed = blob::place(&tables(&description), 0xe_0000).expect("every name is there");
        let address = placed.address_of(generation::ID).expect("it is there");
        assert!(address.is_multiple_of(8));
        assert_eq!(
            &placed.bytes[(address - 0xe_0000) as usize..][..16],
            b"sixteen bytes of"
        );
        // Name (ADDR, Package (2) { a double word, Zero })
        let (_, dsdt) = walk(1)
            .into_iter()
            .find(|table| table.0 == "DSDT")
            .expect("a DSDT");
        let mut name = b"\x08ADDR\x12\x08\x02\x0c".to_vec();
        name.extend((address as u32).to_le_bytes());
        name.push(0);
        assert!(dsdt.ends_with(&name), "{:x?}", &dsdt[dsdt.len() - 20..]);
    }

    #[test]
    fn the_madt_lists_every_vcpu_and_the_io_apic() {
        let (_, madt) = walk(8)
            .into_iter()
            .find(|table| table.0 == "APIC")
            .expect("there is one");
        let mut kinds = Vec::new();
        let mut rest = &madt[44..];
        while let [kind, len, ..] = *rest {
            kinds.push((kind, rest[..usize::from(len)].to_vec()));
            rest = &rest[usize::from(len)..];
        }
        let ids: Vec<_> = kinds
            .iter()
            .filter(|entry| entry.0 == 0)
            .map(|entry| entry.1[3])
            .collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(kinds.iter().filter(|entry| entry.0 == 1).count(), 1);
        // Source, global interrupt (little endian), flags of the two overrides.
        let overrides: Vec<_> = kinds.iter().filter(|entry| entry.0 == 2).collect();
        assert_eq!(overrides[0].1[3..10], [0, 2, 0, 0, 0, 0, 0]);
        assert_eq!(overrides[1].1[3..10], [9, 9, 0, 0, 0, 0x0d, 0]);
    }

    #[test]
    fn the_fadt_names_the_registers_that_exist() {
        let (_, fadt) = walk(1)
            .into_iter()
            .find(|table| table.0 == "FACP")
            .expect("there is one");
        let long = |at: usize| u32::from_le_bytes(fadt[at..at + 4].try_into().expect("four bytes"));
        assert_eq!((long(56), long(64), long(76)), (0x600, 0x604, 0x608));
        // General events: four ports, half of them of status.
        assert_eq!((long(80), fadt[92]), (0x620, 4));
        // The reset register: port 0xCF9, value 15, and the flag that it is there.
        assert_eq!((fadt[116], word(&fadt, 120), fadt[128]), (1, 0xcf9, 0x0f));
        assert_ne!(long(112) & (1 << 10), 0);
        assert_eq!(long(112) & (1 << 4), 0, "the power button is a fixed register");
    }
}
