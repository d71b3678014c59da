//! The serial port of a guest that is booted to be measured.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::Read;
use std::process::ChildStdout;
use std::time::{Duration, Instant};

/// What was heard.
#[derive(Debug)]
pub(crate) struct Heard {
    /// All that the guest said, to its last words and maybe beyond.
    pub(crate) said: String,
    /// When each of its words was heard.
    pub(crate) at: Vec<Instant>,
}

/// Reads the port until the guest has said all of `words`, in their order.
///
/// # Errors
/// It does not say them within `limit`, or its VMM ends before.
pub(crate) fn hear(port: &mut ChildStdout, words: &[&str], limit: Duration) -> Result<Heard, String> {
    let began = Instant::now();
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    let (mut at, mut from) = (Vec::new(), 0);
    let why = loop {
        let Some(next) = words.get(at.len()) else {
            let said = String::from_utf8_lossy(&heard).into_owned();
            return Ok(Heard { said, at });
        };
        let left = limit.saturating_sub(began.elapsed());
        if left.is_zero() {
            break format!("`{next}` was not said within {} s", limit.as_secs_f64());
        }
        match poll(
            &mut [PollFd::new(port, PollFlags::IN)],
            Timespec::try_from(left).ok().as_ref(),
        ) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
        match port.read(&mut piece) {
            Ok(0) => break format!("the VMM ended before `{next}` was said"),
            Ok(n) => heard.extend_from_slice(&piece[..n]),
            Err(error) => break error.to_string(),
        }
        while let Some(next) = words.get(at.len())
            && let Some(place) = place_of(&heard[from..], next)
        {
            from += place + next.len();
            at.push(Instant::now());
        }
    };
    Err(format!(
        "{why}; the guest said: {}",
        String::from_utf8_lossy(&heard)
    ))
}

/// Where in `heard` these words begin.
fn place_of(heard: &[u8], words: &str) -> Option<usize> {
    heard.windows(words.len()).position(|w| w == words.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn guest(script: &str) -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdout(Stdio::piped());
        shell.spawn().expect("a shell starts")
    }

    fn port(guest: &mut Child) -> &mut ChildStdout {
        guest.stdout.as_mut().expect("piped")
    }

    fn end(mut guest: Child) {
        guest.kill().expect("it is ours");
        guest.wait().expect("it ends");
    }

    #[test]
    fn a_guest_that_falls_silent_is_given_up_while_it_still_runs() {
        let mut guest = guest("echo booting; exec sleep 600");
        let heard = hear(port(&mut guest), &["init"], Duration::from_millis(200));
        assert!(
            guest.try_wait().expect("it is ours").is_none(),
            "it ended: {heard:?}"
        );
        end(guest);
        let error = heard.expect_err("it never said so");
        assert!(error.contains("not said within 0.2 s"), "{error}");
    }

    #[test]
    fn words_that_come_in_two_pieces_are_heard() {
        let mut guest = guest("printf 'here is i'; sleep 0.1; echo nit; exec sleep 600");
        let heard = hear(port(&mut guest), &["init"], Duration::from_secs(60));
        end(guest);
        assert!(
            heard
                .as_ref()
                .is_ok_and(|heard| heard.said.contains("here is init")),
            "{heard:?}"
        );
    }

    #[test]
    fn words_are_heard_in_their_order_alone() {
        let mut early = guest("echo init, kernel; exec sleep 600");
        let heard = hear(port(&mut early), &["kernel", "init"], Duration::from_millis(200));
        end(early);
        let error = heard.expect_err("init came before");
        assert!(error.contains("`init` was not said"), "{error}");
        let mut guest = guest("echo init, kernel, init; exec sleep 600");
        let heard = hear(port(&mut guest), &["kernel", "init"], Duration::from_secs(60));
        end(guest);
        assert_eq!(heard.expect("both were said").at.len(), 2);
    }

    #[test]
    fn a_vmm_that_ends_early_is_told_with_what_its_guest_said() {
        let mut guest = guest("echo panic");
        let heard = hear(port(&mut guest), &["init"], Duration::from_secs(60));
        guest.wait().expect("it ends");
        let error = heard.expect_err("it never said so");
        assert!(
            error.contains("the VMM ended") && error.contains("panic"),
            "{error}"
        );
    }
}
