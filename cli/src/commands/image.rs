//! `kiln image …`.

use super::Context;
use crate::args::image::{Create, Deregister, DiskFormat, Export, Image, List, Register, Show};
use crate::failure::Failure;
use crate::output::{self, Format, Table};
use crate::progress::{Copying, Waiting};
use crate::user_file::{Over, UserFile};
use kiln_control::{
    CreateImage, DeregisterImage, DeregisteredImage, DescribeImages, ExportFormat, ExportImage, OnDeregister,
    OnTermination, Owner, Reboot, RegisterImage, Reply,
};

pub(crate) fn run(context: &Context, command: Image) -> Result<u8, Failure> {
    match command {
        Image::Build(build) => super::build::run(context, build),
        Image::Import(import) => super::import::run(context, import),
        Image::Register(register) => self::register(context, register),
        Image::Export(export) => self::export(context, &export),
        Image::Create(create) => self::create(context, create),
        Image::List(list) if list.official => super::official::list(context),
        Image::List(list) => self::list(context, list),
        Image::Show(show) => self::show(context, show),
        Image::Doctor(diagnose) => match diagnose.file() {
            Some(file) => super::diagnose::file(context, &diagnose, &file),
            None => super::diagnose::image(context, &diagnose),
        },
        Image::Deregister(deregister) => self::deregister(context, deregister),
        Image::Tag(tag) => super::instance::tag(context, tag),
    }
}

fn register(context: &Context, register: Register) -> Result<u8, Failure> {
    context.print_made(&context.cloud()?.register_image(RegisterImage {
        snapshot: register.snapshot,
        name: register.name,
        description: register.description,
        boots: super::import::boots(register.boot),
        tags: register.tags,
    })?)
}

fn export(context: &Context, export: &Export) -> Result<u8, Failure> {
    if let (Some(file), Some(data)) = (&export.file, &export.uefi_data)
        && file.is_also(data)
    {
        let message = format!(
            "the disk and its UEFI data cannot both be {}: name two files",
            file.name()
        );
        return Err(Failure::usage(message));
    }
    let format = export
        .file
        .as_ref()
        .map(|file| format(export, file))
        .transpose()?;
    let cloud = context.cloud()?;
    let found = cloud.describe_images(DescribeImages {
        images: vec![export.image.clone()],
        ..DescribeImages::default()
    })?;
    let over = if export.force {
        Over::RegularFile
    } else {
        Over::Nothing
    };
    let variables = match &export.uefi_data {
        Some(file) => {
            let new = file.create(over)?;
            new.write_all(cloud.image_uefi_data(&export.image)?.as_bytes())?;
            Some(new)
        }
        None => None,
    };
    if let (Some(file), Some(format)) = (&export.file, format) {
        let new = file.create(over)?;
        let target = new
            .file()
            .map_err(|e| Failure::new(format!("cannot write {}: {e}", file.name())))?;
        new.remove_at_a_signal()?;
        let copying = Copying::begin(context.progress(), "exporting");
        let reply = cloud.export_image(ExportImage {
            image: export.image.clone(),
            target,
            format,
            progress: Some(&copying),
        });
        drop(copying);
        context.warnings(&reply?.warnings);
        new.complete()?;
    }
    if let Some(variables) = variables {
        variables.complete()?;
    }
    let names = [&export.file, &export.uefi_data].map(|file| file.as_ref().map(UserFile::name));
    match context.format {
        Format::Json => output::document(&serde_json::json!({
            "ImageId": found.images.first().map(|image| image.image_id.clone()),
            "File": names[0],
            "UefiDataFile": names[1],
        }))?,
        _ => output::line(&names.into_iter().flatten().collect::<Vec<_>>().join("\n"))?,
    }
    Ok(0)
}

/// What a disk is written as.
fn format(export: &Export, file: &UserFile) -> Result<ExportFormat, Failure> {
    match (export.format, file.ending().as_deref()) {
        (Some(DiskFormat::Qcow2), _) | (None, Some("qcow2")) => Ok(ExportFormat::Qcow2),
        (Some(DiskFormat::Raw), _) | (None, Some("raw" | "img")) => Ok(ExportFormat::Raw),
        (None, _) => Err(Failure::usage(format!(
            "the name {} does not tell the format: end it with .qcow2 or .raw, or say --format",
            file.name()
        ))),
    }
}

