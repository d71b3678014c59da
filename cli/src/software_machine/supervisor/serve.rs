//! `supervisor.sock`: a thread a connection.

use super::shared::{Phase, Shared};
use super::watch;
use crate::output;
use crate::software_machine::agent;
use crate::software_machine::layout::Layout;
use crate::software_machine::wire::{self, ProgramsWanted, Reply, Request};
use std::io::{self, BufReader, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

/// Serves connections from now on.
pub(super) fn start(listener: UnixListener, layout: Layout, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let (layout, shared) = (layout.clone(), Arc::clone(&shared));
            shared.reply_wanted();
            std::thread::spawn(move || {
                if let Err(error) = connection(&stream, &layout, &shared) {
                    output::aside(&format!("a connection broke: {error}\n"));
                }
            });
        }
    });
}

fn connection(stream: &UnixStream, layout: &Layout, shared: &Arc<Shared>) -> io::Result<()> {
    let _answered = Answered(shared);
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let Some(request) = wire::receive::<Request>(BufReader::new(stream))? else {
        return Ok(());
    };
    match request {
        Request::Status => wire::send(stream, &Reply::Status(shared.status())),
        Request::Stop => {
            shared.ask_for_end();
            let mut phase = shared.phase();
            while !matches!(phase, Phase::Ended(_)) {
                phase = shared.wait_for_change(&phase, Duration::from_secs(60));
            }
            match phase {
                Phase::Ended(Some(message)) => wire::send(stream, &Reply::Failed { message }),
                _ => wire::send(stream, &Reply::Stopped),
            }
        }
        Request::Lease { programs } => lease(stream, layout, shared, &programs),
    }
}

fn lease(
    mut stream: &UnixStream,
    layout: &Layout,
    shared: &Arc<Shared>,
    programs: &ProgramsWanted,
) -> io::Result<()> {
    let mut phase = shared.phase();
    let lease = loop {
        if let Some(lease) = shared.lease() {
            // It may have died a moment ago, and nobody has noticed yet.
            if agent::hello(layout, Duration::from_secs(30)).is_ok() {
                break lease;
            }
        }
        match &phase {
            Phase::Running => wire::send(
                stream,
                &Reply::Starting {
                    what: "no answer yet".to_owned(),
                },
            )?,
            Phase::Starting(what) => wire::send(stream, &Reply::Starting { what: what.clone() })?,
            Phase::Stopping => wire::send(
                stream,
                &Reply::Starting {
                    what: "the machine is ending".to_owned(),
                },
            )?,
            Phase::Ended(None) => return wire::send(stream, &Reply::Ended),
            Phase::Ended(Some(reason)) => {
                let message = reason.clone();
                return wire::send(stream, &Reply::Failed { message });
            }
        }
        phase = shared.wait_for_change(&phase, Duration::from_secs(5));
    };
    if let Err(error) = watch::refresh(layout, shared, programs) {
        return wire::send(
            stream,
            &Reply::Failed {
                message: error.to_string(),
            },
        );
    }
    wire::send(
        stream,
        &Reply::Ready {
            restarted: shared.take_untold(),
        },
    )?;
    shared.reply_given();
    // The lease lasts until the other side closes, however long that takes.
    stream.set_read_timeout(None)?;
    let _ = stream.read(&mut [0]);
    drop(lease);
    shared.reply_wanted();
    Ok(())
}

struct Answered<'a>(&'a Shared);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.0.reply_given();
    }
}
