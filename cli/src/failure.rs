//! How a command fails: one line for people, one document for programs, one exit status.

use crate::output::{self, Format};
use kiln_control::Code;
use serde_json::json;

/// Kiln itself failed while it was to hand on another command's status.
pub(crate) const OWN_FAILURE: u8 = 125;

/// The reason why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// EC2's error code, where it has one for this.
    pub(crate) code: Option<String>,
    /// What, which, why and what to do.
    pub(crate) message: String,
    /// The process' exit status.
    pub(crate) status: u8,
}

impl Failure {
    /// A failure with status 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            code: None,
            message: message.into(),
            status: 1,
        }
    }

    /// With one of EC2's codes.
    pub(crate) fn coded(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: Some(code.into()),
            ..Self::new(message)
        }
    }

    /// Wrong usage that the parser could not see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            status: 2,
            code: Some("InvalidParameterCombination".to_owned()),
            message: message.into(),
        }
    }

    /// Whether something was named that is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.code.as_ref().is_some_and(|code| code.ends_with(".NotFound"))
    }

    /// Whether somebody did not answer in time, who may still be at it.
    pub(crate) fn is_of_impatience(&self) -> bool {
        self.has(Code::GuestTimeout)
    }

    /// Whether it has this code.
    pub(crate) fn has(&self, code: Code) -> bool {
        self.code.as_deref() == Some(code.as_str())
    }

    /// The same failure of a command that hands on the status of another (`exec`, `run -- CMD`):
    /// an ordinary 1 would pass for the other's. What says more (2, 126, 127, a signal) stays.
    pub(crate) fn while_handing_on(self) -> Self {
        let status = if self.status == 1 {
            OWN_FAILURE
        } else {
            self.status
        };
        Self { status, ..self }
    }

    /// As it goes to stderr: a line.
    pub(crate) fn render(&self, format: Format) -> String {
        match (format, &self.code) {
            (Format::Json, code) => {
                let code = code.as_deref().unwrap_or("InternalFailure");
                format!("{}\n", json!({"Error": {"Code": code, "Message": self.message}}))
            }
            (_, Some(code)) => output::remark("error", &format!("{} [{code}]", self.message)),
            (_, None) => output::remark("error", &self.message),
        }
    }
}

impl From<kiln_control::Error> for Failure {
    fn from(error: kiln_control::Error) -> Self {
        Self::coded(error.code().as_str(), error.to_string())
    }
}

impl From<kiln_guest_images::BuildError> for Failure {
    fn from(error: kiln_guest_images::BuildError) -> Self {
        Self::coded("BuildFailed", error.to_string())
    }
}

impl From<crate::software_machine::Error> for Failure {
    fn from(error: crate::software_machine::Error) -> Self {
        Self::coded(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_the_code_in_brackets() {
        let failure = Failure::coded(
            "InvalidAMIName.Duplicate",
            "the image name `web`\n is taken by ami-1",
        );
        assert_eq!(
            failure.render(Format::Table),
            "error: the image name `web` is taken by ami-1 [InvalidAMIName.Duplicate]\n"
        );
    }

    #[test]
    fn who_did_not_answer_in_time_may_still_be_at_it() {
        for (code, is) in [("GuestTimeout", true), ("IncorrectInstanceState", false)] {
            assert_eq!(Failure::coded(code, "m").is_of_impatience(), is);
        }
        assert!(!Failure::new("m").is_of_impatience());
    }

    #[test]
    fn in_json_mode_an_error_is_a_document() {
        let document: serde_json::Value =
            serde_json::from_str(&Failure::coded("A.B", "m").render(Format::Json)).expect("JSON");
        assert_eq!(document, json!({"Error": {"Code": "A.B", "Message": "m"}}));
    }

    #[test]
    fn a_failure_of_ours_is_125_where_a_status_is_handed_on_but_wrong_usage_stays_2() {
        assert_eq!(Failure::new("x").while_handing_on().status, 125);
        assert_eq!(Failure::usage("x").while_handing_on().status, 2);
    }

    #[test]
    fn a_command_that_is_not_there_and_an_interrupt_keep_their_status() {
        for status in [126, 127, 128 + 2] {
            let failure = Failure {
                status,
                ..Failure::new("x")
            };
            assert_eq!(failure.while_handing_on().status, status);
        }
    }
}
