//! `kiln list show stop start reboot terminate modify tag`.

use super::{Context, agent};
use crate::args::instance::{Instances, List, Modify, Reboot, Start, Stop, TagResources, Wait};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{self, Format, Table};
use crate::progress::Waiting;
use crate::user_file::UserFile;
use kiln_control::{
    Cloud, Code, DescribeInstances, DescribeVolumes, Ending, HugePages, Instance, InstanceBoots, InstanceId,
    InstanceState, KernelChoice, KernelFiles, MOST_USER_DATA, ModifyInstance, Reply, StopInstances, UserData,
    UserDataChoice, name_of,
};

pub(crate) fn list(context: &Context, list: List) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    cloud.refresh()?;
    let named = !list.instances.is_empty() || list.all;
    let filters = list.filters;
    let mut found = cloud.describe_instances(DescribeInstances {
        instances: list.instances,
        filters,
    })?;
    // Programs that read JSON want what EC2 would say; people want what is there.
    if !named && context.format != Format::Json {
        for reservation in &mut found.reservations {
            reservation
                .instances
                .retain(|instance| instance.state.name != InstanceState::Terminated);
        }
    }
    context.print_found(&cloud, found)
}

/// An instance as it is at this moment, if the cloud still knows it.
pub(super) fn at_present(cloud: &Cloud, instance: &InstanceId) -> Result<Option<Instance>, Failure> {
    cloud.refresh()?;
    let found = cloud.describe_instances(DescribeInstances {
        instances: vec![instance.as_str().to_owned()],
        ..DescribeInstances::default()
    })?;
    Ok(found.reservations.into_iter().flat_map(|r| r.instances).next())
}

pub(crate) fn show(context: &Context, which: Instances) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    cloud.refresh()?;
    let found = cloud.describe_instances(DescribeInstances {
        instances: which.instances,
        ..DescribeInstances::default()
    })?;
    if context.format != Format::Table {
        return context.print(&Reply::new(found));
    }
    for (n, instance) in found.reservations.iter().flat_map(|r| &r.instances).enumerate() {
        if n > 0 {
            output::line("")?;
        }
        let mut table = fields(instance);
        let volumes = instance
            .block_device_mappings
            .iter()
            .map(|disk| disk.ebs.volume_id.clone())
            .collect();
        let volumes = cloud.describe_volumes(DescribeVolumes {
            volumes,
            ..DescribeVolumes::default()
        });
        for disk in &instance.block_device_mappings {
            let size = volumes.as_ref().ok().and_then(|all| {
                all.volumes
                    .iter()
                    .find(|volume| volume.volume_id == disk.ebs.volume_id)
                    .map(|v| v.bytes.to_string())
            });
            let end = if disk.ebs.delete_on_termination {
                "deleted when it is terminated"
            } else {
                "kept when it is terminated"
            };
            let about = format!("{} {}, {end}", disk.ebs.volume_id, size.unwrap_or_default());
            table.row([format!("disk {}", disk.device_name), about]);
        }
        output::bytes(table.to_string().as_bytes())?;
    }
    Ok(0)
}

fn fields(instance: &Instance) -> Table {
    let mut table = Table::fields();
    let mut field = |name: &str, value: String| table.row([name.to_owned(), value]);
    field("instance", instance.instance_id.clone());
    if let Some(name) = name_of(&instance.tags) {
        field("name", name.to_owned());
    }
    field("state", instance.state.name.to_string());
    if let Some(reason) = &instance.state_reason {
        field("because", reason.message.clone());
    }
    field(
        "type",
        format!(
            "{}, {}",
            instance.instance_type,
            output::count(instance.cpu_options.core_count, "processor")
        ),
    );
    if instance.huge_pages != HugePages::default() {
        field("huge pages", instance.huge_pages.to_string());
    }
    field("image", instance.image_id.clone());
    if let Some(platform) = instance.platform {
        field("runs as", platform.to_string());
    }
    field("boots by", boots(instance));
    if let Some(key) = &instance.key_name {
        field("key", key.clone());
    }
    field("launched", instance.launch_time.to_string());
    for tag in instance
        .tags
        .iter()
        .filter(|tag| tag.key != kiln_control::Tag::NAME)
    {
        field("tag", format!("{}={}", tag.key, tag.value));
    }
    table
}

