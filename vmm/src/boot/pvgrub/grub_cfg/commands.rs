//! GRUB 2's commands, as far as they decide what is booted.
//!
//! GRUB manual, chapter 16. What draws, waits or loads modules succeeds and does nothing; what asks
//! the keyboard hears nothing.

use kiln_imagefmt::probe::FileTree;

use super::super::grubenv;
use super::super::menu::{Change, INITRD_LIMIT, Obstacle, Save, readable};
use super::budget::Exhausted;
use super::condition::{Asked, holds};
use super::interpreter::{Flow, Interpreter, Loaded};
use super::parser::{self, Script};
use super::search::Search;
use super::{FILE_LIMIT, Item};

/// Commands that boot something else than a Linux kernel.
const FOREIGN: &[&str] = &[
    "chainloader",
    "efifwsetup",
    "fwsetup",
    "halt",
    "knetbsd",
    "kfreebsd",
    "kopenbsd",
    "multiboot",
    "multiboot2",
    "ntldr",
    "plan9",
    "reboot",
    "xen_hypervisor",
    "xnu_kernel64",
];

/// Commands that ask for something that is not there: a key, a graphics card, a network.
const IN_VAIN: &[&str] = &[
    "false",
    "keystatus",
    "loadfont",
    "background_image",
    "regexp",
    "smbios",
    "net_bootp",
];

/// What is told of an entry that ends before its body begins: most often, its title has no end.
const NO_BODY: &str = "a menu entry has no body: a quote in it may be open";

