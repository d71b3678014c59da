//! How the instances of a launch boot: by what was asked for, and by what the image is made for.

use crate::boot::{FirmwareKind, ImageBoots, LaunchBoot};
use crate::catalog::images::ImageRow;
use crate::catalog::instances::InstanceBoot;
use crate::instance::{Os, RunInstances};
use crate::state::{BootMode, Platform};
use crate::{Cloud, Code, Error, Result, firmware};

/// What a look at the disk's own menu told, where a launch depends on it.
#[derive(Debug)]
pub(super) enum Menu {
    /// Nobody has to know.
    NotAsked,
    /// It names a kernel.
    Boots,
    /// It does not, for this reason.
    Fails(String),
}

impl Menu {
    /// Looks, if `request` is for the fast path.
    pub(super) fn of(cloud: &Cloud, request: &RunInstances) -> Result<Menu> {
        if request.boot != LaunchBoot::Fast || request.kernel.is_some() {
            return Ok(Menu::NotAsked);
        }
        match cloud.boot_of_image(&request.image) {
            Ok(_) => Ok(Menu::Boots),
            Err(error) if error.code() == Code::InvalidKernel => Ok(Menu::Fails(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

/// Refuses a command line, or words of one, that no kernel can be given.
pub(super) fn check_line(line: &str) -> Result<()> {
    if line.contains(['\0', '\n']) {
        return Err(Error::new(
            Code::InvalidParameterValue,
            "a command line is one line",
        ));
    }
    Ok(())
}

/// What instances of `image` are run as. Windows is refused on an emulated host: it sets the priority of its tasks (CR8)
/// all the time, and an emulator that waits for a moment to interrupt a guest ends at that, with all guests on it.
pub(super) fn platform(cloud: &Cloud, image: &ImageRow, os: Os) -> Result<Option<Platform>> {
    let platform = match os {
        Os::OfImage => image.contents.platform,
        Os::Linux => None,
        Os::Windows => Some(Platform::Windows),
    };
    if platform == Some(Platform::Windows) && cloud.emulated {
        return Err(Error::new(
            Code::Unsupported,
            format!(
                "{} would run as Windows, and the emulated processors of the software machine do not survive that: it wants a \
                 host with KVM (--os linux launches it all the same, if it is no Windows)",
                image.id
            ),
        ));
    }
    Ok(platform)
}

/// How instances of `image` boot; and a warning, if not as was asked for.
pub(super) fn choose(
    cloud: &Cloud,
    image: &ImageRow,
    request: &RunInstances,
    menu: &Menu,
) -> Result<(InstanceBoot, Option<String>)> {
    let refuse = |text: String| Err(Error::new(Code::InvalidParameterCombination, text));
    if let Some(files) = &request.kernel {
        if !matches!(request.boot, LaunchBoot::Auto | LaunchBoot::Paravirtual) {
            return refuse(
                "a kernel that is given is entered directly: no other way to boot goes with it".to_owned(),
            );
        }
        let boot = InstanceBoot::Kernel {
            initrd: files.initrd.is_some(),
            cmdline: files.cmdline.clone(),
            turn: 0,
        };
        return Ok((boot, None));
    }
    let by_menu = || InstanceBoot::Disk {
        append: request.append.clone(),
    };
    let (kind, warning) = match (request.boot, image.boots(), menu) {
        (LaunchBoot::Paravirtual, ..)
        | (LaunchBoot::Fast, _, Menu::Boots)
        | (LaunchBoot::Auto | LaunchBoot::Fast, ImageBoots::Paravirtual, _) => return Ok((by_menu(), None)),
        (LaunchBoot::Bios | LaunchBoot::Uefi, ImageBoots::Paravirtual, _) => {
            return refuse(format!(
                "the image {} is paravirtual: no firmware can boot it, as its disk has no boot loader",
                image.id
            ));
        }
        (LaunchBoot::Bios, ImageBoots::Hvm(BootMode::Uefi), _) => {
            return refuse(format!("the image {} is made for uefi, not for a BIOS", image.id));
        }
        (LaunchBoot::Uefi, ImageBoots::Hvm(BootMode::LegacyBios), _) => {
            return refuse(format!(
                "the image {} is made for legacy-bios, not for UEFI",
                image.id
            ));
        }
        (LaunchBoot::Bios, ..) => (FirmwareKind::Bios, None),
        (LaunchBoot::Uefi, ..) => (FirmwareKind::Uefi, None),
        (LaunchBoot::Auto | LaunchBoot::Fast, ImageBoots::Hvm(mode), menu) => {
            let warning = match menu {
                Menu::Fails(why) => Some(format!("it boots by its firmware, not by its menu: {why}")),
                _ => None,
            };
            (FirmwareKind::of(mode), warning)
        }
    };
    if request.append.is_some() {
        return refuse(format!(
            "the command line of {} is its boot loader's affair: words can be added to it with --boot fast or pv only",
            image.id
        ));
    }
    // Its lack is told before there is anything of the launch.
    firmware::find(kind, &cloud.firmware)?;
    Ok((InstanceBoot::Firmware { firmware: kind }, warning))
}
