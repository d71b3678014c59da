//! What every command knows: the store, the form of results, and where it works.

use crate::accel::{self, Place, Wish};
use crate::args::{Command, Global};
use crate::attach::Input;
use crate::download::Watcher;
use crate::failure::Failure;
use crate::home::free;
use crate::official;
use crate::output::{self, Format, Shown};
use crate::progress::{Copying, Visible, Waiting};
use crate::software_machine::{self, Lease, forward, inside};
use kiln_agent::client::Unread;
use kiln_control::{Cloud, Code, DataMap, Options, Progress, Region, Reply};
use kiln_guest_images::built_in;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// With fewer free bytes a host's disk is full: a software machine hardly writes less at once.
const FULL: u64 = 1 << 20;

/// What a software machine says whose disk the host could not write.
const LOST_DISK: &str = "the software machine could not write its disk, as its host's is full or fails: once that is mended, \
                         `kiln machine stop`; the next command starts it with all that was synced";

/// What every command knows.
#[derive(Debug)]
pub(crate) struct Context {
    /// The store's folder on this host.
    pub(crate) home: PathBuf,
    /// How results are printed.
    pub(crate) format: Format,
    region: Option<String>,
    account: Option<String>,
    quiet: bool,
    hints: Hints,
}

/// Whether hints are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hints {
    Shown,
    /// What goes to stderr is another command's, for a program to read.
    Hidden,
}

impl Context {
    pub(crate) fn new(global: &Global, command: &Command) -> Self {
        let is_anothers = command.hands_on_a_status() && !std::io::stderr().is_terminal();
        Self {
            home: crate::home::store(global.home.as_deref()),
            format: global.format(),
            region: global.region.clone(),
            account: global.account.clone().or_else(|| set("KILN_ACCOUNT")),
            quiet: global.quiet,
            hints: if is_anothers { Hints::Hidden } else { Hints::Shown },
        }
    }

    /// Something worth knowing, on stderr, unless that is another command's and no person reads it.
    pub(crate) fn hint(&self, text: &str) {
        if self.hints == Hints::Shown {
            self.note("hint", text);
        }
    }

    /// Something that should not be so, on stderr.
    pub(crate) fn warn(&self, text: &str) {
        self.note("warning", text);
    }

    fn note(&self, kind: &str, text: &str) {
        if self.format != Format::Json {
            output::aside(&output::remark(kind, text));
        }
    }

    /// Says what becomes of something, should this command be told to end before it is done.
    pub(crate) fn say_when_cut_short(&self, what: &'static str) -> Result<(), Failure> {
        let format = self.format;
        crate::interrupt::at_a_signal(move || {
            if format != Format::Json {
                output::aside(&format!("\nwarning: interrupted: {what}\n"));
            }
        })
    }

    /// Says at once that a launch was interrupted, if it is: it is finished first. Over once what this returns is dropped.
    pub(crate) fn say_while_launching(&self) -> Result<Arc<()>, Failure> {
        let launching = Arc::new(());
        let still = Arc::downgrade(&launching);
        if self.hints == Hints::Shown && self.format != Format::Json {
            crate::interrupt::besides(move || {
                if still.upgrade().is_some() {
                    output::aside(
                        "\nhint: interrupted: the launch is finished first, which may take some seconds\n",
                    );
                }
            })?;
        }
        Ok(launching)
    }

    /// Whether progress is shown.
    pub(crate) fn progress(&self) -> Visible {
        Visible::on_a_terminal(!self.quiet && self.format != Format::Json)
    }

    /// Prints a result; its warnings go to stderr.
    pub(crate) fn print<T: Shown>(&self, reply: &Reply<T>) -> Result<u8, Failure> {
        self.warnings(&reply.warnings);
        output::print(self.format, &reply.document)?;
        Ok(0)
    }

