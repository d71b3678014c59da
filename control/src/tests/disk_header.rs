//! A guest writes a header of qcow2 on its disk that names a file of the host: to everybody it is data.

use super::real_machines::{RealHome, has_printed, stop, with_kernel};
use super::*;
use crate::{Code, CreateSnapshot, ExportFormat, ExportImage};
use kiln_tests::{Canary, Program};

/// Whether the root disk of `image` begins with `header`, and is else what it was.
fn is_kept(cloud: &Cloud, image: &str, header: &[u8]) {
    let mut expected = header.to_vec();
    expected.resize(4096, 0);
    assert!(content(cloud, image, 0, 4096) == expected, "{image}");
}

#[test]
fn hazard_a_qcow2_header_that_a_guest_writes_on_its_disk_is_data_to_everybody() {
    let home = RealHome::new();
    let cloud = home.cloud();
    let elsewhere = tempfile::tempdir().unwrap();
    let canary = Canary::new(elsewhere.path());
    let header = canary.header();
    let program = Program::default()
        .write_first_sector(&header)
        .print("written\n")
        .wait_for_the_button()
        .power_off()
        .elf();
    let stop_it = |id: &InstanceId| {
        let reply = cloud.stop_instances(stop(id, 60)).unwrap();
        assert_eq!(reply.warnings, Vec::<String>::new());
    };
    // Written, stopped, started, baked while it runs and while it does not.
    let id = launch(&cloud, with_kernel("base", &program));
    has_printed(&cloud, &id, "written");
    cloud.create_image(bake(&id, "live", Reboot::No)).unwrap();
    stop_it(&id);
    cloud.start_instances(&[id.to_string()]).unwrap();
    has_printed(&cloud, &id, "written\nwritten");
    stop_it(&id);
    cloud.create_image(bake(&id, "stopped", Reboot::Yes)).unwrap();
    let volume = instance(&cloud, &id).block_device_mappings[0]
        .ebs
        .volume_id
        .clone();
    let snapshot = CreateSnapshot {
        volume,
        description: None,
        tags: Vec::new(),
    };
    cloud.create_snapshot(snapshot).unwrap();
    is_kept(&cloud, "live", &header);
    is_kept(&cloud, "stopped", &header);

    // Launched from the bake with a larger disk; and by the disk's own menu, which it has not.
    let mut larger = with_kernel("live", &program);
    larger.root_size = Some(Bytes(2 * SIZE));
    let heir = launch(&cloud, larger);
    has_printed(&cloud, &heir, "written");
    stop_it(&heir);
    cloud.create_image(bake(&heir, "larger", Reboot::Yes)).unwrap();
    is_kept(&cloud, "larger", &header);
    let error = cloud.run_instances(RunInstances::of("stopped")).unwrap_err();
    assert_eq!(error.code(), Code::InvalidKernel, "{error}");

    // Exported in each format, and that taken for a disk image again: only where nobody says that it is raw it is
    // looked at, and refused.
    for format in [ExportFormat::Raw, ExportFormat::Qcow2] {
        let target = tempfile::tempfile().unwrap();
        let request = ExportImage {
            image: "larger".to_owned(),
            target: target.try_clone().unwrap(),
            format,
            progress: None,
        };
        cloud.export_image(request).unwrap();
        let request = ImportImage {
            source_name: "exported".to_owned(),
            ..importing(&format!("imported as {format:?}").to_lowercase(), target)
        };
        match (format, cloud.import_image(request)) {
            (ExportFormat::Raw, Err(error)) => assert!(error.to_string().contains("backing file"), "{error}"),
            (ExportFormat::Qcow2, Ok(imported)) => is_kept(&cloud, &imported.document.image_id, &header),
            (_, outcome) => panic!("{format:?}: {:?}", outcome.map(|_| ())),
        }
    }
    assert_whole(&cloud);
    canary.is_untouched();
}
