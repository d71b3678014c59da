//! What is asked for about instances.

use crate::HugePages;
use crate::boot::LaunchBoot;
use crate::filter::Filter;
use crate::image::OnTermination;
use crate::seed::UserData;
use crate::size::Bytes;
use crate::state::OnShutdown;
use crate::tag::Tag;
use std::fs::File;
use std::time::Duration;

/// How long a guest may take to end before it is ended by force, where nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// RunInstances: one image launched `count` times.
#[derive(Debug)]
pub struct RunInstances {
    /// The image: id, name or beginning of either. A name means one's own image or one that comes with Kiln,
    /// never a stranger's.
    pub image: String,
    /// The instance type's name; the default type if not given.
    pub instance_type: Option<String>,
    /// The pages that the instances' memory is made of.
    pub huge_pages: HugePages,
    /// How many. All or none are launched.
    pub count: u32,
    /// Tags of the instances; the instance's name is its `Name` tag.
    pub tags: Vec<Tag>,
    /// The root volume's size, at least the image's.
    pub root_size: Option<Bytes>,
    /// Additional volumes.
    pub volumes: Vec<NewVolume>,
    /// What the instances are run as.
    pub os: Os,
    /// How the instances boot.
    pub boot: LaunchBoot,
    /// A kernel in place of the disk's own.
    pub kernel: Option<KernelFiles>,
    /// Words added to the kernel's command line that the disk's menu names.
    pub append: Option<String>,
    /// The name of the key pair by which their users log in to the guests.
    pub key_name: Option<String>,
    /// What the guests are told by their user.
    pub user_data: Option<UserData>,
    /// What happens when the guest ends by itself.
    pub on_shutdown: OnShutdown,
    /// How long the instances live.
    pub lifetime: Lifetime,
    /// A token that makes a retry answer with the first try's instances.
    pub client_token: Option<String>,
}

impl RunInstances {
    /// One instance of an image, everything else as by default.
    pub fn of(image: impl Into<String>) -> RunInstances {
        RunInstances {
            image: image.into(),
            instance_type: None,
            huge_pages: HugePages::default(),
            count: 1,
            tags: Vec::new(),
            root_size: None,
            volumes: Vec::new(),
            os: Os::default(),
            boot: LaunchBoot::default(),
            kernel: None,
            append: None,
            key_name: None,
            user_data: None,
            on_shutdown: OnShutdown::default(),
            lifetime: Lifetime::default(),
            client_token: None,
        }
    }
}

/// Which operating system a machine is made for: Windows is shown the interface of Hyper-V in place of KVM's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Os {
    /// What the image has on its disk.
    #[default]
    OfImage,
    /// Linux or another Unix.
    Linux,
    /// Windows.
    Windows,
}

/// A kernel that is given; copied into the instance, so that it can be started again without the files.
#[derive(Debug)]
pub struct KernelFiles {
    /// The kernel, opened for reading.
    pub kernel: File,
    /// The initial file system, opened for reading.
    pub initrd: Option<File>,
    /// The whole command line.
    pub cmdline: String,
}

/// An additional volume of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVolume {
    /// What it begins as.
    pub from: VolumeSource,
    /// What becomes of it at the instance's end.
    pub on_termination: OnTermination,
}

/// What a new volume begins as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// Nothing but zeroes.
    Empty(Bytes),
    /// What a snapshot holds.
    Snapshot {
        /// The snapshot: id, name or beginning of either.
        snapshot: String,
        /// The volume's size, at least the snapshot's; the snapshot's if not given.
        size: Option<Bytes>,
    },
}

/// How long instances live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Until someone ends them.
    #[default]
    Persistent,
    /// As long as the [`Cloud`](crate::Cloud) that launched them: if that process dies, however it dies, the next
    /// command terminates them.
    Session,
}

/// DescribeInstances.
#[derive(Clone, Debug, Default)]
pub struct DescribeInstances {
    /// Ids, names or beginnings of either; none for all.
    pub instances: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
}

/// Whether a guest is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Asked, and ended by force after this long.
    Clean(Duration),
    /// Not asked.
    Force,
}

impl Default for Ending {
    fn default() -> Ending {
        Ending::Clean(DEFAULT_TIMEOUT)
    }
}

/// Whether a call waits for the guest's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// Until it is done.
    #[default]
    UntilDone,
    /// No longer than it takes to ask.
    No,
}

/// What changes of a stopped instance, for its next start. What is not given stays as it is.
#[derive(Debug)]
pub struct ModifyInstance {
    /// The instance: id, name or beginning of either.
    pub instance: String,
    /// The type's name.
    pub instance_type: Option<String>,
    /// The kernel, of an instance that begins without firmware.
    pub kernel: Option<KernelChoice>,
    /// What the guest is told by its user.
    pub user_data: Option<UserDataChoice>,
}

/// What an instance is told from its next start on.
#[derive(Debug)]
pub enum UserDataChoice {
    /// This.
    Given(UserData),
    /// Nothing.
    Nothing,
}

/// Which kernel an instance enters.
#[derive(Debug)]
pub enum KernelChoice {
    /// This one.
    Given(KernelFiles),
    /// The one that the disk's menu names.
    Own {
        /// Words added to its command line, in place of those that were.
        append: Option<String>,
    },
}

/// StopInstances.
#[derive(Clone, Debug, Default)]
pub struct StopInstances {
    /// Which.
    pub instances: Vec<String>,
    /// How.
    pub ending: Ending,
    /// Whether to wait.
    pub waiting: Waiting,
}
