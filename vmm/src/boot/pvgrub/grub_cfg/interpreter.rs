//! Runs GRUB 2's script.

use super::super::device::{Device, DevicePath};
use super::super::menu::{Obstacle, Save};
use super::super::volumes::{Volume, Volumes};
use super::budget::{Budget, Exhausted};
use super::environment::Environment;
use super::parser::{Script, Statement};
use super::{Item, Items};

/// The deepest nesting of functions, blocks and files that are read. It bounds the stack.
const DEPTH_LIMIT: usize = 24;

/// Where a script goes on after a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// With the next one.
    Next,
    /// After so many loops.
    Break(u32),
    /// With the next turn of the loop that is so many loops up.
    Continue(u32),
    /// After the function or file.
    Return,
    /// Nowhere: another menu took over, or the entry is booted.
    End,
}

/// What an entry's commands asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Loaded {
    pub(super) root: Option<Device>,
    pub(super) kernel: Option<DevicePath>,
    pub(super) arguments: String,
    pub(super) initrds: Vec<DevicePath>,
    pub(super) obstacle: Option<Obstacle>,
}

/// A script that runs, and what became of it so far.
pub(super) struct Interpreter<'a> {
    pub(super) volumes: &'a Volumes,
    /// The volume that the menu is on.
    pub(super) home: &'a Volume,
    pub(super) budget: &'a Budget,
    pub(super) environment: Environment,
    pub(super) items: Items,
    pub(super) loaded: Loaded,
    pub(super) saves: Vec<Save>,
    /// The environment blocks that were read.
    pub(super) blocks: Vec<(String, Vec<(String, String)>)>,
    pub(super) notes: Vec<String>,
    /// The loops around the statement that runs, those of the function that it is in.
    pub(super) loops: u32,
    depth: usize,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(
        volumes: &'a Volumes,
        home: &'a Volume,
        budget: &'a Budget,
        environment: Environment,
    ) -> Interpreter<'a> {
        Interpreter {
            volumes,
            home,
            budget,
            environment,
            items: Items::default(),
            loaded: Loaded::default(),
            saves: Vec::new(),
            blocks: Vec::new(),
            notes: Vec::new(),
            loops: 0,
            depth: 0,
        }
    }

    /// Runs `script` one level deeper.
    pub(super) fn nested(&mut self, script: &Script) -> Result<Flow, Exhausted> {
        self.depth = self
            .depth
            .checked_add(1)
            .filter(|depth| *depth <= DEPTH_LIMIT)
            .ok_or(Exhausted)?;
        let flow = self.run(script);
        self.depth = self.depth.saturating_sub(1);
        flow
    }

    fn run(&mut self, script: &[Statement]) -> Result<Flow, Exhausted> {
        for statement in script {
            match self.statement(statement)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Statement) -> Result<Flow, Exhausted> {
        self.budget.spend_step()?;
        match statement {
            Statement::Command { words, block } => {
                let words = self.environment.expand(words, self.budget)?;
                match words.split_first() {
                    Some((name, arguments)) => self.call(name, arguments, block.as_ref()),
                    None => Ok(Flow::Next),
                }
            }
            Statement::If { branches, otherwise } => {
                for (condition, body) in branches {
                    match self.nested(condition)? {
                        Flow::Next if self.environment.status == 0 => return self.nested(body),
                        Flow::Next => {}
                        flow => return Ok(flow),
                    }
                }
                self.environment.status = 0;
                self.nested(otherwise)
            }
            Statement::Loop {
                wanted,
                condition,
                body,
            } => loop {
                self.budget.spend_step()?;
                match self.nested(condition)? {
                    Flow::Next if (self.environment.status == 0) == *wanted => {}
                    Flow::Next => return Ok(Flow::Next),
                    flow => return Ok(flow),
                }
                if let Some(flow) = self.turn(body)? {
                    return Ok(flow);
                }
            },
            Statement::For { name, words, body } => {
                for word in self.environment.expand(words, self.budget)? {
                    self.budget.spend_step()?;
                    self.environment.set(name, &word)?;
                    if let Some(flow) = self.turn(body)? {
                        return Ok(flow);
                    }
                }
                Ok(Flow::Next)
            }
            Statement::Function { name, body } => {
                self.environment.define(name, body)?;
                Ok(Flow::Next)
            }
        }
    }

    /// Runs a loop's body; what the loop does after it, none to go on.
    fn turn(&mut self, body: &Script) -> Result<Option<Flow>, Exhausted> {
        self.loops = self.loops.saturating_add(1);
        let flow = self.nested(body)?;
        self.loops = self.loops.saturating_sub(1);
        Ok(match flow {
            Flow::Next | Flow::Continue(0..=1) => None,
            Flow::Break(0..=1) => Some(Flow::Next),
            Flow::Break(levels) => Some(Flow::Break(levels.saturating_sub(1))),
            Flow::Continue(levels) => Some(Flow::Continue(levels.saturating_sub(1))),
            flow => Some(flow),
        })
    }

    /// Runs a function, a command, or an assignment; after a `!` its status is turned round.
    fn call(&mut self, name: &str, arguments: &[String], block: Option<&Script>) -> Result<Flow, Exhausted> {
        if name != "!" {
            return self.call_plain(name, arguments, block);
        }
        let Some((name, arguments)) = arguments.split_first() else {
            self.environment.status = 1;
            return Ok(Flow::Next);
        };
        let flow = self.call_plain(name, arguments, block)?;
        self.environment.status = u32::from(self.environment.status == 0);
        Ok(flow)
    }

    fn call_plain(
        &mut self,
        name: &str,
        arguments: &[String],
        block: Option<&Script>,
    ) -> Result<Flow, Exhausted> {
        if let Some(body) = self.environment.function(name) {
            let outer = std::mem::replace(&mut self.environment.parameters, arguments.to_vec());
            let loops = std::mem::take(&mut self.loops);
            let flow = self.nested(&body)?;
            self.environment.parameters = outer;
            self.loops = loops;
            return Ok(match flow {
                Flow::Return => Flow::Next,
                flow => flow,
            });
        }
        if let Some((variable, value)) = name.split_once('=').filter(|_| arguments.is_empty()) {
            self.environment.set(variable, value)?;
            self.environment.status = 0;
            return Ok(Flow::Next);
        }
        self.command(name, arguments, block)
    }

    /// An entry or a submenu.
    pub(super) fn add(&mut self, item: Item) -> Result<(), Exhausted> {
        self.items.push(item)
    }

    /// The volume and the path that a word names: `(hd0,gpt1)/x`, or `/x` on `$root`.
    pub(super) fn locate(&self, word: &str) -> Option<(&'a Volume, String)> {
        let named = self.device_path(word);
        let volume = match named.device {
            Some(device) => self.volumes.resolve(&device, self.home).ok()?.0,
            None => self.home,
        };
        Some((volume, named.path))
    }

    /// The file that a word names.
    pub(super) fn device_path(&self, word: &str) -> DevicePath {
        let mut path = DevicePath::parse_grub2(word);
        if path.device.is_none() {
            path.device = self.root();
        }
        path
    }

    /// `$root` as a device.
    pub(super) fn root(&self) -> Option<Device> {
        let root = self.environment.get("root");
        (!root.is_empty()).then(|| Device::parse_grub2(root))
    }
}
