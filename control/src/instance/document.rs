//! EC2's documents of instances.

use crate::HugePages;
use crate::catalog::instances::InstanceBoot;
use crate::moment::Moment;
use crate::state::{BootMode, InstanceState, OnShutdown, Platform, StateReason, VirtualizationType};
use crate::tag::Tag;
use serde::Serialize;

/// The document of DescribeInstances.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reservations {
    /// Launches with their instances, oldest first.
    pub reservations: Vec<Reservation>,
}

/// The instances of one launch: the reply of RunInstances.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reservation {
    /// Empty in a VPC, as Kiln's are.
    pub groups: Vec<()>,
    /// The instances.
    pub instances: Vec<Instance>,
    /// The account that launched.
    pub owner_id: String,
    /// The launch's id.
    pub reservation_id: String,
}

/// An instance.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Instance {
    /// Which of its launch's instances it is.
    pub ami_launch_index: u32,
    /// Its image.
    pub image_id: String,
    /// Its id.
    pub instance_id: String,
    /// Its type.
    pub instance_type: String,
    /// When it was launched or started last.
    pub launch_time: Moment,
    /// Where it runs.
    pub placement: Placement,
    /// Its state.
    pub state: InstanceStateDocument,
    /// Why it is in that state, in EC2's short form; empty if it runs.
    pub state_transition_reason: String,
    /// `x86_64`.
    pub architecture: String,
    /// Its disks, the root first.
    pub block_device_mappings: Vec<InstanceBlockDeviceMapping>,
    /// The client token of its launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// EC2's word for every hypervisor that came after Xen, too.
    pub hypervisor: &'static str,
    /// Its vCPUs.
    pub cpu_options: CpuOptions,
    /// The key pair that it was launched with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// The pages that its memory is made of, if others than the kernel finds by itself; not in EC2's document.
    #[serde(skip_serializing_if = "is_default")]
    pub huge_pages: HugePages,
    /// What it is run as, where that is not Linux or another Unix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The same in EC2's words for bills.
    pub platform_details: &'static str,
    /// Which of the disks is the root.
    pub root_device_name: String,
    /// `ebs`.
    pub root_device_type: &'static str,
    /// Why it is in the state it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<StateReason>,
    /// Tags.
    pub tags: Vec<Tag>,
    /// What is entered when it starts; not in EC2's document.
    pub boot: InstanceBoots,
    /// Which firmware it begins with, if with any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_instance_boot_mode: Option<BootMode>,
    /// `paravirtual` or `hvm`.
    pub virtualization_type: VirtualizationType,
    /// What happens when the guest ends by itself: EC2 tells it in DescribeInstanceAttribute only.
    #[serde(skip)]
    pub on_shutdown: OnShutdown,
}

fn is_default(pages: &HugePages) -> bool {
    *pages == HugePages::default()
}

/// What is entered when an instance starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", rename_all_fields = "PascalCase", tag = "By")]
pub enum InstanceBoots {
    /// The kernel that the root disk's menu names.
    Menu {
        /// Words added to its command line.
        #[serde(skip_serializing_if = "Option::is_none")]
        append: Option<String>,
    },
    /// A kernel that was given.
    Kernel {
        /// Its whole command line.
        command_line: String,
    },
    /// Firmware.
    Firmware,
}

impl From<&InstanceBoot> for InstanceBoots {
    fn from(boot: &InstanceBoot) -> InstanceBoots {
        match boot {
            InstanceBoot::Disk { append } => InstanceBoots::Menu {
                append: append.clone(),
            },
            InstanceBoot::Kernel { cmdline, .. } => InstanceBoots::Kernel {
                command_line: cmdline.clone(),
            },
            InstanceBoot::Firmware { .. } => InstanceBoots::Firmware,
        }
    }
}

/// Where an instance runs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Placement {
    /// The region's only zone.
    pub availability_zone: String,
    /// `default`.
    pub tenancy: &'static str,
}

/// A state as number and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceStateDocument {
    /// EC2's number.
    pub code: u16,
    /// Its name.
    pub name: InstanceState,
}

impl From<InstanceState> for InstanceStateDocument {
    fn from(state: InstanceState) -> InstanceStateDocument {
        InstanceStateDocument {
            code: state.code(),
            name: state,
        }
    }
}

/// The vCPUs of an instance.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CpuOptions {
    /// How many.
    pub core_count: u8,
    /// Always 1.
    pub threads_per_core: u8,
}

/// A disk of an instance.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceBlockDeviceMapping {
    /// The device's name.
    pub device_name: String,
    /// The volume.
    pub ebs: EbsInstanceBlockDevice,
}

/// The volume of an instance's disk.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EbsInstanceBlockDevice {
    /// Since when.
    pub attach_time: Moment,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
    /// `attached`; `attaching`, `detaching` or `busy` while it comes or goes.
    pub status: &'static str,
    /// The volume.
    pub volume_id: String,
}

/// Reply of StartInstances.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartingInstances {
    /// What changed.
    pub starting_instances: Vec<InstanceStateChange>,
}

/// Reply of StopInstances.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoppingInstances {
    /// What changed.
    pub stopping_instances: Vec<InstanceStateChange>,
}

/// Reply of TerminateInstances.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminatingInstances {
    /// What changed.
    pub terminating_instances: Vec<InstanceStateChange>,
}

/// Reply of RebootInstances, which in EC2 says nothing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RebootedInstances {
    /// Always true: anything else is an error.
    pub r#return: bool,
    /// The instances; not in EC2's document.
    #[serde(skip)]
    pub instance_ids: Vec<String>,
}

/// Reply of ModifyInstanceAttribute, which in EC2 says nothing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ModifiedInstance {
    /// Always true: anything else is an error.
    pub r#return: bool,
    /// The instance; not in EC2's document.
    #[serde(skip)]
    pub instance_id: String,
}

/// A change of state.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceStateChange {
    /// After.
    pub current_state: InstanceStateDocument,
    /// The instance.
    pub instance_id: String,
    /// Before.
    pub previous_state: InstanceStateDocument,
}
