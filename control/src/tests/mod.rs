//! Behaviour that crosses the modules of this crate: a file a behaviour, over a real catalogue and a real store.

mod attaching;
mod attributes;
mod baking;
mod booting;
mod check;
mod concurrency;
mod contents;
mod crashes;
mod disk_header;
mod ending;
mod kernels;
mod key_pairs;
mod launching;
mod machine_crashes;
mod micro_guest;
mod names;
mod plugging;
mod real_machines;
mod stand_in;
mod states;
#[cfg(target_arch = "x86_64")]
mod torture;
mod user_data;
mod volumes;

use crate::cloud::Options;
use crate::image::{CreateImage, ImportImage, OnTermination, Reboot};
use crate::instance::{Instance, RunInstances, StopInstances};
use crate::{Bytes, Cloud, DescribeInstances, InstanceId, Tag};
use stand_in::{Guests, StandIns};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A home of its own, gone at the end.
struct Home {
    folder: tempfile::TempDir,
    machines: Arc<StandIns>,
}

/// The size of the disks in these tests.
const SIZE: u64 = 4 << 20;

impl Home {
    fn new() -> Home {
        Home {
            folder: tempfile::tempdir().unwrap(),
            machines: Arc::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn options(&self) -> Options {
        let mut options = Options::new(self.path());
        options.memory = Some(Bytes(64 << 30));
        options
    }

    fn cloud(&self) -> Cloud {
        Cloud::open_with(self.options(), self.machines.clone()).unwrap()
    }

    fn guests(&self, guests: Guests) {
        *self.machines.guests.lock().unwrap() = guests;
    }

    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.machines.asked.lock().unwrap())
    }

    /// Ends a machine as if it had died.
    fn kill_machine(&self, id: &InstanceId, reason: kiln_vmm::client::ExitReason) {
        self.machines
            .end(&self.path().join("instances").join(id.as_str()), reason);
    }
}

/// This test program started anew for one of its tests, which does what is to be killed.
fn started_anew(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command
}

/// A raw disk with a text at its beginning.
fn disk_file(text: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    file.set_len(SIZE).unwrap();
    file
}

/// The import of a disk under a name, with nothing else said of it.
fn importing(name: &str, source: std::fs::File) -> ImportImage<'static> {
    ImportImage {
        source,
        source_name: format!("{name}.raw"),
        map: None,
        name: name.to_owned(),
        description: None,
        boots: None,
        uefi_data: None,
        tags: Vec::new(),
        progress: None,
    }
}

fn import(cloud: &Cloud, name: &str) -> String {
    let request = importing(name, disk_file(b"from the base image"));
    cloud.import_image(request).unwrap().document.image_id
}

/// A snapshot of the root of an instance.
fn snapshot_of_root(cloud: &Cloud, id: &InstanceId) -> String {
    let root = instance(cloud, id).block_device_mappings.remove(0);
    let request = crate::CreateSnapshot {
        volume: root.ebs.volume_id,
        description: None,
        tags: Vec::new(),
    };
    cloud.create_snapshot(request).unwrap().document.snapshot_id
}

/// One instance.
fn launch(cloud: &Cloud, request: RunInstances) -> InstanceId {
    let reservation = cloud.run_instances(request).unwrap().document;
    InstanceId::parse(&reservation.instances[0].instance_id).unwrap()
}

fn run(cloud: &Cloud, image: &str) -> InstanceId {
    launch(cloud, RunInstances::of(image))
}

fn stop(cloud: &Cloud, id: &InstanceId) {
    let request = StopInstances {
        instances: vec![id.to_string()],
        ..StopInstances::default()
    };
    cloud.stop_instances(request).unwrap();
}

/// A home with a running instance of the image `base`. What its machines were asked so far is forgotten.
fn started() -> (Home, Cloud, InstanceId) {
    let home = Home::new();
    let cloud = home.cloud();
    import(&cloud, "base");
    let id = run(&cloud, "base");
    home.asked();
    (home, cloud, id)
}

fn named(name: &str) -> Vec<Tag> {
    vec![Tag::new(Tag::NAME, name).unwrap()]
}

fn bake(instance: &InstanceId, name: &str, reboot: Reboot) -> CreateImage {
    CreateImage {
        instance: instance.to_string(),
        name: name.to_owned(),
        description: None,
        reboot,
        volumes: OnTermination::Delete,
        tags: Vec::new(),
        timeout: Duration::from_secs(5),
    }
}

fn instance(cloud: &Cloud, id: &InstanceId) -> Instance {
    let request = DescribeInstances {
        instances: vec![id.to_string()],
        filters: Vec::new(),
    };
    let reservations = cloud.describe_instances(request).unwrap().reservations;
    reservations[0].instances[0].clone()
}

/// The specification of an instance's machine, as of its last start.
fn machine_spec(cloud: &Cloud, id: &InstanceId) -> serde_json::Value {
    let spec = std::fs::read(cloud.instance_directory(id).join("spec.json")).unwrap();
    serde_json::from_slice(&spec).unwrap()
}

fn state(cloud: &Cloud, id: &InstanceId) -> &'static str {
    instance(cloud, id).state.name.as_str()
}

/// The beginning of an image's root disk.
fn content(cloud: &Cloud, image: &str, offset: u64, len: usize) -> Vec<u8> {
    let target = tempfile::tempfile().unwrap();
    let request = crate::ExportImage {
        image: image.to_owned(),
        target: target.try_clone().unwrap(),
        format: crate::ExportFormat::Raw,
        progress: None,
    };
    cloud.export_image(request).unwrap();
    let mut bytes = vec![0; len];
    target.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// Nothing is wrong, nothing is left over: catalogue, store and folders name the same things.
fn assert_whole(cloud: &Cloud) {
    let findings = cloud.check().unwrap();
    assert_eq!(findings.findings, vec![], "the check found something");
    let collected = cloud.collect().unwrap();
    assert_eq!(collected.layers, Vec::<String>::new(), "something was left over");
    let operations: i64 = cloud
        .catalog
        .read(|tx| Ok(tx.query_row("SELECT count(*) FROM operations", [], |row| row.get(0))?))
        .unwrap();
    assert_eq!(operations, 0, "work is left over");
    let entries = std::fs::read_dir(cloud.home.join("operations")).unwrap();
    let locks: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(locks, Vec::<std::ffi::OsString>::new(), "locks are left over");
}
