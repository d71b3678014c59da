use crate::*;
use std::os::unix::net::UnixStream;

fn missing<T>() -> Result<T> {
    Err(Error::new(Code::InternalError, "this action is not there yet"))
}

impl Cloud {
    /// Opens a home, makes it if it is not there, and finishes or undoes what was cut short in it.
    pub fn open(_options: Options) -> Result<Cloud> {
        missing()
    }
    /// What opening found worth telling: one line for each piece of work that was finished or undone.
    pub fn notices(&self) -> Vec<String> {
        Vec::new()
    }
    /// Sees which guests have ended by themselves since the last look.
    pub fn refresh(&self) -> Result<Vec<String>> {
        missing()
    }
    /// CreateImage.
    pub fn create_image(&self, _request: CreateImage) -> Result<Reply<CreatedImage>> {
        missing()
    }
    /// Makes an image of a disk file.
    pub fn import_image(&self, _request: ImportImage<'_>) -> Result<Reply<CreatedImage>> {
        missing()
    }
    /// Writes an image into a file that stands alone.
    pub fn export_image(&self, _request: ExportImage<'_>) -> Result<Reply<()>> {
        missing()
    }
    /// DescribeImages.
    pub fn describe_images(&self, _request: DescribeImages) -> Result<Images> {
        missing()
    }
    /// DeregisterImage.
    pub fn deregister_image(&self, _request: DeregisterImage) -> Result<Reply<DeregisteredImage>> {
        missing()
    }
    /// CreateSnapshot.
    pub fn create_snapshot(&self, _request: CreateSnapshot) -> Result<Reply<Snapshot>> {
        missing()
    }
    /// DescribeSnapshots.
    pub fn describe_snapshots(&self, _request: DescribeSnapshots) -> Result<Snapshots> {
        missing()
    }
    /// DeleteSnapshot; answers with the id.
    pub fn delete_snapshot(&self, _snapshot: &str) -> Result<Reply<SnapshotId>> {
        missing()
    }
    /// DescribeVolumes.
    pub fn describe_volumes(&self, _request: DescribeVolumes) -> Result<Volumes> {
        missing()
    }
    /// RunInstances. Answers when the guests run.
    pub fn run_instances(&self, _request: RunInstances) -> Result<Reply<Reservation>> {
        missing()
    }
    /// DescribeInstances.
    pub fn describe_instances(&self, _request: DescribeInstances) -> Result<Reservations> {
        missing()
    }
    /// StartInstances.
    pub fn start_instances(&self, _instances: &[String]) -> Result<Reply<StartingInstances>> {
        missing()
    }
    /// StopInstances.
    pub fn stop_instances(&self, _request: StopInstances) -> Result<Reply<StoppingInstances>> {
        missing()
    }
    /// RebootInstances.
    pub fn reboot_instances(
        &self,
        _instances: &[String],
        _ending: Ending,
    ) -> Result<Reply<RebootedInstances>> {
        missing()
    }
    /// TerminateInstances.
    pub fn terminate_instances(&self, _instances: &[String]) -> Result<Reply<TerminatingInstances>> {
        missing()
    }
    /// CreateTags on anything: images, instances, volumes, snapshots, by id, name or beginning of either.
    pub fn create_tags(&self, _resources: &[String], _tags: &[Tag]) -> Result<()> {
        missing()
    }
    /// Finds one instance by id, name or beginning of either. Terminated ones are found by their id only.
    pub fn resolve_instance(&self, _instance: &str) -> Result<InstanceId> {
        missing()
    }
    /// The folder of an instance: `console.log`, `console.log.1`, `vmm.log`.
    pub fn instance_directory(&self, _instance: &InstanceId) -> std::path::PathBuf {
        std::path::PathBuf::new()
    }
    /// A connection to a running instance's agent, for `kiln_agent::client::Agent::connect`.
    pub fn connect_agent(&self, _instance: &InstanceId) -> Result<UnixStream> {
        missing()
    }
    /// Verifies catalogue, store and every layer; repairs what a crash may leave.
    pub fn check(&self) -> Result<Findings> {
        missing()
    }
    /// Takes away the layers that nothing names.
    pub fn collect(&self) -> Result<Collected> {
        missing()
    }
}
