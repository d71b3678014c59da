//! What a finished `kiln` command left: status, standard output, standard error.

use serde_json::Value;

/// The end of one command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// Exit status; 128 + n for signal n.
    pub status: i32,
    /// Standard output, as it came.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
}

impl Outcome {
    /// Asserts that the command succeeded, and hands it on.
    #[track_caller]
    pub fn succeeds(self) -> Outcome {
        assert_eq!(
            self.status,
            0,
            "`{}` failed: {}{}",
            self.command,
            self.text(),
            self.stderr
        );
        self
    }

    /// Asserts that the command failed with `status`, with one clear line that contains each of `words`.
    #[track_caller]
    pub fn fails(self, status: i32, words: &[&str]) -> Outcome {
        assert_eq!(
            self.status,
            status,
            "`{}`: {}{}",
            self.command,
            self.text(),
            self.stderr
        );
        let errors: Vec<&str> = self.stderr.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(
            errors.len(),
            1,
            "`{}` must print one error line: {}",
            self.command,
            self.stderr
        );
        for word in words {
            assert!(
                errors[0].contains(word),
                "`{}`: no {word:?} in: {}",
                self.command,
                errors[0]
            );
        }
        assert!(
            !self.stderr.contains("panicked"),
            "`{}` panicked: {}",
            self.command,
            self.stderr
        );
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
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|e| panic!("`{}` printed no JSON ({e}): {}", self.command, self.text()))
    }
}
