//! A whole disk that boots by firmware and its own boot loader, under Kiln and under QEMU with the same firmware; and by
//! its menu, under Kiln.

use crate::comparison::{Comparison, Figure, median, median_of, rounds};
use crate::init::INIT_SAYS;
use crate::programs::{self, Programs};
use crate::rival::{Boot, By, Guest, Vmm};
use crate::tiny::initramfs;
use kiln_tests::Home;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The image of a whole disk.
const IMAGE: &str = "debian-disk";

/// What the kernel says first: as soon as it knows its command line, before it looks at a device. (What it does before is
/// to unpack itself, if nobody has done it, and to read what it was handed.)
const KERNEL_SAYS: &str = "Linux version ";

/// Gives the disk's own menu an initramfs whose init says that it is there, and has the kernel speak early.
const PREPARE: &str = "set -e; cat >/boot/initrd.img-$(uname -r); \
    sed -i 's/console=ttyS0/& earlyprintk=ttyS0,115200/' /boot/grub/grub.cfg; sync";

/// MiB of a guest.
const MEMORY: u64 = 512;

/// Rounds go on for so long. One of five boots takes minutes where virtualization is emulated.
const LIMIT: Duration = Duration::from_secs(1200);

/// The firmware, where Debian's packages put it.
const BIOS: &str = "usr/share/seabios/bios-256k.bin";
const UEFI: [&str; 2] = ["usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"];

/// Who boots by what, in the order of [`Samples`].
const BOOTS: [(Vmm, Way); 5] = [
    (Vmm::Q35, Way::Bios),
    (Vmm::Kiln, Way::Bios),
    (Vmm::Q35, Way::Uefi),
    (Vmm::Kiln, Way::Uefi),
    (Vmm::Kiln, Way::Menu),
];

#[derive(Clone, Copy)]
enum Way {
    Bios,
    Uefi,
    Menu,
}

/// Milliseconds from exec.
#[derive(Default)]
struct Samples {
    /// To the kernel's first words.
    kernel: Vec<f64>,
    /// To its init's.
    init: Vec<f64>,
}

/// Boots the disk by each.
pub(crate) fn compare() -> Comparison {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut samples: [Samples; 5] = Default::default();
    let failure = alternate(folder.path(), &mut samples).err();
    let each = median_of(samples.iter().map(|each| each.init.len()).min().unwrap_or(0));
    let [peer_bios, bios, peer_uefi, uefi, menu] = &samples;
    let beside = |what: &str, peer: &[f64], own: &[f64], bound| {
        Figure::new(what, "ms", &mut [peer.to_vec(), own.to_vec()], bound)
    };
    // The menu is compared with the best that firmware does, whosever.
    let entry = fastest([&peer_bios.kernel, &bios.kernel]);
    let end = fastest([&peer_bios.init, &bios.init, &peer_uefi.init, &uefi.init]);
    let any = f64::INFINITY;
    let figures = vec![
        beside(
            "exec to the kernel, BIOS, QEMU q35",
            &peer_bios.kernel,
            &bios.kernel,
            1.0,
        ),
        beside(
            "exec to the kernel, UEFI, QEMU q35",
            &peer_uefi.kernel,
            &uefi.kernel,
            1.0,
        ),
        beside("exec to init, BIOS, QEMU q35", &peer_bios.init, &bios.init, any),
        beside("exec to init, UEFI, QEMU q35", &peer_uefi.init, &uefi.init, any),
        beside(
            "exec to the kernel, its menu, the faster BIOS",
            entry,
            &menu.kernel,
            0.1,
        ),
        beside(
            "exec to init, its menu, the fastest firmware",
            end,
            &menu.init,
            1.0,
        ),
    ];
    Comparison {
        title: "Boot of a whole disk by firmware and by its menu",
        each,
        of: ["peer", "kiln-vmm"],
        figures,
        failure,
    }
}

