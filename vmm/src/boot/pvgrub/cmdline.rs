//! The kernel's command line: what stands in the menu, fitted to this machine.
//!
//! Linux, `Documentation/admin-guide/kernel-parameters.rst`: words between blanks, in which
//! double quotes protect blanks; what follows `--` is for init.

use super::volumes::{Volume, Volumes};

/// The longest command line that Linux takes on x86: `COMMAND_LINE_SIZE` less the zero at its end.
pub(super) const LIMIT: usize = 2047;

/// The consoles that a Kiln guest has.
const CONSOLES: &[&str] = &["ttyS0", "hvc0"];

/// The console that is added where none of ours is named.
const CONSOLE: &str = "console=ttyS0";

/// A finished command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) text: String,
    /// What was changed, a sentence each.
    pub(super) rewritten: Vec<String>,
}

/// Makes the command line of an entry.
///
/// * A name that EC2 gives to the root disk (`root=/dev/xvda1`, `sda1`, `hda1`) becomes the UUID of
///   that file system, or, without an initramfs, which is what understands UUIDs, the name that
///   the disk has here.
/// * `append` is added.
/// * Where no console of ours is named, one is added.
pub(super) fn finish(
    arguments: &str,
    append: Option<&str>,
    volumes: &Volumes,
    root: &Volume,
    initramfs: Initramfs,
) -> CommandLine {
    let mut rewritten = Vec::new();
    let mut words = words(arguments);
    // What follows "--" goes to init: nothing is added there, and nothing is changed.
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let for_init = words.split_off(end);
    for word in &mut words {
        let Some(name) = word.strip_prefix("root=") else {
            continue;
        };
        let Some(place) = ec2_name(name) else { continue };
        match place.find(volumes, root) {
            Some(volume) => {
                let new = format!("root={}", name_of(volume, initramfs));
                rewritten.push(format!("{word} became {new}"));
                *word = new;
            }
            None => rewritten.push(format!("{word} stays: the root disk has no such partition")),
        }
    }
    if let Some(append) = append.map(str::trim).filter(|append| !append.is_empty()) {
        words.extend(self::words(append));
        rewritten.push(format!("{append} was added, as asked for"));
    }
    let named = words.iter().filter_map(|word| word.strip_prefix("console="));
    if !named
        .into_iter()
        .any(|console| CONSOLES.contains(&console.split(',').next().unwrap_or_default()))
    {
        words.push(CONSOLE.into());
        rewritten.push(format!(
            "{CONSOLE} was added: no console of this machine is named"
        ));
    }
    words.extend(for_init);
    CommandLine {
        text: words.join(" "),
        rewritten,
    }
}

/// Whether the kernel gets an initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Initramfs {
    Given,
    None,
}

/// How a volume is named to the kernel.
fn name_of(volume: &Volume, initramfs: Initramfs) -> String {
    let uuid = volume
        .file_system
        .as_ref()
        .ok()
        .and_then(|found| found.uuid.clone());
    match (uuid, initramfs) {
        (Some(uuid), Initramfs::Given) => format!("UUID={uuid}"),
        _ => volume.guest_device(),
    }
}

/// The root disk, or a partition of it, as EC2 names it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Linux's number, from 1.
    number: Option<u32>,
}

impl Place {
    fn find<'a>(&self, volumes: &'a Volumes, root: &'a Volume) -> Option<&'a Volume> {
        match self.number {
            // EC2 attaches an unpartitioned disk under a partition's name: its file system is meant.
            _ if volumes.table == kiln_imagefmt::probe::TableKind::None => volumes.whole(),
            Some(number) => volumes.partition(number.checked_sub(1)?),
            None => Some(volumes.whole().unwrap_or(root)),
        }
    }
}

/// Parses `/dev/xvda1`, `sda1`, `/dev/hda`, `xvde1`, `nvme0n1p1`: EC2's names of the root disk. `xvde`
/// is how the kernels of Red Hat's family count from sda.
fn ec2_name<'n>(name: &'n str) -> Option<Place> {
    let name = name.strip_prefix("/dev/").unwrap_or(name);
    let prefixes = ["xvda", "xvde", "sda", "hda"];
    let of_nvme = |name: &'n str| match name.strip_prefix("nvme0n1")? {
        "" => Some(""),
        rest => rest.strip_prefix('p').filter(|digits| !digits.is_empty()),
    };
    let digits = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    let digits = digits.or_else(|| of_nvme(name))?;
    if digits.is_empty() {
        return Some(Place { number: None });
    }
    let sound = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits
        .parse()
        .ok()
        .filter(|_| sound)
        .map(|number| Place { number: Some(number) })
}

