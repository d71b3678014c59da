//! What the check of the store sees, puts right and reports.

use super::*;
use crate::{Finding, Severity};
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
    let path = layer_files(&cloud)
        .into_iter()
        .find(|path| std::fs::metadata(path).unwrap().permissions().mode() & 0o222 != 0);
    std::fs::remove_file(path.unwrap()).unwrap();
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
            source,
            source_name: name.to_owned(),
            map: None,
            name: "new".to_owned(),
            description: None,
            virtualization: None,
            tags: Vec::new(),
            progress: None,
        };
        let error = cloud.import_image(request).unwrap_err();
        assert_eq!(error.code(), crate::Code::InvalidDisk, "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert_whole(&cloud);
    }
}
