//! Files as users bring them, and as attackers do.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{DataMap, Format, Source, TransferError, export, import};
use crate::chain::Chain;
use crate::disk::{Access, Disk, read_exact_at};

fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "qemu-img {arguments:?}: {said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A raw and a qcow2 file hold the same disk.
fn assert_same(raw: &Path, qcow2: &Path) {
    let kinds = ["compare", "-U", "-q", "-f", "raw", "-F", "qcow2"];
    qemu_img(&[&kinds[..], &[text(raw), text(qcow2)]].concat());
}

/// A raw disk of 64 MiB with data in three places, all else holes.
fn sparse(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("disk.raw");
    let file = File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    for (at, byte) in [(0, 1), (20 << 20, 2), ((64 << 20) - 512, 3)] {
        file.write_all_at(&[byte; 512], at).unwrap();
    }
    path
}

fn open(path: &Path) -> Result<Source, TransferError> {
    Source::open_path(path, None)
}

fn chain(path: &Path) -> Chain {
    Chain::open(vec![File::open(path).unwrap()], Access::ReadOnly).unwrap()
}

fn said(path: &Path) -> String {
    open(path).unwrap_err().to_string().replace(text(path), "FILE")
}

#[test]
fn a_raw_disk_becomes_a_layer_and_its_holes_stay_holes() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sparse(&folder);
    let layer = folder.path().join("layer.qcow2");
    let mut steps = Vec::new();
    let source = open(&raw).unwrap();
    let imported = import(&source, &layer, &mut |progress| steps.push(progress.done)).unwrap();
    assert_eq!((imported.size, imported.data), (64 << 20, 3 * (64 << 10)));
    assert!(steps.is_sorted() && steps.last() == Some(&(64 << 20)));
    qemu_img(&["check", "-U", text(&layer)]);
    assert_same(&raw, &layer);
    assert!(layer.metadata().unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn a_terabyte_of_hole_is_imported_in_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("huge");
    File::create(&raw).unwrap().set_len(1 << 40).unwrap();
    let layer = folder.path().join("layer.qcow2");
    assert_eq!(
        import(
            &Source::open_path(&raw, Some(Format::Raw)).unwrap(),
            &layer,
            &mut |_| ()
        )
        .unwrap()
        .data,
        0
    );
    let out = folder.path().join("out.qcow2");
    let from = chain(&layer);
    let to = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&out)
        .unwrap();
    assert_eq!(export(&from, &from, to, Format::Qcow2, &mut |_| ()).unwrap(), 0);
    assert_eq!(chain(&out).size(), 1 << 40);
}

#[test]
fn a_map_says_where_the_data_is_of_a_file_that_shows_no_holes() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sparse(&folder);
    let file = File::options().write(true).open(&raw).unwrap();
    // Long ago: many a kernel gives two changes at once the same time.
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let map = DataMap::of(&File::open(&raw).unwrap()).unwrap().unwrap();
    // What was written after the map was made is not in it, and so is not looked for.
    file.write_all_at(&[9; 512], 40 << 20).unwrap();
    assert!(!map.is_of(&file));
    let layer = folder.path().join("layer.qcow2");
    let imported = import(&open(&raw).unwrap().with_map(map), &layer, &mut |_| ()).unwrap();
    assert_eq!(imported.data, 3 * (64 << 10));
    file.write_all_at(&[0; 512], 40 << 20).unwrap();
    assert_same(&raw, &layer);
}

#[test]
fn qcow2_files_of_every_make_are_imported() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sparse(&folder);
    for options in [
        &["-o", "compat=1.1"][..],
        &["-o", "compat=0.10"],
        &["-o", "cluster_size=4096"],
        &["-o", "cluster_size=2M"],
        &["-o", "refcount_bits=64"],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
    ] {
        let (foreign, layer) = (
            folder.path().join("foreign.qcow2"),
            folder.path().join("layer.qcow2"),
        );
        let arguments = [
            &["convert", "-O", "qcow2"],
            options,
            &[text(&raw), text(&foreign)],
        ]
        .concat();
        qemu_img(&arguments);
        let source = open(&foreign).unwrap();
        assert_eq!(source.format(), Format::Qcow2);
        import(&source, &layer, &mut |_| ()).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        qemu_img(&["check", "-U", text(&layer)]);
        qemu_img(&["compare", "-U", "-q", text(&foreign), text(&layer)]);
        std::fs::remove_file(layer).unwrap();
    }
}

