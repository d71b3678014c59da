//! What a finished `kiln` command left: status, standard output, standard error.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A message of a failed test shows at most so many bytes of the beginning and of the end of a text.
const SHOWN: usize = 1024;

/// The end of one command.
#[derive(Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// Exit status; 128 + n for signal n.
    pub status: i32,
    /// Standard output, as it came.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
    /// The folder of the store's instances, for the consoles of those that a failed command was about.
    pub instances: PathBuf,
}

impl Outcome {
    /// Asserts that the command succeeded, and hands it on.
    #[track_caller]
    pub fn succeeds(self) -> Outcome {
        assert_eq!(self.status, 0, "the command failed: {self:?}");
        self
    }

    /// Asserts that the command failed with `status`, with one clear line that contains each of `words`.
    #[track_caller]
    pub fn fails(self, status: i32, words: &[&str]) -> Outcome {
        assert_eq!(self.status, status, "{self:?}");
        let errors: Vec<&str> = self.stderr.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "it must print one error line: {self:?}");
        for word in words {
            assert!(errors[0].contains(word), "no {word:?} in its error: {self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "it panicked: {self:?}");
        self
    }

    /// Standard output as text, without the last newline.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout)
            .trim_end_matches('\n')
            .to_string()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("it printed no JSON ({e}): {self:?}"))
    }

    /// The console of the instance that the command names, else that of the instance which wrote last.
    fn console(&self) -> Option<(PathBuf, Vec<u8>)> {
        let instances = std::fs::read_dir(&self.instances).ok()?.flatten();
        let mut logs: Vec<_> = instances
            .filter_map(|entry| {
                let named = self.command.contains(&*entry.file_name().to_string_lossy());
                let log = entry.path().join("console.log");
                let written = log.metadata().and_then(|m| m.modified()).ok()?;
                Some((named, written, log))
            })
            .collect();
        logs.sort();
        let (_, _, log) = logs.pop()?;
        let text = std::fs::read(&log).ok()?;
        Some((log, text))
    }
}

/// For a message: never more than a few KiB, whatever the command printed, and what its guest's console shows.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}`", self.command)?;
        writeln!(f, "status {}", self.status)?;
        writeln!(f, "output: {}", excerpt(&self.stdout, SHOWN))?;
        writeln!(f, "errors: {}", excerpt(self.stderr.as_bytes(), SHOWN))?;
        if let Some((log, text)) = self.console().filter(|_| self.status != 0) {
            let name = log.parent().and_then(Path::file_name).unwrap_or_default();
            writeln!(f, "console of {}: {}", name.to_string_lossy(), excerpt(&text, 0))?;
        }
        Ok(())
    }
}

/// At most `head` bytes of the beginning and [`SHOWN`] of the end of `bytes`, as text without control characters.
fn excerpt(bytes: &[u8], head: usize) -> String {
    let plain = |bytes: &[u8]| -> String {
        let text = String::from_utf8_lossy(bytes);
        text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
    };
    match bytes.len().checked_sub(head + SHOWN) {
        None | Some(0) => plain(bytes),
        Some(left_out) => {
            let (begin, rest) = bytes.split_at(head);
            format!(
                "{}[… {left_out} bytes …]{}",
                plain(begin),
                plain(&rest[left_out..])
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(stdout: Vec<u8>, instances: &Path) -> Outcome {
        Outcome {
            command: "kiln exec i-1 -- true".into(),
            status: 1,
            stdout,
            stderr: "error: it did not work\n".into(),
            instances: instances.into(),
        }
    }

    #[test]
    fn a_message_is_short_and_readable_whatever_was_printed() {
        let blob: Vec<u8> = (0..10_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let message = format!("{:?}", failed(blob, Path::new("/nonexistent")));
        assert!(message.len() < 16 << 10, "{} bytes", message.len());
        assert!(message.contains("9997952 bytes") && message.contains("it did not work"));
        assert!(!message.contains('\0'), "no control characters");
    }

    #[test]
    fn a_failed_command_shows_the_end_of_its_guests_console() {
        let store = tempfile::tempdir().expect("a temporary folder");
        for (instance, text) in [("i-1", "Kernel panic"), ("i-2", "login:")] {
            let folder = store.path().join(instance);
            std::fs::create_dir(&folder).expect("a folder");
            std::fs::write(folder.join("console.log"), text).expect("a log");
        }
        let message = format!("{:?}", failed(vec![], store.path()));
        assert!(
            message.contains("console of i-1: Kernel panic"),
            "the one that the command names: {message}"
        );
    }
}
