//! The states of things, spelled as EC2 spells them (and its waiters wait for).

use serde::{Serialize, Serializer};

macro_rules! states {
    ($($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The state as EC2 spells it.
            $vis fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
            /// Reads a state back.
            $vis fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)* _ => None }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
        impl rusqlite::types::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> { self.as_str().to_sql() }
        }
        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                $name::parse(value.as_str()?).ok_or(rusqlite::types::FromSqlError::InvalidType)
            }
        }
    )*};
}

states! {
    /// An image's life.
    pub ImageState {
        /// Being created.
        Pending = "pending",
        /// Can be launched.
        Available = "available",
        /// Its creation failed.
        Failed = "failed",
        /// Kept, but not to be launched.
        Disabled = "disabled",
        /// Gone; known so that a launch can say so.
        Deregistered = "deregistered",
    }
    /// A snapshot's life.
    pub SnapshotState {
        /// Being taken.
        Pending = "pending",
        /// Whole and on disk.
        Completed = "completed",
        /// Could not be taken.
        Error = "error",
    }
    /// A volume's life.
    pub VolumeState {
        /// Its layer is being made.
        Creating = "creating",
        /// Attached to nothing.
        Available = "available",
        /// Attached to an instance.
        InUse = "in-use",
        /// Its layer is being removed.
        Deleting = "deleting",
    }
    /// An instance's life.
    pub InstanceState {
        /// Being launched or started.
        Pending = "pending",
        /// Its VMM runs.
        Running = "running",
        /// Being ended; its disks stay.
        Stopping = "stopping",
        /// Ended; its disks stay.
        Stopped = "stopped",
        /// Being ended for good.
        ShuttingDown = "shutting-down",
        /// Ended for good; known for an hour.
        Terminated = "terminated",
    }
}

states! {
    /// How a guest is entered.
    pub VirtualizationType {
        /// Its kernel is found on the root disk and entered directly.
        Paravirtual = "paravirtual",
        /// By firmware.
        Hvm = "hvm",
    }
    /// Which firmware an image of virtualization type `hvm` is made for (EC2's `BootMode`).
    pub BootMode {
        /// BIOS.
        LegacyBios = "legacy-bios",
        /// UEFI.
        Uefi = "uefi",
        /// Either: UEFI where there is a choice.
        UefiPreferred = "uefi-preferred",
    }
    /// The partition table of an image's root disk. Kiln's own; EC2 has no such thing.
    pub PartitionTable {
        /// None: the disk is one file system.
        None = "none",
        /// That of DOS.
        Mbr = "mbr",
        /// That of UEFI.
        Gpt = "gpt",
    }
    /// What an image is a system of, and an instance run as, where that is not Linux or another Unix (EC2's `Platform`).
    pub Platform {
        /// Windows.
        Windows = "windows",
    }
    /// What happens when the guest ends by itself (EC2's `InstanceInitiatedShutdownBehavior`).
    pub OnShutdown {
        /// The instance is stopped and can be started again.
        Stop = "stop",
        /// The instance is terminated.
        Terminate = "terminate",
    }
    /// A layer's life. Kiln's own; EC2 has no such thing.
    pub(crate) LayerState {
        /// Its file may not be there, or not be whole.
        Creating = "creating",
        /// A volume writes to it.
        Writing = "writing",
        /// Never to change again.
        Sealed = "sealed",
        /// Its file may be gone.
        Deleting = "deleting",
    }
}

impl VirtualizationType {
    /// The root device's name where nothing else says one: `/dev/sda1` for a paravirtual image, as its menu
    /// expects; `/dev/xvda` otherwise.
    pub fn root_device_name(self) -> &'static str {
        match self {
            VirtualizationType::Paravirtual => "/dev/sda1",
            VirtualizationType::Hvm => "/dev/xvda",
        }
    }
}

impl Platform {
    /// What EC2 calls it for bills; `None` is Linux or another Unix.
    pub(crate) fn details(platform: Option<Platform>) -> &'static str {
        match platform {
            Some(Platform::Windows) => "Windows",
            None => "Linux/UNIX",
        }
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the macro that makes the enum knows no default"
)]
impl Default for OnShutdown {
    fn default() -> OnShutdown {
        OnShutdown::Stop
    }
}

impl InstanceState {
    /// EC2's number for the state (the low byte of `State.Code`).
    pub fn code(self) -> u16 {
        match self {
            InstanceState::Pending => 0,
            InstanceState::Running => 16,
            InstanceState::ShuttingDown => 32,
            InstanceState::Terminated => 48,
            InstanceState::Stopping => 64,
            InstanceState::Stopped => 80,
        }
    }
}

/// Why something is in the state it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StateReason {
    /// Such as `Client.UserInitiatedShutdown`.
    pub code: String,
    /// For people.
    pub message: String,
}

impl StateReason {
    /// The code of a guest that has powered itself off.
    pub(crate) const BY_GUEST: &str = "Client.InstanceInitiatedShutdown";
    /// The code of what a user has asked for.
    pub(crate) const BY_USER: &str = "Client.UserInitiatedShutdown";

    /// Whether the guest or a user wanted it: nothing has failed.
    pub fn is_wanted(&self) -> bool {
        [Self::BY_GUEST, Self::BY_USER].contains(&&*self.code)
    }
}
