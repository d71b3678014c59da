//! Where guests run: on this host's KVM, or in the software machine.
//!
//! Detection opens `/dev/kvm` (its mode bits lie) and runs a guest of a few instructions on it. The
//! processor's flags only tell which remedy to name when the device does not open.

mod cache;
mod device;

pub(crate) use device::Device;

use crate::failure::Failure;
use device::Processor;

/// What this host can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Detected {
    /// Guests run on its KVM.
    Kvm,
    /// The processor could, something is to be done first: what is wrong, and the remedy.
    Remedy {
        /// One line.
        problem: String,
        /// One command, or one thing to do.
        remedy: String,
    },
    /// No hardware virtualization, and why that is known.
    Nothing(String),
}

/// What the user asked for with `KILN_ACCEL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Not set.
    Automatic,
    /// `kvm`: here, whatever was detected.
    Kvm,
    /// `software`: in the software machine, whatever was detected.
    Software,
}

impl Wish {
    /// Reads `KILN_ACCEL`.
    pub(crate) fn read() -> Result<Self, Failure> {
        match std::env::var("KILN_ACCEL").as_deref() {
            Err(_) | Ok("" | "auto") => Ok(Wish::Automatic),
            Ok("kvm") => Ok(Wish::Kvm),
            Ok("software") => Ok(Wish::Software),
            Ok(other) => Err(Failure::usage(format!(
                "KILN_ACCEL={other}: it can be kvm or software"
            ))),
        }
    }
}

/// Where a command works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this process.
    Here,
    /// In the software machine; with a line for the user if something could be done about that.
    SoftwareMachine {
        /// What could be done, if anything.
        remedy: Option<String>,
    },
}

/// Looks at this host, as this wish wants it looked at. Cheap: a verdict is kept until the next boot.
pub(crate) fn look(wish: Wish) -> Detected {
    match (wish, Device::look()) {
        (Wish::Kvm, device) => trusted(device, device::processor(), cache::verdict),
        (_, Device::Opens) => match cache::verdict() {
            Ok(()) => Detected::Kvm,
            Err(why) => Detected::Nothing(why),
        },
        (_, device) => device.judge(device::processor()),
    }
}

/// Whether this is a CI job (`CI` is set): nobody reads a warning there.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// Decides where a command works. `look` says what this host can do. `in_ci`: a host that could run guests and does not
/// is an error there for those commands that need one.
pub(crate) fn place(
    wish: Wish,
    look: impl FnOnce() -> Detected,
    runs_guest: bool,
    in_ci: bool,
) -> Result<Place, Failure> {
    match wish {
        Wish::Software => Ok(Place::SoftwareMachine { remedy: None }),
        Wish::Kvm if !runs_guest => Ok(Place::Here),
        Wish::Kvm => match look() {
            Detected::Kvm => Ok(Place::Here),
            Detected::Remedy { problem, remedy } => Err(not_ready(&problem, &remedy)),
            Detected::Nothing(why) => Err(not_ready(
                &format!("KILN_ACCEL=kvm, but no guest can run here: {why}"),
                "unset it, and guests run in the software machine",
            )),
        },
        Wish::Automatic => match look() {
            Detected::Kvm => Ok(Place::Here),
            Detected::Nothing(_) => Ok(Place::SoftwareMachine { remedy: None }),
            Detected::Remedy { problem, remedy } if in_ci => {
                if runs_guest {
                    Err(not_ready(&problem, &remedy))
                } else {
                    Ok(Place::Here)
                }
            }
            Detected::Remedy { problem, remedy } => Ok(Place::SoftwareMachine {
                remedy: Some(format!("{problem}: {remedy}")),
            }),
        },
    }
}

fn not_ready(problem: &str, remedy: &str) -> Failure {
    Failure::coded("HostNotReady", format!("{problem}: {remedy}"))
}

/// What there is for who insists on KVM. Where the processor has virtualization, a device that opens is enough,
/// whatever the probe says: there is a way round its mistakes. Where it has none, KVM may be a mere interpreter.
fn trusted(device: Device, processor: Processor, probe: impl FnOnce() -> Result<(), String>) -> Detected {
    match (device, processor) {
        (Device::Opens, Processor::Neither) => probe().map_or_else(Detected::Nothing, |()| Detected::Kvm),
        (device, processor) => device.judge(processor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy() -> Detected {
        Detected::Remedy {
            problem: "/dev/kvm is missing".into(),
            remedy: "sudo modprobe kvm_amd".into(),
        }
    }

    #[test]
    fn who_insists_on_a_kvm_that_cannot_run_kernels_is_refused_unless_the_processor_could() {
        let no = || Err("it lacks cmpxchg16b".to_owned());
        let never = || panic!("it is not to be probed");
        assert_eq!(trusted(Device::Opens, Processor::Amd, never), Detected::Kvm);
        assert_eq!(
            trusted(Device::Opens, Processor::Neither, || Ok(())),
            Detected::Kvm
        );
        let software = trusted(Device::Opens, Processor::Neither, no);
        let failure = decide(Wish::Kvm, software.clone(), true, false).expect_err("an error");
        for words in ["KILN_ACCEL=kvm", "it lacks cmpxchg16b", "software machine"] {
            assert!(failure.message.contains(words), "{}", failure.message);
        }
        assert_eq!((failure.status, failure.while_handing_on().status), (1, 125));
        assert_eq!(decide(Wish::Kvm, software, false, false), Ok(Place::Here));
    }

    fn decide(wish: Wish, detected: Detected, runs_guest: bool, in_ci: bool) -> Result<Place, Failure> {
        place(wish, || detected, runs_guest, in_ci)
    }

    #[test]
    fn a_host_with_kvm_works_here_and_one_without_in_the_software_machine() {
        let nothing = Detected::Nothing("no svm".into());
        for guest in [false, true] {
            for ci in [false, true] {
                assert_eq!(decide(Wish::Automatic, Detected::Kvm, guest, ci), Ok(Place::Here));
                assert_eq!(
                    decide(Wish::Automatic, nothing.clone(), guest, ci),
                    Ok(Place::SoftwareMachine { remedy: None })
                );
            }
        }
    }

    #[test]
    fn a_host_that_could_and_does_not_gets_the_remedy_then_the_software_machine() {
        let Ok(Place::SoftwareMachine { remedy: Some(line) }) =
            decide(Wish::Automatic, remedy(), true, false)
        else {
            panic!("expected the software machine with a line");
        };
        assert!(
            line.contains("/dev/kvm is missing") && line.contains("sudo modprobe kvm_amd"),
            "{line}"
        );
    }

    #[test]
    fn in_ci_or_by_wish_that_line_is_an_error_for_commands_that_run_a_guest_only() {
        for (wish, ci) in [(Wish::Automatic, true), (Wish::Kvm, false)] {
            let failure = decide(wish, remedy(), true, ci).expect_err("an error");
            assert!(failure.message.contains("sudo modprobe kvm_amd"));
            assert_eq!(failure.status, 1);
            assert_eq!(failure.while_handing_on().status, 125);
            assert_eq!(decide(wish, remedy(), false, ci), Ok(Place::Here));
        }
    }
}
