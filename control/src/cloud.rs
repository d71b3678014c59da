//! A home, opened for one account in one region: where every call begins.

use crate::catalog::{Catalog, accounts, instances};
use crate::region::Region;
use crate::size::Bytes;
use crate::store::Layers;
use crate::supervisor::Machines;
use crate::supervisor::vmm::Vmms;
use crate::{Code, Error, InstanceId, InstanceState, Result};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What to open, and as whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with everything in it; made if it is not there.
    pub home: PathBuf,
    /// The region that calls are about.
    pub region: Region,
    /// Whose account acts, by id or name; the first account if not given.
    pub account: Option<String>,
    /// The program that runs guests; looked for beside the running program if not given.
    pub kiln_vmm: Option<PathBuf>,
    /// Folders laid out as a host's root, in which firmware is looked for before this host's own is.
    pub firmware: Vec<PathBuf>,
    /// How much memory guests may have together; the host's, less what it needs itself, if not given.
    pub memory: Option<Bytes>,
    /// Whether this host's processors are emulated in software, whose emulation Windows would end.
    pub emulated: bool,
}

impl Options {
    /// Everything as by default in a home.
    pub fn new(home: impl Into<PathBuf>) -> Options {
        Options {
            home: home.into(),
            region: Region::default(),
            account: None,
            kiln_vmm: None,
            firmware: Vec::new(),
            memory: None,
            emulated: false,
        }
    }
}

/// A home, opened for one account in one region.
///
/// It may be opened by many processes at once. Nothing is kept in memory between two calls, but for the instances
/// that live no longer than this value ([`Lifetime::Session`](crate::Lifetime::Session)).
#[derive(Debug)]
pub struct Cloud {
    pub(crate) home: PathBuf,
    pub(crate) region: Region,
    pub(crate) account: String,
    /// The account that owns what comes with Kiln.
    pub(crate) kiln: String,
    pub(crate) host: String,
    pub(crate) memory: Option<Bytes>,
    pub(crate) emulated: bool,
    pub(crate) firmware: Vec<PathBuf>,
    pub(crate) catalog: Catalog,
    pub(crate) layers: Layers,
    pub(crate) machines: Arc<dyn Machines>,
    /// The locks of launches that end with this value.
    pub(crate) sessions: Mutex<Vec<crate::work::Hold>>,
    notices: Mutex<Vec<String>>,
}

impl Cloud {
    /// Opens a home, makes it if it is not there, and finishes or undoes what was cut short in it.
    pub fn open(options: Options) -> Result<Cloud> {
        let machines = Arc::new(Vmms::new(options.kiln_vmm.clone()));
        Cloud::open_with(options, machines)
    }

    /// As [`Cloud::open`], with machines of the caller's.
    pub(crate) fn open_with(options: Options, machines: Arc<dyn Machines>) -> Result<Cloud> {
        let home = std::path::absolute(&options.home)
            .map_err(|error| Error::internal(format!("find {}", options.home.display()), error))?;
        for folder in [home.clone(), home.join("instances"), home.join("operations")] {
            crate::folder::make_private(&folder)?;
        }
        let catalog = Catalog::open(&home)?;
        if !catalog.read(|tx| accounts::are_seeded(tx))? {
            catalog.write(|tx| accounts::seed(tx))?;
        }
        let (host, account, kiln) = catalog.read(|tx| {
            let account = match &options.account {
                Some(text) => accounts::find(tx, text)?,
                None => accounts::first(tx)?,
            };
            Ok((accounts::host(tx)?, account, accounts::kiln(tx)?))
        })?;
        let cloud = Cloud {
            layers: Layers::open(&home, &options.region)?,
            home,
            region: options.region,
            account,
            kiln,
            host,
            memory: options.memory,
            emulated: options.emulated,
            firmware: options.firmware,
            catalog,
            machines,
            sessions: Mutex::default(),
            notices: Mutex::default(),
        };
        let notices = cloud.refresh()?;
        if let Ok(mut kept) = cloud.notices.lock() {
            *kept = notices;
        }
        Ok(cloud)
    }

    /// What opening found worth telling: one line for each piece of work that was finished or undone.
    pub fn notices(&self) -> Vec<String> {
        self.notices.lock().map(|kept| kept.clone()).unwrap_or_default()
    }

    /// The regions of this home in which there is anything of this account, by name.
    pub fn regions_in_use(&self) -> Result<Vec<String>> {
        self.catalog.read(|tx| {
            let mut statement = tx.prepare(
                "SELECT region FROM images WHERE owner = ?1 AND state <> 'deregistered'
                 UNION SELECT region FROM instances WHERE owner = ?1 AND state <> 'terminated'
                 UNION SELECT region FROM volumes WHERE owner = ?1
                 UNION SELECT region FROM snapshots WHERE owner = ?1 ORDER BY 1",
            )?;
            let regions = statement.query_map([&self.account], |row| row.get(0))?;
            Ok(regions.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The folder of an instance: `console.log`, `console.log.1`, `vmm.log` and the sockets.
    pub fn instance_directory(&self, instance: &InstanceId) -> PathBuf {
        self.home.join("instances").join(instance.as_str())
    }

    /// A connection to a running instance's agent, for `kiln_agent::client::Agent::connect`. Whether the agent answers
    /// on it is another matter.
    pub fn connect_agent(&self, instance: &InstanceId) -> Result<UnixStream> {
        self.must_run(instance)?;
        crate::agent::connect(&self.instance_directory(instance))
    }

    /// A running instance's machine, for what the catalogue has no part in: its console, its figures.
    pub fn connect_machine(&self, instance: &InstanceId) -> Result<kiln_vmm::client::Vmm> {
        self.must_run(instance)?;
        kiln_vmm::client::Vmm::connect(&self.instance_directory(instance))
            .map_err(|error| Error::caused(Code::IncorrectInstanceState, "ask the instance's machine", error))
    }

    /// The memory that an instance was given.
    pub(crate) fn memory_of(&self, instance: &InstanceId) -> Result<Bytes> {
        Ok(self.catalog.read(|tx| instances::get(tx, instance))?.memory)
    }

    fn must_run(&self, instance: &InstanceId) -> Result<()> {
        match self.catalog.read(|tx| instances::get(tx, instance))?.state {
            InstanceState::Running => Ok(()),
            state => Err(Error::new(
                Code::IncorrectInstanceState,
                format!("instance {instance} is {state}; this needs it to be running"),
            )),
        }
    }

    /// The same home, seen from another region: what recovery needs.
    pub(crate) fn layers_of(&self, region: &str) -> Result<Layers> {
        Layers::open(&self.home, &Region::parse(region)?)
    }

    /// The region's only availability zone.
    pub(crate) fn zone(&self) -> String {
        format!("{}a", self.region)
    }
}