/// Splits at blanks that no double quotes protect.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars() {
        quoted ^= c == '"';
        if c.is_whitespace() && !quoted {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::pvgrub::tests::fixtures::{ROOT_UUID, partitioned, unpartitioned};

    fn unpartitioned_line(arguments: &str, append: Option<&str>, initramfs: Initramfs) -> CommandLine {
        let volumes = Volumes::open(&unpartitioned(&[])).unwrap();
        finish(arguments, append, &volumes, volumes.whole().unwrap(), initramfs)
    }

    #[test]
    fn every_ec2_name_of_the_root_disk_becomes_its_uuid() {
        let wanted = format!("root=UUID={ROOT_UUID} ro console=hvc0");
        for name in [
            "/dev/xvda1",
            "/dev/xvda",
            "/dev/sda1",
            "sda1",
            "/dev/hda1",
            "xvda",
            "/dev/xvde1",
            "/dev/nvme0n1p1",
            "nvme0n1",
        ] {
            let line = unpartitioned_line(&format!("root={name} ro console=hvc0"), None, Initramfs::Given);
            assert_eq!(line.text, wanted, "{name}");
            assert_eq!(line.rewritten.len(), 1);
        }
    }

    #[test]
    fn other_names_stay() {
        for name in [
            "/dev/vda1",
            "LABEL=/",
            "UUID=1",
            "/dev/xvdb1",
            "/dev/sdab",
            "/dev/mapper/xvda1",
            "/dev/sda01",
            "/dev/nvme0n1p",
            "/dev/nvme0n2p1",
            "/dev/nvme1n1p1",
        ] {
            let line = unpartitioned_line(&format!("root={name} console=ttyS0"), None, Initramfs::Given);
            assert_eq!(line.text, format!("root={name} console=ttyS0"));
            assert_eq!(line.rewritten, [""; 0]);
        }
    }

    #[test]
    fn without_an_initramfs_the_device_is_named_since_the_kernel_knows_no_uuid() {
        let line = unpartitioned_line("root=/dev/xvda1 console=ttyS0", None, Initramfs::None);
        assert_eq!(line.text, "root=/dev/vda console=ttyS0");
    }

    #[test]
    fn a_partition_is_taken_by_its_number() {
        let volumes = Volumes::open(&partitioned(&[&[], &[]])).unwrap();
        let root = volumes.partition(0).unwrap();
        let uuid = volumes
            .partition(1)
            .unwrap()
            .file_system
            .as_ref()
            .unwrap()
            .uuid
            .clone()
            .unwrap();
        let line = |name: &str| finish(name, None, &volumes, root, Initramfs::Given).text;
        assert_eq!(
            line("root=/dev/sda2 console=ttyS0"),
            format!("root=UUID={uuid} console=ttyS0")
        );
        assert_eq!(
            line("root=/dev/sda7 console=ttyS0"),
            "root=/dev/sda7 console=ttyS0"
        );
        let line = finish(
            "root=/dev/sda2 console=ttyS0",
            None,
            &volumes,
            root,
            Initramfs::None,
        );
        assert_eq!(line.text, "root=/dev/vda2 console=ttyS0");
    }

    #[test]
    fn a_console_is_added_where_none_of_ours_is_named() {
        let line = |arguments: &str| unpartitioned_line(arguments, None, Initramfs::Given).text;
        assert_eq!(line("ro console=tty0"), "ro console=tty0 console=ttyS0");
        assert_eq!(line("ro console=ttyS0,115200n8"), "ro console=ttyS0,115200n8");
        assert_eq!(line("ro console=ttyS01"), "ro console=ttyS01 console=ttyS0");
        assert_eq!(line(""), "console=ttyS0");
        assert_eq!(line("ro -- single"), "ro console=ttyS0 -- single");
    }

    #[test]
    fn what_is_appended_comes_last_but_before_the_words_for_init() {
        let line = unpartitioned_line("a=\"b  c\" -- x", Some(" console=hvc0 quiet "), Initramfs::Given);
        assert_eq!(line.text, "a=\"b  c\" console=hvc0 quiet -- x");
        assert_eq!(line.rewritten, ["console=hvc0 quiet was added, as asked for"]);
    }
}
