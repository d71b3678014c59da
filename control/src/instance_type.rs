//! Instance types: the published vCPU and memory figures of the families that Kiln offers.
//!
//! The figures are those of the Amazon EC2 instance type pages ("Instance types", general purpose, compute
//! optimized, memory optimized; previous generations for t1, m1 and m3).

use crate::size::Bytes;
use crate::{Code, Error, HugePages, Result};
use serde::Serialize;

/// A type of instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// Its name, such as `t3.micro`.
    pub name: &'static str,
    /// How many vCPUs its instances have.
    pub vcpus: u8,
    /// How much memory its instances have, in MiB.
    pub memory_mib: u64,
    /// Whether it is of a generation that Amazon still sells.
    pub current: bool,
}

const fn sold(name: &'static str, vcpus: u8, memory_mib: u64) -> InstanceType {
    InstanceType {
        name,
        vcpus,
        memory_mib,
        current: true,
    }
}

const fn past(name: &'static str, vcpus: u8, memory_mib: u64) -> InstanceType {
    InstanceType {
        name,
        vcpus,
        memory_mib,
        current: false,
    }
}

/// Every type, in the order of families and sizes.
pub const TYPES: &[InstanceType] = &[
    past("t1.micro", 1, 627),
    sold("t2.nano", 1, 512),
    sold("t2.micro", 1, 1024),
    sold("t2.small", 1, 2048),
    sold("t2.medium", 2, 4096),
    sold("t2.large", 2, 8192),
    sold("t2.xlarge", 4, 16384),
    sold("t2.2xlarge", 8, 32768),
    sold("t3.nano", 2, 512),
    sold("t3.micro", 2, 1024),
    sold("t3.small", 2, 2048),
    sold("t3.medium", 2, 4096),
    sold("t3.large", 2, 8192),
    sold("t3.xlarge", 4, 16384),
    sold("t3.2xlarge", 8, 32768),
    past("m1.small", 1, 1740),
    past("m1.medium", 1, 3788),
    past("m1.large", 2, 7680),
    past("m1.xlarge", 4, 15360),
    past("m3.medium", 1, 3840),
    past("m3.large", 2, 7680),
    past("m3.xlarge", 4, 15360),
    past("m3.2xlarge", 8, 30720),
    sold("m5.large", 2, 8192),
    sold("m5.xlarge", 4, 16384),
    sold("m5.2xlarge", 8, 32768),
    sold("m5.4xlarge", 16, 65536),
    sold("m5.8xlarge", 32, 131_072),
    sold("m5.12xlarge", 48, 196_608),
    sold("m5.16xlarge", 64, 262_144),
    sold("m5.24xlarge", 96, 393_216),
    sold("c5.large", 2, 4096),
    sold("c5.xlarge", 4, 8192),
    sold("c5.2xlarge", 8, 16384),
    sold("c5.4xlarge", 16, 32768),
    sold("c5.9xlarge", 36, 73728),
    sold("c5.12xlarge", 48, 98304),
    sold("c5.18xlarge", 72, 147_456),
    sold("c5.24xlarge", 96, 196_608),
    sold("r5.large", 2, 16384),
    sold("r5.xlarge", 4, 32768),
    sold("r5.2xlarge", 8, 65536),
    sold("r5.4xlarge", 16, 131_072),
    sold("r5.8xlarge", 32, 262_144),
    sold("r5.12xlarge", 48, 393_216),
    sold("r5.16xlarge", 64, 524_288),
    sold("r5.24xlarge", 96, 786_432),
];

impl InstanceType {
    /// The type that is used when none is named: of 1 GiB, with two vCPUs where they can run side by side.
    pub(crate) fn default_here() -> &'static str {
        Self::default_on(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The same on a host with so many processors. Where there is one, the vCPUs of a guest wait for each other's locks and
    /// interrupts while they have it in turn: with two a boot takes nearly twice as long there.
    fn default_on(processors: usize) -> &'static str {
        if processors < 2 { "t2.micro" } else { "t3.micro" }
    }

    /// Refuses pages of which its memory is no whole number.
    pub(crate) fn check_pages(&self, pages: HugePages) -> Result<()> {
        let memory = self.memory();
        if memory.0.is_multiple_of(pages.unit()) {
            return Ok(());
        }
        Err(Error::new(
            Code::InvalidParameterCombination,
            format!(
                "type {} has {memory} of memory, which is no whole number of huge pages of {pages}: choose another type, \
                 or other pages",
                self.name
            ),
        ))
    }

    /// Finds a type by its name; one that does not exist is answered with the names of its family.
    pub fn find(name: &str) -> Result<&'static InstanceType> {
        if let Some(found) = TYPES.iter().find(|known| known.name == name) {
            return Ok(found);
        }
        let family = name.split('.').next().unwrap_or_default();
        let mut near: Vec<&str> = TYPES
            .iter()
            .map(|known| known.name)
            .filter(|known| known.split('.').next() == Some(family))
            .collect();
        if near.is_empty() {
            near = vec!["the families t1, t2, t3, m1, m3, m5, c5, r5"];
        }
        Err(Error::new(
            Code::InvalidInstanceType,
            format!(
                "'{}' is no instance type; there are {} (`kiln type list` has all)",
                name.escape_debug(),
                near.join(", ")
            ),
        ))
    }

    /// How much memory its instances have.
    pub fn memory(&self) -> Bytes {
        Bytes(self.memory_mib << 20)
    }
}