    /// Prints what was made. Where that cannot be written, the error names it: it is there all the same.
    pub(crate) fn print_made<T: Shown>(&self, reply: &Reply<T>) -> Result<u8, Failure> {
        self.print(reply).map_err(|failure| {
            let ids = reply.ids().join(" ");
            Failure {
                message: format!("{}; made all the same: {ids}", failure.message),
                ..failure
            }
        })
    }

    pub(crate) fn warnings(&self, all: &[String]) {
        for text in all {
            self.warn(text);
        }
    }

    /// The store, opened: what was cut short in it is finished or undone.
    pub(crate) fn cloud(&self) -> Result<Cloud, Failure> {
        let mut options = Options::new(&self.home);
        options.region = Region::parse(&self.named_region())?;
        options.account = self.account.clone();
        options.emulated = inside::user_folder().is_some();
        options.firmware = vec![software_machine::unpacked_packages()];
        let cloud = Cloud::open(options).map_err(|error| {
            if inside::has_lost_its_disk() {
                Failure::coded(Code::Unavailable.as_str(), LOST_DISK)
            } else {
                error.into()
            }
        })?;
        for notice in cloud.notices() {
            self.hint(&notice);
        }
        Ok(cloud)
    }

    /// Prints what was found. Where that is nothing, it may be in another region.
    pub(crate) fn print_found<T: Shown>(&self, cloud: &Cloud, found: T) -> Result<u8, Failure> {
        if found.ids().is_empty() {
            self.hint_at_other_regions(cloud)?;
        }
        self.print(&Reply::new(found))
    }

    /// Says where this account has something, if that is not in this region.
    fn hint_at_other_regions(&self, cloud: &Cloud) -> Result<(), Failure> {
        let (region, in_use) = (self.named_region(), cloud.regions_in_use()?);
        if !in_use.is_empty() && !in_use.contains(&region) {
            let in_use = in_use.join(", ");
            self.hint(&format!(
                "nothing of this account is in region {region}; it has something in {in_use}"
            ));
        }
        Ok(())
    }

    /// What was not found under its name may be in another region, or an image that can be built or fetched; what a
    /// machine lacks may be the software machine's to have. `launched` is the image that was to be.
    pub(crate) fn explain(&self, failure: &Failure, launched: Option<&str>) {
        let lacks_image = failure.has(Code::InvalidAmiIdNotFound);
        if lacks_image && let Some(remedy) = launched.and_then(remedy) {
            self.hint(&remedy);
        } else if failure.is_not_found()
            && let Ok(cloud) = self.cloud()
        {
            // The failure itself is what counts.
            let _ = self.hint_at_other_regions(&cloud);
        }
        let lacks_memory = failure.has(Code::InsufficientInstanceCapacity);
        if lacks_memory && inside::user_folder().is_some() {
            self.hint(
                "memory is the software machine's: `kiln machine start --memory` says how much, and its huge pages are set \
                 aside in `kiln machine shell`",
            );
        }
    }

    /// The region that this command is about.
    pub(crate) fn region(&self) -> Result<String, Failure> {
        Ok(Region::parse(&self.named_region())?.to_string())
    }

    fn named_region(&self) -> String {
        let variables = ["KILN_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"];
        self.region
            .clone()
            .or_else(|| variables.into_iter().find_map(set))
            .unwrap_or_else(|| Region::DEFAULT.to_owned())
    }

    /// How long a guest may take for its agent to answer, or to shut down, where nothing else is said.
    pub(crate) fn guest_timeout(&self, chosen: Option<u64>) -> Duration {
        let here = if inside::user_folder().is_some() { 300 } else { 60 };
        Duration::from_secs(chosen.unwrap_or(here))
    }

    /// Does this command work in the software machine?
    pub(crate) fn is_forwarded(&self, command: &Command) -> Result<bool, Failure> {
        self.is_elsewhere(command.runs_guest())
    }