#[test]
fn exports_stand_alone_and_equal_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sparse(&folder);
    let (base, top) = (folder.path().join("base.qcow2"), folder.path().join("top.qcow2"));
    import(&open(&raw).unwrap(), &base, &mut |_| ()).unwrap();
    crate::create_overlay(&top, "base.qcow2", 64 << 20).unwrap();
    let whole = Chain::open_path(&top, Access::ReadWrite).unwrap();
    crate::write_all_at(&whole, 5 << 20, b"changed in the overlay").unwrap();
    whole.flush().unwrap();
    for format in [Format::Raw, Format::Qcow2] {
        let out = folder.path().join(format!("out.{format}"));
        std::fs::write(&out, vec![9; 1 << 20]).unwrap();
        let to = File::options().read(true).write(true).open(&out).unwrap();
        let data = export(&whole, &whole, to, format, &mut |_| ()).unwrap();
        assert!(data <= 4 * (64 << 10), "{data}");
        let mut start = [0; 22];
        let exported = Source::open_path(&out, Some(format)).unwrap();
        read_exact_at(&**exported.disk(), 5 << 20, &mut start).unwrap();
        assert_eq!(&start, b"changed in the overlay");
        assert!(out.metadata().unwrap().blocks() * 512 < 1 << 20);
        if format == Format::Qcow2 {
            qemu_img(&["check", "-U", text(&out)]);
            assert!(!qemu_img(&["info", "-U", text(&out)]).contains("backing"));
        }
    }
    assert_same(&folder.path().join("out.raw"), &folder.path().join("out.qcow2"));
}

#[test]
fn hazard_other_formats_are_refused_by_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sparse(&folder);
    for (format, name) in [
        ("vmdk", "a vmdk disk image (VMware)"),
        ("vpc", "a vhd disk image (Hyper-V, Virtual PC)"),
        ("vhdx", "a vhdx disk image (Hyper-V)"),
        ("vdi", "a vdi disk image (VirtualBox)"),
        ("qed", "a qed disk image"),
        ("qcow", "a qcow disk image of version 1"),
        ("parallels", "a Parallels disk image"),
    ] {
        let foreign = folder.path().join(format);
        qemu_img(&["convert", "-O", format, text(&raw), text(&foreign)]);
        let expected = format!(
            "FILE is {name}; raw and qcow2 disk images can be imported: \
             convert it first: qemu-img convert -O qcow2 FILE disk.qcow2"
        );
        assert_eq!(said(&foreign), expected);
    }
    for (format, kind, name) in [
        ("vpc", "fixed", "a vhd disk image (Hyper-V, Virtual PC); "),
        ("vhdx", "fixed", "a vhdx disk image (Hyper-V); "),
        ("vmdk", "streamOptimized", "a vmdk disk image (VMware); "),
        (
            "vmdk",
            "monolithicFlat",
            "a vmdk disk image (VMware; its descriptor only); ",
        ),
        (
            "vmdk",
            "twoGbMaxExtentSparse",
            "a vmdk disk image (VMware; its descriptor only); ",
        ),
        ("vdi", "static=on", "a vdi disk image (VirtualBox); "),
    ] {
        let foreign = folder.path().join(format!("{kind}.{format}"));
        let option = match kind.contains('=') {
            true => kind.to_owned(),
            false => format!("subformat={kind}"),
        };
        qemu_img(&["convert", "-O", format, "-o", &option, text(&raw), text(&foreign)]);
        assert!(said(&foreign).contains(name), "{kind}: {}", said(&foreign));
    }
    let footer = std::fs::read(folder.path().join("fixed.vpc")).unwrap();
    let short = folder.path().join("short.vhd");
    std::fs::write(&short, &footer[..footer.len() - 1]).unwrap();
    assert!(
        said(&short).contains("a vhd disk image (Virtual PC); "),
        "{}",
        said(&short)
    );
}