impl Interpreter<'_> {
    /// Runs a command.
    pub(super) fn command(
        &mut self,
        name: &str,
        arguments: &[String],
        block: Option<&Script>,
    ) -> Result<Flow, Exhausted> {
        let first = arguments.first().map(String::as_str);
        self.environment.status = match name {
            "break" => return Ok(self.jump(first, Flow::Break)),
            "continue" => return Ok(self.jump(first, Flow::Continue)),
            "return" => {
                self.environment.status = first.and_then(|word| word.parse().ok()).unwrap_or(0);
                return Ok(Flow::Return);
            }
            "boot" | "exit" | "normal_exit" => return Ok(Flow::End),
            "set" => self.set(first)?,
            "unset" => {
                arguments.iter().for_each(|name| self.environment.unset(name));
                0
            }
            "setparams" => {
                self.environment.parameters = arguments.to_vec();
                0
            }
            "shift" => {
                let count: usize = first.and_then(|word| word.parse().ok()).unwrap_or(1);
                let count = count.min(self.environment.parameters.len());
                self.environment.parameters.drain(..count);
                0
            }
            "increment" => self.count(first, 1)?,
            "decrement" => self.count(first, -1)?,
            "[" | "test" => self.test(name, arguments)?,
            "load_env" => self.load_env(arguments)?,
            "save_env" => self.save_env(arguments)?,
            "search" | "search.file" | "search.fs_label" | "search.fs_uuid" => {
                self.search(name, arguments)?
            }
            "menuentry" | "submenu" => self.entry(arguments, block)?,
            "blscfg" => self.loader_entries()?,
            "source" | "." => return self.source(first),
            "configfile" | "normal" => return self.config_file(first),
            "linux" | "linux16" | "linuxefi" | "kernel" => self.linux(arguments),
            "initrd" | "initrd16" | "initrdefi" => self.initrd(arguments),
            "module" | "module2" | "xen_module" => {
                self.loaded.obstacle = Some(Obstacle::Modules);
                0
            }
            _ if FOREIGN.contains(&name) => {
                let modules = self.loaded.obstacle == Some(Obstacle::Modules);
                if !modules {
                    self.loaded.obstacle = Some(Obstacle::Command(name.into()));
                }
                0
            }
            _ => u32::from(IN_VAIN.contains(&name)),
        };
        Ok(Flow::Next)
    }

    /// Leaves, or goes on with, the loop that is so many levels up: the outermost if there are not as many. Outside
    /// of loops it does nothing.
    fn jump(&mut self, levels: Option<&str>, to: fn(u32) -> Flow) -> Flow {
        self.environment.status = 0;
        let levels = levels.and_then(|word| word.parse().ok()).unwrap_or(1);
        match self.loops.min(levels) {
            0 => Flow::Next,
            levels => to(levels),
        }
    }

    fn set(&mut self, assignment: Option<&str>) -> Result<u32, Exhausted> {
        match assignment.and_then(|word| word.split_once('=')) {
            Some((name, value)) => self.environment.set(name, value).map(|()| 0),
            None => Ok(0),
        }
    }

    /// Adds to a variable's number.
    fn count(&mut self, name: Option<&str>, by: i64) -> Result<u32, Exhausted> {
        let Some(name) = name else { return Ok(1) };
        let number: i64 = self.environment.get(name).parse().unwrap_or(0);
        let counted = number.saturating_add(by).to_string();
        self.environment.set(name, &counted).map(|()| 0)
    }

    fn test(&mut self, name: &str, arguments: &[String]) -> Result<u32, Exhausted> {
        let arguments = match arguments.split_last() {
            Some((last, rest)) if name == "[" && last == "]" => rest,
            _ if name == "[" => return Ok(1),
            _ => arguments,
        };
        let mut spent = Ok(());
        let value = holds(arguments, &mut |asked, path| {
            spent = spent.and_then(|()| self.budget.spend_lookup());
            spent.is_ok() && self.answer(asked, path)
        });
        spent?;
        Ok(u32::from(!value))
    }

    fn answer(&self, asked: Asked, path: &str) -> bool {
        let Some((volume, path)) = self.locate(path) else {
            return false;
        };
        let Ok(files) = &volume.files else { return false };
        let is_folder = |files: &FileTree| files.list(&path).is_ok();
        match asked {
            Asked::Exists => files.exists(&path).unwrap_or(false),
            Asked::IsFolder => is_folder(files),
            Asked::IsFile => files.exists(&path).unwrap_or(false) && !is_folder(files),
            Asked::HasContent => match files.read(&path, FILE_LIMIT) {
                Ok(bytes) => !bytes.is_empty(),
                Err(error) => matches!(error, kiln_imagefmt::probe::ProbeError::TooLong { .. }),
            },
        }
    }

    /// The file of `-f FILE`, else the block beside the menu; and the other arguments.
    fn block_file<'w>(&self, arguments: &'w [String]) -> (String, Vec<&'w str>) {
        let mut file = None;
        let mut rest = Vec::new();
        let mut words = arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "-f" | "--file" => file = words.next(),
                "-s" | "--skip-sig" => {}
                word => match word.strip_prefix("--file=") {
                    Some(name) => file = Some(name),
                    None => rest.push(word),
                },
            }
        }
        let beside = || format!("{}/grubenv", self.environment.get("prefix"));
        (file.map_or_else(beside, Into::into), rest)
    }

    fn load_env(&mut self, arguments: &[String]) -> Result<u32, Exhausted> {
        self.budget.spend_lookup()?;
        let (file, wanted) = self.block_file(arguments);
        let Some(bytes) = self.read(&file, grubenv::LIMIT) else {
            return Ok(1);
        };
        let Some(block) = grubenv::Block::parse(&bytes) else {
            return Ok(1);
        };
        self.budget.spend_bytes(bytes.len())?;
        let mut variables = Vec::new();
        for (name, value) in block.variables() {
            if wanted.is_empty() || wanted.contains(&name) {
                let value = readable(value.as_bytes());
                self.environment.set(name, &value)?;
                variables.push((name.to_owned(), value));
            }
        }
        let name = self
            .locate(&file)
            .map(|(volume, path)| format!("{}{path}", volume.device()));
        self.blocks.push((name.unwrap_or(file), variables));
        Ok(0)
    }

    fn save_env(&mut self, arguments: &[String]) -> Result<u32, Exhausted> {
        let (file, names) = self.block_file(arguments);
        let values = names.into_iter().map(|name| {
            let value = self.environment.value(name).map(String::from);
            (name.to_owned(), value)
        });
        let save = Save {
            change: Change::Environment(values.collect()),
            file: self.device_path(&file),
        };
        self.budget.spend_bytes(save.len())?;
        self.saves.push(save);
        Ok(0)
    }

    fn search(&mut self, name: &str, arguments: &[String]) -> Result<u32, Exhausted> {
        let Some(search) = Search::parse(name, arguments) else {
            return Ok(1);
        };
        if search.reads_files() {
            self.budget.spend_lookup()?;
        }
        match (search.find(self.volumes), &search.variable) {
            (Some(volume), Some(variable)) => {
                let device = self.volumes.grub2_name(volume);
                self.environment.set(variable, &device)?;
                Ok(0)
            }
            (Some(_), None) => Ok(0),
            (None, _) => Ok(1),
        }
    }

    fn entry(&mut self, arguments: &[String], block: Option<&Script>) -> Result<u32, Exhausted> {
        let (mut id, mut source) = (None, None);
        let mut parameters = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--id" => id = words.next().cloned(),
                "--class" | "--users" | "--hotkey" => drop(words.next()),
                "--source" => source = words.next().cloned(),
                "--unrestricted" => {}
                word => match word.split_once('=') {
                    Some(("--id", name)) => id = Some(name.into()),
                    Some(("--class" | "--users" | "--hotkey", _)) => {}
                    _ => parameters.push(word.to_owned()),
                },
            }
        }
        let body = match (block, source) {
            (Some(block), _) => Script::clone(block),
            (None, Some(source)) => parser::parse(&source).0,
            (None, None) => {
                if !self.notes.iter().any(|note| note == NO_BODY) {
                    self.notes.push(NO_BODY.into());
                }
                return Ok(1);
            }
        };
        let title = parameters.first().cloned().unwrap_or_default();
        self.add(Item::script(title, id, body, parameters))?;
        Ok(0)
    }

    fn linux(&mut self, arguments: &[String]) -> u32 {
        let mut words = arguments.iter();
        let Some(file) = words.find(|word| !word.starts_with("--")) else {
            return 1;
        };
        let line: Vec<String> = words.map(|word| quoted(word)).collect();
        self.loaded = Loaded {
            root: self.root(),
            kernel: Some(self.device_path(file)),
            arguments: line.join(" "),
            ..Loaded::default()
        };
        0
    }

    fn initrd(&mut self, arguments: &[String]) -> u32 {
        if self.loaded.kernel.is_none() {
            return 1;
        }
        let files = arguments.iter().filter(|word| !word.starts_with("--"));
        let files = files.map(|word| self.device_path(word)).take(INITRD_LIMIT);
        self.loaded.initrds = files.collect();
        0
    }

    /// A file's text.
    fn text(&mut self, file: Option<&str>) -> Result<Option<String>, Exhausted> {
        self.budget.spend_lookup()?;
        let text = file.and_then(|file| self.read(file, FILE_LIMIT));
        let text = text.map(|bytes| readable(&bytes));
        self.budget.spend_bytes(text.as_ref().map_or(0, String::len))?;
        Ok(text)
    }

    fn read(&self, file: &str, cap: u64) -> Option<Vec<u8>> {
        let (volume, path) = self.locate(file)?;
        volume.files.as_ref().ok()?.read(&path, cap).ok()
    }

    fn source(&mut self, file: Option<&str>) -> Result<Flow, Exhausted> {
        let Some(text) = self.text(file)? else {
            self.environment.status = 1;
            return Ok(Flow::Next);
        };
        let script = self.parse(&text, file.unwrap_or_default());
        Ok(match self.nested(&script)? {
            Flow::End => Flow::End,
            _ => Flow::Next,
        })
    }

    /// Another menu takes the place of this one, if it has entries.
    fn config_file(&mut self, file: Option<&str>) -> Result<Flow, Exhausted> {
        let beside = format!("{}/grub.cfg", self.environment.get("prefix"));
        let file = file.unwrap_or(&beside);
        let Some(text) = self.text(Some(file))? else {
            self.notes.push(format!("{file} cannot be read"));
            self.environment.status = 1;
            return Ok(Flow::Next);
        };
        let script = self.parse(&text, file);
        let before = std::mem::take(&mut self.items);
        let outer =
            ["config_file", "config_directory"].map(|name| (name, self.environment.get(name).to_owned()));
        self.environment.set("config_file", file)?;
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.environment.set("config_directory", folder)?;
        self.nested(&script)?;
        if self.items.is_empty() {
            self.items = before;
            for (name, value) in outer {
                self.environment.set(name, &value)?;
            }
            return Ok(Flow::Next);
        }
        Ok(Flow::End)
    }

    fn parse(&mut self, text: &str, file: &str) -> Script {
        let (script, notes) = parser::parse(text);
        self.notes
            .extend(notes.iter().map(|note| format!("{file}: {note}")));
        script
    }
}

/// A word of a command line; one with blanks in quotes, as GRUB hands it on.
fn quoted(word: &str) -> String {
    if word.contains(char::is_whitespace) && !word.contains('"') {
        format!("\"{word}\"")
    } else {
        word.into()
    }
}
