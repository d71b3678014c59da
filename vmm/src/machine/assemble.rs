//! Putting the machine together, in order: memory, KVM, devices at fixed places, PCI and its devices,
//! vCPUs.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::bays::Bays;
use super::fitter::Fitter;
use super::plug::Plugs;
use super::remote::{Event, Remote};
use super::state::Shape;
use super::vcpu_thread::Outside;
use super::vcpus::Crew;
use super::{HostSide, MachineError, Saved, slots};
use crate::arch::description::Description;
use crate::arch::native::{Board, CpuTemplate, Firmware, MemoryMap, Surroundings, Tables, VcpuState};
use crate::boot::source::{BootSource, KernelSource};
use crate::bus::Bus;
use crate::kvm::vm::Vm;
use crate::kvm::{Hypervisor, kick};
use crate::memory::{self, GuestMemory};
use crate::pci::PciBus;
use crate::spec::{Device, MachineSpec, OnReset};
use crate::virtio::transport::Wiring;

/// What a machine boots by.
pub(super) enum Boot {
    /// A kernel, which is loaded each time.
    Kernel(KernelSource),
    /// Firmware, in its place.
    Firmware(Firmware),
}

/// A machine, assembled and not yet booted.
pub struct Machine {
    pub(super) on_reset: OnReset,
    pub(super) memory: GuestMemory,
    pub(super) map: MemoryMap,
    pub(super) tables: Tables,
    /// Where in guest memory the generation id is, once the tables are placed; by firmware they are later.
    pub(super) generation_at: u64,
    /// The command line of the kernel that was booted.
    pub(super) cmdline: String,
    /// Whether the guest has a past that others may have, too, and has not been told so.
    pub(super) is_copy: bool,
    pub(super) boot: Boot,
    pub(super) saved: Option<Saved>,
    pub(super) shape: Shape,
    /// Whether the guest sees Hyper-V's interface.
    pub(super) hyperv: bool,
    pub(super) hypervisor: Arc<Hypervisor>,
    pub(super) template: Arc<CpuTemplate>,
    pub(super) vm: Vm,
    pub(super) crew: Crew,
    pub(super) board: Board,
    pub(super) pci: Arc<PciBus>,
    pub(super) bays: Arc<Bays>,
    pub(super) events: Receiver<Event>,
    pub(super) remote: Arc<Remote>,
}

impl Machine {
    /// Makes the machine of `spec` with what `host` opened for it.
    pub fn assemble(spec: &MachineSpec, host: HostSide) -> Result<Self, MachineError> {
        let HostSide {
            hypervisor,
            disks,
            network,
            boot,
            saved,
            serial,
            mut ports,
            exits,
        } = host;
        kick::install()?;
        let map = MemoryMap::new(spec.memory);
        let memory = memory::map_in(spec.huge_pages, &map.ram())?;
        let vm = Vm::new(&hypervisor, &memory)?;

        let mut crew = Crew::default();
        let (sender, events) = channel();
        let remote = Remote::new(sender, crew.brake());
        let (port_bus, memory_bus) = (Arc::new(Bus::new()), Arc::new(Bus::new()));
        let pci = Arc::new(PciBus::new());
        let board = Board::new(&vm, remote.power_sink(), serial, &map, spec.cpus)?;
        board.plug(&port_bus, &memory_bus, &pci, remote.power_sink())?;

        let wiring = Wiring {
            memory: memory.clone(),
            router: Arc::new(vm.router().clone()),
            doorbells: Arc::new(vm.clone()),
        };
        let mut plugs = Plugs::new(&pci, spec, wiring.clone(), disks, network);
        let mut bootable = Vec::new();
        let assigned = slots::assign(&spec.devices)?;
        let pluggable = slots::pluggable(&assigned);
        for (slot, device) in assigned {
            plugs.plug(slot, device, ports.as_mut())?;
            if let Device::Block(_) = device {
                bootable.push(slot);
            }
        }
        let (hotplug, fitter) = (Arc::clone(&board.hotplug), Fitter::start(spec.cpus)?);
        let balloon = plugs.balloon;
        let bays = Bays::new(plugs.bays, pluggable, Arc::clone(&pci), hotplug, wiring, fitter);
        let tables = Tables::new(&Description {
            cpus: spec.cpus,
            identity: &spec.identity,
            ram: &map.ram(),
            generation: board.generation.id(),
            pluggable,
        });
        let boot = match boot {
            BootSource::Kernel(source) => Boot::Kernel(source),
            BootSource::Firmware(firmware) => {
                let around = Surroundings {
                    vm: &vm,
                    memory: &memory,
                    map: &map,
                    tables: &tables,
                    cpus: spec.cpus,
                    disks: &bootable,
                };
                Boot::Firmware(Firmware::new(firmware, &around, &port_bus, &memory_bus, &pci)?)
            }
        };

        let outside = Outside {
            ports: port_bus,
            memory: memory_bus,
            exits,
            events: remote.vcpu_events(),
        };
        let template = CpuTemplate::new(&hypervisor, spec.cpus, spec.hyperv)?;
        for id in 0..spec.cpus {
            let vcpu = vm.create_vcpu(&hypervisor, id)?;
            template.show(&vcpu, id)?;
            let fresh = VcpuState::read(&hypervisor, &vcpu)?;
            crew.start(vcpu, fresh, outside.clone())?;
        }
        remote.attach(board.power_button(), &bays, balloon.as_ref());
        Ok(Self {
            on_reset: spec.on_reset,
            tables,
            generation_at: 0,
            cmdline: String::new(),
            is_copy: false,
            memory,
            map,
            boot,
            saved,
            shape: Shape::of(spec)?,
            hyperv: spec.hyperv,
            hypervisor: Arc::new(hypervisor),
            template: Arc::new(template),
            vm,
            crew,
            board,
            pci,
            bays,
            events,
            remote,
        })
    }

    /// The handle by which others control the machine.
    pub fn remote(&self) -> Arc<Remote> {
        Arc::clone(&self.remote)
    }

    /// The devices at fixed places: the serial port's input is there.
    pub fn board(&self) -> &Board {
        &self.board
    }
}