#[test]
fn hazard_archives_are_refused_by_what_is_in_them_wherever_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let tar = |name: &str, files: &[&str]| {
        for file in files {
            let file = File::create(folder.path().join(file)).unwrap();
            file.set_len(100 << 10).unwrap();
            file.write_all_at(&[7; 512], 0).unwrap();
        }
        let mut command = Command::new("tar");
        command.args(["-cf", name]).args(files).current_dir(&folder);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        said(&folder.path().join(name))
    };
    assert_eq!(
        tar("box.ova", &["box.ovf", "box-disk1.vmdk"]),
        "FILE is an OVA archive (a virtual appliance); raw and qcow2 disk images can be imported: take the disk out of \
         it and convert that: tar -xf FILE, qemu-img convert -O qcow2 NAME.vmdk disk.qcow2"
    );
    // Beyond what is read of other files' beginnings.
    let docker = tar("docker.tar", &["layer", "repositories", "manifest.json"]);
    assert!(
        docker.starts_with("FILE is an archive of a container's image (docker save); "),
        "{docker}"
    );
    let oci = tar("oci.tar", &["layer", "index.json", "oci-layout"]);
    assert!(
        oci.starts_with("FILE is an archive of a container's image (OCI); "),
        "{oci}"
    );
    assert!(
        oci.ends_with("neither a disk nor a kernel: build a disk with them (kiln image build)"),
        "{oci}"
    );
    assert_eq!(
        tar("other.tar", &["disk.raw"]),
        "FILE is a tar archive; raw and qcow2 disk images can be imported: \
         take the disk image out of it first: tar -xf FILE"
    );
}

#[test]
fn hazard_an_installers_medium_is_refused_though_it_has_a_partition_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hybrid.iso");
    let mut bytes = vec![0; 1 << 20];
    // A table with one active partition, as isohybrid writes it, before the volume descriptor (ECMA-119, 8.4).
    bytes[..2].copy_from_slice(b"\x45\x52");
    bytes[446] = 0x80;
    bytes[450] = 0x17;
    bytes[458..462].copy_from_slice(&2000_u32.to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    bytes[0x8000..0x8007].copy_from_slice(b"\x01CD001\x01");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(
        said(&path),
        "FILE is an ISO 9660 image (a CD or an installer); raw and qcow2 disk images can be imported: an installed disk is \
         wanted: install from it onto a disk and import that, or take the system's cloud image"
    );
    bytes[0x8006] = 9;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(open(&path).unwrap().format(), Format::Raw);
}

#[test]
fn what_is_unpacked_is_refused_by_its_beginning_or_goes_on() {
    let said = |head: &[u8]| super::check_beginning(head, "FILE").map_err(|error| error.to_string());
    assert!(said(b"BZh91AY&SY").unwrap_err().starts_with("FILE is a bzip2-"));
    assert!(said(b"hello\n").unwrap_err().starts_with("FILE is text"));
    assert_eq!(said(&[0; 512]), Ok(()));
    assert_eq!(said(b"QFI\xfb\0\0\0\x03"), Ok(()));
    // What may be the end of it is told once all of it is there.
    let mut last = vec![1; 1024];
    last[512..520].copy_from_slice(b"conectix");
    assert_eq!(said(&last), Ok(()));
}

