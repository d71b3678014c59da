//! How each of EC2's documents looks in a table, and which ids it is about.

use super::{Shown, Table};
use kiln_control::instance_type::InstanceTypes;
use kiln_control::{
    CreatedImage, DeregisteredImage, ImageBoot, Images, Instance, InstanceStateChange, KeyPair, KeyPairs,
    ModifiedInstance, RebootedInstances, Reply, Reservation, Reservations, Snapshot, Snapshots,
    StartingInstances, StoppingInstances, TerminatingInstances, Volume, VolumeAttachment, Volumes, name_of,
};

impl<T: Shown> Shown for Reply<T> {
    fn ids(&self) -> Vec<String> {
        self.document.ids()
    }

    fn table(&self) -> Table {
        self.document.table()
    }
}

impl Shown for CreatedImage {
    fn ids(&self) -> Vec<String> {
        vec![self.image_id.clone()]
    }

    fn table(&self) -> Table {
        let mut table = Table::fields();
        table.row([self.image_id.clone()]);
        table
    }
}

impl Shown for ImageBoot {
    fn ids(&self) -> Vec<String> {
        vec![self.boot.kernel.clone()]
    }

    fn table(&self) -> Table {
        let boot = &self.boot;
        let mut table = Table::fields();
        let mut field = |name: &str, value: &str| table.row([name.to_owned(), value.to_owned()]);
        field("menu", &boot.menu);
        field("entry", &boot.entry);
        field("because", &boot.reason);
        field("kernel", &boot.kernel);
        boot.initrd.iter().for_each(|file| field("initrd", file));
        field("command line", &boot.command_line);
        boot.changes.iter().for_each(|change| field("change", change));
        table
    }
}

impl Shown for Images {
    fn ids(&self) -> Vec<String> {
        self.images.iter().map(|image| image.image_id.clone()).collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["IMAGE", "NAME", "STATE", "SIZE", "BOOT", "OWNER", "CREATED"]);
        for image in &self.images {
            let size = image
                .block_device_mappings
                .first()
                .map_or(String::new(), |root| root.ebs.size.to_string());
            table.row([
                image.image_id.clone(),
                image.name.clone(),
                image.state.to_string(),
                size,
                image.virtualization_type.to_string(),
                image
                    .image_owner_alias
                    .clone()
                    .unwrap_or_else(|| image.owner_id.clone()),
                minute(&image.creation_date.to_string()),
            ]);
        }
        table
    }
}

impl Shown for DeregisteredImage {
    fn ids(&self) -> Vec<String> {
        vec![self.image_id.clone()]
    }

    fn table(&self) -> Table {
        let mut table = Table::fields();
        table.row([self.image_id.clone(), "deregistered".to_owned()]);
        for snapshot in &self.delete_snapshot_results {
            let what = if snapshot.return_code == "success" {
                "deleted"
            } else {
                "kept: another image names it"
            };
            table.row([snapshot.snapshot_id.clone(), what.to_owned()]);
        }
        table
    }
}

impl Shown for KeyPair {
    fn ids(&self) -> Vec<String> {
        vec![self.key_name.clone()]
    }

    fn table(&self) -> Table {
        let mut table = Table::fields();
        table.row([self.key_name.clone()]);
        table
    }
}

impl Shown for KeyPairs {
    fn ids(&self) -> Vec<String> {
        self.key_pairs
            .iter()
            .map(|key_pair| key_pair.key_name.clone())
            .collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["KEY", "TYPE", "FINGERPRINT", "CREATED"]);
        for key_pair in &self.key_pairs {
            table.row([
                key_pair.key_name.clone(),
                key_pair.key_type.to_string(),
                key_pair.key_fingerprint.clone(),
                minute(&key_pair.create_time.to_string()),
            ]);
        }
        table
    }
}

fn instances<'a>(all: impl Iterator<Item = &'a Instance>) -> Table {
    let mut table = Table::new(&["INSTANCE", "NAME", "STATE", "TYPE", "IMAGE", "LAUNCHED"]);
    for instance in all {
        table.row([
            instance.instance_id.clone(),
            name_of(&instance.tags).unwrap_or_default().to_owned(),
            instance.state.name.to_string(),
            instance.instance_type.clone(),
            instance.image_id.clone(),
            minute(&instance.launch_time.to_string()),
        ]);
    }
    table
}

impl Shown for Reservation {
    fn ids(&self) -> Vec<String> {
        self.instances
            .iter()
            .map(|instance| instance.instance_id.clone())
            .collect()
    }

    fn table(&self) -> Table {
        instances(self.instances.iter())
    }
}

impl Shown for Reservations {
    fn ids(&self) -> Vec<String> {
        self.reservations.iter().flat_map(Reservation::ids).collect()
    }

    fn table(&self) -> Table {
        instances(self.reservations.iter().flat_map(|r| &r.instances))
    }
}

fn changes(all: &[InstanceStateChange]) -> Table {
    let mut table = Table::new(&["INSTANCE", "BEFORE", "NOW"]);
    for change in all {
        table.row([
            change.instance_id.clone(),
            change.previous_state.name.to_string(),
            change.current_state.name.to_string(),
        ]);
    }
    table
}

