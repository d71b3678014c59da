//! Progress, on stderr, and only where a person looks at it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln_control::Progress;
use std::io::IsTerminal;
use std::time::Duration;

/// Whether progress is shown at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visible {
    Yes,
    No,
}

impl Visible {
    /// On a terminal, unless the user wants quiet.
    pub(crate) fn on_a_terminal(wanted: bool) -> Self {
        if wanted && std::io::stderr().is_terminal() {
            Visible::Yes
        } else {
            Visible::No
        }
    }

    fn target(self) -> ProgressDrawTarget {
        match self {
            Visible::Yes => ProgressDrawTarget::stderr(),
            Visible::No => ProgressDrawTarget::hidden(),
        }
    }
}

/// A copy of bytes under way.
#[derive(Debug)]
pub(crate) struct Copying {
    bar: ProgressBar,
}

impl Copying {
    pub(crate) fn begin(visible: Visible, what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), visible.target());
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes} of {total_bytes}, {eta} left");
        bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> "),
        );
        bar.set_message(what);
        Self { bar }
    }
}

impl Progress for Copying {
    fn at(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Something under way of which nobody knows how long it takes.
#[derive(Debug)]
pub(crate) struct Waiting {
    bar: ProgressBar,
}

impl Waiting {
    pub(crate) fn begin(visible: Visible, what: impl Into<String>) -> Self {
        let bar = ProgressBar::with_draw_target(None, visible.target());
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(what.into());
        if visible == Visible::Yes {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self { bar }
    }

    /// Something else now.
    pub(crate) fn now(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