#[test]
fn hazard_what_is_no_disk_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = |bytes: &[u8]| {
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        said(&path)
    };
    let at = |offset: usize, magic: &[u8]| {
        let mut bytes = vec![0; 40 << 10];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        file(&bytes).split("; ").next().unwrap().replace("FILE is ", "")
    };
    assert_eq!(
        at(0x8001, b"CD001\x01"),
        "an ISO 9660 image (a CD or an installer)"
    );
    assert_eq!(at(257, b"ustar"), "a tar archive");
    assert_eq!(at(0, b"PK\x03\x04"), "a zip archive");
    assert_eq!(at(0, b"\x1f\x8b"), "a gzip-compressed file");
    assert_eq!(at(0, b"\xfd7zXZ\0"), "an xz-compressed file");
    assert_eq!(at(0, b"\x28\xb5\x2f\xfd"), "a zstd-compressed file");
    assert_eq!(at(0, b"BZh9"), "a bzip2-compressed file");
    assert_eq!(at(0, b"\x7fELF"), "an ELF file (a program or a kernel)");
    assert_eq!(
        file(b"hello\n"),
        "FILE is text; raw and qcow2 disk images can be imported"
    );
    assert_eq!(
        file("äöü ".repeat(2000).as_bytes()),
        "FILE is text; raw and qcow2 disk images can be imported"
    );
    assert_eq!(file(b""), "FILE is empty (0 bytes), not a disk image");
    assert_eq!(
        file(&[0; 1000]),
        "FILE is 1000 bytes long; the length of a raw disk image is a multiple of 512 (is it cut off?)"
    );
    assert_eq!(said(folder.path()), "FILE is a directory, not a disk image");
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    assert_eq!(said(&pipe), "FILE is a FIFO (a named pipe), not a disk image");
    assert_eq!(said(Path::new("/dev/null")), "FILE is a device, not a disk image");
    assert!(
        open(&folder.path().join("none"))
            .unwrap_err()
            .to_string()
            .contains("No such file")
    );
}

#[test]
fn hazard_a_file_that_names_another_file_is_refused_and_the_other_is_never_opened() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image.qcow2");
    let canary = folder.path().join("canary.qcow2");
    qemu_img(&["create", "-f", "qcow2", text(&canary), "1M"]);
    let stamp = || {
        canary
            .metadata()
            .map(|metadata| (metadata.atime(), metadata.atime_nsec()))
            .unwrap()
    };
    let before = stamp();
    for backing in [
        text(&canary),
        "/etc/shadow",
        "canary.qcow2",
        "json:{\"driver\":\"null-co\"}",
        "nbd://host/x",
    ] {
        let _ = std::fs::remove_file(&image);
        qemu_img(&[
            "create",
            "-u",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            backing,
            text(&image),
            "1M",
        ]);
        let error = open(&image).unwrap_err();
        assert!(matches!(error, TransferError::Backing { .. }), "{error}");
        assert!(
            error.to_string().contains(&backing.escape_debug().to_string()),
            "{error}"
        );
    }
    std::fs::remove_file(&image).unwrap();
    let data = folder.path().join("data");
    let options = format!("data_file={},data_file_raw=on", text(&data));
    qemu_img(&["create", "-f", "qcow2", "-o", &options, text(&image), "1M"]);
    assert!(said(&image).contains("external data file"), "{}", said(&image));
    assert_eq!(stamp(), before);
}

#[test]
fn hazard_an_encrypted_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", text(&image), "1M"]);
    // The header's crypt_method, 2 being LUKS.
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(&2u32.to_be_bytes(), 32).unwrap();
    assert!(said(&image).contains("encrypted"), "{}", said(&image));
}

/// Cuts a file that is all data to every eighth of its length: clusters that it needs are gone.
#[test]
fn hazard_a_truncated_file_is_refused_and_leaves_no_layer() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw");
    std::fs::write(&raw, vec![5; 4 << 20]).unwrap();
    let (image, layer) = (
        folder.path().join("image.qcow2"),
        folder.path().join("layer.qcow2"),
    );
    qemu_img(&["convert", "-U", "-O", "qcow2", text(&raw), text(&image)]);
    let whole = std::fs::read(&image).unwrap();
    for eighth in 0..8 {
        let cut = whole.len() / 8 * eighth / 65536 * 65536;
        std::fs::write(&image, &whole[..cut.max(40)]).unwrap();
        let error = open(&image)
            .and_then(|source| import(&source, &layer, &mut |_| ()))
            .unwrap_err();
        assert!(matches!(error, TransferError::Source { .. }), "{cut}: {error}");
        assert!(!layer.exists());
    }
}