    /// Do commands work in the software machine?
    pub(crate) fn is_elsewhere(&self, runs_guest: bool) -> Result<bool, Failure> {
        let wish = Wish::read()?;
        match accel::place(wish, || accel::look(wish), runs_guest, accel::in_ci())? {
            Place::Here => {
                if wish == Wish::Kvm && software_machine::exists(&self.home) {
                    self.hint(
                        "KILN_ACCEL=kvm works in this host's own store; that of the software machine is another one",
                    );
                }
                Ok(false)
            }
            Place::SoftwareMachine { remedy } => {
                if let Some(line) = remedy {
                    self.warn(&line);
                }
                Ok(true)
            }
        }
    }

    /// Runs `kiln` with these arguments in the software machine; its exit status. `map` is of the file
    /// that it imports, if it does.
    pub(crate) fn forward(
        &self,
        arguments: Vec<OsString>,
        reads: Input,
        unread: Unread,
        map: Option<DataMap>,
    ) -> Result<u8, Failure> {
        let lease = self.lease()?;
        let mut argv = vec![OsString::from("kiln")];
        argv.extend(arguments);
        let ended = forward::run(&lease, argv, forward::Cwd::Same, reads, unread, map)?;
        match ended.message() {
            Some(message) => Err(Failure::new(format!("the software machine: {message}"))),
            None => {
                // What is written in the machine is on this disk; in there that is no more than an error of its own disk.
                if ended.code() != 0 && free(&self.home).is_some_and(|free| free < FULL) {
                    self.hint(&format!(
                        "the disk of {} is full: free some first",
                        self.home.display()
                    ));
                }
                Ok(ended.code())
            }
        }
    }

    /// This command's global options, for another `kiln`.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let form = match self.format {
            Format::Table => "table",
            Format::Json => "json",
            Format::Id => "id",
        };
        let mut all = vec![
            OsString::from("--output"),
            form.into(),
            "--region".into(),
            self.named_region().into(),
        ];
        if let Some(account) = &self.account {
            all.extend(["--account".into(), account.into()]);
        }
        all
    }

    /// The software machine, started if need be.
    pub(crate) fn lease(&self) -> Result<Lease, Failure> {
        let mut waiting = None;
        let mut say = |what: &str| {
            waiting
                .get_or_insert_with(|| {
                    self.hint(
                        "guests run in the software machine here (this host has no usable KVM): slower, the same \
                         otherwise; it starts now and stays for 10 idle minutes",
                    );
                    Waiting::begin(self.progress(), "the software machine starts")
                })
                .now(format!("the software machine: {what}"));
        };
        let lease = software_machine::lease(&self.home, &mut say)?;
        drop(waiting);
        if let Some(reason) = &lease.restarted {
            self.warn(&format!(
                "the software machine failed and was started again ({reason}); instances that ran in it show as stopped"
            ));
        }
        Ok(lease)
    }
}

impl Watcher for Context {
    fn begin(&self, what: &'static str) -> Box<dyn Progress + '_> {
        Box::new(Copying::begin(self.progress(), what))
    }

    fn hint(&self, text: &str) {
        self.hint(text);
    }

    fn warn(&self, text: &str) {
        self.warn(text);
    }
}

/// The command that makes an image of this name, if it comes with Kiln or is a distribution's.
fn remedy(name: &str) -> Option<String> {
    if built_in().iter().any(|(known, _)| known == name) {
        return Some(format!("`kiln image build {name}` makes it"));
    }
    let image = official::find(name).ok()??;
    let (command, host) = (image.command(), image.host());
    Some(format!("`{command}` fetches it from {host} and registers it"))
}

/// A variable that is set to something.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_not_here_yet_is_told_with_the_command_that_makes_it() {
        for (name, told) in [
            ("debian-12", Some("`kiln image build debian-12` makes it")),
            (
                "ubuntu-24.04",
                Some(
                    "`kiln image import ubuntu-24.04 --name ubuntu-24.04` fetches it from cloud-images.ubuntu.com and \
                     registers it",
                ),
            ),
            ("nobodys", None),
        ] {
            assert_eq!(remedy(name).as_deref(), told);
        }
    }
}