fn create(context: &Context, create: Create) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    context.say_when_cut_short("the next command finishes or undoes what is half done")?;
    let waiting = Waiting::begin(
        context.progress(),
        format!("making an image of {}", create.instance),
    );
    let reply = cloud.create_image(CreateImage {
        instance: create.instance,
        name: create.name,
        description: create.description,
        reboot: if create.no_reboot { Reboot::No } else { Reboot::Yes },
        volumes: if create.keep_volumes {
            OnTermination::Keep
        } else {
            OnTermination::Delete
        },
        tags: create.tags,
        timeout: context.guest_timeout(create.timeout),
    });
    drop(waiting);
    context.print_made(&reply?)
}

fn list(context: &Context, list: List) -> Result<u8, Failure> {
    let owners = list.owner.iter().map(|owner| Owner::parse(owner)).collect();
    let cloud = context.cloud()?;
    let found = cloud.describe_images(DescribeImages {
        images: list.names,
        owners,
        filters: list.filters,
    })?;
    context.print_found(&cloud, found)
}

fn show(context: &Context, show: Show) -> Result<u8, Failure> {
    if show.boot {
        let [image] = show.images.as_slice() else {
            return Err(Failure::usage("--boot looks at one image: name one"));
        };
        return context.print(&context.cloud()?.boot_of_image(image)?);
    }
    let found = context.cloud()?.describe_images(DescribeImages {
        images: show.images,
        ..DescribeImages::default()
    })?;
    if context.format != Format::Table {
        return context.print(&Reply::new(found));
    }
    for (n, image) in found.images.iter().enumerate() {
        if n > 0 {
            output::line("")?;
        }
        let mut table = Table::fields();
        let mut field = |name: &str, value: String| table.row([name.to_owned(), value]);
        field("image", image.image_id.clone());
        field("name", image.name.clone());
        field("state", image.state.to_string());
        if let Some(reason) = &image.state_reason {
            field("because", reason.message.clone());
        }
        if let Some(text) = &image.description {
            field("description", text.clone());
        }
        field(
            "boot",
            match image.boot_mode {
                Some(mode) => format!("{} ({mode})", image.virtualization_type),
                None => image.virtualization_type.to_string(),
            },
        );
        if let Some(system) = &image.operating_system {
            field("system", system.name.clone());
        }
        if let Some(table) = image.partition_table {
            field("partitions", table.to_string());
        }
        field(
            "owner",
            image
                .image_owner_alias
                .clone()
                .unwrap_or_else(|| image.owner_id.clone()),
        );
        field("created", image.creation_date.to_string());
        if let Some(instance) = &image.source_instance_id {
            field("of", instance.clone());
        }
        for disk in &image.block_device_mappings {
            let snapshot = disk.ebs.snapshot_id.as_deref().unwrap_or("empty");
            let end = if disk.ebs.delete_on_termination {
                "deleted"
            } else {
                "kept"
            };
            field(
                &format!("disk {}", disk.device_name),
                format!(
                    "{snapshot} {}, {end} when an instance is terminated",
                    disk.ebs.size
                ),
            );
        }
        for tag in &image.tags {
            field("tag", format!("{}={}", tag.key, tag.value));
        }
        output::bytes(table.to_string().as_bytes())?;
    }
    Ok(0)
}

fn deregister(context: &Context, deregister: Deregister) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    let snapshots = if deregister.delete_snapshots {
        OnDeregister::DeleteSnapshots
    } else {
        OnDeregister::KeepSnapshots
    };
    // Each is told at once, but a document tells of all.
    let mut all: Option<Reply<DeregisteredImage>> = None;
    let ids = cloud.resolve_images(&deregister.images)?;
    let done = ids.iter().try_for_each(|id| {
        let image = id.to_string();
        let reply = cloud.deregister_image(DeregisterImage { image, snapshots })?;
        if context.format != Format::Json {
            return context.print(&reply).map(drop);
        }
        match &mut all {
            Some(all) => {
                let results = reply.document.delete_snapshot_results;
                all.document.delete_snapshot_results.extend(results);
                all.warnings.extend(reply.warnings);
            }
            None => all = Some(reply),
        }
        Ok(())
    });
    if let Some(all) = all {
        context.print(&all)?;
    }
    done.map(|()| 0)
}