/// What is entered when an instance starts.
fn boots(instance: &Instance) -> String {
    match (&instance.boot, instance.current_instance_boot_mode) {
        (InstanceBoots::Menu { append: None }, _) => "the menu on its disk".to_owned(),
        (InstanceBoots::Menu { append: Some(words) }, _) => {
            format!("the menu on its disk, with {words}")
        }
        (InstanceBoots::Kernel { command_line }, _) => {
            format!("a kernel that was given, with {command_line}")
        }
        (InstanceBoots::Firmware, mode) => {
            mode.map_or_else(|| "firmware".to_owned(), |mode| format!("firmware ({mode})"))
        }
    }
}

pub(crate) fn stop(context: &Context, stop: Stop) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    context.say_when_cut_short("the guest goes on ending, but by itself: `kiln stop` again waits for it, and ends it by force in the end")?;
    let waiting = Waiting::begin(context.progress(), "stopping");
    let reply = cloud.stop_instances(StopInstances {
        instances: stop.which.instances,
        ending: if stop.force {
            Ending::Force
        } else {
            Ending::Clean(context.guest_timeout(stop.timeout))
        },
        waiting: if stop.no_wait {
            kiln_control::Waiting::No
        } else {
            kiln_control::Waiting::UntilDone
        },
    })?;
    drop(waiting);
    context.print(&reply)
}

pub(crate) fn start(context: &Context, start: &Start) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    let started = cloud.start_instances(&start.which.instances).inspect_err(|error| {
        if error.code() == Code::InvalidKernel {
            context.hint(
                "`kiln modify INSTANCE --own-kernel` has it start with the kernel of its disk again, --kernel with another",
            );
        }
    })?;
    if start.wait == Wait::Agent {
        context.say_when_cut_short("the guest goes on booting")?;
        let waiting = Waiting::begin(context.progress(), "waiting for the guest");
        let at_most = context.guest_timeout(start.agent_timeout);
        for change in &started.document.starting_instances {
            let id = InstanceId::parse(&change.instance_id)?;
            agent::wait(&cloud, &id, at_most, &Interrupt::default())?;
        }
        drop(waiting);
    }
    context.print(&started)
}

pub(crate) fn reboot(context: &Context, reboot: &Reboot) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    context.say_when_cut_short("the next command starts a guest that has powered off again")?;
    let waiting = Waiting::begin(context.progress(), "rebooting");
    let ending = Ending::Clean(context.guest_timeout(reboot.timeout));
    let reply = cloud.reboot_instances(&reboot.which.instances, ending)?;
    drop(waiting);
    context.print(&reply)
}

pub(crate) fn terminate(context: &Context, which: &Instances) -> Result<u8, Failure> {
    let cloud = context.cloud()?;
    context.say_when_cut_short("the next command finishes what has begun")?;
    context.print(&cloud.terminate_instances(&which.instances)?)
}

pub(crate) fn modify(context: &Context, modify: Modify) -> Result<u8, Failure> {
    let kernel = match (modify.kernel, modify.cmdline_append) {
        (None, None) if !modify.own_kernel => None,
        (None, append) => Some(KernelChoice::Own { append }),
        (Some(kernel), _) => Some(KernelChoice::Given(given(
            &kernel,
            modify.initrd,
            modify.cmdline,
        )?)),
    };
    context.print(&context.cloud()?.modify_instance(&ModifyInstance {
        instance: modify.instance,
        instance_type: modify.instance_type,
        kernel,
        user_data: match &modify.user_data {
            Some(file) => Some(UserDataChoice::Given(user_data(file)?)),
            None => modify.no_user_data.then_some(UserDataChoice::Nothing),
        },
    })?)
}

/// User data that is given, read.
pub(super) fn user_data(file: &UserFile) -> Result<UserData, Failure> {
    // Of what is longer no more is needed to tell that it is.
    let content = file.read_beginning(MOST_USER_DATA as u64 + 1)?;
    UserData::new(content).map_err(|error| Failure {
        message: format!("{}: {error}", file.name()),
        ..Failure::from(error)
    })
}

/// A kernel that is given, opened.
pub(super) fn given(
    kernel: &UserFile,
    initrd: Option<UserFile>,
    cmdline: Option<String>,
) -> Result<KernelFiles, Failure> {
    Ok(KernelFiles {
        kernel: kernel.open()?,
        initrd: initrd.map(|file| file.open()).transpose()?,
        cmdline: cmdline.unwrap_or_default(),
    })
}

pub(crate) fn tag(context: &Context, tag: TagResources) -> Result<u8, Failure> {
    let TagResources { resources, tags } = tag.parted()?;
    context.cloud()?.create_tags(&resources, &tags)?;
    if context.format == Format::Json {
        output::document(&serde_json::json!({"Return": true}))?;
    }
    Ok(0)
}