#[test]
fn hazard_tables_and_clusters_beyond_the_end_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sparse(&folder);
    let image = folder.path().join("image.qcow2");
    qemu_img(&["convert", "-U", "-O", "qcow2", text(&raw), text(&image)]);
    let whole = std::fs::read(&image).unwrap();
    let number =
        |at: usize| usize::try_from(u64::from_be_bytes(whole[at..at + 8].try_into().unwrap())).unwrap();
    let l1 = number(40);
    let l2 = number(l1) & 0x00ff_ffff_ffff_fe00;
    let refcounts = number(48);
    for place in [40, 48, l1, l2, refcounts] {
        let mut damaged = whole.clone();
        let beyond = (damaged.len() as u64).next_multiple_of(65536) + (1 << 20);
        let flags = if place == l1 || place == l2 { 1 << 63 } else { 0 };
        damaged[place..place + 8].copy_from_slice(&(beyond | flags).to_be_bytes());
        std::fs::write(&image, damaged).unwrap();
        let error = open(&image).unwrap_err().to_string();
        assert!(error.contains("beyond"), "{place}: {error}");
    }
}

#[test]
fn hazard_a_raw_disk_that_carries_a_qcow2_header_is_raw_where_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    qemu_img(&[
        "create",
        "-u",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        "/etc/shadow",
        text(&image),
        "1M",
    ]);
    let bytes = std::fs::read(&image).unwrap();
    let layer = folder.path().join("layer.qcow2");
    File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len((bytes.len() as u64).next_multiple_of(512))
        .unwrap();
    import(
        &Source::open_path(&image, Some(Format::Raw)).unwrap(),
        &layer,
        &mut |_| (),
    )
    .unwrap();
    assert_same(&image, &layer);
}

#[test]
fn hazard_a_small_file_that_names_its_clusters_over_and_over_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image.qcow2");
    let make = |cluster: &str, size: &str| {
        let options = format!("cluster_size={cluster}");
        qemu_img(&["create", "-q", "-f", "qcow2", "-o", &options, text(&image), size]);
        let file = File::options().read(true).write(true).open(&image).unwrap();
        let end = file.metadata().unwrap().len().next_multiple_of(2 << 20);
        let mut l1 = [0; 8];
        file.read_exact_at(&mut l1, 40).unwrap();
        (file, u64::from_be_bytes(l1), end)
    };
    // One L2 table, all of whose entries name one cluster.
    let (file, l1, end) = make("2M", "500G");
    let entry = |at: u64| (at | 1 << 63).to_be_bytes();
    file.write_all_at(&entry(end), l1).unwrap();
    file.write_all_at(&entry(end + (2 << 20)).repeat(1 << 18), end)
        .unwrap();
    file.set_len(end + (4 << 20)).unwrap();
    assert!(
        said(&image).contains("bytes of data: more than"),
        "{}",
        said(&image)
    );
    // The same of a file that is as long as its disk, but holds next to nothing.
    let (file, l1, end) = make("2M", "20G");
    let (data, hole) = (end + (2 << 20), end + (4 << 20));
    for at in (0..2 << 20).step_by(256 << 10) {
        file.write_all_at(&[1], data + at).unwrap();
    }
    file.write_all_at(&entry(end), l1).unwrap();
    file.set_len(20 << 30).unwrap();
    let imported = |clusters, named| {
        file.write_all_at(&entry(named).repeat(clusters), end).unwrap();
        let (sparse, layer) = (folder.path().join("sparse"), folder.path().join("layer"));
        let copied = Command::new("cp")
            .arg("--sparse=always")
            .args([&image, &sparse])
            .status();
        assert!(copied.unwrap().success());
        let imported = import(&open(&sparse).unwrap(), &layer, &mut |_| ());
        assert_eq!(layer.exists(), imported.is_ok());
        let _ = std::fs::remove_file(&layer);
        imported.map(|imported| imported.data)
    };
    assert_eq!(imported(4000, hole).unwrap(), 0);
    assert_eq!(imported(50, data).unwrap(), 50 * (512 << 10));
    let error = imported(4000, data).unwrap_err().to_string();
    assert!(error.contains("bytes of data: more than"), "{error}");
    // An L1 table whose entries name one L2 table.
    let (file, l1, end) = make("64k", "1T");
    file.write_all_at(&entry(end).repeat(2048), l1).unwrap();
    file.set_len(end + (64 << 10)).unwrap();
    assert!(said(&image).contains("names 2048 L2 tables"), "{}", said(&image));
}
