//! Menus and kernels.

use kiln_fuzz::boot;

use crate::{filtered, plant};

/// A `vmlinux` with one segment at 16 MiB, and with a PVH note if it is given an address for it.
pub(crate) fn elf(pvh: Option<u32>) -> Vec<u8> {
    let mut note = Vec::new();
    if let Some(entry) = pvh {
        note.extend([4u32, 8, 18].map(u32::to_le_bytes).concat());
        note.extend(b"Xen\0");
        note.extend(u64::from(entry).to_le_bytes());
    }
    let segment = |kind: u32, offset: u64, address: u64, len: u64| {
        let words = [offset, 0, address, len, len, 4].map(u64::to_le_bytes).concat();
        [[kind, 0].map(u32::to_le_bytes).concat(), words].concat()
    };
    let (data, address) = (64 + 2 * 56, 0x100_0000);
    let code = data + note.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2u16, 62].map(u16::to_le_bytes).concat());
    file.extend(1u32.to_le_bytes());
    file.extend([address + 1, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 2, 0, 0, 0].map(u16::to_le_bytes).concat());
    file.extend(segment(4, data, 0, note.len() as u64));
    file.extend(segment(1, code, address, 600));
    file.extend(note);
    file.extend((0..600).map(|nth| (nth / 7) as u8));
    file
}

/// A bzImage of protocol 2.15 with this payload.
pub(crate) fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 1024 + 512];
    file[0x1f1] = 1;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x201] = 0x6c;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    file[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    file[0x236] = 1;
    file[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&512_u32.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file[0x258..0x260].copy_from_slice(&0x100_0000_u64.to_le_bytes());
    file.extend_from_slice(payload);
    file
}

/// A payload as the kernel's build makes it: packed, the unpacked size at its end.
pub(crate) fn packed(command: &[&str], elf: &[u8]) -> Vec<u8> {
    let mut payload = filtered(command, elf);
    if command[0] != "gzip" {
        payload.extend((elf.len() as u32).to_le_bytes());
    }
    payload
}

#[test]
fn menus_have_entries() {
    let inputs: [&[u8]; 2] = [
        b"default 1\nfallback 0 2\n# a comment\n## ## Start Default Options ##\n## default_options=\ntitle one\n\troot (hd0,0)\n\
          \tkernel /boot/vmlinuz root=/dev/xvda1 ro\n\tinitrd /boot/initrd.img\nsavedefault\n\ntitle two\nlock\nuuid x\nkernel \
          (hd0,1)/vmlinuz quiet\nmodule /x\n",
        b"default=saved\r\ntitle=a \\\r\n  b\r\nkernel=/boot/k console=hvc0\r\nboot\r\n",
    ];
    plant("menu_lst", boot::menu_lst, &inputs.map(Vec::from));
}

#[test]
fn scripts_entries_and_blocks_are_understood() {
    let inputs: [&[u8]; 3] = [
        b"if [ -s $prefix/grubenv ]; then load_env; fi\nif [ \"${next_entry}\" ] ; then\n set default=\"${next_entry}\"\n set next_entry=\n \
          save_env next_entry\nelse\n set default=\"${saved_entry}\"\nfi\nfunction savedefault { saved_entry=\"${chosen}\"; save_env saved_entry; }\n\
          menuentry 'a' --class os $menuentry_id_option 'x' {\n savedefault\n search --no-floppy --fs-uuid --set=root 1\n linux /k ro\n initrd /i\n}\n\
          submenu 'b' { menuentry c --id d { linux16 ($root)/k } }\n",
        b"for x in 1 2; do while [ $x -lt 3 ]; do increment x; continue; done; done\nsetparams a \"b c\"\nmenuentry \"$@\" { linux /$1 }\n",
        b"search.fs_uuid 1 root hd0,gpt1\nblscfg\nconfigfile ($root)/x\nuntil true; do break; done\nmenuentry x { linuxefi /k }\n",
    ];
    plant("grub_cfg", boot::grub_cfg, &inputs.map(Vec::from));
    let inputs: [&[u8]; 2] = [
        b"DEFAULT l0\nMENU TITLE x\nLABEL l0\n MENU LABEL ^A\n LINUX ../vmlinuz\n INITRD /a,/b\n APPEND root=1 initrd=/c\nLABEL b\n LOCALBOOT 0\n",
        b"append ro\nontimeout b\nlabel a\nkernel k\nlabel b\nmenu default\nkernel /k\nappend -\nmenu include more\n",
    ];
    plant("extlinux", boot::extlinux, &inputs.map(Vec::from));
    let inputs: [&[u8]; 2] = [
        b"id-6.1+3-0.conf\ntitle T\nversion 6.1\nsort-key s\nmachine-id m\nlinux /k\ninitrd /i $x\noptions $kernelopts ${y} z\n",
        b"a.conf\narchitecture x64\nuki /EFI/Linux/a.efi\n",
    ];
    plant("loader_entry", boot::loader_entry, &inputs.map(Vec::from));
    let mut block = b"# GRUB Environment Block\nsaved_entry=1>2\nodd=a\\\\b\\\nc\n".to_vec();
    block.resize(1024, b'#');
    plant("grubenv", boot::grubenv, &[block]);
    let mut unified = b"MZ".to_vec();
    unified.resize(0x3c, 0);
    unified.extend(64_u32.to_le_bytes());
    unified.extend(b"PE\0\0\x64\x86\x02\0");
    unified.resize(64 + 24, 0);
    for (name, at) in [(b".linux\0\0", 512_u32), (b".cmdline", 600)] {
        unified.extend(name);
        unified.extend([80, 0, 80, at, 0, 0, 0, 0].map(u32::to_le_bytes).concat());
    }
    unified.resize(700, b'x');
    plant("unified", boot::unified, &[unified]);
}

#[test]
fn kernels_of_every_packing_can_be_entered() {
    let (elf, plain) = (elf(Some(0x100_0040)), elf(None));
    let inputs = [
        bzimage(&packed(&["gzip", "-n"], &elf)),
        bzimage(&packed(&["xz", "--check=crc32", "--x86", "--lzma2"], &elf)),
        bzimage(&packed(&["xz", "--format=lzma"], &elf)),
        bzimage(&packed(&["zstd", "-q", "-c"], &elf)),
        bzimage(&packed(&["bzip2", "-9"], &elf)),
        bzimage(&packed(&["lzop", "-9"], &elf)),
        bzimage(&packed(&["lz4", "-q", "-l", "-c"], &elf)),
        bzimage(&packed(&["gzip", "-n"], &plain)),
        bzimage(b"packed in a way that nobody knows"),
        filtered(&["gzip", "-n"], &elf),
        elf,
        plain,
    ];
    plant("kernel", boot::kernel, &inputs);
}