/// The row with the least median.
fn fastest<const N: usize>(rows: [&Vec<f64>; N]) -> &[f64] {
    let middle = |row: &[f64]| median(&mut row.to_vec());
    let least = rows.into_iter().min_by(|a, b| middle(a).total_cmp(&middle(b)));
    least.map_or(&[], |row| row)
}

/// Boots the disk by each in turn, beginning with another one each time. One of which a boot fails gets no more turns; the
/// others do.
fn alternate(folder: &Path, samples: &mut [Samples; 5]) -> Result<(), String> {
    let programs = Programs::copy_to(folder)?;
    let firmware = Firmware::copy_to(folder)?;
    let disks = [(disk(folder), "raw")];
    let boot = |(vmm, way): (Vmm, Way)| {
        let guest = Guest {
            by: firmware.by(way)?,
            memory: MEMORY,
            words: "",
            disks: &disks,
            says: &[KERNEL_SAYS, INIT_SAYS],
        };
        vmm.boot(&programs, &guest)
    };
    // All those files are not written out during the first round.
    rustix::fs::sync();
    let mut failed = [const { None }; BOOTS.len()];
    for round in rounds(LIMIT) {
        for turn in 0..BOOTS.len() {
            let n = (round as usize + turn) % BOOTS.len();
            if failed[n].is_some() {
                continue;
            }
            match boot(BOOTS[n]) {
                Ok(Boot { times, .. }) => {
                    samples[n].kernel.extend(times.first());
                    samples[n].init.extend(times.last());
                }
                Err(why) => failed[n] = Some(why),
            }
        }
    }
    let failed: Vec<String> = failed.into_iter().flatten().collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}

/// The disk: that of the image, changed by a guest of it.
fn disk(folder: &Path) -> PathBuf {
    let home = Home::new();
    let guest = home.launch(IMAGE, &["--boot", "fast"]);
    let prepare = ["exec", guest.id(), "--", "sh", "-c", PREPARE];
    home.kiln_with(&prepare, &initramfs()).succeeds();
    home.kiln(&["stop", guest.id(), "--timeout", "240"]).succeeds();
    home.kiln(&["image", "create", guest.id(), "--name", "measured"])
        .succeeds();
    let disk = folder.join("disk.raw");
    let path = disk.to_str().expect("a path of letters");
    home.kiln(&["image", "export", "measured", path]).succeeds();
    disk
}

/// Copies of the firmware's files.
struct Firmware {
    bios: PathBuf,
    code: PathBuf,
    /// The variables of a new machine.
    template: PathBuf,
    /// Those that a guest changes.
    variables: PathBuf,
}

impl Firmware {
    /// # Errors
    /// There is none, or a file cannot be copied.
    fn copy_to(folder: &Path) -> Result<Firmware, String> {
        let folder = folder.join("booted-by");
        programs::make(&folder)?;
        // That of the software machine, else the host's.
        let roots = [programs::in_cache("machine/base"), Some(PathBuf::from("/"))];
        let take = |file: &str| {
            let mut places = roots.iter().flatten().map(|root| root.join(file));
            let found = places.find(|path| path.exists());
            let found = found
                .ok_or_else(|| format!("there is no /{file} to boot by: apt-get install seabios ovmf"))?;
            programs::copy(&found, &folder)
        };
        let [code, template] = UEFI;
        Ok(Firmware {
            bios: take(BIOS)?,
            code: take(code)?,
            template: take(template)?,
            variables: folder.join("variables"),
        })
    }

    /// Of a new machine.
    fn by(&self, way: Way) -> Result<By<'_>, String> {
        Ok(match way {
            Way::Bios => By::Bios(&self.bios),
            Way::Uefi => {
                let copied = std::fs::copy(&self.template, &self.variables);
                copied.map_err(|error| format!("cannot write {}: {error}", self.variables.display()))?;
                By::Uefi(&self.code, &self.variables)
            }
            Way::Menu => By::Menu,
        })
    }
}
