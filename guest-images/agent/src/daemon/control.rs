//! What each frame of the host sets going.

use super::command::Command;
use super::{Daemon, clock, hello, randomness, shutdown};
use crate::frame::{Frame, Kind};
use crate::message::{Exit, Failure, FailureKind, Greeting, Reply, Request, Signal, Size};

/// Channels with a request that has not arrived whole. Bounds memory.
const MOST_REQUESTS: usize = 128;

impl Daemon {
    pub(super) fn frame(&mut self, frame: Frame) {
        let channel = frame.channel;
        match frame.kind {
            Kind::Hello if channel == 0 => {
                if let Ok(greeting) = serde_json::from_slice::<Greeting>(&frame.payload) {
                    self.greeted(&greeting);
                }
            }
            Kind::Request if channel != 0 => self.request(&frame),
            Kind::Close => self.close(channel),
            _ => {
                if let Some(command) = self.commands.get_mut(&channel) {
                    heard(command, frame);
                }
            }
        }
    }

    fn greeted(&mut self, greeting: &Greeting) {
        if greeting.epoch != self.epoch {
            // The parser keeps its place: more of the new host's frames may be in its buffer.
            let frames = std::mem::replace(&mut self.frames, crate::decoder::Decoder::hunting());
            self.host_left();
            self.frames = frames;
            self.epoch = greeting.epoch;
        }
        self.greet();
    }

    fn request(&mut self, frame: &Frame) {
        let channel = frame.channel;
        if self.requests.len() >= MOST_REQUESTS && !self.requests.contains_key(&channel) {
            return self.fail(channel, FailureKind::Busy, "too many requests at once");
        }
        match self.requests.entry(channel).or_default().take::<Request>(frame) {
            Ok(None) => {}
            Ok(Some(request)) => {
                self.requests.remove(&channel);
                self.begin(channel, request);
            }
            Err(e) => {
                self.requests.remove(&channel);
                self.fail(channel, FailureKind::Malformed, &e.to_string());
            }
        }
    }

    fn begin(&mut self, channel: u16, request: Request) {
        if self.commands.contains_key(&channel) {
            return self.fail(channel, FailureKind::Busy, "a command runs on this channel");
        }
        match request {
            Request::Hello => self.reply(channel, &Reply::Hello(hello::hello())),
            Request::Exec(request) => match Command::start(&request) {
                Ok(command) => drop(self.commands.insert(channel, command)),
                Err(failure) => self.send(channel, Kind::Exit, &Exit::Error(failure)),
            },
            Request::Freeze { deadline_ms } => self.freezer.freeze(channel, deadline_ms),
            Request::Thaw => self.freezer.thaw(channel),
            Request::Sync => {
                let answers = self.answers.clone();
                self.job(channel, move || {
                    rustix::fs::sync();
                    answers.give(channel, Reply::Done, None);
                });
            }
            Request::SetClock { unix_ns } => self.reply(channel, &clock::set(unix_ns)),
            Request::Seed { bytes } => self.reply(channel, &randomness::seed(&bytes)),
            Request::Shutdown { mode } => {
                let answers = self.answers.clone();
                self.job(channel, move || {
                    let direct = shutdown::begin(mode);
                    answers.give(channel, Reply::Done, direct);
                });
            }
        }
    }

    /// Runs what may take long beside the loop.
    fn job(&mut self, channel: u16, work: impl FnOnce() + Send + 'static) {
        if let Err(e) = std::thread::Builder::new().name("job".into()).spawn(work) {
            self.fail(
                channel,
                FailureKind::System,
                &format!("cannot start a thread: {e}"),
            );
        }
    }

    fn fail(&mut self, channel: u16, kind: FailureKind, message: &str) {
        self.reply(
            channel,
            &Reply::Error(Failure {
                kind,
                message: message.to_owned(),
            }),
        );
    }

    /// The client is gone: what it ran ends, what it froze thaws.
    fn close(&mut self, channel: u16) {
        self.requests.remove(&channel);
        self.freezer.release(channel);
        if let Some(command) = self.commands.remove(&channel) {
            self.ending.push(command.end());
        }
    }
}

fn heard(command: &mut Command, frame: Frame) {
    match frame.kind {
        Kind::Stdin => command.input(&frame.payload),
        Kind::StdinEof => command.input_end(),
        Kind::Credit => command.grant(crate::frame::credit_of(&frame.payload).unwrap_or(0)),
        Kind::Signal => {
            if let Ok(Signal { signal }) = serde_json::from_slice(&frame.payload) {
                command.signal(signal);
            }
        }
        Kind::Resize => {
            if let Ok(size) = serde_json::from_slice::<Size>(&frame.payload) {
                command.resize(size);
            }
        }
        _ => {}
    }
}