macro_rules! state_changes {
    ($($document:ident: $field:ident;)*) => {$(
        impl Shown for $document {
            fn ids(&self) -> Vec<String> {
                self.$field.iter().map(|change| change.instance_id.clone()).collect()
            }

            fn table(&self) -> Table {
                changes(&self.$field)
            }
        }
    )*};
}

state_changes! {
    StartingInstances: starting_instances;
    StoppingInstances: stopping_instances;
    TerminatingInstances: terminating_instances;
}

impl Shown for ModifiedInstance {
    fn ids(&self) -> Vec<String> {
        vec![self.instance_id.clone()]
    }

    fn table(&self) -> Table {
        let mut table = Table::fields();
        table.row([self.instance_id.clone()]);
        table
    }
}

impl Shown for RebootedInstances {
    fn ids(&self) -> Vec<String> {
        self.instance_ids.clone()
    }

    fn table(&self) -> Table {
        let mut table = Table::fields();
        for id in &self.instance_ids {
            table.row([id.clone(), "rebooted".to_owned()]);
        }
        table
    }
}

fn snapshots<'a>(all: impl Iterator<Item = &'a Snapshot>) -> Table {
    let mut table = Table::new(&[
        "SNAPSHOT",
        "NAME",
        "STATE",
        "SIZE",
        "VOLUME",
        "STARTED",
        "DESCRIPTION",
    ]);
    for snapshot in all {
        table.row([
            snapshot.snapshot_id.clone(),
            name_of(&snapshot.tags).unwrap_or_default().to_owned(),
            snapshot.state.to_string(),
            snapshot.size.to_string(),
            snapshot.volume_id.clone(),
            minute(&snapshot.start_time.to_string()),
            snapshot.description.clone(),
        ]);
    }
    table
}

impl Shown for Snapshot {
    fn ids(&self) -> Vec<String> {
        vec![self.snapshot_id.clone()]
    }

    fn table(&self) -> Table {
        snapshots(std::iter::once(self))
    }
}

impl Shown for Snapshots {
    fn ids(&self) -> Vec<String> {
        self.snapshots
            .iter()
            .map(|snapshot| snapshot.snapshot_id.clone())
            .collect()
    }

    fn table(&self) -> Table {
        snapshots(self.snapshots.iter())
    }
}

fn volumes<'a>(all: impl Iterator<Item = &'a Volume>) -> Table {
    let mut table = Table::new(&[
        "VOLUME",
        "NAME",
        "STATE",
        "SIZE",
        "INSTANCE",
        "DEVICE",
        "SNAPSHOT",
        "AT THE END",
    ]);
    for volume in all {
        let place = volume.attachments.first();
        table.row([
            volume.volume_id.clone(),
            name_of(&volume.tags).unwrap_or_default().to_owned(),
            volume.state.to_string(),
            volume.bytes.to_string(),
            place.map_or(String::new(), |a| a.instance_id.clone()),
            place.map_or(String::new(), |a| a.device.clone()),
            volume.snapshot_id.clone(),
            place
                .map_or("", |a| {
                    if a.delete_on_termination {
                        "deleted"
                    } else {
                        "kept"
                    }
                })
                .to_owned(),
        ]);
    }
    table
}

impl Shown for Volume {
    fn ids(&self) -> Vec<String> {
        vec![self.volume_id.clone()]
    }

    fn table(&self) -> Table {
        volumes(std::iter::once(self))
    }
}

impl Shown for Volumes {
    fn ids(&self) -> Vec<String> {
        self.volumes
            .iter()
            .map(|volume| volume.volume_id.clone())
            .collect()
    }

    fn table(&self) -> Table {
        volumes(self.volumes.iter())
    }
}

impl Shown for VolumeAttachment {
    fn ids(&self) -> Vec<String> {
        vec![self.volume_id.clone()]
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["VOLUME", "INSTANCE", "DEVICE", "STATE"]);
        table.row([
            self.volume_id.clone(),
            self.instance_id.clone(),
            self.device.clone(),
            self.state.to_owned(),
        ]);
        table
    }
}

impl Shown for InstanceTypes {
    fn ids(&self) -> Vec<String> {
        self.instance_types
            .iter()
            .map(|t| t.instance_type.to_owned())
            .collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["TYPE", "VCPUS", "MEMORY"]);
        for t in &self.instance_types {
            table.row([
                t.instance_type.to_owned(),
                t.v_cpu_info.default_v_cpus.to_string(),
                kiln_control::Bytes(t.memory_info.size_in_mib << 20).to_string(),
            ]);
        }
        table
    }
}

/// `2026-11-25T19:51:26.000Z` without what nobody reads in a table.
fn minute(moment: &str) -> String {
    moment
        .get(..16)
        .map_or_else(|| moment.to_owned(), |text| text.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_in_a_table_ends_with_the_minute() {
        assert_eq!(minute("2026-11-25T19:51:26.000Z"), "2026-11-25 19:51");
        assert_eq!(minute("never"), "never");
    }
}
