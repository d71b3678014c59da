//! The readers of menus, for fuzzing: each takes any bytes, and says whether an entry names a kernel.

use super::menu::Menu;
use super::volumes::Volumes;
use super::{bls, extlinux, grub_cfg, grubenv, menu_lst, uki};

fn names_a_kernel(menu: &Menu) -> bool {
    menu.entries.iter().any(|entry| entry.kernel.is_some())
}

/// `menu.lst`; every file that it leads to is the same.
pub fn menu_lst(bytes: &[u8]) -> bool {
    let menu = menu_lst::parse(bytes, "/boot/grub/default", &mut |_| Some(bytes.to_vec()));
    names_a_kernel(&menu)
}

/// `grub.cfg`.
pub fn grub_cfg(bytes: &[u8]) -> bool {
    let volumes = Volumes::none();
    let home = volumes.list.first();
    home.is_some_and(|home| names_a_kernel(&grub_cfg::read(bytes, &volumes, home, "/boot/grub/grub.cfg")))
}

/// `extlinux.conf`; every file that it includes is the same.
pub fn extlinux(bytes: &[u8]) -> bool {
    names_a_kernel(&extlinux::parse(bytes, "/extlinux", &mut |_| {
        Some(bytes.to_vec())
    }))
}

/// An entry of the Boot Loader Specification: its file's name is the first line.
pub fn loader_entry(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (name, text) = text.split_once('\n').unwrap_or(("a.conf", &text));
    let file = bls::EntryFile::parse(name, text.as_bytes());
    let entry = bls::entry(&file, "/boot", &|name| Some(name.into()));
    file.is_for_x86() && entry.kernel.is_some()
}

/// GRUB's environment block, changed and written back. Whether it is one.
pub fn grubenv(bytes: &[u8]) -> bool {
    let Some(mut block) = grubenv::Block::parse(bytes) else {
        return false;
    };
    block.set("saved_entry", Some("1>2\\\n"));
    block.set("next_entry", None);
    if let Some(written) = block.bytes() {
        assert_eq!(written.len(), bytes.len());
        assert!(grubenv::Block::parse(&written).is_some());
    }
    true
}

/// A unified kernel image. Whether there is a kernel in it.
pub fn unified(bytes: &[u8]) -> bool {
    uki::split(bytes).is_some()
}
