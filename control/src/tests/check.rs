//! What the check of the store sees, puts right and reports.

use super::*;
use crate::{Finding, Severity};
use kiln_imagefmt::{Access, Chain};
use std::os::unix::fs::PermissionsExt;

fn the_one_finding(cloud: &Cloud) -> Finding {
    let mut findings = cloud.check().unwrap().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.remove(0)
}

fn layer_files(cloud: &Cloud) -> Vec<PathBuf> {
    cloud
        .layers
        .list()
        .unwrap()
        .into_iter()
        .map(|file| file.path)
        .collect()
}

fn writable(cloud: &Cloud) -> PathBuf {
    let is_writable = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o222 != 0;
    layer_files(cloud).into_iter().find(is_writable).unwrap()
}

#[test]
fn files_and_folders_that_belong_to_nothing_are_removed() {
    let (_home, cloud, _) = started();
    let stray = cloud.layers.path(&crate::id::LayerId::mint().unwrap());
    std::fs::write(&stray, b"left over").unwrap();
    let finding = the_one_finding(&cloud);
    assert_eq!((finding.code, finding.severity), ("StrayFile", Severity::Warning));
    let folder = cloud.instance_directory(&InstanceId::mint().unwrap());
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(the_one_finding(&cloud).code, "StrayFolder");
    assert!(!stray.exists() && !folder.exists());
    assert_whole(&cloud);
}

#[test]
fn a_missing_layer_is_an_error() {
    let (home, cloud, id) = started();
    home.kill_machine(&id, kiln_vmm::client::ExitReason::Killed);
    std::fs::remove_file(writable(&cloud)).unwrap();
    let finding = the_one_finding(&cloud);
    assert_eq!(
        (finding.code, finding.severity),
        ("LayerMissing", Severity::Error)
    );
}

#[test]
fn a_truncated_layer_is_an_error_for_check_and_for_whoever_reads_it() {
    let (_home, cloud, _) = started();
    let sealed = layer_files(&cloud)
        .into_iter()
        .find(|path| std::fs::metadata(path).unwrap().permissions().mode() & 0o222 == 0);
    let sealed = sealed.unwrap();
    std::fs::set_permissions(&sealed, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&sealed)
        .unwrap()
        .set_len(100)
        .unwrap();
    let findings = cloud.check().unwrap();
    assert!(findings.has_errors());
    let codes: Vec<&str> = findings.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["LayerWritable", "LayerDamaged"]);
    let target = tempfile::tempfile().unwrap();
    let request = crate::ExportImage {
        image: "base".to_owned(),
        target,
        format: crate::ExportFormat::Raw,
        progress: None,
    };
    cloud.export_image(request).unwrap_err();
}

/// The disk would be in order, and read as zeroes or end too early.
#[test]
fn a_header_that_says_something_else_than_the_catalogue_is_an_error() {
    let (home, cloud, id) = started();
    home.kill_machine(&id, kiln_vmm::client::ExitReason::Killed);
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(writable(&cloud))
        .unwrap();
    // qcow2.rst, "Header": the place and length of the backing file's name (8 to 19), the size (24 to 31).
    for (at, said) in [(8, "lies on layer-"), (24, "shows a disk of")] {
        let mut kept = [0; 12];
        file.read_exact_at(&mut kept, at).unwrap();
        let mut other = kept;
        if at == 8 {
            other = [0; 12];
        } else {
            other[6] += 2;
        }
        file.write_all_at(&other, at).unwrap();
        let finding = the_one_finding(&cloud);
        assert_eq!(
            (finding.code, finding.severity),
            ("LayerDamaged", Severity::Error)
        );
        assert!(finding.message.contains(said), "{finding:?}");
        file.write_all_at(&kept, at).unwrap();
    }
    assert_whole(&cloud);
}

#[test]
fn what_another_command_removes_during_a_check_is_no_damage() {
    let (home, cloud, id) = started();
    stop(&cloud, &id);
    let (other, gone) = (home.cloud(), id.to_string());
    home.machines
        .meanwhile
        .is(move || drop(other.terminate_instances(&[gone]).unwrap()));
    assert_eq!(cloud.check().unwrap().findings, vec![]);
    assert_eq!(state(&cloud, &id), "terminated");
}

#[test]
fn what_a_machine_writes_to_is_no_damage_whenever_it_was_started() {
    let (_home, cloud, id) = started();
    stop(&cloud, &id);
    let _started = Chain::open_path(&writable(&cloud), Access::ReadWrite).unwrap();
    assert_eq!(cloud.check().unwrap().findings, vec![]);
}

#[test]
fn what_the_machines_of_another_account_write_to_is_left_alone() {
    let (home, cloud, _) = started();
    let half_written = std::fs::File::options()
        .write(true)
        .open(writable(&cloud))
        .unwrap();
    half_written.set_len(100).unwrap();
    let mut options = home.options();
    options.account = Some("kiln".to_owned());
    let other = Cloud::open_with(options, home.machines.clone()).unwrap();
    for cloud in [cloud, other] {
        assert_eq!(cloud.check().unwrap().findings, vec![], "{}", cloud.account);
    }
}

#[test]
fn a_full_check_reads_every_layer() {
    let (_home, cloud, id) = started();
    cloud.create_image(bake(&id, "baked", Reboot::No)).unwrap();
    assert_eq!(cloud.check().unwrap().layers, 3);
}

#[test]
fn what_cannot_be_imported_leaves_nothing() {
    let home = Home::new();
    let cloud = home.cloud();
    for (name, bytes) in [
        ("empty.raw", &b""[..]),
        ("odd.raw", &[b'x'; 513][..]),
        ("text.txt", &b"#!/bin/sh\n"[..]),
        ("disk.vmdk", &b"KDMV\x01\0\0\0"[..]),
    ] {
        let mut source = tempfile::tempfile().unwrap();
        source.write_all(bytes).unwrap();
        let request = ImportImage {
            source_name: name.to_owned(),
            ..importing("new", source)
        };
        let error = cloud.import_image(request).unwrap_err();
        assert_eq!(error.code(), crate::Code::InvalidDisk, "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert_whole(&cloud);
    }
}