/// The document of DescribeInstanceTypes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceTypes {
    /// The types.
    pub instance_types: Vec<InstanceTypeInfo>,
}

/// One type in DescribeInstanceTypes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceTypeInfo {
    /// Its name.
    pub instance_type: &'static str,
    /// Whether it is still sold.
    pub current_generation: bool,
    /// Its vCPUs.
    pub v_cpu_info: VCpuInfo,
    /// Its memory.
    pub memory_info: MemoryInfo,
}

/// The vCPUs of a type.
#[derive(Clone, Debug, Serialize)]
pub struct VCpuInfo {
    /// How many a new instance has.
    #[serde(rename = "DefaultVCpus")]
    pub default_v_cpus: u8,
}

/// The memory of a type.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryInfo {
    /// In MiB.
    #[serde(rename = "SizeInMiB")]
    pub size_in_mib: u64,
}

impl InstanceTypes {
    /// DescribeInstanceTypes: those named, or all. They are the same in every store, so none is needed.
    pub fn describe(names: &[String]) -> Result<InstanceTypes> {
        let chosen = if names.is_empty() {
            TYPES.iter().collect()
        } else {
            names
                .iter()
                .map(|name| InstanceType::find(name))
                .collect::<Result<Vec<_>>>()?
        };
        let instance_types = chosen
            .into_iter()
            .map(|known| InstanceTypeInfo {
                instance_type: known.name,
                current_generation: known.current,
                v_cpu_info: VCpuInfo {
                    default_v_cpus: known.vcpus,
                },
                memory_info: MemoryInfo {
                    size_in_mib: known.memory_mib,
                },
            })
            .collect();
        Ok(InstanceTypes { instance_types })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_there_and_no_name_twice() {
        for family in ["t1.", "t2.", "t3.", "m1.", "m3.", "m5.", "c5.", "r5."] {
            assert!(
                TYPES.iter().any(|known| known.name.starts_with(family)),
                "{family}"
            );
        }
        for (n, known) in TYPES.iter().enumerate() {
            assert!(
                !TYPES[..n].iter().any(|other| other.name == known.name),
                "{}",
                known.name
            );
        }
    }

    /// vCPUs and GiB, as the instance type pages print them.
    const PUBLISHED: &str = "
        t1.micro 1 0.613
        t2.nano 1 0.5, t2.micro 1 1, t2.small 1 2, t2.medium 2 4, t2.large 2 8, t2.xlarge 4 16, t2.2xlarge 8 32
        t3.nano 2 0.5, t3.micro 2 1, t3.small 2 2, t3.medium 2 4, t3.large 2 8, t3.xlarge 4 16, t3.2xlarge 8 32
        m1.small 1 1.7, m1.medium 1 3.7, m1.large 2 7.5, m1.xlarge 4 15
        m3.medium 1 3.75, m3.large 2 7.5, m3.xlarge 4 15, m3.2xlarge 8 30
        m5.large 2 8, m5.xlarge 4 16, m5.2xlarge 8 32, m5.4xlarge 16 64
        m5.8xlarge 32 128, m5.12xlarge 48 192, m5.16xlarge 64 256, m5.24xlarge 96 384
        c5.large 2 4, c5.xlarge 4 8, c5.2xlarge 8 16, c5.4xlarge 16 32
        c5.9xlarge 36 72, c5.12xlarge 48 96, c5.18xlarge 72 144, c5.24xlarge 96 192
        r5.large 2 16, r5.xlarge 4 32, r5.2xlarge 8 64, r5.4xlarge 16 128
        r5.8xlarge 32 256, r5.12xlarge 48 384, r5.16xlarge 64 512, r5.24xlarge 96 768";

    #[test]
    fn vcpus_and_memory_of_every_type_are_the_published_ones() {
        let published: Vec<_> = PUBLISHED
            .trim()
            .split([',', '\n'])
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                // As DescribeInstanceTypes has them: in whole MiB.
                let mib = (words[2].parse::<f64>().unwrap() * 1024.0).floor();
                (words[0], words[1].parse::<u8>().unwrap(), mib)
            })
            .collect();
        let offered: Vec<_> = TYPES
            .iter()
            .map(|known| (known.name, known.vcpus, known.memory_mib as f64))
            .collect();
        assert_eq!(offered, published);
    }

    #[test]
    fn a_guest_has_two_vcpus_where_they_can_run_side_by_side_and_else_one_with_the_same_memory() {
        let found = |processors| InstanceType::find(InstanceType::default_on(processors)).unwrap();
        for (processors, name, vcpus) in [(1, "t2.micro", 1), (2, "t3.micro", 2), (64, "t3.micro", 2)] {
            let found = found(processors);
            assert_eq!((found.name, found.vcpus, found.memory_mib), (name, vcpus, 1024));
        }
    }

    #[test]
    fn an_unknown_size_is_answered_with_its_family() {
        let error = InstanceType::find("t3.huge").unwrap_err();
        assert_eq!(error.code(), Code::InvalidInstanceType);
        assert!(error.to_string().contains("t3.micro"), "{error}");
    }
}
