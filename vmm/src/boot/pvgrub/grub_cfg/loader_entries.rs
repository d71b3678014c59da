//! GRUB 2's `blscfg`: the entries of the Boot Loader Specification become the menu's.
//!
//! As Red Hat's family patches GRUB: the folder is `$blsdir`, else `loader/entries` of the boot file
//! system; files lie on `$root`; `$name` in options is GRUB's variable.

use super::super::bls;
use super::budget::Exhausted;
use super::interpreter::Interpreter;
use super::{Body, Item};

impl Interpreter<'_> {
    /// Adds the entries; false as a status if there are none.
    pub(super) fn loader_entries(&mut self) -> Result<u32, Exhausted> {
        let named = self.environment.value("blsdir").map(String::from);
        let folders: &[&str] = match &named {
            Some(folder) => &[folder],
            None => &["/loader/entries", "/boot/loader/entries"],
        };
        let devices = ["boot", "root"].map(|name| self.environment.get(name).to_owned());
        for device in devices.iter().filter(|device| !device.is_empty()) {
            for folder in folders {
                self.budget.spend_lookup()?;
                let place = if folder.starts_with('(') {
                    (*folder).to_owned()
                } else {
                    format!("({device}){folder}")
                };
                let Some((volume, path)) = self.locate(&place) else {
                    continue;
                };
                let Ok(files) = &volume.files else { continue };
                let Ok(entries) = bls::entry_files(files, &path, &mut self.notes) else {
                    continue;
                };
                let prefix = path.strip_suffix("/loader/entries").unwrap_or_default();
                for mut file in entries.iter().cloned() {
                    self.budget.spend_lookup()?;
                    let prefix = bls::place(files, prefix, &mut file);
                    self.add_loader_entry(&file, &prefix)?;
                }
                if !entries.is_empty() {
                    return Ok(0);
                }
            }
        }
        Ok(1)
    }

    fn add_loader_entry(&mut self, file: &bls::EntryFile, prefix: &str) -> Result<(), Exhausted> {
        let mut file = file.clone();
        if file.options.is_empty() {
            self.environment
                .get("default_kernelopts")
                .clone_into(&mut file.options);
        }
        let mut entry = bls::entry(&file, prefix, &|name| {
            self.environment.value(name).map(String::from)
        });
        self.budget.spend_bytes(entry.arguments.len())?;
        entry.root = self.root();
        for path in entry.kernel.iter_mut().chain(&mut entry.initrds) {
            path.device = entry.root.clone();
        }
        self.add(Item {
            title: String::new(),
            id: None,
            body: Body::Ready(Box::new(entry)),
        })
    }
}
